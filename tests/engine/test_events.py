"""Events of calls in every order that a provider and a network come up with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from outdial.domain.attempt import AnsweredBy, CallEvent, Ending, EventKind, Source
from outdial.domain.campaign import CallOptions, CampaignStatus
from outdial.domain.contact import ContactState
from outdial.domain.ids import CallId, ContactId, ProviderCallId
from outdial.domain.retries import RetryPolicy
from outdial.engine.events import Heard
from outdial.engine.scheduler import ScheduledAttempt
from outdial.storage.tables import call_attempts, call_events, contacts, exclusion_list_entries
from outdial.telephony.protocol import OutboundCallRequest
from tests.support.world import RecordingProvider, World, event, number

TWICE = RetryPolicy(max_attempts=2, default_delay=timedelta(hours=1))
HUMAN_IS_ENOUGH = CallOptions(completed_after_seconds=5)


def one_call(world: World, **definition: Any) -> tuple[ContactId, ScheduledAttempt]:
    """A campaign with one contact, whose call the provider has accepted."""
    campaign = world.add_campaign(**definition)
    (contact,) = world.add_contacts(campaign, [number(1)])
    (scheduled,) = world.run_pass(RecordingProvider()).scheduled
    return contact, scheduled


def only_attempt(world: World) -> sa.RowMapping:
    (attempt,) = world.attempts()
    return attempt


def kept_events(world: World) -> list[sa.RowMapping]:
    with world.database.begin() as connection:
        query = sa.select(call_events).order_by(call_events.c.id)
        return list(connection.execute(query).mappings().all())


def by_provider_id(kind: EventKind, provider_call_id: str, **facts: Any) -> CallEvent:
    """An event of a provider that does not repeat our id."""
    told = event(kind, "", provider_call_id=ProviderCallId(provider_call_id), **facts)
    return replace(told, call_id=None, event_id=f"{kind}-{provider_call_id}")


def faster_than_its_answer(
    world: World, *told: Callable[[OutboundCallRequest], CallEvent]
) -> RecordingProvider:
    """A provider whose webhooks are taken in before it has answered the POST."""

    def answer(request: OutboundCallRequest) -> None:
        world.hear(*(make(request) for make in told))

    return RecordingProvider(answer)


def give_up(world: World, call_id: CallId) -> None:
    """As the reconciler does when a call cannot be open any more."""
    world.hear(
        event(EventKind.ENDED, call_id, ending=Ending.UNKNOWN, source=Source.GUESS, event_id="gave-up")
    )


def test_an_event_with_our_id_may_come_before_the_answer_to_the_post(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    world.run_pass(faster_than_its_answer(world, lambda r: event(EventKind.ANSWERED, r.call_id)))
    attempt = only_attempt(world)
    assert (attempt["state"], attempt["provider_call_id"]) == ("answered", f"P-{attempt['call_id']}")


def test_a_whole_call_may_come_before_the_answer_to_the_post(world: World) -> None:
    campaign = world.add_campaign()
    (contact,) = world.add_contacts(campaign, [number(1)])
    provider = faster_than_its_answer(
        world,
        lambda r: event(EventKind.RINGING, r.call_id),
        lambda r: event(EventKind.ENDED, r.call_id, ending=Ending.BUSY),
    )
    world.run_pass(provider)
    attempt = only_attempt(world)
    assert (attempt["outcome"], attempt["provider_call_id"]) == ("busy", f"P-{attempt['call_id']}")
    assert world.contact(contact)["attempts_count"] == 1


def test_an_event_with_only_the_providers_id_before_its_answer_is_adopted(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    provider = faster_than_its_answer(
        world, lambda r: by_provider_id(EventKind.ENDED, f"P-{r.call_id}", ending=Ending.BUSY)
    )
    world.run_pass(provider)
    attempt = only_attempt(world)
    assert attempt["outcome"] == "busy"
    assert [kept["attempt_id"] for kept in kept_events(world)] == [attempt["id"]]


def test_events_are_adopted_in_the_order_in_which_they_came(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    provider = faster_than_its_answer(
        world,
        lambda r: by_provider_id(EventKind.ENDED, f"P-{r.call_id}", ending=Ending.BUSY),
        lambda r: replace(
            by_provider_id(EventKind.ENDED, f"P-{r.call_id}", ending=Ending.NO_ANSWER), event_id="second"
        ),
    )
    world.run_pass(provider)
    assert only_attempt(world)["outcome"] == "busy"


def test_an_event_that_came_while_its_answer_was_written_is_adopted_in_the_next_round(world: World) -> None:
    """Each of the two transactions began before the other's commit, so neither has seen the other."""
    one_call(world)
    world.hear(by_provider_id(EventKind.ENDED, "P-late", ending=Ending.BUSY))

    def write_the_answer(connection: sa.Connection) -> None:
        connection.execute(sa.update(call_attempts).values(provider_call_id="P-late"))

    world.database.run(write_the_answer)
    world.run_pass(RecordingProvider())
    assert only_attempt(world)["outcome"] == "busy"


