"""The audit: real passes audit clean, and each check finds exactly the call that was tampered with."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from outdial.cli.app import app
from outdial.domain.attempt import Ending, EventKind
from outdial.domain.audit import Check
from outdial.domain.errors import NotFound, UserError
from outdial.domain.ids import CampaignId, ContactId
from outdial.domain.retries import RetryPolicy
from outdial.domain.rules import rule_digest
from outdial.domain.windows import CallingWindow
from outdial.domain.zones import CallingZone, ZoneSource
from outdial.files.rule_file import load_rule_book
from outdial.storage import calling_zones
from outdial.storage.tables import (
    call_attempts,
    call_events,
    campaign_revisions,
    contacts,
    exclusion_list_entries,
    imports,
)
from tests.support.world import ROME, RecordingProvider, World, event, number

ROME_TIME = ZoneInfo("Europe/Rome")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Two ages of a call at which it was on a closed date, and in a blackout of the rule.
CLOSED, BLACKOUT = 40 * DAY, 50 * DAY
RULE = "works-council"
# Rules that a call of a survey in Italy today cannot have been permitted by.
STRANGE_RULES = {
    "sales": {"purpose": "telemarketing", "more": ""},
    "german": {"purpose": "survey", "more": 'country = "DE"'},
    "tyrol": {"purpose": "survey", "more": 'country = "IT"\nsubdivisions = ["BZ"]'},
    "old": {"purpose": "survey", "more": "valid_to = 2020-12-31"},
}
STRANGE_RULE = """
[[rule]]
id = "{id}"
version = 1
purposes = ["{purpose}"]
{more}
applies = "by_name"
holidays = "open"
confidence = "high"
as_of = "2026-11-23"
source = "made up"
[[rule.windows]]
days = ["mon-sun"]
start = "00:00"
end = "24:00"
"""
INSTANTS = (
    "claimed_at",
    "dial_at",
    "not_after",
    "sent_at",
    "started_at",
    "ringing_at",
    "answered_at",
    "ended_at",
    "settled_at",
    "settle_at",
)


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


@dataclass(frozen=True)
class Made:
    """Four calls that real passes made: `first` found nobody, `again` is its retry; `second` and `third` were had.

    `elsewhere` is a contact of another campaign, without a rule, that has the number of `second`.
    """

    world: World
    campaign: CampaignId
    elsewhere: ContactId
    calls: Mapping[str, sa.RowMapping]

    def __getitem__(self, label: str) -> sa.RowMapping:
        return self.calls[label]

    def write(self, statement: sa.Executable) -> None:
        with self.world.database.begin() as connection:
            connection.execute(statement)

    def change(self, label: str, **values: Any) -> None:
        attempt_id = self.calls[label]["id"]
        self.write(sa.update(call_attempts).where(call_attempts.c.id == attempt_id).values(**values))

    def change_permit(self, label: str, **values: Any) -> None:
        self.change(label, permit=self.calls[label]["permit"] | values)

    def change_limits(self, label: str, **values: Any) -> None:
        self.change_permit(label, limits=self.calls[label]["permit"]["limits"] | values)

    def change_contact(self, label: str, **values: Any) -> None:
        contact_id = self.calls[label]["contact_id"]
        self.write(sa.update(contacts).where(contacts.c.id == contact_id).values(**values))

    def age(self, label: str, age: timedelta) -> None:
        """As if the call had been made so long ago, and rightly."""
        self.change(label, **aged(self.calls[label], age))

    def copy(self, label: str, age: timedelta, **values: Any) -> None:
        """One more call like it, so long before it; by default to the contact elsewhere."""
        row = dict(self.calls[label])
        copied = row | aged(row, age) | {"contact_id": self.elsewhere, **values}
        copied |= {"call_id": f"copy-{age}-{row['call_id']}", "provider_call_id": None}
        if copied["contact_id"] == self.elsewhere:
            copied |= {"campaign_id": self.campaign_elsewhere, "permit": copied["permit"] | {"rules": []}}
        del copied["id"]
        self.write(sa.insert(call_attempts).values(**copied))

    @property
    def campaign_elsewhere(self) -> CampaignId:
        return CampaignId(self.world.contact(self.elsewhere)["campaign_id"])

    def rewrite(self, **columns: Any) -> None:
        """What the first revision of the campaign said, changed."""
        table = campaign_revisions
        with self.world.database.begin() as connection:
            query = sa.select(table.c.definition).where(table.c.campaign_id == self.campaign)
            said = deepcopy(connection.execute(query).scalar_one())
            for name, value in columns.items():
                said[name] = said[name] | value if isinstance(value, dict) else value
            connection.execute(
                sa.update(table).where(table.c.campaign_id == self.campaign).values(definition=said)
            )

    def exclude(self, label: str, **values: Any) -> None:
        row = {
            "phone_number": self.calls[label]["phone_number"],
            "scope": "all",
            "reason": "asked",
            "source": "test",
            "since": self.calls[label]["sent_at"] - HOUR,
            **values,
        }
        self.write(sa.insert(exclusion_list_entries).values(**row))

    def forget(self, label: str) -> None:
        attempt_id = self.calls[label]["id"]
        self.write(sa.delete(call_events).where(call_events.c.attempt_id == attempt_id))
        self.write(sa.delete(call_attempts).where(call_attempts.c.id == attempt_id))

    def spoil(self, label: str, column: str, text: str) -> None:
        """Any text, which only SQLite takes."""
        if self.world.database.dialect != "sqlite":
            pytest.skip("Postgres takes no such value")
        self.write(
            sa.text(f"UPDATE call_attempts SET {column} = :text WHERE id = :id").bindparams(
                text=text, id=self.calls[label]["id"]
            )
        )

    def delete(self, table: str, row_id: int) -> None:
        """As a client does that looks after no foreign keys, which is what SQLite's own does."""
        if self.world.database.dialect != "sqlite":
            pytest.skip("Postgres lets no row go that others point at")
        with closing(sqlite3.connect(str(sa.make_url(self.world.url).database))) as connection:
            connection.execute(f"DELETE FROM {table} WHERE id = ?", (row_id,))
            connection.commit()

    def import_since(self) -> None:
        """An import that may have changed any contact."""
        now = datetime.now(UTC)
        row = {"campaign_id": self.campaign, "file_name": "new.csv", "created_at": now, "finished_at": now}
        self.write(sa.insert(imports).values(**row))

    def find(self, *arguments: str) -> tuple[dict[str, set[str]], int]:
        """Which calls broke which check, by their labels, as the command tells scripts; and its exit code."""
        done = run(*arguments, "--json")
        labels = {row["call_id"]: label for label, row in self.calls.items()}
        found: dict[str, set[str]] = {}
        for one in json.loads(done.stdout)["found"]:
            if one["is_violation"]:
                call_id = one["call_id"] or "contact"
                found.setdefault(one["check"], set()).add(labels.get(call_id, call_id))
        return found, done.exit_code


