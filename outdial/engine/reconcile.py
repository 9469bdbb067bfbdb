"""Picks up what was left behind: rows nobody sent, calls in doubt, calls whose webhooks never came, results that never
came. Any worker does it for all; work is shared by moving each attempt's `look_up_at`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
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
from outdial.telephony.protocol import Capabilities, LookUp

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
        ask_every = asking((account_id, caller.capabilities) for account_id, caller in callers.items())
        answers = dict(zip(suspects, asked, strict=True))
        await transactions.run(_apply, answers, known, ask_every)
    return settled + len(suspects)


def asking(capabilities: Iterable[tuple[AccountId, Capabilities]]) -> dict[AccountId, timedelta]:
    """The accounts that send no events, and how often their open calls are asked about."""
    return {
        account_id: timedelta(seconds=one.look_up_seconds)
        for account_id, one in capabilities
        if one.look_up_seconds is not None
    }


def exact(asked: Asked, attempt_id: AttemptId, owners: Mapping[str, AttemptId]) -> Asked:
    """The answer without calls that only look like the one in question, unless a single one is left that can be it.

    `owners`: whose the provider's ids are, as far as we know. A guess between two calls would be no answer at all.
    """
    proven = [event for event in asked.events if event.call_id is not None]
    alike = {
        event.provider_call_id: event
        for event in asked.events
        if event.call_id is None and owners.get(str(event.provider_call_id), attempt_id) == attempt_id
    }
    if len(proven) == len(asked.events):
        return asked
    if not proven and len(alike) == 1:
        return replace(asked, events=tuple(alike.values()))
    return replace(asked, events=tuple(proven), was_answered=bool(proven))


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
    is_open = any(event.kind is not EventKind.ENDED for event in asked.events)
    if not is_open and at > attempt.sent_at + longest_possible(asked.capabilities, options):
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
            events = await caller.look_up(_query(suspect))
        except TelephonyProviderError as error:
            log.info("a call could not be looked up: %s", error, extra={"call_id": suspect.call_id})
            return Asked(at=at, capabilities=capabilities)
    return Asked(at=at, was_answered=True, events=events, capabilities=capabilities)


def _query(suspect: Suspect) -> LookUp:
    return LookUp(
        call_id=suspect.call_id,
        to=suspect.phone_number,
        from_number=suspect.from_number,
        sent_at=suspect.sent_at,
        provider_call_id=suspect.provider_call_id,
    )


def _apply(
    connection: sa.Connection,
    asked: Mapping[Suspect, Asked],
    known: Definitions,
    ask_every: Mapping[AccountId, timedelta],
) -> None:
    stored = attempts.campaigns_of(connection, [suspect.id for suspect in asked])
    definitions = known.current(connection, set(stored.values()))
    owners = _owners(connection, asked)
    steps: dict[AttemptId, list[Step]] = {}
    for suspect, told in asked.items():
        options = definitions[stored[suspect.id]].call
        answer = exact(told, suspect.id, owners[suspect.account_id])
        steps[suspect.id] = [*(hear(event) for event in answer.events), _concluding(answer, options)]
    apply(connection, steps, known, ask_every)


def _owners(
    connection: sa.Connection, asked: Mapping[Suspect, Asked]
) -> dict[AccountId, dict[str, AttemptId]]:
    """Whose the calls are that look like those in question."""
    alike: dict[AccountId, set[str]] = {suspect.account_id: set() for suspect in asked}
    for suspect, answer in asked.items():
        alike[suspect.account_id] |= {
            str(event.provider_call_id) for event in answer.events if event.call_id is None
        }
    return {
        account_id: attempts.ids_by_provider_call_id(connection, account_id, ids) if ids else {}
        for account_id, ids in alike.items()
    }


def _concluding(asked: Asked, options: CallOptions) -> Step:
    return lambda attempt, at: conclude(attempt, asked, options, at)
