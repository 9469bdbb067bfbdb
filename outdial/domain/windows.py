"""When a calling zone may be called: weekly hours in local time, less closed dates.

What decides may also be more than a campaign's own window (`Hours`): `lawful_hours` intersects it with the law's.

The local wall clock decides, instant by instant: open means that the time a clock on the wall shows in the zone lies in
one of the day's spans, and a zone with several candidates is open only when all are. So a span in the hour that spring
skips is shortened or never comes, and one in the hour that autumn repeats comes twice. Spans are half-open: at the
closing minute it is closed. Zone rules come from `zones`; instants are aware, and answers are UTC.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from outdial.domain.spans import Spans, joined
from outdial.domain.zones import zone

MINUTES_A_DAY: Final = 1440
DAY_SECONDS: Final = 86_400
HORIZON: Final = timedelta(days=400)
"""How far ahead openings and closings are looked for: past any yearly holiday, and an end for what never comes."""

DAY_NAMES: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_HORIZON_SECONDS: Final = HORIZON // timedelta(seconds=1)
# A zone's clock changes are worked out once for blocks of this length, which the horizon may reach beyond but once.
_BLOCK_SECONDS: Final = _HORIZON_SECONDS
# No zone has changed its clock twice within four days since 1970, when instants that matter to calls begin.
_STEP_SECONDS: Final = 2 * DAY_SECONDS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_ORDINAL: Final = _EPOCH.toordinal()
EPOCH_WEEKDAY: Final = _EPOCH.weekday()
_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00", re.ASCII)


class Schedule(Protocol):
    """What is open on a local date, as every zone that follows it reads off its own calendar and clock."""

    def spans(self, epoch_day: int) -> Spans:
        """The open spans of a local date, which is counted in days from 1970-01-01."""
        ...


class Hours(Protocol):
    """What the functions of this module answer for: schedules, each with the zones whose clocks it is read by."""

    @property
    def is_always_open(self) -> bool: ...

    def parts(self, zones: tuple[str, ...]) -> Sequence[tuple[Schedule, tuple[str, ...]]]:
        """All of them must be open. `zones` are the contact's; a law may name a clock of its own besides."""
        ...

    def why_closed(self, at_local: datetime) -> str:
        """What closes it at a local time at which it is closed: `a closed date`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WeeklyWindow:
    """Hours on days of the week (0 is Monday), in minutes of the local day, 1440 being its end.

    An end at or before the start is on the next day: the whole window belongs to the day on which it starts.
    """

    days: frozenset[int]
    start_minute: int
    end_minute: int

    def __post_init__(self) -> None:
        if not self.days or not self.days <= frozenset(range(7)):
            raise ValueError(
                f"days {sorted(self.days)} are no days of the week: name at least one, from 0 to 6"
            )
        if not 0 <= self.start_minute < MINUTES_A_DAY:
            raise ValueError(f"start {self.start_minute} is no minute of a day: it must be from 0 to 1439")
        if not 0 <= self.end_minute <= MINUTES_A_DAY:
            raise ValueError(f"end {self.end_minute} is no end in a day: it must be from 0 to 1440")
        if self.start_minute == self.end_minute:
            raise ValueError(
                f"a window that starts and ends at {format_minute(self.start_minute)} is empty or the whole day: "
                "write 00:00 to 24:00 for the whole day"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallingWindow:
    """Weekly hours, none meaning at all times, less closed dates.

    A closed date closes every minute of that local date, also the tail of a window that started the evening before,
    and it closes the windows that start on it to their ends, so also the tail that runs into the next date.
    """

    weekly: tuple[WeeklyWindow, ...] = ()
    closed_dates: frozenset[date] = frozenset()
    # Worked out once, since a pass asks hundreds of times. By weekday, in seconds of the day: the spans of windows
    # that start on that day, and these joined with the tails of the day before.
    _own_spans: tuple[Spans, ...] = field(init=False, repr=False, compare=False)
    _all_spans: tuple[Spans, ...] = field(init=False, repr=False, compare=False)
    _closed_days: frozenset[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        own = tuple(tuple(self._starting_on(weekday)) for weekday in range(7))
        tails = tuple(tuple(self._tails_into(weekday)) for weekday in range(7))
        object.__setattr__(self, "_own_spans", tuple(_in_seconds(spans) for spans in own))
        object.__setattr__(self, "_all_spans", tuple(_in_seconds(own[day] + tails[day]) for day in range(7)))
        object.__setattr__(
            self, "_closed_days", frozenset(day.toordinal() - EPOCH_ORDINAL for day in self.closed_dates)
        )

    def _starting_on(self, weekday: int) -> Iterator[tuple[int, int]]:
        if not self.weekly:
            yield 0, MINUTES_A_DAY
        for window in self.weekly:
            if weekday in window.days:
                is_over_midnight = window.end_minute <= window.start_minute
                yield window.start_minute, MINUTES_A_DAY if is_over_midnight else window.end_minute

    def _tails_into(self, weekday: int) -> Iterator[tuple[int, int]]:
        for window in self.weekly:
            if (weekday - 1) % 7 in window.days and 0 < window.end_minute <= window.start_minute:
                yield 0, window.end_minute

    def spans(self, epoch_day: int) -> Spans:
        weekday = (epoch_day + EPOCH_WEEKDAY) % 7
        if self._closed_days:
            if epoch_day in self._closed_days:
                return ()
            if epoch_day - 1 in self._closed_days:
                return self._own_spans[weekday]
        return self._all_spans[weekday]

    @property
    def is_always_open(self) -> bool:
        return not self._closed_days and all(spans == ((0, DAY_SECONDS),) for spans in self._all_spans)

    def parts(self, zones: tuple[str, ...]) -> Sequence[tuple[Schedule, tuple[str, ...]]]:
        return ((self, zones),)

    def why_closed(self, at_local: datetime) -> str:
        return "a closed date" if at_local.date() in self.closed_dates else "outside the hours"


class OpenState(NamedTuple):
    """`until`: the first instant at which `is_open` may be another, to be asked again then; None is never."""

    is_open: bool
    until: datetime | None


def is_open(hours: Hours, zones: tuple[str, ...], at: datetime) -> bool:
    """Whether all candidate zones are open at that instant. No zones are an unknown place, and closed."""
    second = _second(at)
    return bool(zones) and all(
        _is_open_in(schedule, name, second) for schedule, name in _clocks_of(hours, zones, second)
    )


def next_opening(hours: Hours, zones: tuple[str, ...], at: datetime) -> datetime | None:
    """The first instant from `at` on at which it is open: `at` itself if it is. None: not within `HORIZON`."""
    start = second = _second(at)
    limit = start + _HORIZON_SECONDS
    while zones:
        changes = [run.until for run in _runs(hours, zones, second, limit) if not run.is_open]
        if not changes:
            return at.astimezone(UTC) if second == start else _instant(second)
        # Closed until the last of the closed zones opens; by then another may have closed, so look again from there.
        if None in changes:
            return None
        second = max(until for until in changes if until is not None)
    return None


def next_closing(hours: Hours, zones: tuple[str, ...], at: datetime) -> datetime | None:
    """The first instant from `at` on at which it is closed: `at` itself if it is. None: not within `HORIZON`."""
    if not is_open(hours, zones, at):
        return at.astimezone(UTC)
    second = _second(at)
    untils = [run.until for run in _runs(hours, zones, second, second + _HORIZON_SECONDS)]
    known = [until for until in untils if until is not None]
    return _instant(min(known)) if known else None


def state_of(hours: Hours, zones: tuple[str, ...], at: datetime) -> OpenState:
    """Whether it is open, and how long that answer surely stands: what a scheduler keeps between passes.

    Cheaper than `next_opening`: while several zones are closed, `until` is when the last of them opens, though another
    may have closed by then. Where nothing changes within `HORIZON`, `until` is its end, so that no answer is kept
    longer than it was worked out for; None is kept for what cannot change (no zones; a window without any hours).
    """
    if not zones:
        return OpenState(is_open=False, until=None)
    if hours.is_always_open:
        return OpenState(is_open=True, until=None)
    second = _second(at)
    limit = second + _HORIZON_SECONDS
    opens_at, closes_at = second, limit
    for run in _runs(hours, zones, second, limit):
        until = limit if run.until is None else run.until
        if run.is_open:
            closes_at = min(closes_at, until)
        else:
            opens_at = max(opens_at, until)
    if opens_at > second:
        return OpenState(is_open=False, until=_instant(opens_at))
    return OpenState(is_open=True, until=_instant(closes_at))


def next_start(hours: Hours, zones: tuple[str, ...], at: datetime, guard: timedelta) -> datetime | None:
    """The first instant from `at` on at which it is open and stays so for longer than `guard`. None: as `next_opening`."""
    limit, instant = at + HORIZON, at
    while instant < limit:
        opening = next_opening(hours, zones, instant)
        closing = None if opening is None else next_closing(hours, zones, opening)
        if opening is None or closing is None or closing - opening > guard:
            return opening
        instant = closing
    return None


@lru_cache(maxsize=4096)
def start_of_day(day: date, name: str) -> datetime:
    """The first instant (UTC) of a local date; where the clock skips its midnight, or all of it, that of the skip."""
    return datetime.combine(day, time(), tzinfo=zone(name)).astimezone(UTC)


def explain(hours: Hours, zones: tuple[str, ...], at: datetime) -> str:
    """One clause on why it is open or closed, and until when, in local time: `open until Mon 2026-03-02 20:00 …`."""
    if not zones:
        return "closed: the time zone is unknown"
    second = _second(at)
    name = _first_closed(hours, zones, second)
    if name is None:
        until = next_closing(hours, zones, at)
        if until is None:
            return f"open, and does not close in the next {HORIZON.days} days"
        first = _first_closed(hours, zones, _second(until))
        assert first is not None, "a closing is an instant at which a zone is closed"
        return f"open until {_local(until, first)} in {first}"
    why = hours.why_closed(at.astimezone(zone(name)))
    opening = next_opening(hours, zones, at)
    if opening is None:
        together = "" if len(zones) == 1 else f" in all {len(zones)} candidate zones at once"
        then = f"never open{together} in the next {HORIZON.days} days"
    else:
        then = f"opens {_local(opening, name)} there"
    return f"closed in {name}, where it is {_local(at, name)} ({why}); {then}"


def parse_days(texts: Sequence[str]) -> frozenset[int]:
    """`["mon-fri", "sun"]` as numbers, 0 being Monday. A range may run over the week's end: `"sat-mon"`."""
    if not texts:
        raise ValueError("no days are named: write days or ranges of days, such as 'mon-fri' or 'sun'")
    return frozenset(day for text in texts for day in _parse_day_range(text))


