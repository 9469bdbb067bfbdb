"""Another time of day: who did not answer in the morning is tried in the afternoon, then in the evening, then anew.

The day has three parts by the clock on the wall where the phone rings. Of those in which the windows ever open, the one
with the fewest calls so far is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from outdial.domain.windows import CallingWindow, next_closing, next_opening
from outdial.domain.zones import zone

# Hours at which a part of the day begins: morning, afternoon, evening.
PART_BEGINS: Final = (0, 12, 17)
# A week has all hours that a window has, but for closed dates.
LOOK_AHEAD: Final = timedelta(days=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """When a contact's phone may ring: the campaign's window in the contact's candidate time zones (at least one)."""

    window: CallingWindow
    time_zones: tuple[str, ...]


def another_time_of_day(
    hours: Hours, earliest: datetime, called: Sequence[datetime], deadline: datetime | None = None
) -> datetime:
    """The first instant from `earliest` on, before `deadline`, in a part of the day with the fewest calls.

    Of parts with equally many, the one of the last call comes last. `called`: when the contact was called, oldest first.
    `earliest` itself where the windows do not open in time. Of several candidate zones the first tells the time of day.
    """
    local = zone(hours.time_zones[0])
    counts = Counter(part_of_day(at, local) for at in called)
    last = part_of_day(called[-1], local) if called else None
    until = earliest + LOOK_AHEAD if deadline is None else min(earliest + LOOK_AHEAD, deadline)

    def preference(at: datetime) -> tuple[int, bool, datetime]:
        part = part_of_day(at, local)
        return counts[part], part == last, at

    return min(_openings(hours, local, earliest, until), key=preference, default=earliest)


def part_of_day(at: datetime, local: ZoneInfo) -> int:
    """0 before noon, 1 in the afternoon, 2 in the evening."""
    hour = at.astimezone(local).hour
    return max(part for part, begins in enumerate(PART_BEGINS) if hour >= begins)


def _openings(hours: Hours, local: ZoneInfo, at: datetime, until: datetime) -> Iterator[datetime]:
    """The first open instant of each part of each day."""
    while at < until:
        opening = next_opening(hours.window, hours.time_zones, at)
        if opening is None or opening >= until:
            return
        yield opening
        closing = next_closing(hours.window, hours.time_zones, opening)
        end = _end_of_part(opening, local)
        at = end if closing is None else min(closing, end)


def _end_of_part(at: datetime, local: ZoneInfo) -> datetime:
    """The next change of the part of the day; the first one, should the clock be put back over it."""
    wall = at.astimezone(local)
    part = part_of_day(at, local)
    is_last = part == len(PART_BEGINS) - 1
    day = wall.date() + timedelta(days=1) if is_last else wall.date()
    hour = PART_BEGINS[0] if is_last else PART_BEGINS[part + 1]
    ends = [datetime.combine(day, time(hour, fold=fold), local).astimezone(UTC) for fold in (0, 1)]
    # None is ahead only in an hour that comes twice: then an hour is as good.
    return next((end for end in ends if end > at), at + timedelta(hours=1))
