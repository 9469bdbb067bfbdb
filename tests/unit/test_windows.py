"""Windows against a brute-force one: every minute of a year, looked up on the wall clock of the zone."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from outdial.domain.windows import (
    HORIZON,
    CallingWindow,
    OpenState,
    WeeklyWindow,
    explain,
    format_minute,
    is_open,
    next_closing,
    next_opening,
    parse_days,
    parse_time,
    state_of,
)
from outdial.domain.zones import zone

MINUTE = timedelta(minutes=1)
DAY_MINUTES = 1440

# Each zone with a year in which its clock does something: Apia skips 30 December 2011, Casablanca turns its clock
# back for Ramadan, Lord Howe moves by half an hour, Chatham changes at 02:45.
YEARS = [
    ("Europe/Rome", 2026),
    ("America/New_York", 2026),
    ("Australia/Lord_Howe", 2026),
    ("Asia/Kolkata", 2026),
    ("Asia/Kathmandu", 2026),
    ("America/Phoenix", 2026),
    ("Pacific/Apia", 2011),
    ("Africa/Casablanca", 2026),
    ("UTC", 2026),
    ("Pacific/Chatham", 2026),
    ("America/St_Johns", 2026),
]
ZONES_OF_2026 = [name for name, year in YEARS if year == 2026]


# The brute force. It knows nothing of offsets, spans or folds: it asks for the wall clock at each minute of a year, and
# marks open minutes on a ruler of local minutes, on which a window past midnight simply runs on.


@dataclass(frozen=True)
class WallClock:
    """The local time of each UTC minute of a year, as a minute on the ruler, which begins two days before."""

    begin: datetime
    ruler_begin: date
    ruler_days: int
    ruler_minutes: array[int]


@cache
def wall_clock(name: str, year: int) -> WallClock:
    begin, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    ruler_begin = date(year, 1, 1) - timedelta(days=3)
    rules = zone(name)
    first_day = ruler_begin.toordinal()
    ruler_minutes = array("l")
    at = begin
    while at < end:
        local = at.astimezone(rules)
        ruler_minutes.append((local.toordinal() - first_day) * DAY_MINUTES + local.hour * 60 + local.minute)
        at += MINUTE
    return WallClock(begin, ruler_begin, (end - begin).days + 6, ruler_minutes)


def open_minutes(window: CallingWindow, name: str, year: int) -> bytes:
    """One byte for each UTC minute of the year: 1 where the window is open."""
    clock = wall_clock(name, year)
    ruler = bytearray((clock.ruler_days + 2) * DAY_MINUTES)
    for day in range(clock.ruler_days):
        on = clock.ruler_begin + timedelta(days=day)
        for start, end in opened_on(window, on):
            ruler[day * DAY_MINUTES + start : day * DAY_MINUTES + end] = b"\1" * (end - start)
    for on in window.closed_dates:
        day = (on - clock.ruler_begin).days
        if 0 <= day < clock.ruler_days:
            ruler[day * DAY_MINUTES : (day + 1) * DAY_MINUTES] = bytes(DAY_MINUTES)
    return bytes(map(ruler.__getitem__, clock.ruler_minutes))


def opened_on(window: CallingWindow, on: date) -> Iterator[tuple[int, int]]:
    if on in window.closed_dates:
        return
    if not window.weekly:
        yield 0, DAY_MINUTES
    for weekly in window.weekly:
        if on.weekday() in weekly.days:
            over_midnight = DAY_MINUTES if weekly.end_minute <= weekly.start_minute else 0
            yield weekly.start_minute, weekly.end_minute + over_midnight


def open_in_all(window: CallingWindow, zones: tuple[str, ...], year: int) -> bytes:
    answer = open_minutes(window, zones[0], year)
    for name in zones[1:]:
        answer = bytes(map(int.__and__, answer, open_minutes(window, name, year)))
    return answer


def runs_of(answer: bytes) -> Iterator[tuple[int, int, bool]]:
    """First minute, minute after the last, and whether open."""
    minute = 0
    while minute < len(answer):
        opened = answer[minute] == 1
        end = answer.find(0 if opened else 1, minute)
        yield minute, len(answer) if end == -1 else end, opened
        minute = len(answer) if end == -1 else end


# Made windows

minutes = st.integers(0, DAY_MINUTES - 1) | st.sampled_from(
    [0, 1, 60, 90, 120, 150, 165, 180, 540, 1200, 1439]
)


@st.composite
def weekly_windows(draw: st.DrawFn) -> WeeklyWindow:
    start = draw(minutes)
    end = draw((minutes | st.just(DAY_MINUTES)).filter(lambda minute: minute != start))
    days = draw(st.frozensets(st.integers(0, 6), min_size=1))
    return WeeklyWindow(days=days, start_minute=start, end_minute=end)


@st.composite
def calling_windows(draw: st.DrawFn, year: int) -> CallingWindow:
    weekly = tuple(draw(st.lists(weekly_windows(), max_size=4)))
    changes = st.sampled_from([date(year, 3, 8), date(year, 3, 29), date(year, 10, 25), date(year, 12, 30)])
    dates = st.dates(date(year, 1, 1), date(year, 12, 31)) | changes
    return CallingWindow(weekly=weekly, closed_dates=draw(st.frozensets(dates, max_size=12)))


# Not shrunk: an example costs a tenth of a second, and a failure names the minutes that differ anyway.
thorough = settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize(("name", "year"), YEARS)
@thorough
@given(data=st.data())
def test_every_minute_of_a_year_agrees_with_the_wall_clock(name: str, year: int, data: st.DataObject) -> None:
    window = data.draw(calling_windows(year))
    assert_agrees_all_year(window, (name,), year, data)


@thorough
@given(data=st.data(), zones=st.lists(st.sampled_from(ZONES_OF_2026), min_size=2, max_size=4, unique=True))
def test_several_candidate_zones_are_open_only_when_all_are(data: st.DataObject, zones: list[str]) -> None:
    window = data.draw(calling_windows(2026))
    assert_agrees_all_year(window, tuple(sorted(zones)), 2026, data)


def assert_agrees_all_year(
    window: CallingWindow, zones: tuple[str, ...], year: int, data: st.DataObject
) -> None:
    answer = open_in_all(window, zones, year)
    begin = wall_clock(zones[0], year).begin

    def at(minute: int) -> datetime:
        return begin + minute * MINUTE

    year_end = at(len(answer))
    runs = list(runs_of(answer))
    # The chain of answers, each asked when the one before ran out, tells the whole year.
    told: list[tuple[datetime, bool]] = []
    asked_at = begin
    while asked_at < year_end:
        state = state_of(window, zones, asked_at)
        if not told or told[-1][1] is not state.is_open:
            told.append((asked_at, state.is_open))
        if state.until is None:
            break
        assert state.until > asked_at
        asked_at = state.until
    assert told == [(at(first), opened) for first, _, opened in runs]
    # From anywhere in a run, its edges included: the same answer, and the run's end as its change.
    for first, end, opened in data.draw(st.lists(st.sampled_from(runs), max_size=40)):
        inside = data.draw(st.integers(first, end - 1))
        for minute in {first, inside, end - 1}:
            change = at(end) if end < len(answer) else None
            assert is_open(window, zones, at(minute)) is opened
            assert_next(next_opening, window, zones, at(minute), at(minute) if opened else change)
            assert_next(next_closing, window, zones, at(minute), change if opened else at(minute))


def assert_next(
    ask: Callable[[CallingWindow, tuple[str, ...], datetime], datetime | None],
    window: CallingWindow,
    zones: tuple[str, ...],
    at: datetime,
    expected: datetime | None,
) -> None:
    """None expected: past the end of the brute force's year, whenever that is."""
    found = ask(window, zones, at)
    if expected is None:
        year_end = datetime(at.year + 1, 1, 1, tzinfo=UTC)
        assert found is None or found >= year_end
    elif expected - at <= HORIZON:
        assert found == expected


