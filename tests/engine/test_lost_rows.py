"""Rows that a failover has lost: an answer and a webhook bring them back, and nobody's row is taken for another's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from outdial.clock import SystemClock
from outdial.domain.attempt import Ending, EventKind, Origin
from outdial.domain.contact import ContactState
from outdial.domain.errors import InDoubt, NotPlaced
from outdial.domain.ids import CallId, ContactId, ProviderCallId, WorkerId
from outdial.engine.claim import Claimed, ClaimedCall, ClaimSettings, claim
from outdial.engine.events import Heard
from outdial.engine.record import Answer, Dialed, Released, record
from outdial.storage import attempts, buckets, workers
from outdial.storage.database import database_now
from outdial.storage.tables import call_attempts, contacts
from outdial.telephony.protocol import OutboundCallResponse
from tests.support.world import RecordingProvider, World, event, number

SETTINGS = ClaimSettings(batch_size=25, scheduler_time_zone="UTC", new_call_id=lambda: CallId(str(uuid4())))
ACCEPTED = OutboundCallResponse(provider_call_id=ProviderCallId("P-1"), status="queued")


def start_worker(world: World) -> WorkerId:
    return world.database.run(lambda c: workers.start(c, "test", database_now(c)))


def claim_all(world: World, worker: WorkerId) -> Claimed:
    return world.database.run(claim, world.account_id, worker, "claim", SETTINGS, world.known, SystemClock())


def claimed_call(world: World) -> tuple[ContactId, ClaimedCall]:
    (contact,) = world.add_contacts(world.add_campaign(), [number(1)])
    (call,) = claim_all(world, start_worker(world)).calls
    return contact, call


def lose(world: World, call: ClaimedCall) -> None:
    """As a failover to a standby that had not heard of the claim."""

    def change(connection: sa.Connection) -> None:
        connection.execute(sa.delete(call_attempts).where(call_attempts.c.id == call.attempt_id))
        due_at = database_now(connection)
        connection.execute(
            sa.update(contacts)
            .where(contacts.c.id == call.contact.id)
            .values(state=ContactState.PENDING, next_attempt_at=due_at)
        )
        one = call.contact
        buckets.add_due(connection, [(call.campaign_id, one.calling_zone_id, 0, one.stage, due_at)])

    world.database.run(change)


def give_its_id_to(world: World, call: ClaimedCall) -> None:
    """Another call has the id of the lost row, as sequences of the new server give it out (SQLite does by itself)."""
    if call.attempt_id in {row["id"] for row in world.attempts()}:
        return
    with world.database.begin() as connection:
        newest = sa.select(sa.func.max(call_attempts.c.id)).scalar_subquery()
        connection.execute(
            sa.update(call_attempts).where(call_attempts.c.id == newest).values(id=call.attempt_id)
        )


def dialed(world: World, call: ClaimedCall, answer: Answer) -> Dialed:
    return Dialed(
        attempt_id=call.attempt_id,
        account_id=world.account_id,
        campaign_id=call.campaign_id,
        to=call.contact.phone_number,
        from_number=call.from_number,
        row=call.row,
        answer=answer,
    )


def test_the_last_check_asks_for_our_own_id_of_the_call(world: World) -> None:
    _, call = claimed_call(world)
    worker = call.row.worker_id
    other = {call.attempt_id: CallId("of another call")}
    assert not world.database.run(attempts.last_check, other, worker)
    assert world.attempts()[0]["sent_at"] is None
    mine = {call.attempt_id: call.call_id}
    assert world.database.run(attempts.last_check, mine, worker)
    assert not world.database.run(attempts.last_check, other, worker, already_sent=True)


def test_an_answer_whose_row_is_lost_is_written_with_it(world: World) -> None:
    contact, call = claimed_call(world)
    lose(world, call)
    world.database.run(record, [dialed(world, call, ACCEPTED)], world.known)
    (row,) = world.attempts()
    assert (row["call_id"], row["provider_call_id"], row["state"]) == (call.call_id, "P-1", "accepted")
    assert row["permit"] == call.row.new.permit
    assert world.contact(contact)["state"] == ContactState.IN_PROGRESS
    assert world.run_pass(RecordingProvider()).scheduled == ()


@pytest.mark.parametrize(
    ("answer", "state"),
    [(InDoubt("time-out"), "in_doubt"), (NotPlaced("412"), None), (Released(why="x"), None)],
)
def test_only_what_may_have_been_placed_is_written_again(
    world: World, answer: Answer, state: str | None
) -> None:
    contact, call = claimed_call(world)
    lose(world, call)
    world.database.run(record, [dialed(world, call, answer)], world.known)
    assert [row["state"] for row in world.attempts()] == ([] if state is None else [state])
    expected = ContactState.PENDING if state is None else ContactState.IN_PROGRESS
    assert world.contact(contact)["state"] == expected


def test_an_answer_is_not_written_to_the_row_that_was_given_its_id(world: World) -> None:
    _, call = claimed_call(world)
    lose(world, call)
    world.add_contacts(world.add_campaign("other"), [number(2)])
    others = claim_all(world, start_worker(world)).calls
    assert len(others) == 2
    give_its_id_to(world, call)
    world.database.run(record, [dialed(world, call, ACCEPTED)], world.known)
    rows = {row["call_id"]: row for row in world.attempts()}
    assert {rows[one.call_id]["provider_call_id"] for one in others} == {None}
    assert {rows[one.call_id]["state"] for one in others} == {"dialing"}
    assert rows[call.call_id]["provider_call_id"] == "P-1"


def test_a_lost_call_whose_number_is_called_again_meanwhile_has_a_row_all_the_same(world: World) -> None:
    contact, call = claimed_call(world)
    lose(world, call)
    (again,) = claim_all(world, start_worker(world)).calls
    world.database.run(record, [dialed(world, call, ACCEPTED)], world.known)
    world.hear(event(EventKind.ENDED, call.call_id, ending=Ending.BUSY))
    rows = {row["call_id"]: row for row in world.attempts()}
    assert rows.keys() == {call.call_id, again.call_id}
    assert rows[call.call_id]["outcome"] == "busy"
    assert rows[again.call_id]["settled_at"] is None
    assert world.contact(contact)["state"] == ContactState.IN_PROGRESS


def origin_of(contact: ContactId, **facts: Any) -> Origin:
    return Origin(**{"contact_id": str(contact), "started_at": datetime.now(UTC), **facts})


def test_a_webhook_of_a_lost_call_writes_it_again_and_counts_it(world: World) -> None:
    contact, call = claimed_call(world)
    lose(world, call)
    ended = event(
        EventKind.ENDED,
        call.call_id,
        provider_call_id=ProviderCallId("P-1"),
        ending=Ending.ANSWERED,
        result="completed",
        origin=origin_of(contact, to=number(1), campaign_id=str(call.campaign_id)),
    )
    assert world.hear(ended) == [Heard.APPLIED]
    assert world.hear(ended) == [Heard.DUPLICATE]
    (row,) = world.attempts()
    assert (row["call_id"], row["outcome"], row["phone_number"]) == (call.call_id, "completed", number(1))
    assert row["permit"]["restored"]["because"] == "webhook"
    assert world.contact(contact)["state"] == ContactState.COMPLETED
    # The answer to the POST comes after it all.
    world.database.run(record, [dialed(world, call, ACCEPTED)], world.known)
    assert len(world.attempts()) == 1


def test_two_events_of_a_lost_call_in_one_batch_make_one_row(world: World) -> None:
    contact, call = claimed_call(world)
    lose(world, call)
    origin = origin_of(contact)
    heard = world.hear(
        event(EventKind.RINGING, call.call_id, origin=origin),
        event(EventKind.ENDED, call.call_id, ending=Ending.NO_ANSWER, origin=origin),
    )
    assert heard == [Heard.APPLIED, Heard.APPLIED]
    (row,) = world.attempts()
    assert row["outcome"] == "no_answer"
    assert row["ringing_at"] is not None


def test_an_event_that_was_kept_while_its_call_was_unknown_comes_to_it(world: World) -> None:
    contact, call = claimed_call(world)
    lose(world, call)
    theirs = ProviderCallId("P-1")
    said_no = event(EventKind.RESULT, "-", result="refused", provider_call_id=theirs)
    assert world.hear(said_no) == [Heard.UNKNOWN_CALL]
    ended = event(
        EventKind.ENDED,
        call.call_id,
        ending=Ending.ANSWERED,
        provider_call_id=theirs,
        origin=origin_of(contact),
    )
    world.hear(ended)
    assert world.contact(contact)["state"] == ContactState.REFUSED


def another_number(world: World, contact: ContactId) -> Origin:
    return origin_of(contact, to=number(9))


def no_such_contact(world: World, contact: ContactId) -> Origin:
    return origin_of(ContactId(contact + 1000))


def no_id_at_all(world: World, contact: ContactId) -> Origin:
    return Origin(contact_id="9" * 40)


def another_campaign(world: World, contact: ContactId) -> Origin:
    return origin_of(contact, campaign_id="77")


def another_account(world: World, contact: ContactId) -> Origin:
    elsewhere = world.add_campaign("elsewhere", account_id=world.add_account("second"), account="second")
    (other,) = world.add_contacts(elsewhere, [number(5)])
    return origin_of(other, to=number(5))


@pytest.mark.parametrize(
    "origin_for", [another_number, no_such_contact, no_id_at_all, another_campaign, another_account]
)
def test_an_event_that_names_nobody_of_ours_restores_nothing(
    world: World, origin_for: Callable[[World, ContactId], Origin]
) -> None:
    contact, call = claimed_call(world)
    lose(world, call)
    origin = origin_for(world, contact)
    assert world.hear(event(EventKind.RINGING, "strange", origin=origin)) == [Heard.UNKNOWN_CALL]
    assert not world.attempts()
    assert world.contact(contact)["state"] == ContactState.PENDING


def test_an_early_event_is_of_the_row_that_waits_for_its_answer(world: World) -> None:
    contact, call = claimed_call(world)
    early = event(EventKind.RINGING, call.call_id, origin=origin_of(contact))
    assert world.hear(early) == [Heard.APPLIED]
    (row,) = world.attempts()
    assert (row["id"], row["state"]) == (call.attempt_id, "ringing")
    assert "restored" not in row["permit"]


def test_a_call_that_is_found_by_its_number_belongs_to_who_was_due_first(world: World) -> None:
    world.add_contacts(
        world.add_campaign("done"), [number(1)], state=ContactState.COMPLETED, next_attempt_at=None
    )
    (later,) = world.add_contacts(world.add_campaign("late"), [number(1)])
    (first,) = world.add_contacts(
        world.add_campaign("early"), [number(1)], next_attempt_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    origin = Origin(to=number(1))
    world.hear(event(EventKind.RINGING, "made-elsewhere", origin=origin))
    (row,) = world.attempts()
    assert row["contact_id"] == first
    assert world.contact(later)["state"] == ContactState.PENDING
