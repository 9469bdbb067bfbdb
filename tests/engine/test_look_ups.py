"""What is asked of the provider and how often, which calls are hung up, and what missing webhooks do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest

from outdial.domain.account import Account
from outdial.domain.attempt import CallEvent, Ending, EventKind, Source
from outdial.domain.breaker import Breaker
from outdial.domain.campaign import CallOptions
from outdial.domain.doubt import Capabilities
from outdial.domain.errors import CallRejected, InDoubt, ProviderUnreachable
from outdial.domain.ids import CampaignId, ProviderCallId
from outdial.engine.look_ups import look_up
from outdial.engine.transactions import Transactions
from outdial.operations.campaigns import cancel
from outdial.storage import accounts, standing
from outdial.storage.database import database_now
from outdial.telephony.caller import caller_for
from outdial.telephony.protocol import LookUp
from outdial.telephony.transport import AsyncTransport
from tests.support.world import RecordingProvider, World, event, number, refusing

# Ten seconds of ringing, eighty of talk, thirty of margin.
CALL = CallOptions(ring_timeout_seconds=10, max_duration_seconds=80, result_timeout_seconds=60)
LONGEST_SECONDS = 120


class Provider(RecordingProvider):
    """Tells of its calls when asked, and ends them when told to: `says` is what it says of every call."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = Capabilities(honours_not_after=True)
        self.says: EventKind | None = EventKind.RINGING
        self.ending = Ending.BUSY
        self.asked: list[str] = []
        self.hung_up: list[ProviderCallId] = []
        self.wrong: Exception | None = None
        self.ends_calls = True

    def look_up_call(self, query: LookUp) -> Sequence[CallEvent]:
        self.asked.append(query.call_id)
        if self.wrong is not None:
            raise self.wrong
        if self.says is None:
            return []
        ending = self.ending if self.says is EventKind.ENDED else None
        theirs = ProviderCallId(f"P-{query.call_id}")
        return [event(self.says, query.call_id, source=Source.LOOKUP, provider_call_id=theirs, ending=ending)]

    def hang_up_call(self, provider_call_id: ProviderCallId) -> None:
        if not self.ends_calls:
            raise CallRejected("this call cannot be ended")
        self.hung_up.append(provider_call_id)


@dataclass
class Left:
    """Calls that were accepted, and of which nothing is heard any more."""

    world: World
    provider: Provider
    campaign: CampaignId

    def look_after(self, seconds: float = 0) -> int:
        """A round of a worker's look-ups, so long after the calls were sent. Returns how many were asked about."""
        self.world.shift_attempts(seconds)

        async def once() -> int:
            async with AsyncTransport() as transport:
                callers = {self.world.account_id: caller_for(self.provider, transport, None)}
                served = {self.world.account_id: self.account}
                return await look_up(Transactions(self.world.database), callers, self.world.known, served)

        return asyncio.run(once())

    @property
    def account(self) -> Account:
        found = self.world.database.run(accounts.by_id, self.world.account_id)
        assert found is not None
        return found


@pytest.fixture
def provider() -> Provider:
    return Provider()


def left(world: World, provider: Provider, count: int = 1) -> Left:
    campaign = world.add_campaign(call=CALL)
    world.add_contacts(campaign, map(number, range(count)))
    assert len(world.run_pass(provider, batch_size=count).scheduled) == count
    return Left(world, provider, campaign)


def test_all_workers_together_keep_to_the_rate_of_look_ups(world: World, provider: Provider) -> None:
    world.set_account(options={"look_ups_per_second": 5})
    calls = left(world, provider, 30)
    assert calls.look_after(60) == 5
    assert sum(calls.look_after() for _ in range(3)) <= 5
    assert len(set(provider.asked)) == len(provider.asked)