@thorough
@given(data=st.data(), name=st.sampled_from(ZONES_OF_2026))
def test_seconds_within_a_minute_do_not_change_the_answer(data: st.DataObject, name: str) -> None:
    window = data.draw(calling_windows(2026))
    answer = open_minutes(window, name, 2026)
    for minute in data.draw(st.lists(st.integers(0, len(answer) - 1), min_size=50, max_size=50)):
        at = datetime(2026, 1, 1, tzinfo=UTC) + minute * MINUTE
        for second in (timedelta(microseconds=1), timedelta(seconds=59, microseconds=999_999)):
            assert is_open(window, (name,), at + second) is (answer[minute] == 1)


# Single instants, whose answers can be checked by hand


def window_of(*texts: str, closed: tuple[str, ...] = ()) -> CallingWindow:
    """`window_of("mon-fri 09:00-20:00", closed=("2026-12-25",))`"""
    weekly = []
    for text in texts:
        days, _, times = text.partition(" ")
        start, _, end = times.partition("-")
        weekly.append(
            WeeklyWindow(days=parse_days([days]), start_minute=parse_time(start), end_minute=parse_time(end))
        )
    return CallingWindow(weekly=tuple(weekly), closed_dates=frozenset(map(date.fromisoformat, closed)))


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("hours", "name", "at", "expected"),
    [
        pytest.param(
            "mon-fri 09:00-20:00", "Europe/Rome", "2026-07-15T07:00:00Z", True, id="start_is_inside"
        ),
        pytest.param("mon-fri 09:00-20:00", "Europe/Rome", "2026-07-15T06:59:59Z", False, id="second_before"),
        pytest.param(
            "mon-fri 09:00-20:00", "Europe/Rome", "2026-07-15T18:00:00Z", False, id="end_is_outside"
        ),
        pytest.param("mon-fri 09:00-20:00", "Europe/Rome", "2026-07-15T17:59:59Z", True, id="last_second"),
        pytest.param("sun 02:30-03:30", "America/New_York", "2026-03-08T07:00:00Z", True, id="gap_first"),
        pytest.param("sun 02:30-03:30", "America/New_York", "2026-03-08T07:29:59Z", True, id="gap_last"),
        pytest.param("sun 02:30-03:30", "America/New_York", "2026-03-08T07:30:00Z", False, id="gap_end"),
        pytest.param("sun 01:15-01:45", "America/New_York", "2026-11-01T05:30:00Z", True, id="first_pass"),
        pytest.param(
            "sun 01:15-01:45", "America/New_York", "2026-11-01T06:00:00Z", False, id="between_passes"
        ),
        pytest.param("sun 01:15-01:45", "America/New_York", "2026-11-01T06:30:00Z", True, id="second_pass"),
        pytest.param("sun 01:30-02:00", "Australia/Lord_Howe", "2026-04-04T15:15:00Z", True, id="lord_howe"),
        pytest.param("mon-sun 00:00-24:00", "Africa/Cairo", "2026-04-23T22:00:00Z", True, id="no_midnight"),
        pytest.param(
            "mon-sun 09:00-18:00", "Asia/Kathmandu", "2026-11-23T03:14:59Z", False, id="quarter_hour"
        ),
        pytest.param("sat 22:00-02:00", "Europe/Rome", "2026-11-29T00:30:00Z", True, id="past_midnight"),
        pytest.param("sat 22:00-02:00", "Europe/Rome", "2026-11-29T01:00:00Z", False, id="end_past_midnight"),
        pytest.param(
            "sat 22:00-03:00", "America/New_York", "2026-11-01T07:30:00Z", True, id="six_hour_night"
        ),
        pytest.param("mon 18:00-24:00", "Europe/Rome", "2026-11-23T22:59:59Z", True, id="until_24"),
        pytest.param("mon 18:00-24:00", "Europe/Rome", "2026-11-23T23:00:00Z", False, id="end_24"),
        pytest.param("mon-sun 00:00-24:00", "America/Vancouver", "2026-11-24T04:30:00Z", True, id="all_week"),
        pytest.param("mon-sun 09:30-21:30", "America/Vancouver", "2026-11-24T04:30:00Z", False, id="new_law"),
    ],
)
def test_wall_clock_decides(hours: str, name: str, at: str, expected: bool) -> None:
    assert is_open(window_of(hours), (name,), instant(at)) is expected