def aged(row: Mapping[str, Any], age: timedelta) -> dict[str, Any]:
    moved = {name: row[name] - age for name in INSTANTS if row[name] is not None}
    claimed = moved["claimed_at"].astimezone(ROME_TIME)
    permit = row["permit"] | {"local_time": {"Europe/Rome": claimed.isoformat()}}
    return {**moved, "permit": permit}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", *arguments])


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


def hear_conversation(world: World, call_id: str) -> None:
    world.hear(event(EventKind.ANSWERED, call_id))
    world.hear(event(EventKind.ENDED, call_id, ending=Ending.ANSWERED, result="completed"))


def test_calls_that_passes_made_audit_clean(made: Made) -> None:
    done = run("--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["found"], report["cannot_be_judged"]) == (0, [], 0)
    assert (report["calls"], report["tests"]) == (4, 0)
    judged = {one["check"]: one["judged"] for one in report["checks"]}
    assert judged == {**dict.fromkeys(map(str, Check), 4), "interval": 1}
    assert run().exit_code == 0


def test_paced_calls_of_several_campaigns_audit_clean(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", world.url)
    world.set_account(calls_per_second=20, burst=3, max_concurrent_calls=12)
    for name in ("one", "two"):
        campaign = world.add_campaign(name, max_concurrent_calls=8, retry=RetryPolicy(max_attempts=2))
        world.add_contacts(campaign, map(number, range(10)))
    provider = RecordingProvider()
    for _ in range(3):
        world.run_pass(provider)
        for row in world.attempts():
            if row["ended_at"] is None:
                hear_conversation(world, row["call_id"])
    report = json.loads(run("--json").stdout)
    assert report["calls"] >= 12
    assert report["found"] == []


def test_calls_beside_the_law_that_are_within_it_audit_clean(made: Made) -> None:
    for hours in (3, 4):
        made.copy("second", hours * HOUR, outcome="no_answer", answered_at=None)
    made.copy("second", 25 * HOUR, outcome="no_answer", answered_at=None)
    sent_at, minute = made["second"]["sent_at"], timedelta(minutes=1)
    made.exclude("second", since=sent_at - 2 * minute, removed_at=sent_at - minute)
    made.exclude("second", since=sent_at - 2 * minute, expires_at=sent_at - minute)
    made.exclude("first", since=sent_at + HOUR)
    made.exclude("third", scope="campaign", campaign_id=made.campaign_elsewhere)
    assert made.find() == ({}, 0)


def test_a_call_on_the_day_after_a_cool_off_audits_clean(made: Made) -> None:
    made.copy("second", 11 * DAY, outcome="refused")
    assert made.find() == ({}, 0)


def cap(made: Made) -> None:
    for hours in (2, 3, 4):
        made.copy("second", hours * HOUR, outcome="no_answer", answered_at=None)


def calendar_cap(made: Made) -> None:
    for days in (2, 6):
        made.copy("second", days * DAY, outcome="no_result")


def overlap(made: Made) -> None:
    # It left a minute before and was open for an hour: long over, had it ended as it began.
    made.copy("second", timedelta(minutes=1), ended_at=made["second"]["ended_at"] + HOUR)


def too_fast(made: Made) -> None:
    slot = made["first"]["dial_at"]
    for label, seconds in (("first", 0.0), ("second", 0.3), ("third", 0.6), ("again", 5.0)):
        limits = made[label]["permit"]["limits"] | {"account_calls_per_second": 1}
        permit = made[label]["permit"] | {"limits": limits}
        made.change(label, permit=permit, dial_at=slot + timedelta(seconds=seconds))


def another_zone(made: Made) -> None:
    berlin = CallingZone(time_zones=("Europe/Berlin",), country="DE", source=ZoneSource.CONTACT)
    zone_id = made.world.database.run(calling_zones.ensure, [berlin])[berlin.key]
    made.change_contact("second", calling_zone_id=zone_id)


def one_more(made: Made) -> None:
    for label in made.calls:
        made.age(label, HOUR)
    made.write(sa.update(call_events).values(received_at=made["first"]["claimed_at"] - HOUR))
    made.change("again", outcome="no_answer")
    row = made["again"]
    length = row["ended_at"] - row["claimed_at"]
    made.copy("again", HOUR - length - timedelta(seconds=1), contact_id=row["contact_id"])


def told(made: Made, provider_call_id: str, attempt_id: int | None = None) -> None:
    """One more event, of a call that the provider calls so."""
    at = made["first"]["claimed_at"] - HOUR
    made.write(
        sa.insert(call_events).values(
            account_id=made.world.account_id,
            event_id="e-1",
            attempt_id=attempt_id,
            provider_call_id=provider_call_id,
            kind="answered",
            event_at=at,
            received_at=at,
            payload={},
            normalized={},
        )
    )


def called_twice(made: Made) -> None:
    told(made, "P-other", made["second"]["id"])
    events = sa.update(call_events).where(call_events.c.event_id != "e-1")
    made.write(events.values(provider_call_id=made["second"]["provider_call_id"]))


def left_open(made: Made, **values: Any) -> None:
    made.age("second", 2 * HOUR)
    made.change("second", **values)


def never_sent(made: Made) -> None:
    unsent = dict.fromkeys(("sent_at", "answered_at", "ended_at", "settled_at", "outcome", "ending"))
    made.copy("second", HOUR, state="dialing", **unsent)


def permit_by(made: Made, name: str, **values: Any) -> None:
    """As if a rule that cannot have held had permitted the call too."""
    book = load_rule_book(Path(os.environ["OUTDIAL_RULES_FILE"]))
    names = [f"{RULE}@1", f"{name}@1"]
    digests = {one: rule_digest(book.find(one)) for one in names}
    made.change_permit("second", rules=names, rule_digests=digests, **values)


def sent_after_its_end(made: Made) -> None:
    made.age("second", HOUR)
    made.change("second", sent_at=made["second"]["ended_at"] - HOUR + timedelta(minutes=5))


Injection = Callable[[Made], None]
INJECTIONS: dict[str, tuple[str, str, Injection]] = {
    "a date that the campaign closes": ("window", "second", lambda made: made.age("second", CLOSED)),
    "a blackout of the rule": ("window", "second", lambda made: made.age("second", BLACKOUT)),
    "the guard before the end": (
        "window",
        "second",
        lambda made: (
            made.rewrite(guard_seconds=86_400),
            made.age("second", CLOSED + 2 * DAY),
        )[0],
    ),
    "a weekly window": (
        "window",
        "second",
        lambda made: (
            made.age("second", DAY),
            made.rewrite(windows=[window_of(made["second"]["sent_at"])], guard_seconds=0),
        )[0],
    ),
    "past not_after": (
        "window",
        "second",
        lambda made: made.change("second", not_after=made["second"]["sent_at"]),
    ),
    "a permit of another hour": (
        "window",
        "second",
        lambda made: made.change_permit("second", local_time={"Europe/Rome": "2026-01-01T12:00:00+01:00"}),
    ),
    "a permit by another rule": ("window", "second", lambda made: made.change_permit("second", rules=[])),
    "before its contact's time": (
        "window",
        "second",
        lambda made: made.change_contact("second", call_after=made["second"]["sent_at"] + HOUR),
    ),
    "after its contact's time": (
        "window",
        "second",
        lambda made: made.change_contact("second", call_before=made["second"]["sent_at"]),
    ),
    "before its campaign began": (
        "window",
        "first",
        lambda made: (
            made.age("first", HOUR),
            made.rewrite(starts_at=(made["second"]["claimed_at"] - timedelta(minutes=1)).isoformat()),
        )[0],
    ),
    "after its campaign's end": (
        "window",
        "again",
        lambda made: made.rewrite(ends_at=made["again"]["sent_at"].isoformat()),
    ),
    "another zone": ("zone", "second", another_zone),
    "a zone that no one told": (
        "zone",
        "second",
        lambda made: made.change_permit("second", zone_source="number"),
    ),
    "a cap by hours": ("cap", "second", cap),
    "a cap by days": ("cap", "second", calendar_cap),
    "a cool-off": ("cap", "second", lambda made: made.copy("second", 10 * DAY, outcome="refused")),
    "an excluded number": ("exclusion", "second", lambda made: made.exclude("second")),
    "an excluded person": (
        "exclusion",
        "second",
        lambda made: (
            made.change_contact("second", person_key="ada"),
            made.exclude("second", phone_number="+390698765432", person_key="ada"),
        )[0],
    ),
    "an exclusion of the campaign": (
        "exclusion",
        "second",
        lambda made: made.exclude("second", scope="campaign", campaign_id=made.campaign),
    ),
    "an exclusion removed later": (
        "exclusion",
        "second",
        lambda made: made.exclude("second", removed_at=made["second"]["sent_at"] + HOUR),
    ),
    "two open calls to a number": ("number", "second", overlap),
    "the account's limit": ("limit", "again", lambda made: made.change_limits("again", account_calls=0)),
    "the campaign's limit": ("limit", "again", lambda made: made.change_limits("again", campaign_calls=0)),
    "the rate": ("rate", "third", too_fast),
    "the wait": (
        "interval",
        "again",
        lambda made: made.rewrite(retry_policy={"default_delay_seconds": 3600.0}),
    ),
    "the wait after an outcome": (
        "interval",
        "again",
        lambda made: made.rewrite(retry_policy={"delays_seconds": {"no_answer": [60.0, 0.0]}}),
    ),
    "a callback asked for later": (
        "interval",
        "again",
        lambda made: made.change(
            "first", outcome="callback", callback_at=made["first"]["ended_at"] + HOUR, result="callback"
        ),
    ),
    "a budget of one": ("attempts", "again", lambda made: made.rewrite(retry_policy={"max_attempts": 1})),
    "a limit of an outcome": (
        "attempts",
        "again",
        lambda made: made.rewrite(retry_policy={"limits": {"no_answer": 1}}),
    ),
    "somebody who had completed": (
        "attempts",
        "again",
        lambda made: made.change("first", outcome="completed"),
    ),
    "an unknown call": ("account", "P-unknown", lambda made: told(made, "P-unknown")),
    "two calls for one attempt": ("account", "second", called_twice),
    "a rule for another purpose": ("window", "second", lambda made: permit_by(made, "sales")),
    "a rule of another country": ("window", "second", lambda made: permit_by(made, "german", country="IT")),
    "a rule of another subdivision": (
        "window",
        "second",
        lambda made: permit_by(made, "tyrol", country="IT", subdivision="RM"),
    ),
    "a rule that is over": ("window", "second", lambda made: permit_by(made, "old")),
    "a send time to come": (
        "record",
        "second",
        lambda made: made.change("second", sent_at=datetime.now(UTC) + DAY),
    ),
    "no send time": ("record", "second", lambda made: made.change("second", sent_at=None)),
    "a send time before its claim": (
        "record",
        "second",
        lambda made: made.change("second", sent_at=made["second"]["claimed_at"] - HOUR),
    ),
    "a send time after its end": ("record", "second", sent_after_its_end),
    "an answered call that was not placed": (
        "record",
        "second",
        lambda made: made.change("second", outcome="not_placed"),
    ),
    "another number than its contact's": (
        "record",
        "second",
        lambda made: made.change("second", phone_number=number(9)),
    ),
    "a contact that counts more calls": (
        "account",
        "contact",
        lambda made: made.change_contact("second", attempts_count=2),
    ),
    "a line that nobody freed": (
        "end",
        "second",
        lambda made: left_open(made, state="answered", ended_at=None, settled_at=None),
    ),
    "a call that nobody settled": (
        "end",
        "second",
        lambda made: left_open(made, settled_at=None),
    ),
}


def window_of(at: datetime) -> dict[str, Any]:
    """Every day but that of the instant a day earlier, in the form in which it is stored."""
    weekday = (at - DAY).astimezone(ROME_TIME).weekday()
    return {"days": sorted(set(range(7)) - {weekday}), "start_minute": 0, "end_minute": 1440}


@pytest.mark.parametrize(("check", "label", "inject"), INJECTIONS.values(), ids=list(INJECTIONS))
def test_a_call_that_broke_something_is_found(made: Made, check: str, label: str, inject: Injection) -> None:
    inject(made)
    assert made.find() == ({check: {label}}, 1)


def test_every_check_can_fail() -> None:
    assert {check for check, _, _ in INJECTIONS.values()} == {str(check) for check in Check}


def test_a_call_above_the_budget_is_found(made: Made) -> None:
    one_more(made)
    found, code = made.find()
    assert code == 1
    assert list(found) == ["attempts"]
    assert {one.startswith("copy-") for one in found["attempts"]} == {True}


def test_an_attempt_that_nobody_sent_or_gave_back_is_found(made: Made) -> None:
    never_sent(made)
    found, code = made.find()
    assert (code, list(found)) == (1, ["end"])


def test_one_id_of_the_provider_at_two_calls_is_found(made: Made) -> None:
    if made.world.database.dialect == "sqlite":
        pytest.skip("there is no taking the constraint off, which refuses it")
    made.write(
        sa.text("ALTER TABLE call_attempts DROP CONSTRAINT uq_call_attempts_account_id_provider_call_id")
    )
    made.change("second", provider_call_id=made["third"]["provider_call_id"])
    assert made.find() == ({"account": {"second", "third"}}, 1)


def test_what_was_learned_later_is_not_held_against_a_call(made: Made) -> None:
    made.change("first", outcome="completed")
    first = call_events.c.attempt_id == made["first"]["id"]
    made.write(sa.update(call_events).where(first).values(received_at=datetime.now(UTC)))
    done = run("--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["violations"], report["cannot_be_judged"]) == (0, 0, 1)


def test_a_wait_that_a_later_revision_shortened_is_the_shorter_one(made: Made) -> None:
    table = campaign_revisions
    with made.world.database.begin() as connection:
        row = (
            connection.execute(sa.select(table).where(table.c.campaign_id == made.campaign)).mappings().one()
        )
        connection.execute(sa.insert(table).values({**row, "revision": 2}))
    made.change("again", campaign_revision=2)
    with made.world.database.begin() as connection:
        longer = deepcopy(row["definition"])
        longer["retry_policy"]["default_delay_seconds"] = 3600.0
        changed = sa.update(table).where(table.c.campaign_id == made.campaign, table.c.revision == 1)
        connection.execute(changed.values(definition=longer))
    assert made.find() == ({}, 0)


@pytest.mark.parametrize("what", ["revision", "rule", "zone"])
def test_what_cannot_be_judged_is_said_and_is_no_violation(made: Made, what: str) -> None:
    if what == "revision":
        made.change("second", campaign_revision=0)
    elif what == "rule":
        made.change_permit("second", rules=[f"{RULE}@7"])
    else:
        another_zone(made)
        made.import_since()
    done = run("--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 0
    assert report["cannot_be_judged"] > 0
    if what == "rule":
        assert report["found"] == []
        assert [(one["rule"], one["calls"]) for one in report["rules"]] == [(f"{RULE}@7", 1)]
        assert "1 calls permitted by" in run().stdout
    else:
        assert {one["call_id"] for one in report["found"]} == {made["second"]["call_id"]}
        assert "Cannot be judged:" in run().stdout


def test_a_test_call_is_judged_by_exclusions_and_limits_only(made: Made) -> None:
    made.change_contact("second", is_test=True)
    made.age("second", CLOSED)
    assert made.find() == ({}, 0)
    assert json.loads(run("--json").stdout)["tests"] == 1
    made.exclude("second", since=made["second"]["sent_at"] - 2 * CLOSED)
    assert made.find() == ({"exclusion": {"second"}}, 1)


def test_only_the_calls_that_are_asked_for_are_judged_but_all_are_counted(made: Made) -> None:
    cap(made)
    assert made.find("--since", "1h") == ({"cap": {"second"}}, 1)
    assert made.find("--campaign", "survey") == ({"cap": {"second"}}, 1)
    assert made.find("--campaign", "elsewhere") == ({}, 0)
    made.age("second", 2 * DAY)
    made.exclude("second", since=made["second"]["sent_at"] - 9 * DAY)
    found, _ = made.find("--since", "26h")
    assert "second" not in found["exclusion"]


def test_a_person_reads_what_was_broken_in_local_time_and_no_number(made: Made) -> None:
    made.exclude("second")
    done = run()
    assert done.exit_code == 1
    line = next(one for one in done.stdout.splitlines() if made["second"]["call_id"] in one)
    local = made["second"]["sent_at"].astimezone(ROME_TIME)
    assert f"{local:%Y-%m-%d %H:%M:%S} in Europe/Rome" in line
    assert f"contact {made['second']['contact_id']} of survey" in line
    assert number(2) not in done.stdout
    assert "4 calls were made. Violations: 1." in done.stdout


def test_what_is_asked_wrongly_is_said(made: Made) -> None:
    assert isinstance(run("--campaign", "nobody").exception, NotFound)
    for text in ("yesterday", "2026-11-23T18:00:00", "5"):
        assert isinstance(run("--since", text).exception, UserError)
    assert made.find("--since", "2026-01-01T00:00:00Z") == ({}, 0)
    assert ROME.time_zones == ("Europe/Rome",)


def unjudged(made: Made) -> set[tuple[str, str]]:
    labels = {row["call_id"]: label for label, row in made.calls.items()}
    done = run("--json")
    assert done.exit_code == 0, done.stdout
    return {(one["check"], labels[one["call_id"]]) for one in json.loads(done.stdout)["found"]}


@pytest.mark.parametrize("column", ["sent_at", "claimed_at", "ended_at"])
@pytest.mark.parametrize("text", ["rubbish", "", "0", "with a T"])
def test_an_instant_that_is_none_hides_no_call(made: Made, column: str, text: str) -> None:
    written = made["second"][column].strftime("%Y-%m-%dT%H:%M:%S.%f") if text == "with a T" else text
    made.spoil("second", column, written)
    assert made.find() == ({"record": {"second"}}, 1)
    assert made.find("--since", "1h") == ({"record": {"second"}}, 1)
    assert json.loads(run("--json").stdout)["calls"] == 4


def test_a_spoiled_row_keeps_no_other_from_being_judged(made: Made) -> None:
    made.spoil("second", "permit", "{oops")
    made.exclude("third")
    made.exclude("second")
    assert made.find() == ({"exclusion": {"second", "third"}}, 1)


@pytest.mark.parametrize(
    "permit",
    [
        [],
        7,
        {"rules": 7},
        {"calling_zone": ["Nowhere/At_All"]},
        {"calling_zone": "Europe/Rome"},
        {"local_time": {"Europe/Rome": "noon"}},
        {"rule_digests": []},
    ],
)
def test_a_permit_that_is_none_cannot_be_judged(made: Made, permit: Any) -> None:
    made.change(
        "second", permit={**made["second"]["permit"], **permit} if isinstance(permit, dict) else permit
    )
    found = unjudged(made)
    assert {("window", "second"), ("zone", "second"), ("cap", "second")} <= found
    assert {label for check, label in found if check in {"window", "zone", "cap"}} == {"second"}


@pytest.mark.parametrize(
    "limits", [7, {}, {"account_calls": "many"}, {"account_calls": 1, "campaign_calls": []}]
)
def test_limits_that_are_none_cannot_be_judged(made: Made, limits: Any) -> None:
    made.change_permit("again", limits=limits)
    assert {check for check, _ in unjudged(made)} == {"limit", "rate"}


@pytest.mark.parametrize(
    "said",
    [
        {"windows": "always"},
        {"windows": [{"days": [0, 1, 2, 3, 4, 5, 6], "start_minute": "x", "end_minute": 7}]},
        {"purpose": "fun"},
        {"starts_at": "soon"},
        {"starts_at": "2026-01-01T00:00:00"},
        {"retry_policy": {"max_attempts": "few"}},
    ],
)
def test_a_definition_that_is_none_cannot_be_judged(made: Made, said: dict[str, Any]) -> None:
    made.rewrite(**said)
    assert unjudged(made)
    made.exclude("third")
    assert made.find() == ({"exclusion": {"third"}}, 1)


def test_a_revision_that_is_no_json_cannot_be_judged(made: Made) -> None:
    if made.world.database.dialect != "sqlite":
        pytest.skip("Postgres takes no such value")
    made.write(sa.text("UPDATE campaign_revisions SET definition = '{oops'"))
    assert ("window", "second") in unjudged(made)


def test_events_of_an_attempt_that_is_gone_are_found(made: Made) -> None:
    made.delete("call_attempts", made["third"]["id"])
    assert made.find() == ({"account": {"third", "contact"}}, 1)


def test_an_attempt_that_is_gone_leaves_a_gap(made: Made) -> None:
    made.forget("first")
    assert made.find() == ({"record": {"again"}, "account": {"contact"}}, 1)


def test_an_attempt_that_was_given_back_leaves_no_gap(made: Made) -> None:
    unsent = dict.fromkeys(("sent_at", "answered_at", "ringing_at", "result"))
    row = made["second"]
    given_back = {**unsent, "outcome": "not_placed", "contact_id": row["contact_id"]}
    made.copy("second", HOUR, campaign_id=row["campaign_id"], **given_back)
    assert made.find() == ({}, 0)


def test_an_attempt_whose_contact_is_gone_is_found(made: Made) -> None:
    made.delete("contacts", made["second"]["contact_id"])
    assert made.find() == ({"record": {"second"}}, 1)


def test_a_number_that_an_import_may_have_changed_accuses_nobody(made: Made) -> None:
    made.change("second", phone_number=number(9))
    made.import_since()
    assert unjudged(made) == {("record", "second")}


def test_an_exclusion_that_was_learned_of_later_accuses_nobody(made: Made) -> None:
    made.exclude("second", created_at=made["second"]["sent_at"] + HOUR)
    assert made.find() == ({}, 0)
    made.exclude("third", created_at=made["third"]["sent_at"] - HOUR / 2)
    assert made.find() == ({"exclusion": {"third"}}, 1)


def test_whose_a_number_was_is_uncertain_after_an_import(made: Made) -> None:
    made.change_contact("second", person_key="ada")
    made.exclude("second", phone_number=None, person_key="ada")
    assert made.find() == ({"exclusion": {"second"}}, 1)
    made.import_since()
    assert unjudged(made) == {("exclusion", "second")}


def test_an_exclusion_of_no_instant_cannot_be_judged(made: Made) -> None:
    if made.world.database.dialect != "sqlite":
        pytest.skip("Postgres takes no such value")
    made.exclude("second")
    made.write(sa.text("UPDATE exclusion_list_entries SET since = 'rubbish'"))
    assert unjudged(made) == {("exclusion", "second")}


def test_a_rule_that_says_something_else_now_is_said_once(made: Made, own_rules: Path) -> None:
    changed = own_rules.read_text().replace("max_calls = 3", "max_calls = 1")
    own_rules.write_text(changed.replace('start = "00:00"\nend = "24:00"', 'start = "03:00"\nend = "03:01"'))
    assert unjudged(made) == set()
    report = json.loads(run("--json").stdout)
    assert [(one["rule"], one["calls"]) for one in report["rules"]] == [(f"{RULE}@1", 4)]
    assert "says something else now" in report["rules"][0]["says"]
    for label, row in made.calls.items():
        made.change(
            label, permit={name: said for name, said in row["permit"].items() if name != "rule_digests"}
        )
    assert "window" in made.find()[0]


def test_rules_that_this_process_does_not_know_are_said_once(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUTDIAL_RULES_FILE")
    assert unjudged(made) == set()
    (line,) = [line for line in run().stdout.splitlines() if f"{RULE}@1" in line]
    assert "4 calls" in line
    assert "OUTDIAL_RULES_FILE" in line


def test_a_rule_that_a_campaign_names_with_its_version_may_be_over(made: Made) -> None:
    made.rewrite(calling_rule="old@1")
    permit_by(made, "old")
    assert "second" not in made.find()[0]["window"]


def test_a_named_rule_holds_where_no_country_is_known(made: Made) -> None:
    made.rewrite(calling_rule="german")
    permit_by(made, "german", country=None)
    assert "second" not in made.find()[0]["window"]
    made.rewrite(calling_rule="auto")
    assert made.find() == ({"window": {"second"}}, 1)


@pytest.mark.parametrize("ended", [True, False])
def test_a_call_that_came_to_life_again_accuses_no_later_one(made: Made, *, ended: bool) -> None:
    """The first was given up, its contact called again, and then the provider told that it goes on."""
    again = made["again"]
    values: dict[str, Any] = {"settled_at": again["claimed_at"] - timedelta(milliseconds=1)}
    if ended:
        values |= {"ended_at": again["sent_at"] + timedelta(seconds=1)}
    else:
        values |= {"ended_at": None, "state": "answered", "outcome": "unknown"}
    made.change("first", **values)
    heard = sa.update(call_events).where(call_events.c.attempt_id == made["first"]["id"])
    made.write(heard.values(received_at=again["claimed_at"] + timedelta(milliseconds=1)))
    assert unjudged(made) >= {("number", "again"), ("interval", "again")}
    made.write(heard.values(received_at=again["claimed_at"] - timedelta(seconds=1)))
    found, code = made.find()
    assert (code, found["number"], found["interval"]) == (1, {"again"}, {"again"})
