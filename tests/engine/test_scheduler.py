"""One pass of the scheduler: from due contacts to recorded answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from outdial.domain.attempt import Ending, EventKind
from outdial.domain.campaign import CallOptions, CampaignStatus
from outdial.domain.contact import ContactState
from outdial.domain.errors import (
    AccountRejected,
    CallerRejected,
    CallRejected,
    DestinationRejected,
    InDoubt,
    NotPlaced,
    NumberRejected,
    ProviderUnreachable,
    RateLimited,
    TelephonyProviderError,
)
from outdial.domain.ids import CampaignId
from outdial.domain.retries import RetryPolicy
from outdial.domain.settle import Outcome
from outdial.domain.windows import CallingWindow, WeeklyWindow
from outdial.domain.zones import CallingZone, ZoneSource
from outdial.storage import accounts, campaigns
from outdial.storage.database import database_now
from tests.support.excluded import exclude_numbers
from tests.support.world import ROME, RecordingProvider, World, event, number, refusing


def closed_now() -> CallingWindow:
    """A window that is open every day, except on the dates around now."""
    today = datetime.now(UTC).date()
    return CallingWindow(closed_dates=frozenset(today + timedelta(days=days) for days in range(-1, 2)))


def test_a_call_goes_from_due_to_settled(world: World) -> None:
    campaign = world.add_campaign()
    (contact,) = world.add_contacts(campaign, [number(1)])
    provider = RecordingProvider()
    result = world.run_pass(provider)
    (scheduled,) = result.scheduled
    assert scheduled.contact_id == contact
    assert provider.requests[0].to == number(1)
    assert provider.requests[0].from_number == "+390612345678"
    assert provider.requests[0].metadata["contact_id"] == str(contact)
    assert world.contact(contact)["state"] == ContactState.IN_PROGRESS
    world.hear(event(EventKind.ANSWERED, scheduled.call_id))
    world.hear(event(EventKind.ENDED, scheduled.call_id, ending=Ending.ANSWERED, result="completed"))
    (attempt,) = world.attempts()
    assert attempt["outcome"] == Outcome.COMPLETED
    assert attempt["settled_at"] is not None
    row = world.contact(contact)
    assert (row["state"], row["attempts_count"]) == (ContactState.COMPLETED, 1)


def test_capacity_is_lines_less_open_calls(world: World) -> None:
    world.set_account(max_concurrent_calls=3)
    campaign = world.add_campaign()
    world.add_contacts(campaign, map(number, range(5)))
    first = world.run_pass(RecordingProvider())
    assert (len(first.scheduled), first.capacity, first.capacity_used_up) == (3, 3, True)
    second = world.run_pass(RecordingProvider())
    assert (len(second.scheduled), second.capacity) == (0, 0)
    world.hear(event(EventKind.ENDED, first.scheduled[0].call_id, ending=Ending.BUSY))
    third = world.run_pass(RecordingProvider())
    assert len(third.scheduled) == 1


def test_campaign_keeps_its_own_limit(world: World) -> None:
    campaign = world.add_campaign(max_concurrent_calls=2)
    world.add_contacts(campaign, map(number, range(5)))
    assert len(world.run_pass(RecordingProvider()).scheduled) == 2
    again = world.run_pass(RecordingProvider())
    assert len(again.scheduled) == 0
    assert again.held["campaign_limit"] == 1


def test_lines_that_one_campaign_cannot_use_go_to_the_other_in_the_same_pass(world: World) -> None:
    small, large = world.add_campaign("small"), world.add_campaign("large")
    world.add_contacts(small, [number(0)])
    world.add_contacts(large, map(number, range(1, 40)))
    result = world.run_pass(RecordingProvider(), batch_size=20)
    by_campaign = [one.campaign_id for one in result.scheduled]
    assert (by_campaign.count(small), by_campaign.count(large)) == (1, 19)


def test_closed_windows_never_starve_open_ones(world: World) -> None:
    closed = world.add_campaign("closed", window=closed_now())
    opened = world.add_campaign("open")
    world.add_contacts(closed, map(number, range(200)), due_in=timedelta(days=-2))
    world.add_contacts(opened, map(number, range(200, 230)))
    result = world.run_pass(RecordingProvider(), batch_size=25)
    assert {one.campaign_id for one in result.scheduled} == {opened}
    assert len(result.scheduled) == 25
    assert result.held["window_closed"] == 1


def test_all_candidate_zones_must_be_open(world: World) -> None:
    minute = datetime.now(UTC).hour * 60
    window = CallingWindow(
        weekly=(
            WeeklyWindow(
                days=frozenset(range(7)), start_minute=minute, end_minute=(minute + 60) % 1440 or 1440
            ),
        )
    )
    both = CallingZone(time_zones=("Asia/Kolkata", "UTC"), country=None, source=ZoneSource.CONTACT)
    utc = CallingZone(time_zones=("UTC",), country=None, source=ZoneSource.CONTACT)
    campaign = world.add_campaign(window=window)
    world.add_contacts(campaign, [number(1)], zone=both)
    (open_contact,) = world.add_contacts(campaign, [number(2)], zone=utc)
    result = world.run_pass(RecordingProvider())
    assert [one.contact_id for one in result.scheduled] == [open_contact]
    assert result.next_due_at is not None


def test_an_unknown_zone_is_closed(world: World) -> None:
    unknown = CallingZone(time_zones=(), country=None, source=ZoneSource.UNKNOWN)
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1)], zone=unknown)
    result = world.run_pass(RecordingProvider())
    assert not result.scheduled
    assert result.held == {"unknown_zone": 1}


def test_campaign_without_any_zone_takes_the_schedulers(world: World) -> None:
    unknown = CallingZone(time_zones=(), country=None, source=ZoneSource.UNKNOWN)
    campaign = world.add_campaign(default_time_zone=None)
    world.add_contacts(campaign, [number(1)], zone=unknown)
    assert len(world.run_pass(RecordingProvider()).scheduled) == 1


def test_a_number_has_one_open_call_over_all_campaigns(world: World) -> None:
    one, other = world.add_campaign("one"), world.add_campaign("other")
    world.add_contacts(one, [number(1)])
    (second,) = world.add_contacts(other, [number(1)])
    first = world.run_pass(RecordingProvider())
    assert len(first.scheduled) == 1
    assert first.skipped == {"number_busy": 1}
    assert world.contact(second)["state"] == ContactState.PENDING
    world.make_due()
    assert world.run_pass(RecordingProvider()).skipped == {"number_busy": 1}
    world.hear(event(EventKind.ENDED, first.scheduled[0].call_id, ending=Ending.ANSWERED, result="completed"))
    world.make_due()
    assert [call.contact_id for call in world.run_pass(RecordingProvider()).scheduled] == [second]


def test_an_excluded_number_is_never_called_and_its_contact_is_final(world: World) -> None:
    campaign = world.add_campaign()
    (contact,) = world.add_contacts(campaign, [number(1)])

    def exclude(connection: sa.Connection) -> None:
        exclude_numbers(connection, [number(1)], reason="asked", source="test", at=database_now(connection))

    world.database.run(exclude)
    provider = RecordingProvider()
    result = world.run_pass(provider)
    assert not provider.requests
    assert result.skipped == {"excluded": 1}
    assert world.contact(contact)["state"] == ContactState.EXCLUDED


@pytest.mark.parametrize("status", [CampaignStatus.DRAFT, CampaignStatus.PAUSED, CampaignStatus.CANCELED])
def test_only_running_campaigns_are_called(world: World, status: CampaignStatus) -> None:
    campaign = world.add_campaign(status=status)
    world.add_contacts(campaign, [number(1)])
    assert not world.run_pass(RecordingProvider()).scheduled


def test_order_is_priority_then_first_calls(world: World) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1)], priority=0)
    world.add_contacts(campaign, [number(2)], priority=5)
    provider = RecordingProvider()
    world.run_pass(provider, batch_size=1)
    assert [request.to for request in provider.requests] == [number(2)]


def test_batch_size_bounds_a_pass(world: World) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, map(number, range(50)))
    result = world.run_pass(RecordingProvider(), batch_size=10)
    assert len(result.scheduled) == 10
    assert not result.capacity_used_up


def test_rate_reserves_at_most_one_second_ahead(world: World) -> None:
    world.set_account(calls_per_second=5)
    campaign = world.add_campaign()
    world.add_contacts(campaign, map(number, range(50)))
    result = world.run_pass(RecordingProvider(), batch_size=50)
    assert 4 <= len(result.scheduled) <= 6
    again = world.run_pass(RecordingProvider(), batch_size=50)
    assert len(again.scheduled) <= 6


# One row per row of the design's table: (error, contact's state, attempt's state, whether it counts, who is held).
ANSWERS = [
    (ProviderUnreachable("refused"), ContactState.PENDING, "ended", 0),
    (NotPlaced("412"), ContactState.PENDING, "ended", 0),
    (RateLimited("429", retry_after=5.0), ContactState.PENDING, "ended", 0),
    (NumberRejected("bad", error_code="invalid_number"), ContactState.UNREACHABLE, "ended", 1),
    (CallerRejected("caller"), ContactState.PENDING, "ended", 0),
    (DestinationRejected("geo"), ContactState.PENDING, "ended", 0),
    (AccountRejected("401"), ContactState.PENDING, "ended", 0),
    (CallRejected("400"), ContactState.PENDING, "ended", 0),
    (InDoubt("timeout"), ContactState.IN_PROGRESS, "in_doubt", 0),
    (RuntimeError("a provider object of the host's own"), ContactState.IN_PROGRESS, "in_doubt", 0),
]


@pytest.mark.parametrize(
    ("error", "contact_state", "state", "counted"), ANSWERS, ids=lambda v: type(v).__name__
)
def test_what_each_answer_means(
    world: World, error: TelephonyProviderError, contact_state: ContactState, state: str, counted: int
) -> None:
    campaign = world.add_campaign(retry=RetryPolicy(max_attempts=3))
    (contact,) = world.add_contacts(campaign, [number(1)])
    world.run_pass(RecordingProvider(refusing(error)))
    row = world.contact(contact)
    assert row["state"] == contact_state
    assert row["attempts_count"] == counted
    (attempt,) = world.attempts()
    assert attempt["state"] == state
    assert (attempt["ended_at"] is None) == (state == "in_doubt")


def test_in_doubt_holds_its_line_and_is_never_dialed_again(world: World) -> None:
    world.set_account(max_concurrent_calls=1)
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1), number(2)])
    world.run_pass(RecordingProvider(refusing(InDoubt("timeout"))))
    world.make_due()
    provider = RecordingProvider()
    result = world.run_pass(provider)
    assert (result.capacity, provider.requests) == (0, [])


def test_provider_failure_is_logged_as_the_how_to_says(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1)])
    world.run_pass(RecordingProvider(refusing(InDoubt("timeout"))))
    assert "Telephony provider failure" in caplog.text
    assert number(1) not in caplog.text


def test_a_refused_account_is_suspended_and_dials_no_more(world: World) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1), number(2)])
    world.run_pass(RecordingProvider(refusing(AccountRejected("no credit"))), batch_size=1)
    provider = RecordingProvider()
    result = world.run_pass(provider)
    assert not provider.requests
    assert "account_suspended" in result.held
    with world.database.begin() as connection:
        account = accounts.by_id(connection, world.account_id)
    assert account is not None
    assert "no credit" in str(account.suspended_reason)


def test_a_blocked_country_waits_and_others_go_on(world: World) -> None:
    france = CallingZone(time_zones=("Europe/Paris",), country="FR", source=ZoneSource.CONTACT)
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1), number(2)], priority=1)
    (french,) = world.add_contacts(campaign, ["+33612345678"], zone=france)
    world.run_pass(RecordingProvider(refusing(DestinationRejected("geo"))), batch_size=1)
    result = world.run_pass(RecordingProvider())
    assert [one.contact_id for one in result.scheduled] == [french]
    assert result.held["destination_blocked"] >= 1


def test_a_refused_caller_number_rests(world: World) -> None:
    campaign = world.add_campaign(caller_numbers=("+390611111111", "+390622222222"))
    world.add_contacts(campaign, map(number, range(6)))
    refused = RecordingProvider(refusing(CallerRejected("not yours")))
    world.run_pass(refused, batch_size=1)
    rested = refused.requests[0].from_number
    provider = RecordingProvider()
    world.run_pass(provider)
    assert provider.requests
    assert rested not in {request.from_number for request in provider.requests}


def test_five_wrong_requests_in_a_row_pause_the_campaign_and_burn_nobody(world: World) -> None:
    campaign = world.add_campaign()
    contacts = world.add_contacts(campaign, map(number, range(8)))
    world.run_pass(RecordingProvider(refusing(CallRejected("bad field"))))
    world.make_due()
    assert not world.run_pass(RecordingProvider()).scheduled
    assert {world.contact(contact)["attempts_count"] for contact in contacts} == {0}
    assert world.contacts_in(ContactState.PENDING) == 8


def test_a_rate_limited_account_backs_off(world: World) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, map(number, range(3)))
    world.run_pass(RecordingProvider(refusing(RateLimited("slow", retry_after=30))), batch_size=1)
    world.make_due()
    result = world.run_pass(RecordingProvider())
    assert not result.scheduled
    assert "account_backing_off" in result.held


def test_a_busy_contact_waits_its_retry_and_is_given_up_after_its_attempts(world: World) -> None:
    retry = RetryPolicy(max_attempts=2, delays={Outcome.BUSY: (timedelta(minutes=10),)})
    campaign = world.add_campaign(retry=retry)
    (contact,) = world.add_contacts(campaign, [number(1)])
    for count in (1, 2):
        (scheduled,) = world.run_pass(RecordingProvider()).scheduled
        before = datetime.now(UTC)
        world.hear(event(EventKind.ENDED, scheduled.call_id, ending=Ending.BUSY))
        row = world.contact(contact)
        assert row["attempts_count"] == count
        if count == 1:
            assert row["state"] == ContactState.PENDING
            assert row["next_attempt_at"] >= before + timedelta(minutes=10)
            assert not world.run_pass(RecordingProvider()).scheduled
            world.make_due()
    assert (row["state"], row["final_reason"]) == (ContactState.NOT_REACHED, "busy")


def test_an_answered_call_waits_for_its_result_and_then_settles_without(world: World) -> None:
    options = CallOptions(result_timeout_seconds=60)
    campaign = world.add_campaign(call=options)
    (contact,) = world.add_contacts(campaign, [number(1)])
    (scheduled,) = world.run_pass(RecordingProvider()).scheduled
    world.hear(event(EventKind.ENDED, scheduled.call_id, ending=Ending.ANSWERED))
    (attempt,) = world.attempts()
    assert attempt["ended_at"] is not None
    assert attempt["settled_at"] is None
    assert world.contact(contact)["state"] == ContactState.IN_PROGRESS
    assert world.run_pass(RecordingProvider()).capacity == 100
    world.shift_attempts(61)
    world.run_pass(RecordingProvider())
    (attempt,) = world.attempts()
    assert attempt["outcome"] == Outcome.NO_RESULT


def test_a_campaign_completes_in_a_pass_when_its_last_contact_is_final(world: World) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1)])
    (scheduled,) = world.run_pass(RecordingProvider()).scheduled
    world.hear(event(EventKind.ENDED, scheduled.call_id, ending=Ending.ANSWERED, result="completed"))
    world.run_pass(RecordingProvider())
    with world.database.begin() as connection:
        assert campaigns.load(connection, [campaign])[campaign].status is CampaignStatus.COMPLETED


def test_a_campaign_does_not_complete_while_a_call_is_open_though_its_contact_is_final(world: World) -> None:
    """The result of the first call comes while the second is under way."""
    campaign = world.add_campaign(retry=RetryPolicy(max_attempts=3, default_delay=timedelta()))
    (contact,) = world.add_contacts(campaign, [number(1)])
    (first,) = world.run_pass(RecordingProvider()).scheduled
    world.hear(event(EventKind.ENDED, first.call_id, ending=Ending.ANSWERED))
    world.shift_attempts(3600)
    (second,) = world.run_pass(RecordingProvider()).scheduled
    world.hear(event(EventKind.RESULT, first.call_id, result="completed"))
    assert world.contact(contact)["state"] == ContactState.COMPLETED
    world.run_pass(RecordingProvider())
    assert status_of(world, campaign) is CampaignStatus.RUNNING
    world.hear(event(EventKind.ENDED, second.call_id, ending=Ending.NO_ANSWER))
    world.run_pass(RecordingProvider())
    assert status_of(world, campaign) is CampaignStatus.COMPLETED


def status_of(world: World, campaign: CampaignId) -> CampaignStatus:
    with world.database.begin() as connection:
        return campaigns.load(connection, [campaign])[campaign].status


def test_an_opt_out_in_an_event_excludes_the_number(world: World) -> None:
    campaign = world.add_campaign(retry=RetryPolicy(max_attempts=3, default_delay=timedelta()))
    world.add_contacts(campaign, [number(1)])
    (scheduled,) = world.run_pass(RecordingProvider()).scheduled
    world.hear(event(EventKind.ENDED, scheduled.call_id, ending=Ending.BUSY, opt_out=True))
    world.make_due()
    provider = RecordingProvider()
    world.run_pass(provider)
    assert not provider.requests


def test_a_zone_of_its_own_is_stored_with_the_permit(world: World) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1)], zone=ROME)
    world.run_pass(RecordingProvider())
    (attempt,) = world.attempts()
    assert attempt["permit"]["calling_zone"] == ["Europe/Rome"]


def test_a_call_under_way_when_its_campaign_is_canceled_leaves_nobody_waiting(world: World) -> None:
    campaign = world.add_campaign(retry=RetryPolicy(max_attempts=3))
    (contact,) = world.add_contacts(campaign, [number(1)])
    (scheduled,) = world.run_pass(RecordingProvider()).scheduled
    world.set_status(campaign, CampaignStatus.CANCELED)
    world.hear(event(EventKind.ENDED, scheduled.call_id, ending=Ending.BUSY))
    world.run_pass(RecordingProvider())
    assert world.contact(contact)["state"] == ContactState.WITHDRAWN


def test_contacts_of_a_campaign_past_its_end_expire_and_it_completes(world: World) -> None:
    ended = datetime.now(UTC) - timedelta(minutes=1)
    campaign = world.add_campaign(ends_at=ended)
    (contact,) = world.add_contacts(campaign, [number(1)])
    provider = RecordingProvider()
    world.run_pass(provider)
    assert not provider.requests
    assert world.contact(contact)["state"] == ContactState.EXPIRED
    with world.database.begin() as connection:
        assert campaigns.load(connection, [campaign])[campaign].status is CampaignStatus.COMPLETED
