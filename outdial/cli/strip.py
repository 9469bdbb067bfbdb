"""The next day of each calling zone as a line of half hours: what is open can be told from what is closed without colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from outdial.domain.callability import Block, Interval
from outdial.domain.zones import zone
from outdial.operations.preview import Preview, ZoneOutlook

HALF_HOUR: Final = timedelta(minutes=30)
HALF_HOURS: Final = 48
# With the strip, a count and what comes next, a line fits into 100 columns.
NAME_WIDTH: Final = 22
COUNT_WIDTH: Final = 9
MOST_LINES: Final = 12
HOURS_PER_LABEL: Final = 3

BLOCK_WORDS: Final[Mapping[Block, str]] = {
    Block.COUNTRY_BLOCKED: "country blocked",
    Block.UNKNOWN_ZONE: "zone unknown",
    Block.NO_RULE: "no rule",
    Block.NEVER_OPEN: "never opens",
}


class Cell(Enum):
    OPEN = "open"
    PARTLY = "partly open"
    CLOSED = "closed"


BLOCKS: Final[Mapping[Cell, str]] = {Cell.OPEN: "█", Cell.PARTLY: "▒", Cell.CLOSED: "·"}
ASCII: Final[Mapping[Cell, str]] = {Cell.OPEN: "#", Cell.PARTLY: "+", Cell.CLOSED: "."}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    cells: tuple[Cell, ...]
    then: str


def signs_for(encoding: str | None) -> Mapping[Cell, str]:
    """Blocks where the output can show them, else plain ASCII."""
    try:
        "".join(BLOCKS.values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def strip(found: Preview, signs: Mapping[Cell, str]) -> list[str]:
    """A ruler and a line for each kind of zone, the largest first. Zones with the same hours share one."""
    begin = half_hour_of(found.at)
    lines: dict[_Line, list[ZoneOutlook]] = {}
    for one in found.zones:
        cells = cells_of(one.openings, begin, found.at)
        lines.setdefault(_Line(cells=cells, then=_then(one, found.at)), []).append(one)
    listed = sorted(lines.items(), key=lambda item: (-_waiting(item[1]), item[1][0].time_zones))
    shown, rest = listed[:MOST_LINES], listed[MOST_LINES:]
    said = [_ruler(begin)]
    for line, zones in shown:
        drawn = "".join(signs[cell] for cell in line.cells)
        said.append(f"{_name(zones):<{NAME_WIDTH}}{_waiting(zones):>{COUNT_WIDTH},} {drawn} {line.then}")
    if rest:
        others = [one for _, zones in rest for one in zones]
        name = f"{len(others)} more zones"
        said.append(f"{name:<{NAME_WIDTH}}{_waiting(others):>{COUNT_WIDTH},}")
    said.append(
        f"{signs[Cell.OPEN]} open  {signs[Cell.PARTLY]} for a part  {signs[Cell.CLOSED]} closed; "
        "half an hour each, from now on"
    )
    return said


def cells_of(openings: Sequence[Interval], begin: datetime, at: datetime) -> tuple[Cell, ...]:
    """Of each half hour from `begin` on: whether it is open. What of the first has passed by `at` does not count."""
    return tuple(
        _cell(openings, max(begin + number * HALF_HOUR, at), begin + (number + 1) * HALF_HOUR)
        for number in range(HALF_HOURS)
    )


def half_hour_of(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=at.minute // 30 * 30, second=0, microsecond=0)


def _cell(openings: Sequence[Interval], begin: datetime, end: datetime) -> Cell:
    # The last cell may reach beyond what is known by less than half an hour: what is known of it counts.
    seconds = sum(max(0.0, (min(one.end, end) - max(one.begin, begin)).total_seconds()) for one in openings)
    if not seconds:
        return Cell.CLOSED
    return Cell.OPEN if seconds >= (end - begin).total_seconds() else Cell.PARTLY


def _ruler(begin: datetime) -> str:
    """The hours of UTC above their half hours."""
    marks = [" "] * HALF_HOURS
    for number in range(HALF_HOURS):
        instant = begin + number * HALF_HOUR
        is_labelled = instant.minute == 0 and instant.hour % HOURS_PER_LABEL == 0
        if is_labelled and number + 2 <= HALF_HOURS:
            marks[number : number + 2] = f"{instant:%H}"
    head = f"{'zone':<{NAME_WIDTH}}{'waiting':>{COUNT_WIDTH}}"
    return f"{head} {''.join(marks)} UTC"


def _then(one: ZoneOutlook, at: datetime) -> str:
    """What comes next there, in its own time."""
    if one.opens_at is None:
        return BLOCK_WORDS[one.blocked_by or Block.NEVER_OPEN]
    if one.opens_at > at:
        return f"opens {_local(one, one.opens_at)}"
    closes_at = one.openings[0].end if one.openings else None
    if closes_at is None or closes_at - at >= HALF_HOUR * HALF_HOURS:
        return "open"
    return f"till {_local(one, closes_at)}"


def _local(one: ZoneOutlook, instant: datetime) -> str:
    return f"{instant.astimezone(zone(one.time_zones[0])):%a %H:%M}"


def _waiting(zones: Iterable[ZoneOutlook]) -> int:
    return sum(one.waiting for one in zones)


def _name(zones: Sequence[ZoneOutlook]) -> str:
    """The largest zone's, and how many others share its line."""
    first = zones[0]
    name = first.time_zones[0] if first.time_zones else (first.country or "unknown")
    more = len({name for one in zones for name in one.time_zones}) - 1
    suffix = f" +{more}" if more > 0 else ""
    room = NAME_WIDTH - len(suffix)
    return (name if len(name) <= room else name.rpartition("/")[2][:room]) + suffix
