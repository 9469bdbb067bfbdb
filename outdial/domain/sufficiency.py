"""Do lines and hours suffice? Calls still to make against what the lines can carry, slot by slot.

A forecast for people, not a plan: the zone that closes first goes first, as in the claim, and whatever is open shares
the lines. What it leaves out (waits between attempts, other campaigns of the account) makes it too hopeful, never too
gloomy; so when it says that it does not suffice, it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from outdial.domain.callability import Interval

SLOT: Final = timedelta(minutes=15)
# Calls are counted in parts, so that a line that is held for longer than a slot still counts for a part of a call, and
# in whole numbers of them, so that more lines can never be rounded to fewer calls.
PARTS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Calls to make while it is open. `openings` are sorted and do not touch."""

    calls: int
    openings: tuple[Interval, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """`calls_per_second` None: as many as there are lines. `held_seconds`: for how long a call keeps its line."""

    lines: int
    calls_per_second: float | None
    held_seconds: float

    def parts_in(self, length: timedelta) -> int:
        """How many parts of calls can be made in that time."""
        seconds = length.total_seconds()
        carried = self.lines * seconds / self.held_seconds
        started = carried if self.calls_per_second is None else self.calls_per_second * seconds
        return int(min(carried, started) * PARTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What is done between two instants: parts of calls by the index of their load."""

    begin: datetime
    end: datetime
    made: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Of `calls`, `left` are not made by the end. `done_at` (aware UTC): the end of the slot of the last; None: never."""

    calls: int
    left: int
    done_at: datetime | None

    @property
    def suffices(self) -> bool:
        return self.left == 0


def forecast(loads: Sequence[Load], capacity: Capacity, begin: datetime, end: datetime) -> Forecast:
    """How far it comes from `begin` to `end`."""
    calls = sum(load.calls for load in loads)
    missing = calls * PARTS
    done_at = begin if not missing else None
    for slot in slots(loads, capacity, begin, end):
        missing -= sum(slot.made.values())
        if not missing:
            done_at = slot.end
    return Forecast(calls=calls, left=-(-missing // PARTS), done_at=done_at)


def slots(loads: Sequence[Load], capacity: Capacity, begin: datetime, end: datetime) -> Iterator[Slot]:
    """Slot by slot until nothing is left to do, or the end. Of the zones that are open, the first to close goes first."""
    waiting = {index: load.calls * PARTS for index, load in enumerate(loads) if load.calls}
    places = dict.fromkeys(waiting, 0)
    at = begin
    while waiting and at < end:
        until = min(at + SLOT, end)
        made: dict[int, int] = {}
        free = capacity.parts_in(until - at)
        for _, index, open_for in sorted(_open_in(loads, places, at, until)):
            # Through the open part of a slot no more can be called than the lines carry in that time.
            parts = min(waiting[index], capacity.parts_in(open_for), free)
            if parts:
                made[index] = parts
                free -= parts
                waiting[index] -= parts
                if not waiting[index]:
                    del waiting[index], places[index]
        yield Slot(begin=at, end=until, made=made)
        at = until


def _open_in(
    loads: Sequence[Load], places: dict[int, int], at: datetime, until: datetime
) -> list[tuple[datetime, int, timedelta]]:
    """(closes at, load, how long it is open) of each load that is open for a part of the slot.

    `places` says which opening of each comes next, and is moved on.
    """
    found: list[tuple[datetime, int, timedelta]] = []
    for index in list(places):
        listed = loads[index].openings
        place = next((n for n in range(places[index], len(listed)) if listed[n].end > at), len(listed))
        places[index] = place
        open_for, closes_at = timedelta(), None
        for opening in listed[place:]:
            if opening.begin >= until:
                break
            open_for += min(opening.end, until) - max(opening.begin, at)
            closes_at = closes_at or opening.end
        if closes_at is not None:
            found.append((closes_at, index, open_for))
    return found
