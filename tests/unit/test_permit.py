"""Whether a zone may be called now, and the facts that are stored with a yes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from outdial.domain.campaign import CampaignDefinition, Purpose
from outdial.domain.permit import Permit, Reason, Refusal, zone_permit
from outdial.domain.windows import CallingWindow, WeeklyWindow
from outdial.domain.zones import CallingZone, ZoneSource

# A Monday, ten o'clock in Rome.
AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NINE_TO_FIVE = CallingWindow(
    weekly=(WeeklyWindow(days=frozenset(range(5)), start_minute=9 * 60, end_minute=17 * 60),)
)
ROME = CallingZone(time_zones=("Europe/Rome",), country="IT", source=ZoneSource.CONTACT)
UNKNOWN = CallingZone(time_zones=(), country=None, source=ZoneSource.UNKNOWN)


def answer(
    zone: CallingZone = ROME,
    at: datetime = AT,
    blocked: tuple[str, ...] = (),
    scheduler_time_zone: str = "UTC",
    **definition: object,
) -> Permit | Refusal:
    given = {"purpose": Purpose.SURVEY, "account": "main", "window": NINE_TO_FIVE, **definition}
    whole = CampaignDefinition(name="survey", **given)
    return zone_permit(
        whole,
        zone,
        at,
        scheduler_time_zone=scheduler_time_zone,
        blocked_countries=dict.fromkeys(blocked, "no"),
    )


def test_an_open_window_permits_until_it_closes() -> None:
    assert answer() == Permit(until=datetime(2026, 3, 2, 16, 0, tzinfo=UTC), zone=ROME)


def test_a_closed_window_refuses_until_it_opens() -> None:
    closed = answer(at=AT + timedelta(hours=9))
    assert closed == Refusal(reason=Reason.WINDOW_CLOSED, until=datetime(2026, 3, 3, 8, 0, tzinfo=UTC))


def test_a_permit_ends_with_the_campaign() -> None:
    ends_at = AT + timedelta(minutes=5)
    assert answer(ends_at=ends_at) == Permit(until=ends_at, zone=ROME)


def test_a_window_without_hours_permits_without_end() -> None:
    assert answer(window=CallingWindow()) == Permit(until=None, zone=ROME)


def test_one_closed_candidate_zone_refuses() -> None:
    both = CallingZone(time_zones=("America/New_York", "Europe/Rome"), country=None, source=ZoneSource.NUMBER)
    assert answer(both).reason is Reason.WINDOW_CLOSED


def test_a_blocked_country_refuses_whatever_the_hour() -> None:
    assert answer(blocked=("IT",)) == Refusal(reason=Reason.DESTINATION_BLOCKED, until=None)


def test_another_blocked_country_refuses_nobody_here() -> None:
    assert isinstance(answer(blocked=("FR",)), Permit)


def test_an_unknown_zone_refuses() -> None:
    refused = answer(UNKNOWN, default_time_zone="Europe/Rome")
    assert refused == Refusal(reason=Reason.UNKNOWN_ZONE, until=None)


def test_the_schedulers_zone_serves_a_campaign_that_was_written_without_one() -> None:
    permits = [
        isinstance(answer(UNKNOWN, scheduler_time_zone=name), Permit)
        for name in ("Europe/Rome", "America/New_York")
    ]
    assert permits == [True, False]


def test_the_facts_tell_the_wall_clock_of_every_candidate_zone() -> None:
    both = CallingZone(time_zones=("Asia/Kolkata", "Europe/Rome"), country=None, source=ZoneSource.NUMBER)
    permit = answer(both)
    assert isinstance(permit, Permit)
    assert permit.facts(AT)["local_time"] == {
        "Asia/Kolkata": "2026-03-02T14:30:00+05:30",
        "Europe/Rome": "2026-03-02T10:00:00+01:00",
    }


def test_the_facts_tell_when_the_permit_ends() -> None:
    permit = answer()
    assert isinstance(permit, Permit)
    assert permit.facts(AT)["open_until"] == "2026-03-02T16:00:00+00:00"