def test_an_event_of_an_unknown_call_is_kept_without_an_attempt(world: World) -> None:
    assert world.hear(event(EventKind.RINGING, "nobody's")) == [Heard.UNKNOWN_CALL]
    (kept,) = kept_events(world)
    assert (kept["attempt_id"], kept["call_id"], kept["kind"]) == (None, "nobody's", "ringing")


def test_an_event_of_another_account_never_moves_our_call(world: World) -> None:
    _, call = one_call(world)
    world.account_id = world.add_account("other")
    heard = world.hear(event(EventKind.ENDED, call.call_id, ending=Ending.BUSY))
    assert (heard, only_attempt(world)["state"]) == ([Heard.UNKNOWN_CALL], "accepted")


def test_an_event_that_comes_twice_is_kept_and_counted_once(world: World) -> None:
    contact, call = one_call(world, retry=TWICE)
    end = event(EventKind.ENDED, call.call_id, ending=Ending.BUSY)
    assert [*world.hear(end), *world.hear(end)] == [Heard.APPLIED, Heard.DUPLICATE]
    assert world.contact(contact)["attempts_count"] == 1
    assert len(kept_events(world)) == 1


def test_an_event_that_comes_twice_in_one_batch_is_applied_once(world: World) -> None:
    _, call = one_call(world)
    told = event(EventKind.RINGING, call.call_id)
    assert world.hear(told, told) == [Heard.APPLIED, Heard.DUPLICATE]


def test_the_same_event_id_at_two_accounts_is_two_events(world: World) -> None:
    first = world.hear(event(EventKind.RINGING, "a"))
    world.account_id = world.add_account("other")
    assert [*first, *world.hear(event(EventKind.RINGING, "a"))] == [Heard.UNKNOWN_CALL] * 2


def test_events_in_the_wrong_order_never_take_a_call_back(world: World) -> None:
    _, call = one_call(world)
    for kind, facts in [
        (EventKind.ENDED, {"ending": Ending.NO_ANSWER}),
        (EventKind.RINGING, {}),
        (EventKind.INITIATED, {}),
    ]:
        world.hear(event(kind, call.call_id, **facts))
    attempt = only_attempt(world)
    assert (attempt["state"], attempt["outcome"]) == ("ended", "no_answer")


def test_a_call_that_ends_frees_its_line_before_it_is_settled(world: World) -> None:
    world.set_account(max_concurrent_calls=1)
    _, call = one_call(world)
    world.hear(event(EventKind.ENDED, call.call_id, ending=Ending.ANSWERED))
    assert only_attempt(world)["settled_at"] is None
    assert world.run_pass(RecordingProvider()).capacity == 1


def test_a_late_result_corrects_the_outcome_and_the_contact(world: World) -> None:
    contact, call = one_call(world, call=CallOptions(result_timeout_seconds=0))
    world.hear(event(EventKind.ENDED, call.call_id, ending=Ending.ANSWERED))
    assert world.contact(contact)["state"] == ContactState.NOT_REACHED
    world.hear(event(EventKind.RESULT, call.call_id, result="completed"))
    assert only_attempt(world)["outcome"] == "completed"
    assert world.contact(contact)["state"] == ContactState.COMPLETED
    assert world.contact(contact)["last_outcome"] == "completed"