def test_instant_may_be_given_in_any_zone() -> None:
    window = window_of("mon-fri 09:00-20:00")
    at = instant("2026-07-15T07:00:00Z").astimezone(zone("Asia/Tokyo"))
    assert is_open(window, ("Europe/Rome",), at)
    assert next_opening(window, ("Europe/Rome",), at) == at


def test_adjoining_windows_do_not_close_at_midnight() -> None:
    window = window_of("mon 18:00-24:00", "tue 00:00-01:00")
    closes_at = next_closing(window, ("Europe/Rome",), instant("2026-11-23T18:00:00Z"))
    assert closes_at == instant("2026-11-24T00:00:00Z")


def test_window_within_a_gap_does_not_open_that_day() -> None:
    window = window_of("sun 02:00-03:00")
    opens_at = next_opening(window, ("America/New_York",), instant("2026-03-08T00:00:00Z"))
    assert opens_at == instant("2026-03-15T06:00:00Z")


def test_window_opens_again_in_the_repeated_hour() -> None:
    opens_at = next_opening(
        window_of("sun 01:15-01:45"), ("America/New_York",), instant("2026-11-01T05:50:00Z")
    )
    assert opens_at == instant("2026-11-01T06:15:00Z")


def test_window_without_hours_is_open_at_all_times() -> None:
    assert state_of(CallingWindow(), ("Europe/Rome",), instant("2026-03-01T03:00:00Z")) == OpenState(
        True, None
    )


