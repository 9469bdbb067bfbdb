"""The host's veto: what it refuses never leaves, and what it does not answer waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outdial import Allow, CallToMake, Refuse, SchedulerService, SchedulerSettings
from outdial.domain.attempt import AttemptState
from outdial.domain.contact import ContactState
from outdial.domain.ids import ContactId
from outdial.domain.retries import RetryPolicy
from outdial.engine import before_call as module
from outdial.engine.scheduler import SchedulerRunResult
from tests.support.world import RecordingProvider, World, number

LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)


def run_pass(world: World, provider: Any, before_call: Any) -> SchedulerRunResult:
    settings = SchedulerSettings(callback_url="http://127.0.0.1:1/main", account="main")
    return SchedulerService(world.session_factory, provider, settings, before_call=before_call).run()


@pytest.fixture
def contacts(world: World) -> list[ContactId]:
    campaign = world.add_campaign(retry=RetryPolicy(max_attempts=1))
    return [
        *world.add_contacts(campaign, [number(0)], external_contact_id="A-0", attributes={"tier": "gold"}),
        *world.add_contacts(campaign, map(number, range(1, 3))),
    ]


def test_the_host_is_asked_once_for_all_and_knows_whom(world: World, contacts: list[ContactId]) -> None:
    asked: list[Sequence[CallToMake]] = []

    def allow(calls: Sequence[CallToMake]) -> list[Allow]:
        asked.append(calls)
        return [Allow(note="fine")] * len(calls)

    provider = RecordingProvider()
    assert len(run_pass(world, provider, allow).scheduled) == len(provider.requests) == 3
    (calls,) = asked
    first = next(call for call in calls if call.contact_id == contacts[0])
    assert first.external_contact_id == "A-0"
    assert (first.campaign, first.phone_number, first.attempt_number) == ("survey", number(0), 1)
    assert first.attributes == {"tier": "gold"}
    assert {call.call_id for call in calls} == {request.call_id for request in provider.requests}
    for attempt in world.attempts():
        assert attempt["permit"]["before_call"] == {"answered": True, "allowed": True, "note": "fine"}
        assert attempt["permit"]["checked"]


def test_what_is_refused_never_leaves_and_waits_until_then(world: World, contacts: list[ContactId]) -> None:
    async def refuse_first(calls: Sequence[CallToMake]) -> list[Allow | Refuse]:
        await asyncio.sleep(0)
        return [
            Refuse(reason="has an open ticket", until=LATER) if call.contact_id == contacts[0] else Allow()
            for call in calls
        ]

    provider = RecordingProvider()
    result = run_pass(world, provider, refuse_first)
    assert {request.to for request in provider.requests} == {number(1), number(2)}
    (refused,) = [one for one in result.scheduled if one.contact_id == contacts[0]]
    assert refused.error == "before_call: has an open ticket"
    contact = world.contact(contacts[0])
    assert (contact["state"], contact["next_attempt_at"]) == (ContactState.PENDING, LATER)
    assert contact["attempts_count"] == 0
    (attempt,) = [one for one in world.attempts() if one["contact_id"] == contacts[0]]
    assert (attempt["sent_at"], attempt["outcome"]) == (None, "not_placed")
    assert attempt["error_code"] == "has an open ticket"
    assert attempt["permit"]["before_call"]["until"] == LATER.isoformat()


def test_a_refused_contact_keeps_its_budget(world: World, contacts: list[ContactId]) -> None:
    for _ in range(5):
        run_pass(world, RecordingProvider(), lambda calls: [Refuse(reason="busy", until=LATER)] * len(calls))
        world.make_due()
    provider = RecordingProvider()
    assert len(world.run_pass(provider).scheduled) == 3


def test_refused_for_good_is_withdrawn_with_the_reason(world: World, contacts: list[ContactId]) -> None:
    provider = RecordingProvider()
    run_pass(world, provider, lambda calls: [Refuse(reason="moved away")] * len(calls))
    assert not provider.requests
    contact = world.contact(contacts[0])
    assert (contact["state"], contact["final_reason"]) == (ContactState.WITHDRAWN, "moved away")


def test_refused_until_now_is_asked_again_in_a_second_not_at_once(
    world: World, contacts: list[ContactId]
) -> None:
    now = datetime.now(UTC)
    run_pass(world, RecordingProvider(), lambda calls: [Refuse(reason="not now", until=now)] * len(calls))
    (ended, *_) = [attempt["ended_at"] for attempt in world.attempts()]
    assert world.contact(contacts[0])["next_attempt_at"] >= ended + timedelta(seconds=1)


def raises(calls: Sequence[CallToMake]) -> list[Allow]:
    raise RuntimeError("the host's database is away")


def too_few(calls: Sequence[CallToMake]) -> list[Allow]:
    return [Allow()]


def nonsense(calls: Sequence[CallToMake]) -> list[bool]:
    return [True] * len(calls)


def naive(calls: Sequence[CallToMake]) -> list[Refuse]:
    return [Refuse(reason="x", until=datetime(2027, 1, 1))] * len(calls)  # noqa: DTZ001


async def too_slow(calls: Sequence[CallToMake]) -> list[Allow]:
    await asyncio.sleep(60)
    return [Allow()] * len(calls)


@pytest.mark.parametrize("before_call", [raises, too_few, nonsense, naive, too_slow])
def test_no_proper_answer_gives_all_back_with_one_line(
    world: World, contacts: list[ContactId], before_call: Any, caplog: pytest.LogCaptureFixture
) -> None:
    provider = RecordingProvider()
    result = run_pass(world, provider, before_call)
    assert not provider.requests
    assert {one.state for one in result.scheduled} == {AttemptState.ENDED}
    assert len([line for line in caplog.records if line.name == "outdial.before_call"]) == 1
    for contact_id in contacts:
        contact = world.contact(contact_id)
        assert (contact["state"], contact["attempts_count"]) == (ContactState.PENDING, 0)
        wait = contact["next_attempt_at"] - datetime.now(UTC)
        assert timedelta(seconds=5) < wait <= timedelta(seconds=30)
    assert {attempt["permit"]["before_call"]["answered"] for attempt in world.attempts()} == {False}
    world.make_due()
    assert len(world.run_pass(provider).scheduled) == 3


def test_a_function_that_blocks_its_thread_is_not_waited_for(world: World, contacts: list[ContactId]) -> None:
    go_on = threading.Event()

    def blocks(calls: Sequence[CallToMake]) -> list[Allow]:
        go_on.wait(60)
        return [Allow()] * len(calls)

    provider = RecordingProvider()
    run_pass(world, provider, blocks)
    go_on.set()
    assert not provider.requests
    assert world.contacts_in(ContactState.PENDING) == 3


def test_a_slow_yes_takes_a_new_slot_and_leaves(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.set_account(calls_per_second=20)
    world.add_contacts(world.add_campaign(), map(number, range(4)))

    async def slow(calls: Sequence[CallToMake]) -> list[Allow]:
        await asyncio.sleep(module.LIMIT_SECONDS / 2)
        return [Allow()] * len(calls)

    provider = RecordingProvider()
    run_pass(world, provider, slow)
    assert len(provider.requests) == 4