def parse_time(text: str) -> int:
    """`"09:30"` as minutes of the day; `"24:00"` is the day's end."""
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text!r} is not a time of day: write hours and minutes from '00:00' to '24:00'")
    return int(text[:2]) * 60 + int(text[3:])


def format_minute(minute: int) -> str:
    """The inverse of `parse_time`."""
    return f"{minute // 60:02}:{minute % 60:02}"


def _parse_day_range(text: str) -> Iterator[int]:
    first, dash, last = (part.strip() for part in text.lower().partition("-"))
    if first not in DAY_NAMES or (dash and last not in DAY_NAMES):
        allowed = ", ".join(DAY_NAMES)
        raise ValueError(
            f"{text!r} is not a day or range of days: write {allowed}, or a range such as 'mon-fri'"
        )
    start = DAY_NAMES.index(first)
    length = (DAY_NAMES.index(last) - start) % 7 if dash else 0
    return ((start + step) % 7 for step in range(length + 1))


def _in_seconds(minute_spans: Iterable[tuple[int, int]]) -> Spans:
    return joined((start * 60, end * 60) for start, end in minute_spans)


class _Run(NamedTuple):
    """One zone's answer, and the second at which it turns; None: not before the limit."""

    is_open: bool
    until: int | None


def _runs(hours: Hours, zones: tuple[str, ...], second: int, limit: int) -> list[_Run]:
    return [_run(schedule, name, second, limit) for schedule, name in _clocks_of(hours, zones, second)]