def test_look_ups_that_fail_wait_longer_each_time(world: World, provider: Provider) -> None:
    calls = left(world, provider, 3)
    provider.wrong = ProviderUnreachable("connection refused")
    waits = []
    for _ in range(4):
        # As if its wait were over.
        assert calls.look_after(31) == 3
        _, not_before, _ = world.database.run(standing.look_up_rate, world.account_id)
        assert not_before is not None
        waits.append(round((not_before - world.database.run(database_now)).total_seconds()))
        assert calls.look_after() == 0
    assert waits == [1, 2, 4, 8]
    provider.wrong = None
    assert calls.look_after(31) == 3
    assert world.database.run(standing.look_up_rate, world.account_id)[1:] == (None, 0)


def test_one_accounts_backlog_does_not_keep_others_from_being_asked_about(
    world: World, provider: Provider
) -> None:
    calls = left(world, provider, 60)
    other = world.add_account("other")
    campaign = world.add_campaign("other", account_id=other, account="other", call=CALL)
    world.add_contacts(campaign, [number(500)])
    world.run_pass(provider, account="other")
    world.shift_attempts(60)
    world.set_account(look_ups_not_before=world.database.run(database_now) + timedelta(seconds=60))

    async def once() -> int:
        async with AsyncTransport() as transport:
            caller = caller_for(provider, transport, None)
            callers = {world.account_id: caller, other: caller}
            return await look_up(Transactions(world.database), callers, world.known, {})

    assert asyncio.run(once()) == 1
    assert provider.asked[-1] == calls.world.attempts()[-1]["call_id"]


def test_a_call_of_which_the_provider_never_tells_frees_its_line(world: World, provider: Provider) -> None:
    calls = left(world, provider)
    provider.wrong = ProviderUnreachable("connection refused")
    calls.look_after(LONGEST_SECONDS + 5)
    assert world.attempts()[0]["ended_at"] is None
    calls.look_after(LONGEST_SECONDS)
    assert world.attempts()[0]["ending"] == "unknown"


def test_a_call_past_its_longest_duration_is_hung_up(world: World, provider: Provider) -> None:
    provider.says = EventKind.ANSWERED
    calls = left(world, provider)
    calls.look_after(LONGEST_SECONDS - 60)
    assert not provider.hung_up
    calls.look_after(65)
    (attempt,) = world.attempts()
    assert provider.hung_up == [attempt["provider_call_id"]]
    assert (attempt["ended_at"], attempt["ended_by"]) == (None, "outdial")
    provider.says, provider.ending = EventKind.ENDED, Ending.ANSWERED
    calls.look_after(3)
    assert world.attempts()[0]["ending"] == "answered"


def test_a_call_that_was_hung_up_and_is_listed_as_open_for_ever_frees_its_line(
    world: World, provider: Provider
) -> None:
    provider.says = EventKind.ANSWERED
    calls = left(world, provider)
    calls.look_after(LONGEST_SECONDS + 5)
    calls.look_after(3)
    assert world.attempts()[0]["ended_at"] is None
    calls.look_after(60)
    assert world.attempts()[0]["ending"] == "unknown"


def test_a_call_that_cannot_be_hung_up_holds_its_line_as_long_again(world: World, provider: Provider) -> None:
    provider.says, provider.ends_calls = EventKind.ANSWERED, False
    calls = left(world, provider)
    calls.look_after(LONGEST_SECONDS + 5)
    assert world.attempts()[0]["ended_at"] is None
    calls.look_after(LONGEST_SECONDS)
    assert world.attempts()[0]["ending"] == "unknown"


def test_what_comes_late_of_a_call_that_was_given_up_corrects_it_and_calls_nobody_again(
    world: World, provider: Provider
) -> None:
    provider.says, provider.ends_calls = EventKind.ANSWERED, False
    calls = left(world, provider)
    calls.look_after(2 * LONGEST_SECONDS + 5)
    (attempt,) = world.attempts()
    world.hear(
        event(EventKind.ENDED, attempt["call_id"], ending=Ending.ANSWERED, result="completed"),
    )
    assert world.attempts()[0]["outcome"] == "completed"
    world.make_due()
    world.run_pass(provider)
    assert len(provider.requests) == 1


