"""Caps in the claim: over all campaigns and accounts, and what they count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from outdial.domain.attempt import Ending, EventKind
from outdial.domain.contact import ContactState
from outdial.domain.errors import RateLimited
from outdial.domain.retries import RetryPolicy
from outdial.storage.database import database_now
from outdial.storage.tables import call_attempts
from tests.support.rules import CAPPED, Rules, dial, rule
from tests.support.world import RecordingProvider, World, event, number, refusing

ONE_A_DAY = rule("day", more='caps = [{ max_calls = 1, hours = 24, counts = "attempts" }]')
ONE_A_MONTH = rule("month", more='caps = [{ max_calls = 1, days = 30, counts = "attempts" }]')


def test_a_number_is_called_no_oftener_than_its_rule_allows_over_all_campaigns(
    world: World, rules: Rules
) -> None:
    rules.write(CAPPED)
    for name in ("one", "two", "three"):
        world.add_contacts(world.add_campaign(name, calling_rule="house"), [number(1)])
    called = [dial(world, rules) for _ in range(4) if world.make_due() is None]
    assert sum(map(len, called)) == 2


def test_a_capped_contact_waits_until_the_cap_allows_and_is_not_lost(world: World, rules: Rules) -> None:
    rules.write(CAPPED)
    for name in ("one", "two"):
        world.add_contacts(world.add_campaign(name, calling_rule="house"), [number(1)])
        dial(world, rules)
    waiting = world.add_contacts(world.add_campaign("three", calling_rule="house"), [number(1)])
    assert dial(world, rules) == []
    row = world.contact(waiting[0])
    first_call = min(attempt["sent_at"] for attempt in world.attempts())
    assert row["state"] == ContactState.PENDING
    assert row["next_attempt_at"] == first_call + timedelta(hours=24)


def test_what_a_cap_has_forgotten_counts_no_more(world: World, rules: Rules) -> None:
    rules.write(CAPPED)
    contacts = world.add_contacts(
        world.add_campaign(
            calling_rule="house", retry=RetryPolicy(max_attempts=9, default_delay=timedelta())
        ),
        [number(1)],
    )
    for _ in range(3):
        world.make_due()
        dial(world, rules)
    assert world.contact(contacts[0])["attempts_count"] == 2
    world.shift_attempts(24 * 3600)
    world.make_due()
    assert dial(world, rules) == [number(1)]


def test_a_call_that_the_provider_turned_away_is_not_counted(world: World, rules: Rules) -> None:
    rules.write(CAPPED)
    contacts = world.add_contacts(world.add_campaign(calling_rule="house"), [number(1)])
    for _ in range(3):
        world.run_pass(RecordingProvider(refusing(RateLimited("slow down"))), own_rules=rules.path)
        world.set_account(not_before=None, rate_factor=1.0)
        world.make_due()
    assert dial(world, rules) == [number(1)]
    assert world.contact(contacts[0])["attempts_count"] == 1


def test_a_cap_on_conversations_counts_those_only(world: World, rules: Rules) -> None:
    rules.write(rule(more='caps = [{ max_calls = 1, days = 7, counts = "connected" }]'))
    for name in ("one", "two"):
        world.add_contacts(world.add_campaign(name, calling_rule="house"), [number(1)])
    dial(world, rules)
    assert dial(world, rules) == [number(1)]
    world.add_contacts(world.add_campaign("three", calling_rule="house"), [number(1)])
    provider = RecordingProvider()
    world.run_pass(provider, own_rules=rules.path)
    [request] = provider.requests
    world.hear(
        event(EventKind.ANSWERED, request.call_id),
        event(EventKind.ENDED, request.call_id, ending=Ending.ANSWERED, result="completed"),
    )
    world.add_contacts(world.add_campaign("four", calling_rule="house"), [number(1)])
    assert dial(world, rules) == []


def test_after_a_refusal_nobody_calls_again_until_the_days_have_passed(world: World, rules: Rules) -> None:
    rules.write(rule(more='cool_offs = [{ after = "refused", days = 60 }]'))
    world.add_contacts(world.add_campaign("one", calling_rule="house"), [number(1)])
    provider = RecordingProvider()
    world.run_pass(provider, own_rules=rules.path)
    [request] = provider.requests
    world.hear(
        event(EventKind.ANSWERED, request.call_id),
        event(EventKind.ENDED, request.call_id, ending=Ending.ANSWERED, result="refused"),
    )
    [contact] = world.add_contacts(world.add_campaign("two", calling_rule="house"), [number(1)])
    assert dial(world, rules) == []
    assert world.contact(contact)["next_attempt_at"] > datetime.now(UTC) + timedelta(days=59)


# --- one number under several rules


def test_a_number_in_a_capped_and_in_an_uncapped_campaign_stops_nobody_else(
    world: World, rules: Rules
) -> None:
    rules.write(ONE_A_DAY)
    world.add_contacts(world.add_campaign("capped", calling_rule="day"), [number(1)])
    world.add_contacts(world.add_campaign("free"), [number(1)])
    world.add_contacts(world.add_campaign("third"), map(number, range(10, 20)))
    assert sorted(dial(world, rules)) == sorted([number(1), *map(number, range(10, 20))])


def test_of_two_caps_about_one_number_the_looser_campaign_may_call(world: World, rules: Rules) -> None:
    rules.write(ONE_A_DAY, ONE_A_MONTH)
    world.add_contacts(world.add_campaign("first", calling_rule="day"), [number(1)])
    assert dial(world, rules) == [number(1)]
    world.shift_attempts(10 * 24 * 3600)
    with world.database.begin() as connection:
        long_ago = database_now(connection) - timedelta(days=10)
        connection.execute(sa.update(call_attempts).values(claimed_at=long_ago))
    [monthly] = world.add_contacts(world.add_campaign("month", calling_rule="month"), [number(1)])
    world.add_contacts(world.add_campaign("day", calling_rule="day"), [number(1)])
    assert dial(world, rules) == [number(1)]
    # The end of that call made it due, to be asked about again.
    assert dial(world, rules) == []
    assert world.contact(monthly)["attempts_count"] == 0
    assert world.contact(monthly)["next_attempt_at"] > datetime.now(UTC) + timedelta(days=19)


def test_a_cap_that_is_loosened_lets_those_go_whom_it_held(world: World, rules: Rules) -> None:
    rules.write(ONE_A_MONTH)
    for name in ("one", "two"):
        world.add_contacts(world.add_campaign(name, calling_rule="month"), [number(1)])
    provider = RecordingProvider()
    service = world.service(provider, own_rules=rules.path)
    for _ in range(3):
        service.run()
        world.hear(*(event(EventKind.ENDED, r.call_id, ending=Ending.BUSY) for r in provider.requests))
    assert len(provider.requests) == 1
    rules.write(ONE_A_MONTH.replace("max_calls = 1", "max_calls = 5"))
    for _ in range(2):
        service.run()
    assert len(provider.requests) == 2
