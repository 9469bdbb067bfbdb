"""How fast an account may start calls: slots of a leaky bucket (GCRA), and backing off when the provider says so.

Pure: the cursor stands on the account's row and is moved under its lock, so that any number of workers together keep
one rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

HORIZON: Final = timedelta(seconds=1)
RATE_FLOOR: Final = 1 / 32
RECOVERY_PER_SECOND: Final = 0.05
HALVE_AT_MOST_EVERY: Final = timedelta(seconds=1)
DEFAULT_RETRY_AFTER: Final = timedelta(seconds=1)
# "Retry at once" would be a loop where there is no rate to halve.
LEAST_WAIT: Final = timedelta(seconds=0.5)
UNREACHABLE_BACKOFF_LIMIT: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """An account's rate. `calls_per_second` None means unlimited; `margin` is a share of the slot (0.02 = 2 %)."""

    calls_per_second: float | None
    burst: int = 1
    margin: float = 0.02

    def interval(self, factor: float = 1.0) -> timedelta:
        """The distance of two slots while the account runs at `factor` of its rate."""
        if self.calls_per_second is None:
            return timedelta()
        return timedelta(seconds=(1 + self.margin) / (self.calls_per_second * factor))

    def tolerance(self) -> timedelta:
        """How late a call may leave for its slot, or late ones would crowd with those behind: one slot, or the margin.

        Either keeps every second to `calls_per_second` + 1: within any second lie the slots of 1 s + tolerance, which are
        at most (1 + tolerance) / interval + 1. Without a rate there are no slots to miss.
        """
        if self.calls_per_second is None:
            return timedelta.max
        return max(self.interval(), timedelta(seconds=self.margin))


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """What the provider's answers did to an account. Instants are aware UTC, from the database's clock."""

    factor: float = 1.0
    factor_at: datetime | None = None
    not_before: datetime | None = None
    unreachable_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Instants to dial at, and the cursor as it stands after the first `n` of them are taken."""

    instants: tuple[datetime, ...]
    interval: timedelta

    def cursor_after(self, taken: int) -> datetime | None:
        """Where the next slot begins; None if nothing was taken and the cursor stays."""
        return self.instants[taken - 1] + self.interval if taken else None


def reserve(rate: Rate, throttle: Throttle, cursor: datetime | None, at: datetime, wanted: int) -> Slots:
    """At most `wanted` slots between `at` and one second later; the rest must be asked for again."""
    begin = max(at, throttle.not_before or at)
    interval = rate.interval(current_factor(throttle, at))
    if not interval:
        return Slots(instants=(begin,) * wanted if begin <= at + HORIZON else (), interval=interval)
    slot = cursor or begin
    # A claim leaves its cursor within the horizon and one slot. One further ahead comes from a clock that jumped: it
    # must not idle the account. The slots reserved before the jump are over when the horizon is.
    if slot > at + HORIZON + rate.interval(throttle.factor):
        slot = at + HORIZON
    # What was not used up to now may go out in a burst, but none of it before the provider wants to hear from us.
    slot = max(slot, at - interval * (rate.burst - 1), throttle.not_before or slot)
    instants: list[datetime] = []
    while len(instants) < wanted and slot <= at + HORIZON:
        instants.append(slot)
        slot += interval
    return Slots(instants=tuple(instants), interval=interval)


def current_factor(throttle: Throttle, at: datetime) -> float:
    """The share of the rate that is used now: halved by refusals, regained second by second."""
    if throttle.factor_at is None:
        return throttle.factor
    seconds = max(0.0, (at - throttle.factor_at).total_seconds())
    return min(1.0, throttle.factor + seconds * RECOVERY_PER_SECOND)


def after_rate_limited(throttle: Throttle, at: datetime, retry_after: float | None) -> Throttle:
    """Halve the rate, at most once a second, and wait as long as the provider asks for."""
    asked = timedelta(seconds=min(retry_after, 3600)) if retry_after is not None else DEFAULT_RETRY_AFTER
    wait = max(asked, LEAST_WAIT)
    not_before = max(throttle.not_before or at, at + wait)
    recently = throttle.factor_at is not None and at - throttle.factor_at < HALVE_AT_MOST_EVERY
    if recently:
        return replace(throttle, not_before=not_before)
    factor = max(RATE_FLOOR, current_factor(throttle, at) / 2)
    return replace(throttle, factor=factor, factor_at=at, not_before=not_before)


def after_unreachable(throttle: Throttle, at: datetime) -> Throttle:
    """The provider cannot be reached: wait 1 s, 2 s, 4 s … up to a minute, once for each wait that has passed."""
    if throttle.not_before is not None and throttle.not_before > at:
        return throttle
    wait = min(timedelta(seconds=2 ** min(throttle.unreachable_count, 6)), UNREACHABLE_BACKOFF_LIMIT)
    return replace(throttle, not_before=at + wait, unreachable_count=throttle.unreachable_count + 1)


def after_reached(throttle: Throttle) -> Throttle:
    """The provider answers again."""
    return replace(throttle, unreachable_count=0)