def test_a_late_result_takes_a_waiting_contact_out_of_the_queue(world: World) -> None:
    contact, call = one_call(world, retry=TWICE, call=CallOptions(result_timeout_seconds=0))
    world.hear(event(EventKind.ENDED, call.call_id, ending=Ending.ANSWERED))
    assert world.contact(contact)["state"] == ContactState.PENDING
    world.hear(event(EventKind.RESULT, call.call_id, result="refused"))
    assert world.contact(contact)["state"] == ContactState.REFUSED


def test_a_late_voicemail_corrects_the_outcome_while_the_contact_waits(world: World) -> None:
    contact, call = one_call(world, retry=TWICE, call=CallOptions(result_timeout_seconds=0))
    world.hear(event(EventKind.ENDED, call.call_id, ending=Ending.ANSWERED, answered_by=AnsweredBy.HUMAN))
    world.hear(event(EventKind.VOICEMAIL, call.call_id))
    assert only_attempt(world)["outcome"] == "voicemail"
    assert world.contact(contact)["last_outcome"] == "voicemail"


def test_a_late_voicemail_never_brings_a_completed_contact_back(world: World) -> None:
    contact, call = one_call(world, retry=TWICE, call=HUMAN_IS_ENOUGH)
    world.hear(event(EventKind.ENDED, call.call_id, ending=Ending.ANSWERED, duration_seconds=60.0))
    world.hear(event(EventKind.VOICEMAIL, call.call_id))
    assert only_attempt(world)["outcome"] == "voicemail"
    assert world.contact(contact)["state"] == ContactState.COMPLETED


def test_a_contact_that_late_truth_completed_stays_so_when_its_running_call_finds_nobody(
    world: World,
) -> None:
    contact, first = one_call(world, retry=TWICE, call=CallOptions(result_timeout_seconds=0))
    world.hear(event(EventKind.ENDED, first.call_id, ending=Ending.ANSWERED))
    world.make_due()
    (second,) = world.run_pass(RecordingProvider()).scheduled
    world.hear(event(EventKind.RESULT, first.call_id, result="completed"))
    world.hear(event(EventKind.ENDED, second.call_id, ending=Ending.NO_ANSWER))
    assert world.contact(contact)["state"] == ContactState.COMPLETED


def test_what_was_given_up_ends_and_counts(world: World) -> None:
    contact, call = one_call(world)
    give_up(world, call.call_id)
    assert only_attempt(world)["outcome"] == "unknown"
    assert world.contact(contact)["attempts_count"] == 1


def test_a_reopened_call_holds_a_line_again(world: World) -> None:
    world.set_account(max_concurrent_calls=1)
    _, call = one_call(world)
    give_up(world, call.call_id)
    world.hear(event(EventKind.ANSWERED, call.call_id))
    assert only_attempt(world)["state"] == "answered"
    assert world.run_pass(RecordingProvider()).capacity == 0


def test_a_reopened_call_stays_settled_and_its_end_corrects_the_outcome(world: World) -> None:
    contact, call = one_call(world, retry=TWICE)
    give_up(world, call.call_id)
    settled_at = only_attempt(world)["settled_at"]
    world.hear(event(EventKind.ANSWERED, call.call_id))
    world.hear(event(EventKind.ENDED, call.call_id, ending=Ending.ANSWERED, result="completed"))
    attempt = only_attempt(world)
    assert (attempt["settled_at"], attempt["outcome"]) == (settled_at, "completed")
    assert world.contact(contact)["state"] == ContactState.COMPLETED


def test_a_number_with_a_reopened_call_is_not_called_by_another_campaign(world: World) -> None:
    _, call = one_call(world)
    give_up(world, call.call_id)
    world.hear(event(EventKind.ANSWERED, call.call_id))
    world.add_contacts(world.add_campaign("other"), [number(1)])
    assert world.run_pass(RecordingProvider()).skipped == {"number_busy": 1}


def test_a_contact_with_a_reopened_call_is_not_called_beside_it(world: World) -> None:
    _, call = one_call(world, retry=TWICE)
    give_up(world, call.call_id)
    world.hear(event(EventKind.ANSWERED, call.call_id))
    world.make_due()
    assert world.run_pass(RecordingProvider()).skipped == {"number_busy": 1}


