"""Campaigns as an operator applies, starts, pauses, resumes and cancels them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from outdial.domain.campaign import CampaignDefinition, CampaignStatus, Purpose, Script, WhenEmpty
from outdial.domain.contact import ContactState
from outdial.domain.errors import NotFound
from outdial.domain.retries import RetryPolicy
from outdial.domain.windows import CallingWindow, WeeklyWindow
from outdial.operations import campaigns as operations
from outdial.operations.campaigns import (
    Applied,
    Moved,
    NotPossible,
    apply_campaign,
    campaign_progress,
    cancel,
    list_campaigns,
    pause,
    resume,
    start,
)
from outdial.storage import campaigns
from outdial.storage.campaigns import Campaign
from outdial.storage.tables import caller_numbers
from tests.support.world import RecordingProvider, World, number

ALWAYS = WeeklyWindow(days=frozenset(range(7)), start_minute=0, end_minute=1440)
DEFINITION = CampaignDefinition(
    name="survey",
    purpose=Purpose.SURVEY,
    account="main",
    default_time_zone="Europe/Rome",
    window=CallingWindow(weekly=(ALWAYS,)),
)
OWN_HOURS = replace(DEFINITION, calling_rule="none")


def stored(world: World, name: str = "survey") -> Campaign:
    found = world.database.run(campaigns.by_name, name)
    assert found is not None
    return found


def pause_it(world: World) -> Moved:
    return world.database.run(pause, "survey", paused_by="ada", reason="wrong intro")


# --- apply


def test_first_apply_creates_a_draft(world: World) -> None:
    done = world.database.run(apply_campaign, DEFINITION)
    assert (done.applied, done.revision, done.status) == (Applied.CREATED, 1, CampaignStatus.DRAFT)
    assert stored(world).definition == DEFINITION


def test_same_definition_again_changes_nothing(world: World) -> None:
    world.database.run(apply_campaign, DEFINITION)
    done = world.database.run(apply_campaign, DEFINITION)
    assert (done.applied, done.revision, done.changes) == (Applied.UNCHANGED, 1, ())
    assert stored(world).revision == 1


def test_another_definition_is_a_new_revision_and_tells_its_changes(world: World) -> None:
    world.database.run(apply_campaign, DEFINITION)
    done = world.database.run(apply_campaign, replace(DEFINITION, retry=RetryPolicy(max_attempts=5)))
    assert (done.applied, done.revision) == (Applied.CHANGED, 2)
    assert done.changes == ("retry.max_attempts: 1 → 5",)
    assert stored(world).revision == 2
    assert stored(world).definition.retry.max_attempts == 5


def test_running_campaign_can_be_changed_and_goes_on_running(world: World) -> None:
    world.add_campaign(window=DEFINITION.window)
    done = world.database.run(apply_campaign, replace(DEFINITION, weight=2.0))
    assert (done.applied, done.status) == (Applied.CHANGED, CampaignStatus.RUNNING)


def test_change_of_a_running_campaign_takes_effect_at_the_next_pass(world: World) -> None:
    campaign_id = world.add_campaign(window=DEFINITION.window, max_concurrent_calls=1)
    world.add_contacts(campaign_id, map(number, range(3)))
    service = world.service(provider := RecordingProvider())
    service.run()
    wider = replace(DEFINITION, max_concurrent_calls=None, script=Script(intro="Good evening"))
    done = world.database.run(apply_campaign, wider)
    assert (done.revision, done.status) == (2, CampaignStatus.RUNNING)
    assert any(change.startswith("max_concurrent_calls: 1") for change in done.changes)
    assert len(service.run().scheduled) == 2
    assert [request.intro_script for request in provider.requests] == [None, "Good evening", "Good evening"]
    assert [row["campaign_revision"] for row in world.attempts()] == [1, 2, 2]


@pytest.mark.parametrize("status", [CampaignStatus.COMPLETED, CampaignStatus.CANCELED])
def test_campaign_that_is_over_cannot_be_changed(world: World, status: CampaignStatus) -> None:
    world.add_campaign(status=status, window=DEFINITION.window)
    with pytest.raises(NotPossible, match=f"is {status} and cannot be changed"):
        world.database.run(apply_campaign, replace(DEFINITION, weight=2.0))
    assert world.database.run(apply_campaign, DEFINITION).applied is Applied.UNCHANGED


def test_account_must_exist(world: World) -> None:
    with pytest.raises(NotFound, match="outdial account set nowhere"):
        world.database.run(apply_campaign, replace(DEFINITION, account="nowhere"))


def test_campaign_with_an_open_call_keeps_its_account(world: World) -> None:
    world.add_account("second")
    campaign_id = world.add_campaign(window=DEFINITION.window)
    world.add_contacts(campaign_id, [number(1)])
    world.run_pass(RecordingProvider())
    with pytest.raises(NotPossible, match="1 open call"):
        world.database.run(apply_campaign, replace(DEFINITION, account="second"))
    assert stored(world).definition.account == "main"


def test_campaign_without_open_calls_may_change_its_account(world: World) -> None:
    second = world.add_account("second")
    world.add_campaign(window=DEFINITION.window)
    done = world.database.run(apply_campaign, replace(DEFINITION, account="second"))
    assert done.changes == ("call.account: main → second",)
    assert stored(world).account_id == second


def test_caller_numbers_get_rows_and_resting_ones_go_on_resting(world: World) -> None:
    def rows(connection: sa.Connection) -> dict[str, str]:
        query = sa.select(caller_numbers.c.phone_number, caller_numbers.c.state)
        return {row[0]: row[1] for row in connection.execute(query)}

    with_numbers = replace(DEFINITION, caller_numbers=("+390212345678", "+390612345678"))
    world.database.run(apply_campaign, with_numbers)
    assert world.database.run(rows) == {"+390212345678": "in_use", "+390612345678": "in_use"}
    with world.database.begin() as connection:
        connection.execute(sa.update(caller_numbers).values(state="resting"))
    world.database.run(apply_campaign, replace(with_numbers, weight=2.0))
    assert set(world.database.run(rows).values()) == {"resting"}


def test_campaign_without_windows_is_noted(world: World) -> None:
    [note] = world.database.run(apply_campaign, replace(OWN_HOURS, window=CallingWindow())).notes
    assert "every hour of the day and of the night" in note
    assert world.database.run(apply_campaign, OWN_HOURS).notes == ()


def test_campaign_that_names_no_rule_is_noted(world: World) -> None:
    [note] = world.database.run(apply_campaign, DEFINITION).notes
    assert 'rule = "auto"' in note


def test_change_that_old_contacts_do_not_see_is_noted(world: World) -> None:
    world.database.run(apply_campaign, OWN_HOURS)
    [note] = world.database.run(apply_campaign, replace(OWN_HOURS, default_time_zone="Europe/Paris")).notes
    assert note.startswith("default_time_zone counts for contacts that are imported from now on")


# --- start


def test_draft_with_contacts_starts_and_wakes_the_schedulers(world: World) -> None:
    woken: list[bool] = []
    world.add_contacts(world.add_campaign(status=CampaignStatus.DRAFT), [number(1)])
    world.database.on_wake(lambda: woken.append(True))
    moved = world.database.run(start, "survey")
    assert (moved.status, moved.has_changed) == (CampaignStatus.RUNNING, True)
    assert woken == [True]


def test_starting_twice_succeeds_and_does_nothing(world: World) -> None:
    world.add_contacts(world.add_campaign(status=CampaignStatus.DRAFT), [number(1)])
    world.database.run(start, "survey")
    assert world.database.run(start, "survey") == Moved(
        name="survey", status=CampaignStatus.RUNNING, has_changed=False
    )


def test_empty_campaign_does_not_start(world: World) -> None:
    world.add_campaign(status=CampaignStatus.DRAFT)
    with pytest.raises(NotPossible, match="outdial contacts import"):
        world.database.run(start, "survey")
    assert stored(world).status is CampaignStatus.DRAFT


def test_empty_campaign_that_waits_for_contacts_starts(world: World) -> None:
    world.add_campaign(status=CampaignStatus.DRAFT, when_empty=WhenEmpty.WAIT)
    assert world.database.run(start, "survey").status is CampaignStatus.RUNNING


def test_campaign_with_a_start_to_come_is_scheduled(world: World) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    world.add_contacts(world.add_campaign(status=CampaignStatus.DRAFT, starts_at=soon), [number(1)])
    assert world.database.run(start, "survey").status is CampaignStatus.SCHEDULED
    assert not world.database.run(start, "survey").has_changed


def test_campaign_whose_end_has_passed_does_not_start(world: World) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    world.add_contacts(world.add_campaign(status=CampaignStatus.DRAFT, ends_at=past), [number(1)])
    with pytest.raises(NotPossible, match="write a later ends_at"):
        world.database.run(start, "survey")


def test_paused_campaign_is_resumed_and_not_started(world: World) -> None:
    world.add_campaign()
    pause_it(world)
    with pytest.raises(NotPossible, match=r"wrong intro.*outdial campaign resume survey"):
        world.database.run(start, "survey")


# --- pause and resume


def test_pause_says_who_and_why(world: World) -> None:
    world.add_campaign()
    moved = pause_it(world)
    campaign = stored(world)
    assert (moved.status, moved.has_changed) == (CampaignStatus.PAUSED, True)
    assert (campaign.paused_by, campaign.paused_reason) == ("ada", "wrong intro")


def test_second_pause_keeps_the_first_reason(world: World) -> None:
    world.add_campaign()
    pause_it(world)
    moved = world.database.run(pause, "survey", paused_by="bob", reason="lunch")
    assert not moved.has_changed
    assert stored(world).paused_by == "ada"


def test_paused_campaign_starts_no_further_call(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    pause_it(world)
    provider = RecordingProvider()
    world.run_pass(provider)
    assert provider.requests == []


@pytest.mark.parametrize("status", [CampaignStatus.DRAFT, CampaignStatus.COMPLETED, CampaignStatus.CANCELED])
def test_pause_succeeds_where_nothing_dials(world: World, status: CampaignStatus) -> None:
    world.add_campaign(status=status)
    assert pause_it(world) == Moved(name="survey", status=status, has_changed=False)


def test_resumed_campaign_runs_and_forgets_its_pause(world: World) -> None:
    world.add_campaign()
    pause_it(world)
    assert world.database.run(resume, "survey").status is CampaignStatus.RUNNING
    assert (stored(world).paused_by, stored(world).paused_reason) == (None, None)
    assert not world.database.run(resume, "survey").has_changed


def test_campaign_paused_before_its_start_is_scheduled_again(world: World) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    world.add_campaign(status=CampaignStatus.SCHEDULED, starts_at=soon)
    pause_it(world)
    assert world.database.run(resume, "survey").status is CampaignStatus.SCHEDULED


def test_draft_is_not_resumed(world: World) -> None:
    world.add_campaign(status=CampaignStatus.DRAFT)
    with pytest.raises(NotPossible, match="outdial campaign start survey"):
        world.database.run(resume, "survey")


@pytest.mark.parametrize("move", [start, resume])
@pytest.mark.parametrize("status", [CampaignStatus.COMPLETED, CampaignStatus.CANCELED])
def test_campaign_that_is_over_does_not_come_back(
    world: World, status: CampaignStatus, move: Callable[[sa.Connection, str], Moved]
) -> None:
    world.add_campaign(status=status)
    with pytest.raises(NotPossible, match=f"is {status}, and that is final"):
        world.database.run(move, "survey")


# --- cancel


def test_cancel_withdraws_who_waits_and_leaves_open_calls(world: World) -> None:
    campaign_id = world.add_campaign(max_concurrent_calls=1)
    ids = world.add_contacts(campaign_id, [number(1), number(2), number(3)])
    world.run_pass(RecordingProvider())
    moved = world.database.run(cancel, "survey")
    assert (moved.status, moved.has_changed, moved.withdrawn) == (CampaignStatus.CANCELED, True, 2)
    assert world.contacts_in(ContactState.IN_PROGRESS) == 1
    withdrawn = [row for row in map(world.contact, ids) if row["state"] == ContactState.WITHDRAWN]
    assert {row["final_reason"] for row in withdrawn} == {"campaign_canceled"}


def test_cancel_goes_on_batch_by_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "WITHDRAWN_AT_ONCE", 2)
    world.add_contacts(world.add_campaign(), map(number, range(5)))
    done = [world.database.run(cancel, "survey") for _ in range(4)]
    assert [(one.withdrawn, one.has_more) for one in done] == [(2, True), (2, True), (1, False), (0, False)]
    assert [one.has_changed for one in done] == [True, False, False, False]


def test_cancel_of_a_completed_campaign_succeeds_and_does_nothing(world: World) -> None:
    world.add_campaign(status=CampaignStatus.COMPLETED)
    assert world.database.run(cancel, "survey") == Moved(
        name="survey", status=CampaignStatus.COMPLETED, has_changed=False
    )


# --- looking at them


@pytest.mark.parametrize("look", [start, resume, cancel, campaign_progress])
def test_unknown_campaign_is_not_found(world: World, look: Callable[[sa.Connection, str], object]) -> None:
    with pytest.raises(NotFound, match="There is no campaign 'survey'"):
        world.database.run(look, "survey")


def test_progress_counts_contacts_by_state_and_open_calls(world: World) -> None:
    world.add_contacts(world.add_campaign(max_concurrent_calls=1), map(number, range(4)))
    world.run_pass(RecordingProvider())
    progress = world.database.run(campaign_progress, "survey")
    assert progress.contacts == {ContactState.PENDING: 3, ContactState.IN_PROGRESS: 1}
    assert (progress.total, progress.open_calls) == (4, 1)
    assert [one.campaign.definition.name for one in world.database.run(list_campaigns)] == ["survey"]
