"""Every audit test has the same four calls, and rules of its own."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from outdial.domain.attempt import Ending, EventKind
from outdial.domain.retries import RetryPolicy
from outdial.domain.windows import CallingWindow
from tests.support.audited import (
    BLACKOUT,
    CLOSED,
    DAY,
    ROME_TIME,
    RULE,
    STRANGE_RULE,
    STRANGE_RULES,
    Made,
    hear_conversation,
)
from tests.support.world import RecordingProvider, World, event, number


@pytest.fixture(autouse=True)
def own_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def around(age: timedelta) -> str:
        day = datetime.now(ROME_TIME).date() - age
        return f"from = {day - DAY}, until = {day + 2 * DAY}"

    file = tmp_path / "rules.toml"
    file.write_text(f"""
format = 1
[[rule]]
id = "{RULE}"
version = 1
purposes = ["survey"]
holidays = "open"
blackouts = [{{ {around(BLACKOUT)}, reason = "strike" }}]
caps = [{{ max_calls = 3, hours = 24, counts = "attempts" }}, {{ max_calls = 2, days = 7, counts = "connected" }}]
cool_offs = [{{ after = "refused", days = 10 }}]
confidence = "high"
as_of = "2026-11-23"
source = "the decision of our works council"
[[rule.windows]]
days = ["mon-sun"]
start = "00:00"
end = "24:00"
{"".join(STRANGE_RULE.format(id=name, **said) for name, said in STRANGE_RULES.items())}
""")
    monkeypatch.setenv("OUTDIAL_RULES_FILE", str(file))
    return file


@pytest.fixture
def made(world: World, own_rules: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setenv("DATABASE_URL", world.url)
    closed = datetime.now(ROME_TIME).date() - CLOSED
    campaign = world.add_campaign(
        calling_rule=RULE,
        retry=RetryPolicy(max_attempts=2, default_delay=timedelta()),
        window=CallingWindow(closed_dates=frozenset(closed + days * DAY for days in (-1, 0, 1))),
    )
    other = world.add_campaign("elsewhere", retry=RetryPolicy(max_attempts=9, default_delay=timedelta()))
    ids = world.add_contacts(campaign, [number(1), number(2), number(3)])
    (elsewhere,) = world.add_contacts(other, [number(2)], due_in=9 * DAY)
    labels = dict(zip(ids, ("first", "second", "third"), strict=True))
    provider = RecordingProvider()
    world.run_pass(provider, own_rules=own_rules)
    for row in world.attempts():
        if labels[row["contact_id"]] == "first":
            world.hear(event(EventKind.ENDED, row["call_id"], ending=Ending.NO_ANSWER))
        else:
            hear_conversation(world, row["call_id"])
    world.run_pass(provider, own_rules=own_rules)
    rows = world.attempts()
    hear_conversation(world, rows[-1]["call_id"])
    rows = world.attempts()
    assert len(rows) == 4
    calls = {labels[row["contact_id"]]: row for row in rows[:3]} | {"again": rows[3]}
    return Made(world=world, campaign=campaign, elsewhere=elsewhere, calls=calls)
