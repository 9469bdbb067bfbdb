"""A contact's own time, a number that is busy elsewhere, and what a call tells of a contact who is out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from outdial.domain.attempt import Ending, EventKind, Source
from outdial.domain.campaign import CampaignStatus, WhenEmpty
from outdial.domain.contact import ContactState, OnDuplicate
from outdial.domain.ids import CampaignId, ContactId
from outdial.domain.retries import RetryPolicy
from outdial.domain.settle import Outcome
from outdial.engine.upkeep import keep_up
from outdial.operations import exclusions
from outdial.operations.campaigns import pause
from outdial.operations.exclusions import Terms
from outdial.operations.imports import ImportOptions, import_file
from outdial.storage import campaigns
from outdial.storage.tables import contacts
from tests.support.world import RecordingProvider, World, event, number

HOUR = timedelta(hours=1)
THRICE = RetryPolicy(max_attempts=3, default_delay=HOUR)


def status_of(world: World, campaign: CampaignId) -> CampaignStatus:
    with world.database.begin() as connection:
        return campaigns.load(connection, [campaign])[campaign].status


def call(world: World) -> str:
    (scheduled,) = world.run_pass(RecordingProvider()).scheduled
    return scheduled.call_id


def end(world: World, call_id: str, ending: Ending = Ending.BUSY, **facts: Any) -> None:
    world.hear(event(EventKind.ENDED, call_id, ending=ending, **facts))


def set_contact(world: World, contact: ContactId, **values: Any) -> None:
    def change(connection: sa.Connection) -> None:
        connection.execute(sa.update(contacts).where(contacts.c.id == contact).values(**values))

    world.database.run(change)


def keep(world: World) -> None:
    world.database.run(keep_up, world.account_id)


# A time that an import brings while the contact is being called


def test_a_retry_waits_for_the_time_that_an_import_brought_during_the_call(
    world: World, tmp_path: Path
) -> None:
    (contact,) = world.add_contacts(world.add_campaign(retry=THRICE), [number(1)])
    call_id = call(world)
    file = tmp_path / "again.csv"
    file.write_text(f"phone,call_after\n{number(1)},2099-01-01T09:00Z\n")
    import_file(world.database, file, "survey", options=ImportOptions(on_duplicate=OnDuplicate.UPDATE))
    end(world, call_id)
    row = world.contact(contact)
    assert row["state"] == ContactState.PENDING
    assert row["next_attempt_at"] == datetime(2099, 1, 1, 9, tzinfo=UTC)


def test_a_callback_waits_for_the_contacts_own_time_too(world: World) -> None:
    (contact,) = world.add_contacts(world.add_campaign(), [number(1)])
    call_id = call(world)
    call_after = datetime.now(UTC).replace(microsecond=0) + 5 * HOUR
    set_contact(world, contact, call_after=call_after)
    end(
        world, call_id, Ending.ANSWERED, result="callback", callback_at=datetime.now(UTC) + timedelta(hours=1)
    )
    assert world.contact(contact)["next_attempt_at"] == call_after


@pytest.mark.parametrize(("name", "hours"), [("call_after", 5), ("call_before", -1)])
def test_a_time_that_came_after_the_claim_keeps_the_call_from_leaving(
    world: World, name: str, hours: int
) -> None:
    first, second = world.add_contacts(world.add_campaign(), [number(1), number(2)])

    def answer(_: object) -> None:
        set_contact(world, second, **{name: datetime.now(UTC) + hours * HOUR})

    world.set_account(calls_per_second=2)
    provider = RecordingProvider(answer)
    world.run_pass(provider)
    assert [request.to for request in provider.requests] == [number(1)]
    row = world.contact(second)
    assert row["attempts_count"] == 0
    assert (row["state"] == ContactState.EXPIRED) == (name == "call_before")
    assert name == "call_before" or row["next_attempt_at"] == row["call_after"]
    assert world.contact(first)["state"] == ContactState.IN_PROGRESS


# The end of a contact's time, and of its campaign's


@pytest.mark.parametrize("status", [CampaignStatus.RUNNING, CampaignStatus.PAUSED, CampaignStatus.DRAFT])
def test_who_was_not_called_by_the_contacts_own_deadline_expires(
    world: World, status: CampaignStatus
) -> None:
    now = datetime.now(UTC)
    campaign = world.add_campaign(status=status, when_empty=WhenEmpty.WAIT)
    (over,) = world.add_contacts(campaign, [number(1)], due_in=HOUR, call_before=now - timedelta(seconds=1))
    (open_,) = world.add_contacts(campaign, [number(2)], due_in=HOUR, call_before=now + 2 * HOUR)
    keep(world)
    assert (world.contact(over)["state"], world.contact(over)["final_reason"]) == ("expired", "deadline")
    assert world.contact(open_)["state"] == ContactState.PENDING


def test_a_campaign_that_is_paused_past_its_end_expires_who_waits_and_completes(world: World) -> None:
    campaign = world.add_campaign(ends_at=datetime.now(UTC) + timedelta(seconds=1.5))
    called, waiting = world.add_contacts(campaign, [number(1), number(2)])
    (scheduled,) = world.run_pass(RecordingProvider(), batch_size=1).scheduled
    world.database.run(pause, "survey", paused_by="ada", reason="lunch")
    with world.database.begin() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(sa.update(campaigns.campaigns).values(ends_at=past))
    keep(world)
    assert (world.contact(waiting)["state"], status_of(world, campaign)) == ("expired", "paused")
    end(world, scheduled.call_id, Ending.ANSWERED, result="completed")
    keep(world)
    assert (world.contact(called)["state"], status_of(world, campaign)) == ("completed", "completed")


def test_a_campaign_that_is_paused_before_its_end_keeps_who_waits(world: World) -> None:
    campaign = world.add_campaign(ends_at=datetime.now(UTC) + HOUR, status=CampaignStatus.PAUSED)
    (contact,) = world.add_contacts(campaign, [number(1)])
    keep(world)
    assert (world.contact(contact)["state"], status_of(world, campaign)) == ("pending", "paused")


# A number that has an open call in another campaign


def two_campaigns_with_one_number(world: World) -> tuple[str, ContactId]:
    world.add_contacts(world.add_campaign("first", retry=THRICE), [number(1)])
    call_id = call(world)
    (held,) = world.add_contacts(world.add_campaign("second"), [number(1)])
    assert world.run_pass(RecordingProvider()).skipped == {"number_busy": 1}
    assert world.contact(held)["next_attempt_at"] > datetime.now(UTC) + timedelta(seconds=20)
    return call_id, held


def test_who_waits_for_a_busy_number_is_called_as_soon_as_it_is_free(world: World) -> None:
    call_id, held = two_campaigns_with_one_number(world)
    end(world, call_id)
    assert [one.contact_id for one in world.run_pass(RecordingProvider()).scheduled] == [held]


def test_a_number_is_not_free_before_its_call_is_settled(world: World) -> None:
    call_id, _ = two_campaigns_with_one_number(world)
    end(world, call_id, Ending.ANSWERED)
    assert not world.run_pass(RecordingProvider()).scheduled
    world.hear(event(EventKind.RESULT, call_id, result="completed"))
    assert len(world.run_pass(RecordingProvider()).scheduled) == 1


def test_a_free_number_brings_nobody_forward_who_waits_for_something_else(world: World) -> None:
    call_id, held = two_campaigns_with_one_number(world)
    (own_time,) = world.add_contacts(world.add_campaign("third"), [number(1)], due_in=HOUR)
    later = datetime.now(UTC).replace(microsecond=0) + 3 * HOUR
    set_contact(world, held, next_attempt_at=later)
    end(world, call_id)
    assert not world.run_pass(RecordingProvider()).scheduled
    assert world.contact(held)["next_attempt_at"] == later
    assert world.contact(own_time)["next_attempt_at"] > datetime.now(UTC) + timedelta(minutes=50)


def test_a_reopened_call_frees_its_number_when_it_ends_anew(world: World) -> None:
    world.add_contacts(world.add_campaign("first"), [number(1)])
    call_id = call(world)
    end(world, call_id, Ending.UNKNOWN, event_id="gave up", source=Source.GUESS)
    world.hear(event(EventKind.ANSWERED, call_id))
    (held,) = world.add_contacts(world.add_campaign("second"), [number(1)])
    assert world.run_pass(RecordingProvider()).skipped == {"number_busy": 1}
    end(world, call_id, Ending.ANSWERED, result="completed")
    assert [one.contact_id for one in world.run_pass(RecordingProvider()).scheduled] == [held]


# Whoever is out while a call to them still runs


@pytest.mark.parametrize("state", [ContactState.WITHDRAWN, ContactState.EXCLUDED])
def test_who_is_out_keeps_the_state_and_gets_the_account_of_the_running_call(
    world: World, state: ContactState
) -> None:
    (contact,) = world.add_contacts(world.add_campaign(retry=THRICE), [number(1)])
    call_id = call(world)
    set_contact(world, contact, state=state, final_reason="asked for it")
    end(world, call_id, Ending.NO_ANSWER)
    row = world.contact(contact)
    assert (row["state"], row["final_reason"], row["next_attempt_at"]) == (state, "asked for it", None)
    assert (row["attempts_count"], row["last_outcome"]) == (1, "no_answer")
    assert row["last_attempt_at"] is not None


def test_an_exclusion_during_the_call_leaves_the_account_of_the_call(world: World) -> None:
    (contact,) = world.add_contacts(world.add_campaign(retry=THRICE), [number(1)])
    call_id = call(world)
    world.database.run(exclusions.add, [number(1)], Terms(reason="asked", source="test"))
    end(world, call_id, Ending.ANSWERED, result="completed")
    row = world.contact(contact)
    assert (row["attempts_count"], row["last_outcome"]) == (1, "completed")


# What the network did, on the way from an event to the contact


@pytest.mark.parametrize(
    ("rings", "source", "state"),
    [
        (False, Source.EVENT, "pending"),
        (True, Source.EVENT, "not_reached"),
        (False, Source.GUESS, "not_reached"),
    ],
    ids=["before it rang", "after it rang", "by a person's guess"],
)
def test_only_what_the_provider_says_ended_before_it_rang_spends_no_attempt(
    world: World, rings: bool, source: Source, state: str
) -> None:
    (contact,) = world.add_contacts(world.add_campaign(retry=RetryPolicy(max_attempts=1)), [number(1)])
    call_id = call(world)
    if rings:
        world.hear(event(EventKind.RINGING, call_id))
    end(world, call_id, Ending.CANCELED, source=source)
    row = world.contact(contact)
    assert (row["state"], row["attempts_count"], row["last_outcome"]) == (state, 1, "canceled")


def test_no_answer_is_tried_at_another_time_of_day_where_the_campaign_asks_for_it(world: World) -> None:
    retry = RetryPolicy(
        max_attempts=3,
        default_delay=timedelta(seconds=1),
        another_time_of_day=frozenset({Outcome.NO_ANSWER}),
    )
    (contact,) = world.add_contacts(world.add_campaign(retry=retry), [number(1)])
    end(world, call(world), Ending.NO_ANSWER)
    # From any hour of the day the next part of it is more than the second away that the retry would wait.
    row = world.contact(contact)
    assert row["next_attempt_at"] >= row["last_attempt_at"] + timedelta(seconds=1)
    assert row["next_attempt_at"].minute == row["next_attempt_at"].second == 0
