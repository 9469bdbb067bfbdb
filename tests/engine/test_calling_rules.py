"""Calling rules and caps in the claim: what they forbid is not called, what they count is exact, and all is on record."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from outdial.clock import SystemClock
from outdial.domain.attempt import Ending, EventKind
from outdial.domain.campaign import CampaignDefinition, Purpose
from outdial.domain.contact import ContactState
from outdial.domain.ids import CallId, CallingZoneId, CampaignId
from outdial.domain.permit import Permit, Refusal
from outdial.domain.rules import Basis, RuleBook, UnknownRule
from outdial.domain.zones import CallingZone, ZoneSource, all_zone_names
from outdial.engine.claim import ClaimSettings, claim
from outdial.engine.definitions import Definitions
from outdial.engine.permits import Asking, Permits
from outdial.files.rule_file import load_rule_book, parse_rules
from outdial.operations.accepted_rules import accept, pending
from outdial.operations.campaigns import apply_campaign
from outdial.storage import accounts, attempts, deployment, workers
from outdial.storage.database import database_now
from outdial.storage.deployment import Deployment
from outdial.storage.tables import contacts
from tests.support.rules import ALL_DAY, CAPPED, ROME, Rules, dial, hours_from_now, rule
from tests.support.world import ROME as WORLD_ROME, RecordingProvider, World, event, number

DEFINITION = CampaignDefinition(name="survey", purpose=Purpose.SURVEY, account="main")


def test_a_rule_that_is_closed_holds_everybody_and_one_that_is_open_nobody(
    world: World, rules: Rules
) -> None:
    world.add_contacts(world.add_campaign(calling_rule="house"), [number(1)])
    rules.write(rule(windows=hours_from_now(2, 4)))
    assert dial(world, rules) == []
    rules.write(rule(windows=hours_from_now(-2, 4)))
    assert dial(world, rules) == [number(1)]


def test_a_changed_file_of_rules_takes_effect_at_the_next_pass_of_the_same_worker(
    world: World, rules: Rules
) -> None:
    world.add_contacts(world.add_campaign(calling_rule="house"), [number(1)])
    rules.write(rule(windows=hours_from_now(2, 4)))
    provider = RecordingProvider()
    service = world.service(provider, own_rules=rules.path)
    service.run()
    assert not provider.requests
    rules.write(rule(windows=hours_from_now(-2, 4)))
    service.run()
    assert len(provider.requests) == 1


def test_a_file_of_rules_that_breaks_leaves_the_rules_as_they_were(world: World, rules: Rules) -> None:
    contacts = world.add_contacts(world.add_campaign(calling_rule="house"), [number(1)])
    provider = RecordingProvider()
    service = world.service(provider, own_rules=rules.path)
    rules.write(rule(windows=hours_from_now(2, 4)))
    service.run()
    rules.path.write_text("format = 1\n[[rule]]\nid = ", "utf-8")
    service.run()
    assert not provider.requests
    assert world.contact(contacts[0])["state"] == ContactState.PENDING


def test_the_guard_before_closing_holds_a_call_that_could_still_ring(world: World, rules: Rules) -> None:
    world.add_contacts(world.add_campaign(calling_rule="house", guard_seconds=3 * 3600), [number(1)])
    rules.write(rule(windows=hours_from_now(-2, 2)))
    result = world.run_pass(RecordingProvider(), own_rules=rules.path)
    assert result.held == {"closing_soon": 1}


def test_a_rule_that_nobody_knows_holds_its_campaign(world: World, rules: Rules) -> None:
    world.add_contacts(world.add_campaign(calling_rule="gone"), [number(1)])
    assert world.run_pass(RecordingProvider(), own_rules=rules.path).held == {"no_rule": 1}


def test_auto_takes_the_rules_of_the_contacts_country(world: World, rules: Rules) -> None:
    world.add_contacts(world.add_campaign(calling_rule="auto"), [number(1)])
    italian = rule("it-own", windows=ALL_DAY, more='country = "IT"')
    rules.write(italian)
    assert dial(world, rules) == [number(1)]
    assert "it-own@1" in world.attempts()[0]["permit"]["rules"]


# --- the permit


def permit_of_one_call(world: World, rules: Rules) -> dict[str, Any]:
    rules.write(CAPPED)
    world.add_contacts(world.add_campaign(calling_rule="house", max_concurrent_calls=7), [number(1)])
    assert dial(world, rules) == [number(1)]
    permit: dict[str, Any] = world.attempts()[0]["permit"]
    return permit


def test_the_permit_says_what_made_the_call_lawful(world: World, rules: Rules) -> None:
    permit = permit_of_one_call(world, rules)
    assert permit["rules"] == ["house@1"]
    assert permit["calling_zone"] == ["Europe/Rome"]
    assert (permit["zone_source"], permit["country"]) == ("contact", "IT")
    assert permit["hours"] == {"Europe/Rome": "00:00-24:00"}
    assert permit["calls_counted"] == {"house@1: at most 2 calls in 24 hours": 0}
    assert permit["limits"]["account_calls"] == 100
    assert permit["limits"]["campaign_calls"] == 7
    assert permit["guard_seconds"] == 60
    assert {"rules", "hours", "exclusions", "number", "caps"} <= set(permit["checked"])
    assert permit["zone_data"]
    assert permit["holidays"]


# --- acceptance


def packaged(*rules_of: str, path: Path) -> RuleBook:
    """A rule book as if all of it came with the package: its rules need acceptance."""
    parsed = parse_rules("format = 1\n" + "".join(rules_of), str(path))
    return RuleBook(tuple(replace(one, basis=Basis.LAW) for one in parsed))


@pytest.fixture
def accepted_world(world: World) -> World:
    world.database.run(deployment.accept_rules, {"house": 1})
    return world


def claimed_with(world: World, book: RuleBook) -> bool:
    """Whether a claim by that book finds somebody."""
    worker = world.database.run(lambda c: workers.start(c, "test", database_now(c)))
    settings = ClaimSettings(
        batch_size=25, scheduler_time_zone="UTC", new_call_id=lambda: CallId(str(uuid4()))
    )
    known = Definitions(rule_books=lambda: book)
    claimed = world.database.run(claim, world.account_id, worker, "c", settings, known, SystemClock())
    return bool(claimed.calls)


def test_a_new_version_that_widens_hours_applies_only_once_accepted(
    accepted_world: World, rules: Rules
) -> None:
    world = accepted_world
    world.add_contacts(world.add_campaign(calling_rule="house"), [number(1)])
    narrow, wide = rule(windows=hours_from_now(2, 4)), rule(version=2)
    book = packaged(narrow, wide, path=rules.path)
    assert not claimed_with(world, book)
    assert [one.name for one in world.database.run(pending, book)] == ["house@2"]
    world.database.run(accept, ["house@2"], book)
    assert claimed_with(world, book)


def test_a_new_version_that_narrows_hours_applies_at_once(accepted_world: World, rules: Rules) -> None:
    world = accepted_world
    world.add_contacts(world.add_campaign(calling_rule="house"), [number(1)])
    book = packaged(rule(), rule(windows=hours_from_now(2, 4), version=2), path=rules.path)
    assert not claimed_with(world, book)


def test_a_new_rule_for_a_country_does_not_replace_the_strictest_by_itself(
    world: World, rules: Rules
) -> None:
    world.add_contacts(world.add_campaign(calling_rule="auto"), [number(1)])
    strictest = rule("zz", windows=hours_from_now(2, 4), more='applies = "last_resort"')
    of_the_country = rule("it", more='country = "IT"')
    world.database.run(deployment.accept_rules, {"zz": 1})
    book = packaged(strictest, of_the_country, path=rules.path)
    assert not claimed_with(world, book)
    world.database.run(accept, ["it"], book)
    assert claimed_with(world, book)


def test_the_first_campaign_that_names_a_rule_accepts_them_as_they_are(world: World, rules: Rules) -> None:
    world.database.run(apply_campaign, replace(DEFINITION, calling_rule="auto"))
    assert world.database.run(pending, load_rule_book()) == ()
    accepted = world.database.run(deployment.load).accepted_rules
    assert accepted is not None
    assert accepted["us-federal-telemarketing"] == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nonsense", "There is no calling rule 'nonsense'"),
        ("us-federal-telemarketing", "is for telemarketing, not for survey"),
        ("us-federal-telemarketing@9", "There is no calling rule"),
    ],
)
def test_a_campaign_cannot_name_a_rule_that_does_not_fit(world: World, name: str, why: str) -> None:
    with pytest.raises(UnknownRule, match=why):
        world.database.run(apply_campaign, replace(DEFINITION, calling_rule=name))


# --- many places


def test_one_pass_after_another_reaches_everybody_in_hundreds_of_zones(world: World, rules: Rules) -> None:
    rules.write(rule(windows=ALL_DAY))
    campaign = world.add_campaign(calling_rule="house", default_time_zone="Europe/Rome")
    places = all_zone_names()[:300]
    for index, name in enumerate(places):
        place = CallingZone(time_zones=(name,), country="IT", source=ZoneSource.CONTACT)
        world.add_contacts(campaign, [number(index)], zone=place)
    provider = RecordingProvider()
    service = world.service(provider, own_rules=rules.path, batch_size=40)
    for _ in range(10):
        result = service.run()
        world.hear(*(event(EventKind.ENDED, r.call_id, ending=Ending.BUSY) for r in provider.requests))
    assert len({request.to for request in provider.requests}) == len(places)
    assert result.scheduled == ()


def test_empty_buckets_at_the_head_hide_nobody(world: World, rules: Rules) -> None:
    """Hints that are early, of more buckets than a claim lists."""
    rules.write(rule())
    campaign = world.add_campaign(calling_rule="house")
    names = all_zone_names()[:120]
    for index, name in enumerate(names):
        place = CallingZone(time_zones=(name,), country="IT", source=ZoneSource.CONTACT)
        [contact] = world.add_contacts(campaign, [number(index)], zone=place)
        if index < len(names) - 1:
            with world.database.begin() as connection:
                later = database_now(connection) + timedelta(hours=1)
                connection.execute(
                    sa.update(contacts).where(contacts.c.id == contact).values(next_attempt_at=later)
                )
    provider = RecordingProvider()
    service = world.service(provider, own_rules=rules.path, batch_size=5)
    for _ in range(12):
        service.run()
    assert [request.to for request in provider.requests] == [number(len(names) - 1)]


# --- consent


@pytest.mark.parametrize(
    ("given", "is_called"), [(None, False), ("prior", False), ("express", True), ("written", True)]
)
def test_who_has_not_given_the_consent_that_a_campaign_asks_for_is_never_called(
    world: World, rules: Rules, given: str | None, is_called: bool
) -> None:
    [contact] = world.add_contacts(
        world.add_campaign(required_consent="express"), [number(1)], consent_kind=given
    )
    assert bool(dial(world, rules)) is is_called
    row = world.contact(contact)
    reasons = (row["state"], row["final_reason"])
    assert (reasons == (ContactState.EXCLUDED, "no_consent")) is not is_called


def test_a_rule_may_ask_for_consent_too_and_the_permit_says_what_was_given(
    world: World, rules: Rules
) -> None:
    rules.write(rule(more='requires_consent = "written"'))
    campaign = world.add_campaign(calling_rule="house")
    world.add_contacts(campaign, [number(1)], consent_kind="express")
    world.add_contacts(campaign, [number(2)], consent_kind="written", consent_source="form 7")
    assert dial(world, rules) == [number(2)]
    [attempt] = world.attempts()
    assert attempt["permit"]["consent"] == {"kind": "written", "at": None, "source": "form 7"}
    assert attempt["permit"]["consent_required"] == ["written"]


# --- rules that change


def test_no_call_leaves_less_than_a_guard_before_other_rules_close(world: World, rules: Rules) -> None:
    tomorrow = (datetime.now(ROME) + timedelta(days=1)).date().isoformat()
    until_tomorrow = rule(more='country = "IT"')
    closed_then = rule(
        "closed", windows=hours_from_now(2, 2.5), more=f'country = "IT"\nvalid_from = {tomorrow}'
    )
    rules.write(until_tomorrow, closed_then)
    # Longer than what is left of the day, whatever the hour.
    world.add_contacts(world.add_campaign(calling_rule="auto", guard_seconds=86_400), [number(1)])
    assert world.run_pass(RecordingProvider(), own_rules=rules.path).held == {"closing_soon": 1}


def test_two_threads_never_take_an_answer_of_other_rules(world: World, rules: Rules) -> None:
    """While one of them is about to ask, the other sees the new rules and is answered by them."""
    old = RuleBook(parse_rules("format = 1\n" + rule(), "r"))
    new = RuleBook(parse_rules("format = 1\n" + rule(windows=hours_from_now(2, 4)), "r"))
    current = [old]
    permits = Permits(lambda: current[0])
    definition = CampaignDefinition(
        name="survey", purpose=Purpose.SURVEY, account="main", calling_rule="house"
    )
    campaign_id = CampaignId(1)
    account = world.database.run(accounts.by_id, world.account_id)
    assert account is not None

    def asking() -> Asking:
        return permits.asked_by(account, Deployment(), {campaign_id: definition}, "UTC")

    slow = asking()
    current[0] = new
    quick = asking()
    at, zone_id = datetime.now(UTC), CallingZoneId(1)
    assert isinstance(slow.permit(campaign_id, zone_id, WORLD_ROME, at), Permit)
    assert isinstance(quick.permit(campaign_id, zone_id, WORLD_ROME, at), Refusal)
    assert slow.facts({campaign_id: 1}) != quick.facts({campaign_id: 1})


def test_what_a_rule_says_has_the_same_digest_in_every_process() -> None:
    code = (
        "from outdial.files.rule_file import load_rule_book\n"
        "from outdial.domain.rules import rule_digest\n"
        "print([rule_digest(rule) for rule in load_rule_book().rules])"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]


def test_a_consent_that_is_withdrawn_after_the_claim_stops_the_call(world: World, rules: Rules) -> None:
    [contact] = world.add_contacts(
        world.add_campaign(required_consent="written"), [number(1)], consent_kind="written"
    )
    worker = world.database.run(lambda c: workers.start(c, "test", database_now(c)))
    settings = ClaimSettings(
        batch_size=25, scheduler_time_zone="UTC", new_call_id=lambda: CallId(str(uuid4()))
    )
    claimed = world.database.run(claim, world.account_id, worker, "c", settings, world.known, SystemClock())
    ids = {call.attempt_id: call.call_id for call in claimed.calls}
    with world.database.begin() as connection:
        connection.execute(sa.update(contacts).where(contacts.c.id == contact).values(consent_kind="prior"))
    assert world.database.run(attempts.last_check, ids, worker) == frozenset()
    with world.database.begin() as connection:
        connection.execute(sa.update(contacts).where(contacts.c.id == contact).values(consent_kind="written"))
    assert world.database.run(attempts.last_check, ids, worker) == frozenset(ids)