def test_closed_date_closes_the_tail_of_the_evening_before() -> None:
    window = window_of("thu 22:00-02:00", closed=("2026-12-25",))
    assert next_closing(window, ("Europe/Rome",), instant("2026-12-24T22:00:00Z")) == instant(
        "2026-12-24T23:00:00Z"
    )


def test_closed_date_closes_its_own_window_past_midnight() -> None:
    window = window_of("fri 22:00-02:00", closed=("2026-12-25",))
    assert not is_open(window, ("Europe/Rome",), instant("2026-12-26T00:30:00Z"))


def test_closed_date_is_the_local_one() -> None:
    window = CallingWindow(closed_dates=frozenset({date(2026, 12, 25)}))
    at = instant("2026-12-24T23:30:00Z")
    assert not is_open(window, ("Europe/Rome",), at)
    assert is_open(window, ("Europe/London",), at)


def test_day_that_a_zone_skipped_has_no_window() -> None:
    opens_at = next_opening(window_of("fri 09:00-17:00"), ("Pacific/Apia",), instant("2011-12-30T00:00:00Z"))
    # Thursday 29 December 2011 ends at 10:00Z, and Saturday begins; the next Friday is 6 January.
    closing = next_closing(window_of("fri 09:00-17:00"), ("Pacific/Apia",), instant("2011-12-30T20:00:00Z"))
    assert opens_at == instant("2012-01-05T19:00:00Z")
    assert closing == instant("2011-12-30T20:00:00Z")


def test_offset_with_seconds_opens_on_the_second() -> None:
    # Liberia was 44 minutes and 30 seconds behind UTC until 1972.
    opens_at = next_opening(
        window_of("mon-fri 09:00-20:00"), ("Africa/Monrovia",), instant("1971-06-01T00:00:00Z")
    )
    assert opens_at == instant("1971-06-01T09:44:30Z")


def test_unknown_zone_is_closed_and_never_opens() -> None:
    at = instant("2026-03-02T12:00:00Z")
    assert not is_open(CallingWindow(), (), at)
    assert next_opening(CallingWindow(), (), at) is None
    assert next_closing(CallingWindow(), (), at) == at
    assert state_of(CallingWindow(), (), at) == OpenState(False, None)


def test_zones_without_a_common_hour_never_open() -> None:
    zones = ("America/Los_Angeles", "Asia/Kolkata")
    assert next_opening(window_of("mon-sun 09:00-17:00"), zones, instant("2026-11-23T00:00:00Z")) is None


def test_zones_with_a_short_common_stretch_open_in_it() -> None:
    zones = ("America/New_York", "Pacific/Guam")
    opens_at = next_opening(window_of("mon-sun 08:00-21:00"), zones, instant("2026-11-23T13:00:00Z"))
    assert opens_at == instant("2026-11-23T22:00:00Z")


def test_zones_that_part_within_the_horizon_are_told_apart() -> None:
    # British Columbia stays an hour ahead of California from November 2026 on; until then their clocks agree.
    at = instant("2025-11-01T12:00:00Z")
    closed = frozenset(date(2025, 10, 30) + timedelta(days=day) for day in range(370))
    window = CallingWindow(weekly=window_of("mon 09:00-10:00").weekly, closed_dates=closed)
    assert next_opening(window, ("America/Los_Angeles",), at) == instant("2026-11-09T17:00:00Z")
    assert next_opening(window, ("America/Los_Angeles", "America/Vancouver"), at) is None


def test_answer_beyond_the_horizon_is_not_kept_for_ever() -> None:
    at = instant("2026-01-01T00:00:00Z")
    window = CallingWindow(closed_dates=frozenset({date(2028, 1, 1)}))
    assert next_closing(window, ("Europe/Rome",), at) is None
    assert state_of(window, ("Europe/Rome",), at) == OpenState(True, at + HORIZON)


def test_year_of_closed_dates_says_never() -> None:
    at = instant("2026-01-01T00:00:00Z")
    closed = frozenset(date(2025, 12, 25) + timedelta(days=day) for day in range(450))
    assert next_opening(CallingWindow(closed_dates=closed), ("Europe/Rome",), at) is None


