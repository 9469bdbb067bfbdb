"""When an open call is asked about at its provider, and how many may be asked about now. Pure.

The longer a call is silent, the more seldom it is asked about; an account has a rate of look-ups of its own, shared by
all workers, and waits longer after each one that fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from outdial.domain.attempt import AttemptState, Progress
from outdial.domain.campaign import CallOptions
from outdial.domain.patience import Patience

# How long after its expected next sign of life an open call is asked about.
MARGIN: Final = timedelta(seconds=10)
ANSWERED: Final = timedelta(seconds=60)
# In doubt, a call is asked about that often until an empty answer can be a proof, and then ever more seldom.
DOUBT: Final = timedelta(seconds=2)
PROOF_MARGIN: Final = timedelta(seconds=12)
DOUBT_LIMIT: Final = timedelta(seconds=60)
# States in which nobody's phone has rung yet, as far as the provider has told.
NOT_RINGING: Final = frozenset({AttemptState.IN_DOUBT, AttemptState.ACCEPTED})
# Somebody wants the call to end: the provider is to hear of it soon.
HANG_UP: Final = timedelta(seconds=1)
# Where webhooks should come and do not.
WITHOUT_WEBHOOKS: Final = timedelta(seconds=10)
AT_ONCE: Final = 40
FAILURE_LIMIT: Final = timedelta(seconds=60)
LONGEST_WAIT: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the open calls of an account are asked about that sends no events, or whose events do not arrive.

    `after_ringing`: only from their ring time-out on.
    """

    every: timedelta
    after_ringing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The instants of an attempt that say when to ask about it (aware UTC). `wants_end`: somebody wants its end, and
    the provider has not taken that on yet."""

    dial_at: datetime
    not_after: datetime
    sent_at: datetime | None
    wants_end: bool = False


def next_look_up(
    progress: Progress,
    timing: Timing,
    options: CallOptions,
    at: datetime,
    *,
    pace: Pace | None = None,
    patience: Patience = Patience(),
) -> datetime:
    """When the attempt, as it is at `at`, is asked about next, or taken up by whoever sees it."""
    if progress.state is AttemptState.DIALING:
        left = timing.sent_at
        over = timing.dial_at + patience.unsent if left is None else left + patience.post_is_over
        return max(over, at + DOUBT)
    if timing.wants_end and progress.state in NOT_RINGING:
        # Ever more seldom, since the provider may not be able to end it.
        return at + max(HANG_UP, (at - (timing.sent_at or at)) / 10)
    ringing_is_over = (progress.started_at or at) + timedelta(seconds=options.ring_timeout_seconds)
    if pace is not None and (not pace.after_ringing or at >= ringing_is_over):
        return at + pace.every
    if progress.state is AttemptState.IN_DOUBT:
        if at < timing.not_after + PROOF_MARGIN:
            return at + DOUBT
        return at + min(DOUBT_LIMIT, max(DOUBT, (at - (timing.sent_at or at)) / 4))
    if progress.state is AttemptState.ANSWERED:
        return at + min(ANSWERED, timedelta(seconds=options.max_duration_seconds))
    if pace is not None:
        return ringing_is_over
    return at + timedelta(seconds=options.ring_timeout_seconds) + MARGIN


def may_ask(cursor: datetime | None, not_before: datetime | None, at: datetime, per_second: float) -> int:
    """How many look-ups the account's rate allows at `at`: what the last second left over, and no more."""
    # A clock that was set back must not keep anybody from asking: neither lies that far ahead by itself.
    if not_before is not None and at < not_before <= at + LONGEST_WAIT:
        return 0
    cursor = None if cursor is None else min(cursor, at)
    since = max(cursor or at - timedelta(seconds=1), at - timedelta(seconds=1))
    # Slow rates save up for their next one, else they would never have a whole one in a second.
    if per_second < 1:
        since = cursor or at - timedelta(seconds=1 / per_second)
        return 1 if (at - since).total_seconds() * per_second >= 1 else 0
    return max(0, min(AT_ONCE, int((at - since).total_seconds() * per_second + 1e-6)))


def cursor_after(cursor: datetime | None, at: datetime, per_second: float, asked: int) -> datetime:
    """Where the rate stands after so many look-ups more."""
    saved_up = at - timedelta(seconds=max(1.0, 1 / per_second))
    begin = at - timedelta(seconds=1) if cursor is None else max(min(cursor, at), saved_up)
    return begin + timedelta(seconds=asked / per_second)


def wait_after_failures(failures: int, retry_after: float | None = None) -> timedelta:
    """1 s, 2 s, 4 s … up to a minute; longer where the provider asks for it, up to an hour."""
    own = min(FAILURE_LIMIT, timedelta(seconds=2 ** min(max(failures - 1, 0), 6)))
    return max(own, min(LONGEST_WAIT, timedelta(seconds=retry_after or 0.0)))
