"""The audit: real passes audit clean, and each check finds exactly the call that was tampered with."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from outdial.domain.audit import Check
from outdial.domain.errors import NotFound, UserError
from outdial.domain.retries import RetryPolicy
from outdial.domain.zones import CallingZone, ZoneSource
from outdial.storage import calling_zones
from outdial.storage.tables import (
    call_events,
    campaign_revisions,
)
from tests.support.audited import (
    BLACKOUT,
    CLOSED,
    DAY,
    HOUR,
    ROME_TIME,
    RULE,
    Made,
    hear_conversation,
    permit_by,
    run,
)
from tests.support.world import ROME, RecordingProvider, World, number


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