@pytest.mark.parametrize("ending", [Ending.ANSWERED, Ending.BUSY])
def test_a_withdrawn_contact_stays_withdrawn_whatever_its_running_call_brings(
    world: World, ending: Ending
) -> None:
    contact, call = one_call(world, retry=TWICE)
    withdraw(world, contact)
    result = "completed" if ending is Ending.ANSWERED else None
    world.hear(event(EventKind.ENDED, call.call_id, ending=ending, result=result))
    assert only_attempt(world)["settled_at"] is not None
    assert world.contact(contact)["state"] == ContactState.WITHDRAWN


def test_an_opt_out_excludes_the_number_everywhere_and_names_the_call(world: World) -> None:
    _, call = one_call(world)
    world.hear(event(EventKind.RESULT, call.call_id, opt_out=True))
    with world.database.begin() as connection:
        (entry,) = connection.execute(sa.select(exclusion_list_entries)).mappings().all()
    assert (entry["phone_number"], entry["campaign_id"], entry["source"]) == (
        number(1),
        None,
        f"call {call.call_id}",
    )


def test_an_opt_out_told_twice_is_one_entry(world: World) -> None:
    _, call = one_call(world)
    world.hear(event(EventKind.ANSWERED, call.call_id, opt_out=True))
    world.hear(event(EventKind.ENDED, call.call_id, ending=Ending.ANSWERED, opt_out=True))
    with world.database.begin() as connection:
        assert len(connection.execute(sa.select(exclusion_list_entries)).all()) == 1


def test_a_wished_callback_is_planned_for_its_hour_beyond_the_attempts(world: World) -> None:
    contact, call = one_call(world)
    wished_at = datetime.now(UTC) + timedelta(days=1)
    told = event(
        EventKind.ENDED, call.call_id, ending=Ending.ANSWERED, result="callback", callback_at=wished_at
    )
    world.hear(told)
    row = world.contact(contact)
    assert (row["state"], row["stage"], row["next_attempt_at"]) == (ContactState.PENDING, 0, wished_at)


def test_a_wish_beyond_the_campaigns_end_expires(world: World) -> None:
    now = datetime.now(UTC)
    contact, call = one_call(world, ends_at=now + timedelta(hours=1))
    told = event(EventKind.ENDED, call.call_id, ending=Ending.ANSWERED, result="callback")
    world.hear(replace(told, callback_at=now + timedelta(days=1)))
    assert world.contact(contact)["state"] == ContactState.EXPIRED


def test_calls_of_a_paused_campaign_are_settled_too(world: World) -> None:
    campaign = world.add_campaign()
    (contact,) = world.add_contacts(campaign, [number(1)])
    (call,) = world.run_pass(RecordingProvider()).scheduled
    world.set_status(campaign, CampaignStatus.PAUSED)
    world.hear(event(EventKind.ENDED, call.call_id, ending=Ending.ANSWERED, result="completed"))
    assert world.contact(contact)["state"] == ContactState.COMPLETED


def test_the_events_of_many_calls_in_one_batch_reach_each_its_own(world: World) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, map(number, range(3)))
    calls = world.run_pass(RecordingProvider()).scheduled
    endings = [Ending.BUSY, Ending.NO_ANSWER, Ending.REJECTED]
    world.hear(
        *(event(EventKind.RINGING, call.call_id) for call in calls),
        *(
            event(EventKind.ENDED, call.call_id, ending=ending)
            for call, ending in zip(reversed(calls), endings, strict=True)
        ),
    )
    outcomes = {attempt["call_id"]: attempt["outcome"] for attempt in world.attempts()}
    assert [outcomes[call.call_id] for call in reversed(calls)] == ["busy", "no_answer", "rejected"]


def test_an_end_wakes_the_schedulers_of_this_process(world: World) -> None:
    _, call = one_call(world)
    woken: list[datetime] = []
    world.database.on_wake(lambda: woken.append(datetime.now(UTC)))
    world.hear(event(EventKind.RINGING, call.call_id))
    assert not woken
    world.hear(event(EventKind.ENDED, call.call_id, ending=Ending.BUSY))
    assert len(woken) == 1


def withdraw(world: World, contact: ContactId) -> None:
    def change(connection: sa.Connection) -> None:
        connection.execute(
            sa.update(contacts).where(contacts.c.id == contact).values(state=ContactState.WITHDRAWN)
        )

    world.database.run(change)
