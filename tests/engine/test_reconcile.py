"""What becomes of calls that were left behind: never sent, in doubt, or without the webhook of their end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from outdial.domain.attempt import AnsweredBy, CallEvent, Ending, EventKind, Source
from outdial.domain.campaign import CallOptions
from outdial.domain.contact import ContactState
from outdial.domain.errors import InDoubt, NotPlaced, ProviderUnreachable
from outdial.domain.ids import CallId, ContactId, ProviderCallId
from outdial.domain.retries import RetryPolicy
from outdial.storage import lines
from outdial.storage.tables import call_attempts
from outdial.telephony.protocol import Capabilities, LookUp, OutboundCallRequest
from tests.support.world import RecordingProvider, World, event, number, refusing

# Two minutes may pass for a call: no queue, ten seconds of ringing, eighty of talk, thirty of margin.
CALL = CallOptions(ring_timeout_seconds=10, max_duration_seconds=80, result_timeout_seconds=60)
LONGEST_CALL_SECONDS = 120
# The claim lets a call be placed for fifteen seconds; lists lag five more behind.
PROVEN_AFTER_SECONDS = 20
LATE_POSTS_ARE_REFUSED = Capabilities(honours_not_after=True, listing_lag_seconds=5)
LATE_POSTS_ARE_PLACED = Capabilities(honours_not_after=False, listing_lag_seconds=5)


class AskableProvider(RecordingProvider):
    """A provider that can be asked for a call by our id: it knows what `knows` says, or cannot be reached."""

    def __init__(
        self,
        answer: Callable[[OutboundCallRequest], None] | None = None,
        capabilities: Capabilities = LATE_POSTS_ARE_REFUSED,
    ) -> None:
        super().__init__(answer)
        self.capabilities = capabilities
        self.knows: list[CallEvent] = []
        self.is_reachable = True
        self.asked: list[CallId] = []

    def look_up_call(self, query: LookUp) -> Sequence[CallEvent]:
        self.asked.append(query.call_id)
        if not self.is_reachable:
            raise ProviderUnreachable("connection refused")
        return [one for one in self.knows if one.call_id in {query.call_id, None}]


@dataclass
class LeftBehind:
    """A world with one call, and a provider of which nothing is heard but what it is asked."""

    world: World
    provider: RecordingProvider
    contact: ContactId
    call_id: CallId
    calls_before: int = field(init=False)

    def __post_init__(self) -> None:
        self.provider.answer = None
        self.calls_before = len(self.provider.requests)

    def look_after(self, seconds: float) -> sa.RowMapping:
        """The call as it is after a round of the reconciler, so long after it was sent."""
        self.world.shift_attempts(seconds)
        self.world.run_pass(self.provider, batch_size=1)
        return self.attempt

    @property
    def attempt(self) -> sa.RowMapping:
        return self.world.attempts()[0]

    @property
    def was_called_again(self) -> bool:
        return len(self.provider.requests) > self.calls_before


def left_in_doubt(world: World, provider: RecordingProvider) -> LeftBehind:
    provider.answer = refusing(InDoubt("timeout"))
    return left(world, provider)


def left(world: World, provider: RecordingProvider) -> LeftBehind:
    campaign = world.add_campaign(call=CALL, retry=RetryPolicy(max_attempts=2))
    (contact,) = world.add_contacts(campaign, [number(1)])
    (scheduled,) = world.run_pass(provider).scheduled
    return LeftBehind(world, provider, contact, scheduled.call_id)


def crash(world: World, *, before_the_last_check: bool) -> None:
    """As if the worker had died in the middle: the row is as the claim, or the last check, has left it."""

    def change(connection: sa.Connection) -> None:
        claimed = {"state": "dialing", "provider_call_id": None, "started_at": None}
        values = {**claimed, "look_up_at": call_attempts.c.dial_at}
        if before_the_last_check:
            values["sent_at"] = None
        connection.execute(sa.update(call_attempts).values(values))

    world.database.run(change)


def found(kind: EventKind, call_id: CallId, **facts: object) -> CallEvent:
    given = {"source": Source.LOOKUP, "provider_call_id": ProviderCallId(f"P-{call_id}"), **facts}
    return event(kind, call_id, **given)


def test_a_call_that_nobody_sent_is_released_after_its_time_without_counting(world: World) -> None:
    one = left(world, AskableProvider())
    crash(world, before_the_last_check=True)
    assert one.look_after(9)["outcome"] == "not_placed"
    assert world.contact(one.contact)["attempts_count"] == 0


def test_a_call_that_nobody_has_sent_yet_is_left_to_its_worker(world: World) -> None:
    one = left(world, AskableProvider())
    crash(world, before_the_last_check=True)
    one.world.database.run(make_suspect)
    assert one.look_after(7)["state"] == "dialing"


def test_a_call_that_was_never_sent_is_called_again(world: World) -> None:
    one = left(world, AskableProvider())
    crash(world, before_the_last_check=True)
    one.look_after(16)
    assert one.was_called_again


def test_a_call_that_was_sent_and_not_answered_goes_in_doubt_after_the_time_out(world: World) -> None:
    one = left(world, AskableProvider())
    crash(world, before_the_last_check=False)
    assert one.look_after(16)["state"] == "in_doubt"


def test_a_call_that_was_just_sent_is_not_in_doubt_yet(world: World) -> None:
    one = left(world, AskableProvider())
    crash(world, before_the_last_check=False)
    one.world.database.run(make_suspect)
    assert one.look_after(10)["state"] == "dialing"


def test_a_hit_ends_the_doubt(world: World) -> None:
    provider = AskableProvider()
    one = left_in_doubt(world, provider)
    provider.knows = [found(EventKind.RINGING, one.call_id)]
    attempt = one.look_after(3)
    assert (attempt["state"], attempt["provider_call_id"]) == ("ringing", f"P-{one.call_id}")


def test_a_hit_on_a_call_that_is_over_ends_and_counts_it_once(world: World) -> None:
    provider = AskableProvider()
    one = left_in_doubt(world, provider)
    provider.knows = [found(EventKind.ENDED, one.call_id, ending=Ending.BUSY)]
    assert one.look_after(3)["outcome"] == "busy"
    one.look_after(30)
    assert world.contact(one.contact)["attempts_count"] == 1


def test_the_webhook_after_a_look_up_counts_nothing_twice(world: World) -> None:
    provider = AskableProvider()
    one = left_in_doubt(world, provider)
    provider.knows = [found(EventKind.ENDED, one.call_id, ending=Ending.BUSY)]
    one.look_after(3)
    world.hear(event(EventKind.ENDED, one.call_id, ending=Ending.NO_ANSWER))
    assert one.attempt["outcome"] == "no_answer"
    assert world.contact(one.contact)["attempts_count"] == 1


def test_an_empty_answer_proves_nothing_before_the_call_can_no_longer_be_placed(world: World) -> None:
    one = left_in_doubt(world, AskableProvider())
    assert one.look_after(PROVEN_AFTER_SECONDS - 2)["state"] == "in_doubt"


def test_an_empty_answer_after_that_proves_that_nothing_was_placed(world: World) -> None:
    one = left_in_doubt(world, AskableProvider())
    assert one.look_after(PROVEN_AFTER_SECONDS + 1)["outcome"] == "not_placed"
    assert world.contact(one.contact)["attempts_count"] == 0


def test_an_empty_answer_proves_nothing_where_late_posts_are_placed(world: World) -> None:
    one = left_in_doubt(world, AskableProvider(capabilities=LATE_POSTS_ARE_PLACED))
    attempt = one.look_after(LONGEST_CALL_SECONDS - 2)
    assert (attempt["state"], one.was_called_again) == ("in_doubt", False)


def test_no_answer_proves_nothing(world: World) -> None:
    provider = AskableProvider()
    one = left_in_doubt(world, provider)
    provider.is_reachable = False
    assert one.look_after(PROVEN_AFTER_SECONDS + 1)["state"] == "in_doubt"


def test_a_provider_that_cannot_be_asked_proves_nothing(world: World) -> None:
    provider = RecordingProvider()
    provider.capabilities = LATE_POSTS_ARE_REFUSED
    one = left_in_doubt(world, provider)
    attempt = one.look_after(LONGEST_CALL_SECONDS - 2)
    assert (attempt["state"], one.was_called_again) == ("in_doubt", False)


@pytest.mark.parametrize(
    "provider",
    [
        pytest.param(lambda: AskableProvider(capabilities=LATE_POSTS_ARE_PLACED), id="late posts are placed"),
        pytest.param(RecordingProvider, id="cannot be asked"),
    ],
)
def test_a_doubt_without_proof_ends_as_unknown_when_the_call_must_be_over(
    world: World, provider: Callable[[], RecordingProvider]
) -> None:
    one = left_in_doubt(world, provider())
    assert one.look_after(LONGEST_CALL_SECONDS + 1)["outcome"] == "unknown"
    row = world.contact(one.contact)
    assert (row["attempts_count"], row["state"]) == (1, ContactState.PENDING)


def test_a_provider_that_queues_is_given_the_time_of_its_queue(world: World) -> None:
    queues = Capabilities(queue_limit_seconds=3600)
    one = left_in_doubt(world, AskableProvider(capabilities=queues))
    assert one.look_after(3600)["state"] == "in_doubt"
    assert one.look_after(LONGEST_CALL_SECONDS + 1)["outcome"] == "unknown"


def test_a_provider_that_cannot_be_reached_for_a_while_may_still_know_the_end(world: World) -> None:
    provider = AskableProvider(capabilities=LATE_POSTS_ARE_PLACED)
    one = left_in_doubt(world, provider)
    provider.is_reachable = False
    assert one.look_after(LONGEST_CALL_SECONDS + 1)["state"] == "in_doubt"
    provider.is_reachable = True
    provider.knows = [found(EventKind.ENDED, one.call_id, ending=Ending.BUSY)]
    assert one.look_after(60)["outcome"] == "busy"


def test_a_call_that_the_provider_says_is_open_is_not_given_up(world: World) -> None:
    provider = AskableProvider()
    one = left(world, provider)
    provider.knows = [found(EventKind.ANSWERED, one.call_id)]
    assert one.look_after(LONGEST_CALL_SECONDS + 1)["state"] == "answered"


def test_a_lost_webhook_of_the_end_is_made_up_for(world: World) -> None:
    provider = AskableProvider()
    one = left(world, provider)
    world.hear(event(EventKind.ANSWERED, one.call_id))
    provider.knows = [found(EventKind.ENDED, one.call_id, ending=Ending.ANSWERED, result="completed")]
    assert one.look_after(61)["outcome"] == "completed"
    assert world.contact(one.contact)["state"] == ContactState.COMPLETED


def test_a_call_of_which_events_come_in_time_is_not_asked_about(world: World) -> None:
    provider = AskableProvider()
    one = left(world, provider)
    world.hear(event(EventKind.ANSWERED, one.call_id))
    one.look_after(30)
    assert not provider.asked


def test_an_accepted_call_that_the_provider_has_forgotten_holds_its_line_as_long_as_it_may_talk(
    world: World,
) -> None:
    world.set_account(max_concurrent_calls=1)
    one = left(world, AskableProvider())
    assert one.look_after(LONGEST_CALL_SECONDS - 2)["state"] == "accepted"
    assert one.look_after(30)["outcome"] == "unknown"


def test_a_call_that_is_asked_about_in_vain_is_asked_about_again(world: World) -> None:
    provider = AskableProvider()
    one = left_in_doubt(world, provider)
    one.look_after(3)
    one.look_after(3)
    assert provider.asked == [one.call_id] * 2


def test_a_call_in_doubt_is_not_asked_about_all_the_time(world: World) -> None:
    provider = AskableProvider()
    one = left_in_doubt(world, provider)
    one.look_after(3)
    one.look_after(0)
    assert len(provider.asked) == 1


def test_a_call_that_one_worker_asks_about_is_left_to_it(world: World) -> None:
    one = left_in_doubt(world, AskableProvider())
    at = datetime.now(UTC) + timedelta(seconds=5)
    again_at = at + timedelta(seconds=5)
    taken = [world.database.run(lines.take_silent, [world.account_id], at, again_at, 100) for _ in range(2)]
    assert [[suspect.call_id for suspect in suspects] for suspects in taken] == [[one.call_id], []]


def test_a_result_that_does_not_come_in_time_settles_the_call_without(world: World) -> None:
    one = left(world, AskableProvider())
    world.hear(event(EventKind.ENDED, one.call_id, ending=Ending.ANSWERED, answered_by=AnsweredBy.HUMAN))
    assert one.look_after(58)["outcome"] is None
    assert one.look_after(3)["outcome"] == "no_result"


def test_a_webhook_beats_what_the_look_up_said_of_a_live_call(world: World) -> None:
    provider = AskableProvider()
    one = left_in_doubt(world, provider)
    world.hear(event(EventKind.ENDED, one.call_id, ending=Ending.NO_ANSWER))
    provider.knows = [found(EventKind.RINGING, one.call_id)]
    assert one.look_after(3)["outcome"] == "no_answer"


def make_suspect(connection: sa.Connection) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    connection.execute(sa.update(call_attempts).values(look_up_at=past))


def test_a_sign_of_life_of_a_call_that_we_took_for_not_placed_holds_its_line_and_its_number(
    world: World,
) -> None:
    world.set_account(max_concurrent_calls=1)
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1)])
    world.run_pass(RecordingProvider(refusing(NotPlaced("too late, it says"))))
    (attempt,) = world.attempts()
    world.hear(event(EventKind.RINGING, attempt["call_id"]))
    world.make_due()
    provider = RecordingProvider()
    assert world.run_pass(provider).capacity == 0
    assert not provider.requests


def test_a_look_up_that_cannot_be_read_does_not_keep_others_from_being_reconciled(world: World) -> None:
    class Odd(AskableProvider):
        def look_up_call(self, query: LookUp) -> Sequence[CallEvent]:
            if self.asked:
                self.asked.append(query.call_id)
                return [event(EventKind.ENDED, query.call_id, ending=Ending.BUSY, source=Source.LOOKUP)]
            self.asked.append(query.call_id)
            raise RecursionError

    campaign = world.add_campaign()
    world.add_contacts(campaign, map(number, range(2)))
    provider = Odd()
    provider.answer = refusing(InDoubt("timeout"))
    world.run_pass(provider)
    world.shift_attempts(5)
    world.run_pass(provider)
    assert sorted(attempt["state"] for attempt in world.attempts()) == ["ended", "in_doubt"]


def alike(provider_call_id: str) -> CallEvent:
    """A call that only looks like the one in question: the provider cannot say whose it is."""
    return replace(found(EventKind.RINGING, CallId("")), call_id=None, provider_call_id=provider_call_id)


def test_the_only_call_that_looks_alike_ends_the_doubt(world: World) -> None:
    provider = AskableProvider(capabilities=LATE_POSTS_ARE_PLACED)
    one = left_in_doubt(world, provider)
    provider.knows = [alike("CA1")]
    attempt = one.look_after(3)
    assert (attempt["state"], attempt["provider_call_id"]) == ("ringing", "CA1")


def test_two_calls_that_look_alike_are_no_answer(world: World) -> None:
    provider = AskableProvider(capabilities=LATE_POSTS_ARE_REFUSED)
    one = left_in_doubt(world, provider)
    provider.knows = [alike("CA1"), alike("CA2")]
    assert one.look_after(PROVEN_AFTER_SECONDS + 1)["state"] == "in_doubt"


def test_a_call_that_belongs_to_another_attempt_is_no_answer(world: World) -> None:
    first = AskableProvider()
    other = left(world, first)
    world.hear(event(EventKind.ENDED, other.call_id, ending=Ending.BUSY, provider_call_id="CA1"))
    world.make_due()
    again = AskableProvider(refusing(InDoubt("timeout")), capabilities=LATE_POSTS_ARE_PLACED)
    world.run_pass(again)
    again.answer = None
    again.knows = [alike(other.attempt["provider_call_id"])]
    world.shift_attempts(3)
    world.run_pass(again, batch_size=1)
    assert [row["state"] for row in world.attempts()] == ["ended", "in_doubt"]


def test_an_account_that_sends_no_events_is_asked_every_few_seconds(world: World) -> None:
    provider = AskableProvider(capabilities=Capabilities(look_up_seconds=3))
    one = left(world, provider)
    provider.knows = [found(EventKind.ANSWERED, one.call_id)]
    assert one.look_after(4)["state"] == "answered"
    provider.knows = [found(EventKind.ENDED, one.call_id, ending=Ending.ANSWERED, result="completed")]
    assert one.look_after(4)["outcome"] == "completed"
