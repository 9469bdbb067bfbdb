"""The decision on one attempt: is it settled, with which outcome, and if not, when is it looked at again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from outdial.domain.attempt import AttemptState, Progress
from outdial.domain.campaign import CallOptions, CampaignDefinition
from outdial.domain.settle import Outcome, awaits_result, settle

# How long after its expected next sign of life an open call is asked about.
LOOK_UP_MARGIN: Final = timedelta(seconds=10)
ANSWERED_LOOK_UP: Final = timedelta(seconds=60)
DOUBT_LOOK_UP: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """`settle_at`: when an ended call is settled without a result; `look_up_at`: when an open one is asked about."""

    settle_at: datetime | None = None
    settled_at: datetime | None = None
    outcome: Outcome | None = None
    look_up_at: datetime | None = None


def settlement(
    progress: Progress,
    settled_at: datetime | None,
    definition: CampaignDefinition,
    at: datetime,
    *,
    ask_every: timedelta | None = None,
) -> Settlement:
    """What `progress` comes to at `at`. Once settled (`settled_at`), an attempt stays so, with the outcome corrected.

    `ask_every`: how often an open call is asked about whose account sends no events.
    """
    policy = definition.settle_policy
    ending = progress.ending
    if ending is None:
        return Settlement(
            settled_at=settled_at,
            # Settled by a guess that a live event proves wrong; it keeps an outcome until it ends anew.
            outcome=None if settled_at is None else Outcome.UNKNOWN,
            look_up_at=_look_up_at(progress, definition.call, at, ask_every),
        )
    settle_at = progress.ended_at or at
    if awaits_result(ending=ending, result=progress.result, policy=policy):
        settle_at += timedelta(seconds=definition.call.result_timeout_seconds)
    settled_at = settled_at or (at if settle_at <= at else None)
    outcome = settle(
        ending=ending,
        answered_by=progress.answered_by,
        result=progress.result,
        duration_seconds=progress.duration_seconds,
        policy=policy,
    )
    return Settlement(
        settle_at=settle_at, settled_at=settled_at, outcome=None if settled_at is None else outcome
    )


def _look_up_at(
    progress: Progress, options: CallOptions, at: datetime, ask_every: timedelta | None
) -> datetime:
    if progress.state is AttemptState.DIALING:
        return at + LOOK_UP_MARGIN
    if ask_every is not None:
        return at + ask_every
    if progress.state is AttemptState.IN_DOUBT:
        return at + DOUBT_LOOK_UP
    if progress.state is AttemptState.ANSWERED:
        return at + min(ANSWERED_LOOK_UP, timedelta(seconds=options.max_duration_seconds))
    return at + timedelta(seconds=options.ring_timeout_seconds) + LOOK_UP_MARGIN
