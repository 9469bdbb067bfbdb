"""Rows that somebody spoiled or took away: the audit finds them, and none of them ends it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from outdial.storage.tables import (
    call_events,
)
from tests.support.audited import (
    HOUR,
    RULE,
    Made,
    permit_by,
    run,
)
from tests.support.world import number


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
