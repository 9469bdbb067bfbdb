"""The circuit breaker of an account: when it opens, when it is probed, and when it closes. Pure.

Closed → open: so many calls are in doubt at once that they would soon hold every line, or so many of the last answers
were failures. Open → half open: a free question was answered. Half open → closed: the provider answered one call; an
answer that is no answer opens it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

DEFAULT_DOUBT_SHARE: Final = 0.5
DEFAULT_FAILURE_SHARE: Final = 0.5
LEAST_DOUBTS: Final = 3
# Of how many of the last answers failures are counted, and how old they may be.
ANSWERS_COUNTED: Final = 20
COUNTED_FOR: Final = timedelta(seconds=60)
# How long the one call of a half-open breaker may take to be answered.
TRIAL: Final = timedelta(seconds=20)
TRIAL_MARGIN: Final = timedelta(seconds=5)
FIRST_PROBE: Final = timedelta(seconds=1)
PROBE_LIMIT: Final = timedelta(seconds=60)
# Credentials and balances are mended by people.
FIRST_PROBE_OF_SUSPENDED: Final = timedelta(seconds=5)
PROBE_LIMIT_OF_SUSPENDED: Final = timedelta(minutes=10)


class Breaker(StrEnum):
    """None stands for closed."""

    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """How the account stands: calls in doubt now, and of the last answers how many there were and how many failed."""

    doubts: int
    answers: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """`doubts`: the share of lines that may be in doubt; `failures`: the share of the last answers that may fail."""

    doubts: float = DEFAULT_DOUBT_SHARE
    failures: float = DEFAULT_FAILURE_SHARE

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Thresholds:
        """As an account's options say."""
        return cls(
            doubts=float(options.get("breaker_doubt_share", DEFAULT_DOUBT_SHARE)),
            failures=float(options.get("breaker_failure_share", DEFAULT_FAILURE_SHARE)),
        )


def why_open(recent: Recent, lines: int, thresholds: Thresholds) -> str | None:
    """What opens the breaker, in the words of its reason; None: nothing does. A share of 1 or more never does."""
    most = max(LEAST_DOUBTS, int(lines * thresholds.doubts))
    if thresholds.doubts < 1 and recent.doubts >= most:
        return f"{recent.doubts} of {lines} lines are in doubt: nobody knows whether their calls were placed"
    too_many = recent.failures >= ANSWERS_COUNTED * thresholds.failures
    if thresholds.failures < 1 and recent.answers >= ANSWERS_COUNTED and too_many:
        return f"{recent.failures} of the last {recent.answers} calls were not answered by the provider"
    return None


def probe_wait(probes: int, *, is_suspended: bool) -> timedelta:
    """How long to wait for the next free question, after so many in vain: each time twice as long."""
    first, limit = (
        (FIRST_PROBE_OF_SUSPENDED, PROBE_LIMIT_OF_SUSPENDED) if is_suspended else (FIRST_PROBE, PROBE_LIMIT)
    )
    return min(limit, first * (1 << min(probes, 10)))


def lines_in_trial(breaker: Breaker | None, trial_until: datetime | None, at: datetime) -> int | None:
    """How many calls may be claimed now; None: as many as there are lines."""
    if breaker is None:
        return None
    is_free = breaker is Breaker.HALF_OPEN and (trial_until is None or trial_until <= at)
    return 1 if is_free else 0
