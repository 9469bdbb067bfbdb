"""The last check before a call is sent: what has changed since the claim stops it, and it costs nobody an attempt."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from outdial.clock import SystemClock
from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState
from outdial.domain.exclusions import ExclusionScope, Reach
from outdial.domain.fences import Fence
from outdial.domain.ids import AttemptId, CallId, CampaignId, ContactId, WorkerId
from outdial.engine.claim import Claimed, ClaimSettings, claim
from outdial.engine.record import Dialed, Released, record
from outdial.storage import accounts, attempts, deployment, workers
from outdial.storage.database import database_now
from outdial.storage.tables import campaigns, contacts
from outdial.telephony.protocol import OutboundCallRequest
from tests.support.excluded import exclude_numbers
from tests.support.world import RecordingProvider, World, number

SETTINGS = ClaimSettings(batch_size=25, scheduler_time_zone="UTC", new_call_id=lambda: CallId(str(uuid4())))


@dataclass
class ClaimedCall:
    """A world with one call that is claimed and not yet sent."""

    world: World
    campaign: CampaignId
    contact: ContactId
    worker: WorkerId
    claimed: Claimed

    @property
    def attempt_id(self) -> AttemptId:
        return self.claimed.calls[0].attempt_id

    @property
    def call_id(self) -> CallId:
        return self.claimed.calls[0].call_id

    def may_leave(
        self,
        *,
        already_sent: bool = False,
        worker: WorkerId | None = None,
        fence: Fence = Fence(),
        call_id: CallId | None = None,
    ) -> bool:
        allowed: Collection[AttemptId] = self.world.database.run(
            attempts.last_check,
            {self.attempt_id: call_id or self.call_id},
            worker or self.worker,
            fence,
            already_sent=already_sent,
        )
        return self.attempt_id in allowed

    @property
    def was_sent(self) -> bool:
        return self.world.attempts()[0]["sent_at"] is not None

    def give_back(self) -> None:
        """As the dialer does with what may not leave."""
        call = self.claimed.calls[0]
        released = Dialed(
            attempt_id=call.attempt_id,
            account_id=self.world.account_id,
            campaign_id=call.campaign_id,
            to=call.contact.phone_number,
            from_number=call.from_number,
            row=call.row,
            answer=Released(why="no_longer_allowed"),
        )
        self.world.database.run(record, [released], self.world.known)


@pytest.fixture
def call(world: World) -> ClaimedCall:
    campaign = world.add_campaign()
    (contact,) = world.add_contacts(campaign, [number(1)])
    worker = start_worker(world)
    claimed = world.database.run(
        claim, world.account_id, worker, "claim", SETTINGS, world.known, SystemClock()
    )
    return ClaimedCall(world, campaign, contact, worker, claimed)


def start_worker(world: World) -> WorkerId:
    return world.database.run(lambda c: workers.start(c, "test", database_now(c)))


def pause(world: World, campaign: CampaignId, _: ContactId) -> None:
    world.set_status(campaign, CampaignStatus.PAUSED)


def cancel(world: World, campaign: CampaignId, _: ContactId) -> None:
    world.set_status(campaign, CampaignStatus.CANCELED)


def suspend(world: World, _: CampaignId, __: ContactId) -> None:
    world.set_account(suspended_at=datetime.now(UTC), suspended_reason="no credit")


def back_off(world: World, _: CampaignId, __: ContactId) -> None:
    world.set_account(not_before=datetime.now(UTC) + timedelta(minutes=1))


def stop_everything(world: World, _: CampaignId, __: ContactId) -> None:
    world.database.run(lambda c: deployment.stop(c, "ada", "wrong list", database_now(c)))


def stop_the_account(world: World, _: CampaignId, __: ContactId) -> None:
    world.database.run(lambda c: accounts.stop(c, world.account_id, "ada", "wrong list", database_now(c)))


def name_the_database(world: World, _: CampaignId, __: ContactId) -> None:
    world.database.run(deployment.set_name, "production")


def exclude(world: World, _: CampaignId, contact: ContactId) -> None:
    excluded = world.contact(contact)["phone_number"]
    world.database.run(
        lambda c: exclude_numbers(c, [excluded], reason="asked", source="test", at=database_now(c))
    )


def exclude_from_the_campaign(world: World, campaign: CampaignId, contact: ContactId) -> None:
    excluded = world.contact(contact)["phone_number"]
    world.database.run(
        lambda c: exclude_numbers(
            c,
            [excluded],
            reason="asked",
            source="test",
            at=database_now(c),
            reach=Reach(scope=ExclusionScope.CAMPAIGN, campaign_id=campaign),
        )
    )


def withdraw(world: World, _: CampaignId, contact: ContactId) -> None:
    def change(connection: sa.Connection) -> None:
        of_contact = contacts.c.id == contact
        connection.execute(sa.update(contacts).where(of_contact).values(state=ContactState.WITHDRAWN))

    world.database.run(change)


def let_time_pass(world: World, _: CampaignId, __: ContactId) -> None:
    world.shift_attempts(16)


Change = Callable[[World, CampaignId, ContactId], None]
CHANGES: list[Change] = [
    pause,
    cancel,
    suspend,
    back_off,
    stop_everything,
    stop_the_account,
    name_the_database,
    exclude,
    exclude_from_the_campaign,
    withdraw,
    let_time_pass,
]


def name_of(change: Change) -> str:
    return change.__name__


@pytest.mark.parametrize("change", CHANGES, ids=name_of)
def test_what_changed_since_the_claim_stops_the_call(call: ClaimedCall, change: Change) -> None:
    change(call.world, call.campaign, call.contact)
    assert not call.may_leave()
    assert not call.was_sent


@pytest.mark.parametrize(
    "change",
    [pause, exclude, stop_everything, stop_the_account, name_the_database, let_time_pass],
    ids=name_of,
)
def test_what_changed_since_the_last_check_stops_a_call_that_is_asked_about_again(
    call: ClaimedCall, change: Change
) -> None:
    assert call.may_leave()
    change(call.world, call.campaign, call.contact)
    assert not call.may_leave(already_sent=True)


@pytest.mark.parametrize("change", [pause, suspend, back_off, let_time_pass], ids=name_of)
def test_a_call_that_was_stopped_costs_no_attempt_and_waits(call: ClaimedCall, change: Change) -> None:
    change(call.world, call.campaign, call.contact)
    call.give_back()
    row = call.world.contact(call.contact)
    assert (row["state"], row["attempts_count"]) == (ContactState.PENDING, 0)


def test_a_stopped_call_frees_its_line(call: ClaimedCall) -> None:
    pause(call.world, call.campaign, call.contact)
    call.give_back()
    assert call.world.run_pass(RecordingProvider()).capacity == call.world.max_concurrent_calls


def test_a_withdrawn_contact_whose_call_was_stopped_stays_withdrawn(call: ClaimedCall) -> None:
    withdraw(call.world, call.campaign, call.contact)
    call.give_back()
    assert call.world.contact(call.contact)["state"] == ContactState.WITHDRAWN


def test_a_call_may_leave_once(call: ClaimedCall) -> None:
    assert [call.may_leave(), call.may_leave()] == [True, False]


def test_a_call_that_left_may_be_asked_about_again(call: ClaimedCall) -> None:
    call.may_leave()
    assert call.may_leave(already_sent=True)


def test_a_call_that_did_not_leave_is_not_taken_for_one_that_did(call: ClaimedCall) -> None:
    assert not call.may_leave(already_sent=True)


def test_a_call_may_not_leave_by_another_worker(call: ClaimedCall) -> None:
    assert not call.may_leave(worker=start_worker(call.world))


def test_a_call_may_leave_where_the_deployment_is_the_databases(call: ClaimedCall) -> None:
    name_the_database(call.world, call.campaign, call.contact)
    assert not call.may_leave(fence=Fence(deployment="staging"))
    assert call.may_leave(fence=Fence(deployment="production"))


@pytest.mark.parametrize("already_sent", [False, True])
def test_a_call_to_a_number_that_is_not_among_the_only_ones_may_not_leave(
    call: ClaimedCall, already_sent: bool
) -> None:
    if already_sent:
        call.may_leave()
    others = Fence(dial_only=frozenset({number(2), number(3)}))
    assert not call.may_leave(fence=others, already_sent=already_sent)
    with_it = Fence(dial_only=frozenset({number(1), number(2)}))
    assert call.may_leave(fence=with_it, already_sent=already_sent)


def test_an_exclusion_from_another_campaign_stops_nobody(call: ClaimedCall) -> None:
    exclude_from_the_campaign(call.world, call.world.add_campaign("other"), call.contact)
    assert call.may_leave()


def test_an_exclusion_that_has_expired_stops_nobody(call: ClaimedCall) -> None:
    now = datetime.now(UTC)
    call.world.database.run(
        lambda c: exclude_numbers(
            c,
            [number(1)],
            reason="asked",
            source="test",
            at=now - timedelta(days=2),
            expires_at=now - timedelta(days=1),
        )
    )
    assert call.may_leave()


def test_a_pause_in_the_middle_of_a_pass_stops_its_later_calls(world: World) -> None:
    world.set_account(calls_per_second=1.1)
    campaign = world.add_campaign()
    waiting = world.add_contacts(campaign, map(number, range(2)))

    def pause_it(_: OutboundCallRequest) -> None:
        world.set_status(campaign, CampaignStatus.PAUSED)

    provider = RecordingProvider(pause_it)
    result = world.run_pass(provider)
    assert (len(provider.requests), len(result.scheduled)) == (1, 2)
    assert sorted(world.contact(contact)["state"] for contact in waiting) == ["in_progress", "pending"]


def test_no_call_leaves_at_a_slot_after_the_end_of_its_permit(world: World) -> None:
    """The last check comes a moment before the slot: it must not let through what ends in that moment."""
    slot_at = datetime.now(UTC) + timedelta(seconds=0.7)
    world.set_account(calls_per_second=1, rate_cursor_at=slot_at)
    world.add_contacts(world.add_campaign(), [number(1)], call_before=slot_at - timedelta(milliseconds=10))
    provider = RecordingProvider()
    result = world.run_pass(provider)
    assert (len(provider.requests), len(result.scheduled)) == (0, 1)


def test_a_campaign_that_was_changed_since_the_claim_is_permitted_anew(call: ClaimedCall) -> None:
    with call.world.engine.begin() as connection:
        connection.execute(sa.update(campaigns).values(revision=campaigns.c.revision + 1))
    assert not call.may_leave()
    assert not call.was_sent
    call.give_back()
    assert call.world.contact(call.contact)["attempts_count"] == 0


def test_a_check_that_fails_is_a_call_that_did_not_leave(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])

    def away(*_: object, **__: object) -> None:
        raise sa.exc.TimeoutError("no connection is free")

    monkeypatch.setattr(attempts, "last_check", away)
    provider = RecordingProvider()
    world.run_pass(provider)
    assert not provider.requests
    (attempt,) = world.attempts()
    assert (attempt["ending"], attempt["error_code"]) == ("not_placed", "not_checked")
    assert world.contacts_in(ContactState.PENDING) == 1
