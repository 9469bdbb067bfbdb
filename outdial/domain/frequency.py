"""How often a person may be called: caps by hours and by calendar days, and the rest that a refusal gives.

The calls are those to the number (or person) over all campaigns and accounts. Hours are counted on no clock but the
running one; days are local dates, in each zone where the phone may ring, and the strictest of them counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from outdial.domain.rules import Cap, CapCounts, CoolOff, Rule
from outdial.domain.settle import Outcome
from outdial.domain.windows import start_of_day
from outdial.domain.zones import zone


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCall:
    """A call that was placed. `at`: its start, aware. `is_connected`: a conversation came of it."""

    at: datetime
    is_connected: bool = False
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Not before `until` (aware UTC), as far as the calls so far go; `by` is the cap, cool-off or rule in words."""

    until: datetime
    by: str


def held_by_frequency(
    rules: Sequence[Rule], calls: Sequence[PastCall], zones: tuple[str, ...], at: datetime
) -> Held | None:
    """What holds a further call at `at` longest; None: the caps allow it. Zones may not be empty: that is closed anyway."""
    held = [one for rule in rules for one in _held_by(rule, calls, zones) if one.until > at]
    return max(held, key=lambda one: one.until, default=None)


def counts(
    rules: Iterable[Rule], calls: Sequence[PastCall], zones: tuple[str, ...], at: datetime
) -> dict[str, int]:
    """How many calls every cap counts at `at`, by the cap in words."""
    return {
        f"{rule.name}: {cap}": max(
            (sum(leaves > at for leaves in leaving) for leaving in _leaving(cap, calls, zones)), default=0
        )
        for rule in rules
        for cap in rule.caps
    }


def longest_memory(rules: Iterable[Rule]) -> timedelta:
    """How far back calls must be known for `held_by_frequency`, local dates in all zones of the world included."""
    periods = [
        timedelta(days=days)
        for rule in rules
        for days in (
            *((cap.days or 0) + (cap.hours or 0) / 24 for cap in rule.caps),
            *(cool_off.days + 1 for cool_off in rule.cool_offs),
        )
    ]
    # Two zones' dates are at most two days apart, and a date is up to 25 hours long.
    return max(periods) + timedelta(days=2) if periods else timedelta()


def fewest_calls(rules: Iterable[Rule]) -> int | None:
    """With fewer calls to the number than that, `held_by_frequency` holds nobody; None: however many there were."""
    limits = [limit for rule in rules for limit in _limits(rule)]
    return min(limits, default=None)


def _limits(rule: Rule) -> Iterator[int]:
    yield from (cap.max_calls for cap in rule.caps)
    if rule.cool_offs:
        yield 1


def _held_by(rule: Rule, calls: Sequence[PastCall], zones: tuple[str, ...]) -> Iterator[Held]:
    for cap in rule.caps:
        # Nearly always, and told without a look at any clock.
        if len(calls) < cap.max_calls:
            continue
        # Held until fewer calls than the cap allows are left in its period: until the last but so many has left it.
        frees = [
            sorted(leaving, reverse=True)[cap.max_calls - 1]
            for leaving in _leaving(cap, calls, zones)
            if len(leaving) >= cap.max_calls
        ]
        if frees:
            yield Held(until=max(frees), by=f"{rule.name}: {cap}")
    for cool_off in rule.cool_offs:
        ends = [_rested(cool_off, call.at, zones) for call in calls if call.outcome is cool_off.after]
        if ends:
            yield Held(until=max(ends), by=f"{rule.name}: {cool_off}")


def _leaving(cap: Cap, calls: Sequence[PastCall], zones: tuple[str, ...]) -> list[list[datetime]]:
    """When each call that the cap counts leaves its period, by every clock that it is counted on."""
    counted = [call.at for call in calls if call.is_connected or cap.counts is CapCounts.ATTEMPTS]
    if cap.days is None:
        # A call of exactly that age counts no more.
        period = timedelta(hours=cap.hours or 0)
        return [[at.astimezone(UTC) + period for at in counted]]
    days = cap.days
    return [[_days_later(at, days, name) for at in counted] for name in zones]


def _rested(cool_off: CoolOff, at: datetime, zones: tuple[str, ...]) -> datetime:
    # The law wants the days to have passed, so the date of the refusal is not one of them.
    return max(_days_later(at, cool_off.days + 1, name) for name in zones)


def _days_later(at: datetime, days: int, name: str) -> datetime:
    """The instant at which the local date that is so many days later begins."""
    return start_of_day(at.astimezone(zone(name)).date() + timedelta(days=days), name)
