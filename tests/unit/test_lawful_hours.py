"""A campaign's window and rules together, against a walk over every minute that asks each window by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache

import holidays
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from outdial.domain.campaign import Purpose
from outdial.domain.holiday_calendar import easter_sunday, holiday_on, holidays_of, subdivisions_of
from outdial.domain.lawful_hours import LawfulHours, lawful_hours
from outdial.domain.rules import (
    Basis,
    Blackout,
    Confidence,
    EarlyClosing,
    EvePolicy,
    ExtraHoliday,
    HolidayPolicy,
    HolidayScope,
    Rule,
)
from outdial.domain.windows import (
    HORIZON,
    MINUTES_A_DAY,
    CallingWindow,
    WeeklyWindow,
    explain,
    is_open,
    next_closing,
    next_opening,
    state_of,
)
from outdial.domain.zones import zone

MINUTE = timedelta(minutes=1)
WALK_MINUTES = 3 * MINUTES_A_DAY
WEEKDAYS = WeeklyWindow(days=frozenset(range(5)), start_minute=540, end_minute=1200)
EVERY_DAY = WeeklyWindow(days=frozenset(range(7)), start_minute=540, end_minute=1200)
PLAIN = Rule(
    id="plain",
    version=1,
    purposes=frozenset(Purpose),
    windows=(EVERY_DAY,),
    holidays=HolidayPolicy.OPEN,
    source="a test",
    as_of="2026",
    confidence=Confidence.HIGH,
    basis=Basis.OWN,
)


# The brute force: no spans, no offsets, no caches. For each minute, does a window that started today or yesterday hold it?


def rule_is_open(rule: Rule, names: Sequence[str], country: str, at: datetime) -> bool:
    return all(rule_is_open_in(rule, country, wall_clock(name, at)) for name in names)


def rule_is_open_in(rule: Rule, country: str, local: datetime) -> bool:
    if rule.holidays is HolidayPolicy.CLOSED and is_holiday(rule, country, local.date()):
        return False
    if any(one.from_local <= local < one.until_local for one in rule.blackouts):
        return False
    return any(covers(rule, country, local.date() - timedelta(days=days), local) for days in (0, 1))


def covers(rule: Rule, country: str, day: date, local: datetime) -> bool:
    """Whether a window that starts on that date holds the local time."""
    weekdays = {day.weekday()}
    if is_holiday(rule, country, day) and rule.holidays is HolidayPolicy.CLOSED:
        return False
    if is_holiday(rule, country, day) and rule.holidays is HolidayPolicy.AS_SUNDAY:
        weekdays = {6}
    elif rule.holiday_eves is EvePolicy.AS_SATURDAY and is_holiday(rule, country, day + timedelta(days=1)):
        weekdays |= {5}
    minute = (local - midnight(day)) / MINUTE
    for closing in rule.early_closings:
        if (closing.month, closing.day) == (day.month, day.day) and minute >= closing.end_minute:
            return False
    return all(any(holds(window, weekday, minute) for window in rule.windows) for weekday in weekdays)


def holds(window: WeeklyWindow, weekday: int, minute: float) -> bool:
    end = window.end_minute + (MINUTES_A_DAY if window.end_minute <= window.start_minute else 0)
    return weekday in window.days and window.start_minute <= minute < end


def is_holiday(rule: Rule, country: str, day: date) -> bool:
    named = {(one.month, one.day) for one in rule.more_holidays}
    return is_in_package(country, day) or (day.month, day.day) in named


@cache
def is_in_package(country: str, day: date) -> bool:
    return day in holidays.country_holidays(country, years=day.year)


@cache
def midnight(day: date) -> datetime:
    """Naive, as wall clocks are."""
    return datetime.combine(day, time())


@cache
def wall_clock(name: str, instant: datetime) -> datetime:
    return instant.astimezone(zone(name)).replace(tzinfo=None)


def campaign_is_open(window: CallingWindow, names: Sequence[str], at: datetime) -> bool:
    for name in names:
        local = wall_clock(name, at)
        if local.date() in window.closed_dates:
            return False
        days = [local.date() - timedelta(days=days) for days in (0, 1)]
        if window.weekly and not any(
            day not in window.closed_dates
            and any(holds(one, day.weekday(), (local - midnight(day)) / MINUTE) for one in window.weekly)
            for day in days
        ):
            return False
    return True


ZONES = [
    "Europe/Rome",
    "America/New_York",
    "America/Phoenix",
    "America/Denver",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
    "Pacific/Honolulu",
    "Pacific/Chatham",
    "Africa/Casablanca",
    "Africa/Cairo",
    "America/St_Johns",
    "America/Vancouver",
    "Asia/Kolkata",
]
# Days before something happens: clocks that change, holidays, eves, a leap day, the turn of a year.
STARTS = [
    date(2026, 3, 7),
    date(2026, 3, 28),
    date(2026, 4, 3),
    date(2026, 4, 22),
    date(2026, 10, 3),
    date(2026, 10, 30),
    date(2026, 12, 5),
    date(2026, 12, 23),
    date(2027, 12, 30),
    date(2028, 2, 27),
    date(2026, 2, 14),
    date(2026, 9, 18),
]
minutes = st.integers(0, MINUTES_A_DAY - 1)


@st.composite
def weekly_windows(draw: st.DrawFn) -> WeeklyWindow:
    start, end = draw(minutes), draw(st.integers(0, MINUTES_A_DAY))
    if start == end:
        end = start + 1
    return WeeklyWindow(
        days=draw(st.frozensets(st.integers(0, 6), min_size=1)), start_minute=start, end_minute=end
    )


@st.composite
def rules(draw: st.DrawFn, start: date) -> Rule:
    near = start + timedelta(days=draw(st.integers(0, 3)))
    begins = midnight(near) + draw(minutes) * MINUTE
    return replace(
        PLAIN,
        id=draw(st.sampled_from(["one", "two"])),
        windows=tuple(draw(st.lists(weekly_windows(), min_size=1, max_size=3))),
        holidays=draw(st.sampled_from(HolidayPolicy)),
        holidays_of=HolidayScope.COUNTRY,
        holiday_eves=draw(st.sampled_from(EvePolicy)),
        more_holidays=draw(st.sampled_from([(), (ExtraHoliday(name="x", month=near.month, day=near.day),)])),
        early_closings=draw(
            st.sampled_from(
                [(), (EarlyClosing(month=near.month, day=near.day, end_minute=draw(st.integers(1, 1440))),)]
            )
        ),
        blackouts=draw(
            st.sampled_from(
                [
                    (),
                    (Blackout(from_local=begins, until_local=begins + timedelta(hours=30), reason="x"),),
                    (Blackout(from_local=begins, until_local=begins + timedelta(hours=1), reason="x"),),
                ]
            )
        ),
        fixed_zones=draw(st.sampled_from([(), (), ("Etc/GMT+6",)])),
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_answers_agree_with_a_walk_over_every_minute(data: st.DataObject) -> None:
    start = data.draw(st.sampled_from(STARTS))
    names = tuple(data.draw(st.lists(st.sampled_from(ZONES), min_size=1, max_size=3, unique=True)))
    country = data.draw(st.sampled_from(["IT", "US", "FR"]))
    chosen = tuple(data.draw(st.lists(rules(start), max_size=2)))
    closed = data.draw(st.sampled_from([frozenset(), frozenset({start + timedelta(days=1)})]))
    window = CallingWindow(
        weekly=tuple(data.draw(st.lists(weekly_windows(), max_size=2))), closed_dates=closed
    )
    hours = LawfulHours(window, chosen, country, None)
    begin = midnight(start).replace(tzinfo=UTC)
    walk = [
        campaign_is_open(window, names, at)
        and all(
            rule_is_open(rule, names, country, at) and rule_is_open(rule, rule.fixed_zones, country, at)
            for rule in chosen
        )
        for at in (begin + minute * MINUTE for minute in range(WALK_MINUTES))
    ]
    changes = [minute for minute in range(1, WALK_MINUTES) if walk[minute] is not walk[minute - 1]]
    asked = {0, *changes, *(change - 1 for change in changes), data.draw(st.integers(0, WALK_MINUTES - 1))}
    for minute in sorted(asked):
        at = begin + minute * MINUTE
        assert is_open(hours, names, at) is walk[minute], at
        assert is_open(hours, names, at + timedelta(seconds=59)) is walk[minute], at
        agrees(next_opening(hours, names, at), walk, minute, begin, wanted=True)
        agrees(next_closing(hours, names, at), walk, minute, begin, wanted=False)
        state = state_of(hours, names, at)
        assert state.is_open is walk[minute]
        if state.until is not None and state.until < begin + WALK_MINUTES * MINUTE:
            until = (state.until - begin) // MINUTE
            assert all(answer is walk[minute] for answer in walk[minute:until])
        said = explain(hours, names, at)
        assert said.startswith("open" if walk[minute] else "closed"), said


def agrees(found: datetime | None, walk: list[bool], minute: int, begin: datetime, *, wanted: bool) -> None:
    expected = next((later for later in range(minute, WALK_MINUTES) if walk[later] is wanted), None)
    if expected is not None:
        assert found == begin + expected * MINUTE
    elif found is not None:
        assert found >= begin + WALK_MINUTES * MINUTE


# What rules do, one by one


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


ROME = ("Europe/Rome",)
IN_ROME = "Europe/Rome"


def hours(rule: Rule, country: str | None = "IT", subdivision: str | None = None) -> LawfulHours:
    return lawful_hours(CallingWindow(), (rule,), country, subdivision)


def test_schedule_that_never_opens_says_so_at_once() -> None:
    one_minute = replace(PLAIN, windows=(replace(WEEKDAYS, start_minute=0, end_minute=1),))
    other_minute = replace(PLAIN, id="b", windows=(replace(WEEKDAYS, start_minute=1, end_minute=2),))
    never = lawful_hours(CallingWindow(), (one_minute, other_minute), "IT")
    now = at("2026-11-23T10:00:00Z")
    assert next_opening(never, ROME, now) is None
    assert f"never open in the next {HORIZON.days} days" in explain(never, ROME, now)
    assert state_of(never, ROME, now).until == now + HORIZON


def test_no_zone_is_closed_for_ever() -> None:
    assert not is_open(hours(PLAIN), (), at("2026-11-23T10:00:00Z"))
    assert next_opening(hours(PLAIN), (), at("2026-11-23T10:00:00Z")) is None


def test_eve_on_a_sunday_keeps_the_sunday_closed() -> None:
    # 24 April 2027 is a Saturday; 31 October 2027 a Sunday before All Saints' Day.
    rule = replace(
        PLAIN,
        windows=(WEEKDAYS, replace(WEEKDAYS, days=frozenset({5}), end_minute=1140)),
        holidays=HolidayPolicy.CLOSED,
        holiday_eves=EvePolicy.AS_SATURDAY,
        holidays_of=HolidayScope.COUNTRY,
    )
    assert not is_open(hours(rule), ROME, at("2027-10-31T11:00:00+01:00"))


def test_holidays_of_every_subdivision_count_while_it_is_unknown() -> None:
    rule = replace(PLAIN, holidays=HolidayPolicy.CLOSED)
    patron_of_milan = at("2026-12-07T11:00:00+01:00")
    assert not is_open(hours(rule), ROME, patron_of_milan)
    assert "part of IT" in explain(hours(rule), ROME, patron_of_milan)
    assert not is_open(hours(rule, "IT", "MI"), ROME, patron_of_milan)
    assert is_open(hours(rule, "IT", "RM"), ROME, patron_of_milan)
    assert is_open(hours(replace(rule, holidays_of=HolidayScope.COUNTRY)), ROME, patron_of_milan)


def test_campaign_and_rule_are_intersected_and_the_stricter_is_named() -> None:
    campaign = CallingWindow(weekly=(replace(EVERY_DAY, start_minute=600),))
    both = lawful_hours(campaign, (replace(PLAIN, id="law", windows=(WEEKDAYS,)),), "IT")
    assert "of the campaign" in explain(both, ROME, at("2026-11-23T09:30:00+01:00"))
    assert "law@1" in explain(both, ROME, at("2026-11-22T10:30:00+01:00"))
    assert is_open(both, ROME, at("2026-11-23T10:00:00+01:00"))


def test_blackout_closes_and_says_why() -> None:
    mourning = Blackout(
        from_local=midnight(date(2026, 11, 23)),
        until_local=midnight(date(2026, 11, 25)),
        reason="national mourning",
    )
    rule = replace(PLAIN, blackouts=(mourning,))
    asked = at("2026-11-23T10:00:00+01:00")
    assert "national mourning" in explain(hours(rule), ROME, asked)
    assert next_opening(hours(rule), ROME, asked) == at("2026-11-25T09:00:00+01:00")


def test_early_closing_cuts_a_window_that_runs_past_midnight() -> None:
    late = replace(EVERY_DAY, start_minute=1200, end_minute=120)
    rule = replace(PLAIN, windows=(late,), early_closings=(EarlyClosing(month=12, day=24, end_minute=1320),))
    assert not is_open(hours(rule), ROME, at("2026-12-24T23:00:00+01:00"))
    assert not is_open(hours(rule), ROME, at("2026-12-25T01:00:00+01:00"))
    assert is_open(hours(rule), ROME, at("2026-12-26T01:00:00+01:00"))


def test_equal_questions_share_what_was_worked_out() -> None:
    assert hours(PLAIN) is hours(PLAIN)
    assert hours(PLAIN) is not hours(PLAIN, "FR")


# Holidays


@pytest.mark.parametrize("year", range(1990, 2060))
def test_easter_is_that_of_the_package(year: int) -> None:
    assert holiday_on("FR", (), easter_sunday(year) + timedelta(days=1)) is not None
    (monday,) = [day for day, name in holidays_of("FR", (), year).items() if name == "Easter Monday"]
    assert easter_sunday(year) + timedelta(days=1) == monday


def test_unknown_country_has_no_holidays_and_unknown_subdivision_is_refused() -> None:
    assert holiday_on("XX", (), date(2026, 12, 25)) is None
    assert holiday_on(None, (), date(2026, 12, 25)) is None
    assert subdivisions_of("XX") == ()
    with pytest.raises(ValueError, match="no subdivision of IT"):
        holidays_of("IT", ("ZZ",), 2026)
