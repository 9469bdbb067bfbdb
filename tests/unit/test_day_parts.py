"""Another time of day, over random windows, zones and histories."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st

from outdial.domain.day_parts import LOOK_AHEAD, Hours, another_time_of_day, part_of_day
from outdial.domain.windows import CallingWindow, WeeklyWindow, is_open

ROME = ZoneInfo("Europe/Rome")
MONDAY = datetime(2026, 3, 2, tzinfo=ROME)
WEEKDAYS = CallingWindow(
    weekly=(WeeklyWindow(days=frozenset(range(5)), start_minute=9 * 60, end_minute=20 * 60),)
)
# Clocks that spring forward and fall back, at two o'clock and at midnight, and one that never does.
ZONES = ["Europe/Rome", "America/New_York", "Africa/Cairo", "America/Santiago", "Asia/Kolkata"]
QUARTERS = st.integers(0, 95).map(lambda quarter: 15 * quarter)
WINDOWS = st.builds(
    lambda days, start, length: CallingWindow(
        weekly=(
            WeeklyWindow(
                days=frozenset(days), start_minute=start, end_minute=(start + length) % 1440 or 1440
            ),
        )
    ),
    st.sets(st.integers(0, 6), min_size=1),
    QUARTERS,
    st.integers(1, 90).map(lambda quarters: 15 * quarters),
)
INSTANTS = st.integers(0, 365 * 96).map(
    lambda quarter: datetime(2026, 1, 1, tzinfo=UTC) + quarter * timedelta(minutes=15)
)
STEP = timedelta(minutes=15)


def local(day: int, hour: int, minute: int = 0) -> datetime:
    return (MONDAY + timedelta(days=day)).replace(hour=hour, minute=minute)


def hours_in(zone: str, window: CallingWindow = WEEKDAYS) -> Hours:
    return Hours(window=window, time_zones=(zone,))


@given(WINDOWS, st.sampled_from(ZONES), INSTANTS, st.lists(st.integers(1, 300), max_size=4))
@settings(max_examples=60)
def test_it_is_open_and_in_the_part_of_the_day_with_the_fewest_calls(
    window: CallingWindow, zone: str, earliest: datetime, hours_ago: list[int]
) -> None:
    called = sorted(earliest - timedelta(hours=hours) for hours in hours_ago)
    chosen = another_time_of_day(hours_in(zone, window), earliest, called)
    where = ZoneInfo(zone)
    instants = [earliest + count * STEP for count in range(int(LOOK_AHEAD / STEP))]
    open_ones = [at for at in instants if is_open(window, (zone,), at)]
    if not open_ones:
        assert chosen == earliest
        return

    def preference(at: datetime) -> tuple[int, bool]:
        part = part_of_day(at, where)
        calls = [part_of_day(one, where) for one in called]
        return calls.count(part), bool(calls) and calls[-1] == part

    assert is_open(window, (zone,), chosen)
    best = min(map(preference, open_ones))
    assert preference(chosen) == best
    assert chosen == next(at for at in open_ones if preference(at) == best)


@given(WINDOWS, st.sampled_from(ZONES), INSTANTS, st.integers(1, 300))
@settings(max_examples=60)
def test_it_never_waits_beyond_the_deadline_nor_before_its_time(
    window: CallingWindow, zone: str, earliest: datetime, hours: int
) -> None:
    deadline = earliest + timedelta(hours=hours)
    chosen = another_time_of_day(hours_in(zone, window), earliest, [earliest - STEP], deadline)
    assert earliest <= chosen < deadline


@pytest.mark.parametrize(
    ("called", "earliest", "chosen"),
    [
        ([local(0, 10)], local(0, 11), local(0, 12)),
        ([local(0, 10)], local(0, 15), local(0, 15)),
        ([local(0, 10), local(0, 13)], local(0, 14), local(0, 17)),
        ([local(0, 10), local(0, 13), local(0, 18)], local(0, 19), local(1, 9)),
        ([local(4, 13)], local(4, 19, 30), local(4, 19, 30)),
        ([local(4, 18)], local(4, 19, 30), local(7, 9)),
    ],
    ids=["afternoon", "later afternoon", "evening", "anew", "evening at once", "after the weekend"],
)
def test_the_day_goes_round(called: list[datetime], earliest: datetime, chosen: datetime) -> None:
    assert another_time_of_day(hours_in("Europe/Rome"), earliest, called) == chosen


def test_a_window_with_one_part_of_the_day_has_no_other() -> None:
    mornings = CallingWindow(weekly=(WeeklyWindow(days=frozenset({0}), start_minute=540, end_minute=660),))
    earliest = local(0, 9, 30)
    assert another_time_of_day(hours_in("Europe/Rome", mornings), earliest, [local(0, 9)]) == earliest


def test_where_another_part_would_be_too_late_the_same_one_must_do() -> None:
    chosen = another_time_of_day(hours_in("Europe/Rome"), local(0, 11), [local(0, 10)], deadline=local(0, 12))
    assert chosen == local(0, 11)
