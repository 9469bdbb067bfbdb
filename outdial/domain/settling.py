"""The decision on one attempt: is it settled, with which outcome, and if not, when is it looked at again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from outdial.domain.attempt import Progress
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.settle import Outcome, awaits_result, settle


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
    look_up_at: datetime | None = None,
    awaits_confirmation: bool = False,
) -> Settlement:
    """What `progress` comes to at `at`. Once settled (`settled_at`), an attempt stays so, with the outcome corrected.

    `look_up_at`: when it is asked about next, should it be open (`look_ups.next_look_up`). `awaits_confirmation`: what
    came of it may be lost, so that a person must say first that it is to be settled by what is known.
    """
    policy = definition.settle_policy
    ending = progress.ending
    if ending is None:
        return Settlement(
            settled_at=settled_at,
            # Settled by a guess that a live event proves wrong; it keeps an outcome until it ends anew.
            outcome=None if settled_at is None else Outcome.UNKNOWN,
            look_up_at=look_up_at,
        )
    if awaits_confirmation and settled_at is None:
        return Settlement()
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
