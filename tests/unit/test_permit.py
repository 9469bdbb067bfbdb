"""Whether a zone may be called now, and the facts that are stored with a yes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from outdial.domain.accepted_rules import RulesInForce
from outdial.domain.campaign import CallOptions, CampaignDefinition, Purpose
from outdial.domain.permit import Permit, Reason, Refusal, Terms, next_lawful_start, zone_permit
from outdial.domain.rules import RuleBook
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
    rules: RuleBook | None = None,
    accepted: Mapping[str, int] | None = None,
    **definition: object,
) -> Permit | Refusal:
    given = {"purpose": Purpose.SURVEY, "account": "main", "window": NINE_TO_FIVE, **definition}
    whole = CampaignDefinition(name="survey", **given)
    terms = Terms(
        rules=RulesInForce(rules or RuleBook(()), accepted),
        scheduler_time_zone=scheduler_time_zone,
        blocked_countries=dict.fromkeys(blocked, "no"),
    )
    return zone_permit(whole, zone, at, terms)


def until(permit: Permit | Refusal) -> datetime | None:
    assert isinstance(permit, Permit), permit
    return permit.until


def test_an_open_window_permits_until_a_guard_before_it_closes() -> None:
    # The phone may ring for 30 seconds, and half a minute is for the provider.
    assert until(answer()) == datetime(2026, 3, 2, 15, 59, tzinfo=UTC)


def test_the_guard_is_as_long_as_the_campaign_says() -> None:
    assert until(answer(guard_seconds=600)) == datetime(2026, 3, 2, 15, 50, tzinfo=UTC)


def test_the_guard_is_longer_where_the_phone_rings_longer() -> None:
    call = CallOptions(ring_timeout_seconds=60)
    assert until(answer(call=call)) == datetime(2026, 3, 2, 15, 58, 30, tzinfo=UTC)


def test_within_the_guard_no_call_leaves() -> None:
    closes_at = datetime(2026, 3, 2, 16, 0, tzinfo=UTC)
    answers = [answer(at=closes_at - timedelta(seconds=before)) for before in (61, 60, 1)]
    assert isinstance(answers[0], Permit)
    assert answers[1:] == [Refusal(reason=Reason.CLOSING_SOON, until=closes_at)] * 2


def test_a_window_shorter_than_the_guard_never_opens() -> None:
    short = CallingWindow(weekly=(WeeklyWindow(days=frozenset(range(7)), start_minute=600, end_minute=601),))
    definition = CampaignDefinition(name="survey", purpose=Purpose.SURVEY, account="main", window=short)
    terms = Terms(rules=RulesInForce(RuleBook(())), scheduler_time_zone="UTC", blocked_countries={})
    assert next_lawful_start(definition, ROME, AT, terms) is None


def test_a_closed_window_refuses_until_it_opens() -> None:
    closed = answer(at=AT + timedelta(hours=9))
    assert closed == Refusal(reason=Reason.WINDOW_CLOSED, until=datetime(2026, 3, 3, 8, 0, tzinfo=UTC))


def test_a_permit_ends_with_the_campaign() -> None:
    ends_at = AT + timedelta(minutes=5)
    assert until(answer(ends_at=ends_at)) == ends_at


def test_a_window_without_hours_permits_without_end() -> None:
    assert until(answer(window=CallingWindow())) is None


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