def test_canceling_a_campaign_calls_back_what_does_not_ring_yet(world: World, provider: Provider) -> None:
    provider.says = EventKind.INITIATED
    calls = left(world, provider, 2)
    ringing, queued = world.attempts()
    world.hear(event(EventKind.RINGING, ringing["call_id"]))
    moved = world.database.run(cancel, "survey")
    assert moved.called_back == 1
    calls.look_after(1)
    assert provider.hung_up == [queued["provider_call_id"]]


def test_a_call_that_has_begun_to_ring_is_not_cut_off_by_a_cancellation(
    world: World, provider: Provider
) -> None:
    """Its webhook is on the way, and the look-up knows already."""
    provider.says = EventKind.RINGING
    calls = left(world, provider)
    world.database.run(cancel, "survey")
    calls.look_after(1)
    assert not provider.hung_up
    # Nor is it asked about all the time.
    (attempt,) = world.attempts()
    assert attempt["look_up_at"] - world.database.run(database_now) > timedelta(seconds=5)


def test_a_call_in_doubt_is_called_back_once_it_is_found(world: World, provider: Provider) -> None:
    provider.says = None
    provider.answer = refusing(InDoubt("timeout"))
    calls = left(world, provider)
    world.database.run(cancel, "survey")
    calls.look_after(1)
    assert not provider.hung_up
    provider.says = EventKind.INITIATED
    calls.look_after(3)
    (attempt,) = world.attempts()
    assert provider.hung_up == [attempt["provider_call_id"]]


def test_ends_that_only_look_ups_tell_of_mean_that_webhooks_are_missing_and_it_is_said_once(
    world: World, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.says = EventKind.ENDED
    calls = left(world, provider, 25)
    with caplog.at_level(logging.ERROR):
        calls.look_after(60)
        calls.look_after(1)
    assert calls.account.webhooks_missing_at is not None
    (said,) = [record.message for record in caplog.records]
    assert "account main: the provider's webhooks do not arrive" in said
    assert "OUTDIAL_PUBLIC_URL" in said


def test_a_few_lost_webhooks_are_no_missing_ones(world: World, provider: Provider) -> None:
    provider.says = EventKind.ENDED
    calls = left(world, provider, 9)
    calls.look_after(60)
    assert calls.account.webhooks_missing_at is None
    world.database.run(standing.hear_webhooks, world.account_id)
    world.add_contacts(calls.campaign, map(number, range(100, 109)))
    world.run_pass(provider, batch_size=9)
    calls.look_after(60)
    assert calls.account.webhooks_missing_at is None


def test_while_they_are_missing_calls_are_asked_about_from_their_ring_time_out_on(
    world: World, provider: Provider
) -> None:
    world.set_account(webhooks_missing_at=world.database.clock.now())
    calls = left(world, provider)
    (attempt,) = world.attempts()
    assert attempt["look_up_at"] - attempt["started_at"] == timedelta(seconds=10)
    calls.look_after(11)
    assert calls.look_after(9) == 0
    assert calls.look_after(2) == 1


def test_calls_refused_by_an_open_breaker_are_still_asked_about(world: World, provider: Provider) -> None:
    calls = left(world, provider, 2)
    world.set_account(breaker=Breaker.OPEN, suspended_at=world.database.clock.now())
    assert calls.look_after(60) == 2


def test_what_a_provider_still_queues_when_its_time_is_over_is_taken_back(
    world: World, provider: Provider
) -> None:
    """Else it would ring at a time that nobody has permitted."""
    provider.capabilities = Capabilities(queue_limit_seconds=600)
    provider.says = EventKind.INITIATED
    calls = left(world, provider)
    calls.look_after(25)
    (attempt,) = world.attempts()
    assert provider.hung_up == [attempt["provider_call_id"]]
    assert attempt["hang_up_because"] == "still queued when its time was over"


def test_a_provider_that_does_not_queue_is_not_hurried(world: World, provider: Provider) -> None:
    provider.says = EventKind.INITIATED
    left(world, provider).look_after(25)
    assert not provider.hung_up