def _run(schedule: Schedule, name: str, second: int, limit: int) -> _Run:
    # Walks from one possible change to the next: the edge of a span, midnight, or the zone's own clock change. Between
    # two of them local time runs straight, so no gap, overlap or fold needs a thought.
    answer: bool | None = None
    while second < limit:
        offset, offset_ends = _offset_at(name, second)
        epoch_day, second_of_day = divmod(second + offset, DAY_SECONDS)
        open_now, stretch_ends = _stretch(schedule.spans(epoch_day), second_of_day)
        if answer is None:
            answer = open_now
        elif answer is not open_now:
            return _Run(answer, second)
        second = min(second + stretch_ends - second_of_day, offset_ends)
    return _Run(bool(answer), None)


def _is_open_in(schedule: Schedule, name: str, second: int) -> bool:
    epoch_day, second_of_day = divmod(second + _offset_at(name, second)[0], DAY_SECONDS)
    return _stretch(schedule.spans(epoch_day), second_of_day)[0]


def _stretch(spans: Spans, second_of_day: int) -> tuple[bool, int]:
    """Whether that second of the day is in a span, and up to which second of the day this stays so."""
    for start, end in spans:
        if second_of_day < start:
            return False, start
        if second_of_day < end:
            return True, end
    return False, DAY_SECONDS


