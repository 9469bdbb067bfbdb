"""A campaign that waits for contacts, and one that a wrong setting brought to a stand, on real processes."""

from __future__ import annotations

import time
from collections.abc import Callable

import sqlalchemy as sa

from outdial.domain.campaign import CallOptions, WhenEmpty
from outdial.storage import campaigns
from tests.support.processes import Process
from tests.support.stack import Stack, assert_accounts_agree
from tests.support.world import number

OPTIONS = CallOptions(result_timeout_seconds=1, ring_timeout_seconds=5, max_duration_seconds=10)
ALWAYS = {"answer_rate": 1.0, "completed_rate": 1.0, "refuse_rate": 0.0}
GOOD_NUMBER = "+390299999999"


def command(stack: Stack, *arguments: str) -> Process:
    done = stack.processes.outdial(*arguments, env=stack.environment)
    assert done.wait(60) == 0, done.stderr
    return done


def status(stack: Stack) -> str:
    with stack.world.database.begin() as connection:
        return str(connection.execute(sa.select(campaigns.campaigns.c.status)).scalar_one())


def seconds_until(provider: Process, condition: Callable[[], bool], what: str) -> float:
    begun_at = time.monotonic()
    provider.wait_for(condition, what, 30)
    return time.monotonic() - begun_at


def test_who_is_added_to_a_campaign_that_waits_is_called_within_seconds(stack: Stack) -> None:
    provider = stack.start_provider(**ALWAYS)
    stack.world.add_campaign(when_empty=WhenEmpty.WAIT, call=OPTIONS)
    stack.start_service()
    stack.start_workers(2)
    for index in range(3):
        if index == 1:
            file = stack.folder / "more.csv"
            file.write_text(f"phone\n{number(1)}\n")
            command(stack, "contacts", "import", str(file), "--campaign", "survey")
        else:
            command(stack, "contacts", "add", number(index), "--campaign", "survey")
        called = seconds_until(
            provider, lambda index=index: len(stack.ledger().posts) > index, "a call to who was added"
        )
        assert called < 3
        provider.wait_for(stack.is_done, "the end of the call", 30)
        assert status(stack) == "running"
    assert stack.contact_states() == {"completed": 3}
    assert_accounts_agree(stack)


def test_a_wrong_caller_number_pauses_with_the_cure_and_costs_nobody_an_attempt(stack: Stack) -> None:
    provider = stack.start_provider(**ALWAYS, allowed_callers=[GOOD_NUMBER])
    campaign = stack.world.add_campaign(call=OPTIONS)
    people = stack.world.add_contacts(campaign, map(number, range(8)))
    stack.world.set_account(max_concurrent_calls=5)
    stack.start_service()
    stack.start_workers(1)
    provider.wait_for(lambda: status(stack) == "paused", "the pause", 30)
    provider.wait_for(lambda: stack.contact_states() == {"pending": 8}, "everybody waiting again", 30)
    assert len(stack.ledger().posts) <= 5
    shown = command(stack, "campaign", "show", "survey").stdout
    assert "paused by       outdial" in shown
    assert "no caller number may be shown: +390612345678 was refused" in shown
    assert "`outdial numbers use +390612345678 --account main`" in shown
    assert "`outdial campaign resume survey`" in shown
    command(stack, "account", "set", "main", "--from", GOOD_NUMBER)
    assert not command(stack, "campaign", "resume", "survey").stderr
    provider.wait_for(stack.is_done, "the end of the campaign", 30)
    assert {stack.world.contact(one)["attempts_count"] for one in people} == {1}
    assert stack.contact_states() == {"completed": 8}
    assert_accounts_agree(stack)