def test_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        is_open(CallingWindow(), ("UTC",), instant("2026-01-01T00:00:00"))


# Sentences


@pytest.mark.parametrize(
    ("hours", "zones", "at", "expected"),
    [
        (
            "mon-fri 09:00-20:00",
            ("Europe/Rome",),
            "2026-03-02T10:00:00Z",
            "open until Mon 2026-03-02 20:00 in Europe/Rome",
        ),
        (
            "mon-fri 09:00-20:00",
            ("Europe/Rome",),
            "2026-03-06T20:30:00Z",
            "closed in Europe/Rome, where it is Fri 2026-03-06 21:30 (outside the hours); opens Mon 2026-03-09 09:00 there",
        ),
        (
            "mon-fri 09:00-20:00",
            ("Europe/Rome",),
            "2026-12-25T10:00:00Z",
            "closed in Europe/Rome, where it is Fri 2026-12-25 11:00 (a closed date); opens Mon 2026-12-28 09:00 there",
        ),
        (
            "mon-sun 09:00-17:00",
            ("America/Los_Angeles", "Asia/Kolkata"),
            "2026-11-23T18:00:00Z",
            "closed in Asia/Kolkata, where it is Mon 2026-11-23 23:30 (outside the hours); never open in all 2 candidate zones at once in the next 400 days",
        ),
        ("mon-fri 09:00-20:00", (), "2026-03-02T10:00:00Z", "closed: the time zone is unknown"),
        (
            "mon-sun 00:00-24:00",
            ("America/Los_Angeles",),
            "2026-12-26T10:00:00Z",
            "open until Sat 2027-12-25 00:00 in America/Los_Angeles",
        ),
    ],
)
def test_explain_says_why_and_until_when(hours: str, zones: tuple[str, ...], at: str, expected: str) -> None:
    window = window_of(hours, closed=("2026-12-25", "2027-12-25"))
    assert explain(window, zones, instant(at)) == expected


def test_explain_of_what_never_closes() -> None:
    at = instant("2026-03-02T10:00:00Z")
    assert explain(CallingWindow(), ("UTC",), at) == "open, and does not close in the next 400 days"


# Parsing


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["mon-fri", "sun"], {0, 1, 2, 3, 4, 6}),
        (["sat-mon"], {5, 6, 0}),
        (["Wed"], {2}),
        (["mon - tue"], {0, 1}),
        (["sun-sun"], {6}),
        (["mon-sun"], set(range(7))),
    ],
)
def test_days_are_parsed(texts: list[str], expected: set[int]) -> None:
    assert parse_days(texts) == expected


@pytest.mark.parametrize("text", ["", "monday", "mon-", "-fri", "mon-fri-sun", "mon,tue", "1"])
def test_wrong_day_is_named_with_what_is_allowed(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"is not a day or range of days: write mon, tue, .*'mon-fri'"
    ) as refusal:
        parse_days([text])
    assert repr(text) in str(refusal.value)


def test_no_days_are_refused() -> None:
    with pytest.raises(ValueError, match="no days are named"):
        parse_days([])


@given(st.integers(0, DAY_MINUTES))
def test_time_of_day_survives_writing_and_reading(minute: int) -> None:
    assert parse_time(format_minute(minute)) == minute


@pytest.mark.parametrize(
    "text", ["", "9:00", "24:01", "25:00", "09:60", "09:00:00", " 09:00", "0900", "9am", "٠٩:٠٠"]
)
def test_wrong_time_is_named_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="from '00:00' to '24:00'") as refusal:
        parse_time(text)
    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize(
    ("days", "start", "end", "sentence"),
    [
        ({0}, 540, 540, "starts and ends at 09:00"),
        (set(), 540, 600, "name at least one"),
        ({7}, 540, 600, "no days of the week"),
        ({0}, 1440, 600, "start 1440"),
        ({0}, -1, 600, "start -1"),
        ({0}, 0, 1441, "end 1441"),
    ],
)
def test_impossible_window_is_refused(days: set[int], start: int, end: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        WeeklyWindow(days=frozenset(days), start_minute=start, end_minute=end)


def test_windows_with_the_same_hours_are_equal() -> None:
    assert window_of("mon 09:00-20:00") == window_of("mon 09:00-20:00")
    assert len({window_of("mon 09:00-20:00"), window_of("mon 09:00-20:00")}) == 1