def _offset_at(name: str, second: int) -> tuple[int, int]:
    """The zone's offset from UTC in seconds, and the second up to which it surely holds."""
    starts, offsets, end = _offsets(name, second // _BLOCK_SECONDS)
    place = bisect_right(starts, second)
    return offsets[place - 1], starts[place] if place < len(starts) else end


def _clocks_of(hours: Hours, zones: tuple[str, ...], second: int) -> Iterator[tuple[Schedule, str]]:
    for schedule, names in hours.parts(zones):
        for name in _clocks(names, second):
            yield schedule, name


def _first_closed(hours: Hours, zones: tuple[str, ...], second: int) -> str | None:
    for schedule, names in hours.parts(zones):
        for name in names:
            if not _is_open_in(schedule, name, second):
                return name
    return None


def _clocks(zones: tuple[str, ...], second: int) -> tuple[str, ...]:
    """The zones without those that show the same time as another throughout the horizon: the 42 of +1 are a dozen."""
    return zones if len(zones) == 1 else _different_clocks(zones, second // _BLOCK_SECONDS)


@lru_cache(maxsize=4096)
def _different_clocks(zones: tuple[str, ...], block: int) -> tuple[str, ...]:
    clocks = {(_offsets(name, block), _offsets(name, block + 1)): name for name in reversed(zones)}
    return tuple(clocks.values())


@lru_cache(maxsize=4096)
def _offsets(name: str, block: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """A zone's offsets within a block: the seconds at which each starts, the offsets, the block's end.

    `zoneinfo` does not tell its transitions, so the block is searched in steps, and the second of each change found by
    halving.
    """
    begin, end = block * _BLOCK_SECONDS, (block + 1) * _BLOCK_SECONDS
    starts, offsets = [begin], [_utc_offset(name, begin)]
    for after in range(begin + _STEP_SECONDS, end + 1, _STEP_SECONDS):
        offset = _utc_offset(name, after)
        if offset != offsets[-1]:
            starts.append(_change_between(name, after - _STEP_SECONDS, after))
            offsets.append(offset)
    return tuple(starts), tuple(offsets), end


def _change_between(name: str, before: int, after: int) -> int:
    offset = _utc_offset(name, after)
    while after - before > 1:
        middle = (before + after) // 2
        if _utc_offset(name, middle) == offset:
            after = middle
        else:
            before = middle
    return after


def _utc_offset(name: str, second: int) -> int:
    offset = datetime.fromtimestamp(second, zone(name)).utcoffset()
    assert offset is not None, "a ZoneInfo always knows its offset"
    return offset // timedelta(seconds=1)


def _second(at: datetime) -> int:
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone: an instant is needed")
    return (at - _EPOCH) // timedelta(seconds=1)


def _instant(second: int) -> datetime:
    return _EPOCH + timedelta(seconds=second)


def _local(at: datetime, name: str) -> str:
    at_local = at.astimezone(zone(name))
    return f"{DAY_NAMES[at_local.weekday()].capitalize()} {at_local:%Y-%m-%d %H:%M}"
