"""Picks up what was left behind: rows nobody sent, calls in doubt, calls whose webhooks never came, results that never
came. Any worker does it for all; work is shared by moving each attempt's `look_up_at`. What follows from what was
found is decided in `domain/doubt.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from outdial.domain.attempt import Progress
from outdial.domain.campaign import CallOptions, CampaignDefinition
from outdial.domain.doubt import Asked, Capabilities, Silence, conclude, conclude_unasked, exact
from outdial.domain.errors import TelephonyProviderError
from outdial.domain.ids import AccountId, AttemptId
from outdial.engine.definitions import Definitions
from outdial.engine.events import NOBODY, Step, adopt_late, apply, hear, settle_overdue
from outdial.engine.on_settled import Host, tell_again
from outdial.engine.transactions import Transactions
from outdial.storage import attempts, lines
from outdial.storage.attempts import StoredAttempt
from outdial.storage.database import database_now
from outdial.storage.lines import OpenCall
from outdial.telephony.caller import Caller
from outdial.telephony.protocol import LookUp

log = logging.getLogger("outdial.reconcile")

SETTLED_AT_ONCE: Final = 500
TOLD_AGAIN_AT_ONCE: Final = 50
UNSENT_AT_ONCE: Final = 200
# Few enough that a round over a provider that does not answer is over in some tens of seconds.
LOOK_UPS_A_ROUND: Final = 40
LOOK_UPS_AT_ONCE: Final = 10
# While a round asks, nobody else asks about the same call.
ASK_AGAIN: Final = timedelta(seconds=30)
UNSENT_AGAIN: Final = timedelta(seconds=5)


async def tidy(transactions: Transactions, known: Definitions) -> None:
    """What needs no provider: overdue results, rows nobody sent, requests without an answer, events that came early."""
    await transactions.run(settle_overdue, known, SETTLED_AT_ONCE)
    suspects = await transactions.run(_take_dialing)
    await _apply_each(transactions, {one.id: _unasked for one in suspects}, known)
    await transactions.run(adopt_late, known)
    if known.host is not None:
        for _ in range(TOLD_AGAIN_AT_ONCE):
            if not await transactions.run(_tell_again, known.host):
                break


async def look_up(transactions: Transactions, callers: Mapping[AccountId, Caller], known: Definitions) -> int:
    """Ask the providers of these accounts about calls that are overdue. Returns how many were asked about."""
    silent = await transactions.run(_take_silent, list(callers))
    await ask(transactions, silent, callers, known)
    return len(silent)


async def ask(
    transactions: Transactions,
    suspects: Sequence[OpenCall],
    callers: Mapping[AccountId, Caller],
    known: Definitions,
) -> None:
    """Ask about these calls, and apply what follows from the answers."""
    at = await transactions.run(database_now)
    gate = asyncio.Semaphore(LOOK_UPS_AT_ONCE)
    asked = await asyncio.gather(*(_ask(one, callers[one.account_id], at, gate) for one in suspects))
    answers = dict(zip(suspects, asked, strict=True))
    owners = await transactions.run(_owners, answers)
    steps = {
        one.id: _concluding(exact(told, one.id, owners[one.account_id])) for one, told in answers.items()
    }
    ask_every = asking((account_id, caller.capabilities) for account_id, caller in callers.items())
    await _apply_each(transactions, steps, known, ask_every)


def asking(capabilities: Iterable[tuple[AccountId, Capabilities]]) -> dict[AccountId, timedelta]:
    """The accounts that send no events, and how often their open calls are asked about."""
    return {
        account_id: timedelta(seconds=one.look_up_seconds)
        for account_id, one in capabilities
        if one.look_up_seconds is not None
    }


Conclusion = Callable[[CampaignDefinition], Sequence[Step]]


def _unasked(definition: CampaignDefinition) -> Sequence[Step]:
    return [lambda attempt, at: conclude_unasked(_silence(attempt, definition.call), at)]


def _concluding(asked: Asked) -> Conclusion:
    def steps(definition: CampaignDefinition) -> Sequence[Step]:
        def last(attempt: StoredAttempt, at: datetime) -> Progress:
            return conclude(_silence(attempt, definition.call), asked, at)

        return [*(hear(event) for event in asked.events), last]

    return steps


def _silence(attempt: StoredAttempt, options: CallOptions) -> Silence:
    return Silence(
        progress=attempt.progress, not_after=attempt.not_after, sent_at=attempt.sent_at, options=options
    )


def _tell_again(connection: sa.Connection, host: Host) -> bool:
    return tell_again(connection, host, database_now(connection))


def _take_dialing(connection: sa.Connection) -> list[OpenCall]:
    at = database_now(connection)
    return lines.take_dialing(connection, at, at + UNSENT_AGAIN, UNSENT_AT_ONCE)


def _take_silent(connection: sa.Connection, account_ids: Sequence[AccountId]) -> list[OpenCall]:
    at = database_now(connection)
    return lines.take_silent(connection, account_ids, at, at + ASK_AGAIN, LOOK_UPS_A_ROUND)


async def _ask(suspect: OpenCall, caller: Caller, at: datetime, gate: asyncio.Semaphore) -> Asked:
    capabilities: Capabilities = caller.capabilities
    if not caller.can_look_up:
        return Asked(at=at, can_be_asked=False, capabilities=capabilities)
    async with gate:
        try:
            events = await caller.look_up(_query(suspect))
        except TelephonyProviderError as error:
            log.info("a call could not be looked up: %s", error, extra={"call_id": suspect.call_id})
            return Asked(at=at, capabilities=capabilities)
        except Exception:
            # An answer that our own reading stumbles over must not keep the other calls from being asked about.
            log.exception("a look-up could not be read", extra={"call_id": suspect.call_id})
            return Asked(at=at, capabilities=capabilities)
    return Asked(at=at, was_answered=True, events=events, capabilities=capabilities)


async def _apply_each(
    transactions: Transactions,
    conclusions: Mapping[AttemptId, Conclusion],
    known: Definitions,
    ask_every: Mapping[AccountId, timedelta] = NOBODY,
) -> None:
    """All in one transaction; if that fails, one by one, so that no single attempt stands in the way of all."""
    if not conclusions:
        return
    try:
        await transactions.run(_apply, conclusions, known, ask_every)
    except (sa.exc.IntegrityError, sa.exc.DataError, ValueError, KeyError):
        for attempt_id, conclusion in conclusions.items():
            try:
                await transactions.run(_apply, {attempt_id: conclusion}, known, ask_every)
            except (sa.exc.IntegrityError, sa.exc.DataError, ValueError, KeyError):
                log.exception("attempt %s cannot be reconciled", attempt_id, extra={"attempt_id": attempt_id})


def _apply(
    connection: sa.Connection,
    conclusions: Mapping[AttemptId, Conclusion],
    known: Definitions,
    ask_every: Mapping[AccountId, timedelta],
) -> None:
    campaign_of = attempts.campaigns_of(connection, list(conclusions))
    definitions = known.current(connection, set(campaign_of.values()))
    steps = {
        attempt_id: conclusions[attempt_id](definitions[campaign_id])
        for attempt_id, campaign_id in campaign_of.items()
    }
    apply(connection, steps, known, ask_every)


def _query(suspect: OpenCall) -> LookUp:
    return LookUp(
        call_id=suspect.call_id,
        to=suspect.phone_number,
        from_number=suspect.from_number,
        sent_at=suspect.sent_at,
        provider_call_id=suspect.provider_call_id,
    )


def _owners(
    connection: sa.Connection, answers: Mapping[OpenCall, Asked]
) -> dict[AccountId, dict[str, AttemptId]]:
    """Whose the calls are that look like those in question."""
    alike: dict[AccountId, set[str]] = {suspect.account_id: set() for suspect in answers}
    for suspect, answer in answers.items():
        alike[suspect.account_id] |= {
            str(event.provider_call_id) for event in answer.events if event.call_id is None
        }
    return {
        account_id: attempts.ids_by_provider_call_id(connection, account_id, ids) if ids else {}
        for account_id, ids in alike.items()
    }
