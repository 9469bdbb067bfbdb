"""Picks up what was left behind: rows nobody sent, calls in doubt, calls whose webhooks never came, results that never
came. Any worker does it for all; work is shared by moving each attempt's `look_up_at`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from outdial.domain.attempt import (
    AttemptState,
    CallEvent,
    Ending,
    ErrorClass,
    EventKind,
    Progress,
    Source,
    advance,
    release,
)
from outdial.domain.campaign import CallOptions
from outdial.domain.errors import TelephonyProviderError
from outdial.domain.ids import AccountId, AttemptId
from outdial.engine.definitions import Definitions
from outdial.engine.events import Step, apply, hear, settle_overdue
from outdial.engine.transactions import Transactions
from outdial.storage import attempts
from outdial.storage.attempts import StoredAttempt, Suspect
from outdial.storage.database import database_now
from outdial.telephony.caller import Caller
from outdial.telephony.protocol import Capabilities

log = logging.getLogger("outdial.reconcile")

AT_ONCE: Final = 100
LOOK_UPS_AT_ONCE: Final = 10
ASK_AGAIN: Final = timedelta(seconds=5)
# After this, a POST that was sent has been answered or given up by its owner: its time-out, and two seconds.
POST_IS_OVER: Final = timedelta(seconds=12)
MARGIN: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the provider said of a call. `was_answered` False: it could not be asked. `at`: before the question."""

    at: datetime
    was_answered: bool = False
    events: Sequence[CallEvent] = ()
    capabilities: Capabilities = Capabilities()


async def reconcile(
    transactions: Transactions, callers: Mapping[AccountId, Caller], known: Definitions
) -> int:
    """One round over what is overdue. Returns how many attempts were looked at."""
    settled = await transactions.run(settle_overdue, known, AT_ONCE * 5)
    at, suspects = await transactions.run(_take_suspects)
    if suspects:
        gate = asyncio.Semaphore(LOOK_UPS_AT_ONCE)
        asked = await asyncio.gather(*(_ask(one, callers.get(one.account_id), at, gate) for one in suspects))
        await transactions.run(_apply, dict(zip((one.id for one in suspects), asked, strict=True)), known)
    return settled + len(suspects)


def conclude(attempt: StoredAttempt, asked: Asked, options: CallOptions, at: datetime) -> Progress:
    """What follows for an open attempt that is overdue at `at`, when the provider's events have been heard."""
    progress = attempt.progress
    if progress.has_ended:
        return progress
    if attempt.sent_at is None:
        # Past its `not_after` the last check lets nobody send it any more.
        return release(progress, ErrorClass.RELEASED, at) if at > attempt.not_after else progress
    if progress.state is AttemptState.DIALING:
        is_over = at > attempt.sent_at + POST_IS_OVER
        return replace(progress, state=AttemptState.IN_DOUBT) if is_over else progress
    if progress.state is AttemptState.IN_DOUBT and _was_surely_not_placed(attempt, asked):
        return release(progress, ErrorClass.EXPIRED, at)
    if at > attempt.sent_at + longest_possible(asked.capabilities, options):
        given_up = CallEvent(
            kind=EventKind.ENDED, event_id="", at=at, ending=Ending.UNKNOWN, source=Source.GUESS
        )
        return advance(progress, given_up, at)
    return progress


def longest_possible(capabilities: Capabilities, options: CallOptions) -> timedelta:
    """How long after its POST a call may still be open: queued, ringing, talking, and a margin."""
    seconds = capabilities.queue_limit_seconds + options.ring_timeout_seconds + options.max_duration_seconds
    return timedelta(seconds=seconds) + MARGIN


def _was_surely_not_placed(attempt: StoredAttempt, asked: Asked) -> bool:
    """An empty look-up proves it only where a late POST is refused, and when it was asked after that time.

    Bytes that timed out at our end may still be read at the other.
    """
    capabilities = asked.capabilities
    if not asked.was_answered or asked.events or not capabilities.honours_not_after:
        return False
    return asked.at > attempt.not_after + timedelta(seconds=capabilities.listing_lag_seconds)


def _take_suspects(connection: sa.Connection) -> tuple[datetime, list[Suspect]]:
    at = database_now(connection)
    return at, attempts.take_suspects(connection, at, at + ASK_AGAIN, AT_ONCE)


async def _ask(suspect: Suspect, caller: Caller | None, at: datetime, gate: asyncio.Semaphore) -> Asked:
    capabilities = Capabilities() if caller is None else caller.capabilities
    if caller is None or not caller.can_look_up or suspect.state is AttemptState.DIALING:
        return Asked(at=at, capabilities=capabilities)
    async with gate:
        try:
            events = await caller.look_up(suspect.call_id)
        except TelephonyProviderError as error:
            log.info("a call could not be looked up: %s", error, extra={"call_id": suspect.call_id})
            return Asked(at=at, capabilities=capabilities)
    return Asked(at=at, was_answered=True, events=events, capabilities=capabilities)


def _apply(connection: sa.Connection, asked: Mapping[AttemptId, Asked], known: Definitions) -> None:
    stored = attempts.campaigns_of(connection, list(asked))
    definitions = known.current(connection, set(stored.values()))
    steps: dict[AttemptId, list[Step]] = {}
    for attempt_id, answer in asked.items():
        options = definitions[stored[attempt_id]].call
        steps[attempt_id] = [*(hear(event) for event in answer.events), _concluding(answer, options)]
    apply(connection, steps, known)


def _concluding(asked: Asked, options: CallOptions) -> Step:
    return lambda attempt, at: conclude(attempt, asked, options, at)
