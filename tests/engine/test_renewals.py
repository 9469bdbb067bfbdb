"""A new budget for who was not reached: history, waits and finality stay."""

from __future__ import annotations

from datetime import timedelta

import pytest

from outdial.domain.attempt import Ending, EventKind
from outdial.domain.campaign import CampaignStatus, WhenEmpty
from outdial.domain.contact import ContactState
from outdial.domain.errors import UserError
from outdial.domain.ids import ContactId
from outdial.domain.retries import RetryPolicy
from outdial.domain.settle import Outcome
from outdial.operations import renewals
from outdial.operations.renewals import outcomes_of, renew_budgets
from outdial.storage.database import database_now
from tests.support.world import RecordingProvider, World, event, number

AT_ONCE = RetryPolicy(max_attempts=2, default_delay=timedelta())


def wear_out(world: World, ending: Ending = Ending.NO_ANSWER, policy: RetryPolicy = AT_ONCE) -> ContactId:
    """A contact whose attempts are used up."""
    (contact,) = world.add_contacts(world.add_campaign(retry=policy, when_empty=WhenEmpty.WAIT), [number(1)])
    call_until_final(world, ending, policy.max_attempts)
    assert world.contact(contact)["state"] == ContactState.NOT_REACHED
    return contact


def call_until_final(world: World, ending: Ending, times: int) -> None:
    for _ in range(times):
        world.make_due()
        (scheduled,) = world.run_pass(RecordingProvider()).scheduled
        world.hear(event(EventKind.ENDED, scheduled.call_id, ending=ending))


def renew(world: World, *outcomes: Outcome) -> int:
    return renew_budgets(world.database, "survey", outcomes or (Outcome.NO_ANSWER, Outcome.BUSY))


def test_who_was_not_reached_gets_the_whole_budget_again_and_keeps_the_history(world: World) -> None:
    contact = wear_out(world)
    assert renew(world) == 1
    row = world.contact(contact)
    assert (row["state"], row["final_reason"], row["attempts_count"]) == (ContactState.PENDING, None, 2)
    call_until_final(world, Ending.NO_ANSWER, 2)
    row = world.contact(contact)
    assert (row["state"], row["attempts_count"]) == (ContactState.NOT_REACHED, 4)
    assert [attempt["attempt_number"] for attempt in world.attempts()] == [1, 2, 3, 4]


def test_only_the_outcomes_that_were_named_get_a_new_budget(world: World) -> None:
    contact = wear_out(world, Ending.BUSY)
    assert renew(world, Outcome.NO_ANSWER) == 0
    assert world.contact(contact)["state"] == ContactState.NOT_REACHED
    assert renew(world, Outcome.BUSY) == 1


def test_the_wait_after_the_last_call_still_holds(world: World) -> None:
    policy = RetryPolicy(max_attempts=1, delays={Outcome.NO_ANSWER: (timedelta(hours=2), timedelta(hours=9))})
    contact = wear_out(world, policy=policy)
    renew(world)
    wait = world.contact(contact)["next_attempt_at"] - world.database.run(database_now)
    assert timedelta(minutes=119) < wait <= timedelta(hours=2)
    assert not world.run_pass(RecordingProvider()).scheduled


def test_it_starts_at_once_where_the_wait_is_over(world: World) -> None:
    wear_out(world)
    renew(world)
    assert len(world.run_pass(RecordingProvider()).scheduled) == 1


def test_renewing_twice_changes_nothing_more(world: World) -> None:
    wear_out(world)
    assert [renew(world), renew(world)] == [1, 0]


def test_who_is_final_otherwise_stays_so(world: World) -> None:
    campaign = world.add_campaign(when_empty=WhenEmpty.WAIT)
    for index, state in enumerate([ContactState.REFUSED, ContactState.EXCLUDED, ContactState.WITHDRAWN]):
        world.add_contacts(
            campaign,
            [number(index)],
            state=state,
            last_outcome="no_answer",
            last_attempt_at=world.database.run(database_now),
        )
    assert renew(world) == 0


def test_many_are_renewed_batch_by_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "AT_ONCE", 2)
    long_ago = world.database.run(database_now) - timedelta(days=1)
    world.add_contacts(
        world.add_campaign(),
        map(number, range(5)),
        state=ContactState.NOT_REACHED,
        last_outcome="busy",
        last_attempt_at=long_ago,
    )
    assert renew(world) == 5
    assert len(world.run_pass(RecordingProvider()).scheduled) == 5


def test_a_campaign_that_is_over_renews_nobody(world: World) -> None:
    world.add_campaign(status=CampaignStatus.COMPLETED)
    with pytest.raises(UserError, match="that is final"):
        renew(world)


@pytest.mark.parametrize("text", ["", "completed", "busy,nonsense"])
def test_an_outcome_that_uses_up_no_attempts_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--outcome is"):
        outcomes_of(text)


def test_late_truth_about_a_call_before_the_renewal_leaves_the_new_budget(world: World) -> None:
    contact = wear_out(world)
    renew(world)
    late = world.attempts()[1]["call_id"]
    world.hear(event(EventKind.RESULT, late, cost="0.02"))
    assert world.contact(contact)["state"] == ContactState.PENDING
    call_until_final(world, Ending.NO_ANSWER, 2)
    assert world.contact(contact)["attempts_count"] == 4
