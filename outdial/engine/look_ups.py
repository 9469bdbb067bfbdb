"""Asks the providers about calls that are overdue for a sign of life, and hangs up those that must not go on.

Any worker does it for all accounts that it serves. Work is shared by moving each attempt's `look_up_at`, and all workers
together keep to the account's rate of look-ups. What follows from an answer is decided in `domain/doubt.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.attempt import Progress
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.doubt import (
    QUEUED_TOO_LONG,
    WITHDRAWN,
    Asked,
    Capabilities,
    conclude,
    exact,
    why_hang_up,
)
from outdial.domain.errors import RateLimited, TelephonyProviderError
from outdial.domain.ids import AccountId, AttemptId, CallId, ProviderCallId
from outdial.domain.look_ups import (
    WITHOUT_WEBHOOKS,
    Pace,
    cursor_after,
    may_ask,
    wait_after_failures,
)
from outdial.engine.definitions import Definitions
from outdial.engine.events import Step, hear
from outdial.engine.reconcile import Conclusion, apply_each, silence_of
from outdial.engine.transactions import Transactions
from outdial.storage import attempts, lines, standing
from outdial.storage.attempts import StoredAttempt
from outdial.storage.database import database_now
from outdial.storage.lines import OpenCall
from outdial.telephony.caller import Caller
from outdial.telephony.protocol import LookUp

log = logging.getLogger("outdial.look_ups")

LOOK_UPS_AT_ONCE: Final = 10
# While a round asks, nobody else asks about the same call.
ASK_AGAIN: Final = timedelta(seconds=30)
# So many calls in a row of whose end no webhook told are no accident.
WEBHOOKS_MISSING_AFTER: Final = 10
LOOK_UPS_PER_SECOND: Final = 20.0


async def look_up(
    transactions: Transactions,
    callers: Mapping[AccountId, Caller],
    known: Definitions,
    served: Mapping[AccountId, Account] | None = None,
) -> int:
    """Ask the providers of these accounts about calls that are overdue. Returns how many were asked about.

    `served`: the same accounts as they are stored; None: with the usual settings.
    """
    accounts = served or {}
    budgets = await transactions.run(_budgets, list(callers), accounts)
    suspects: list[OpenCall] = []
    for account_id, budget in budgets.items():
        suspects += await transactions.run(_take_silent, account_id, budget)
    if suspects:
        await ask(transactions, suspects, callers, known, accounts)
    return len(suspects)


async def ask(
    transactions: Transactions,
    suspects: Sequence[OpenCall],
    callers: Mapping[AccountId, Caller],
    known: Definitions,
    served: Mapping[AccountId, Account] | None = None,
) -> None:
    """Ask about these calls, apply what follows from the answers, and hang up what must not go on."""
    accounts = served or {}
    at = await transactions.run(database_now)
    gate = asyncio.Semaphore(LOOK_UPS_AT_ONCE)
    rounds = {account_id: _Round() for account_id in callers}
    asked = await asyncio.gather(
        *(_ask(one, callers[one.account_id], at, gate, rounds[one.account_id]) for one in suspects)
    )
    answers = dict(zip(suspects, asked, strict=True))
    owners = await transactions.run(_owners, answers)
    exactly = {one: exact(told, one.id, owners[one.account_id]) for one, told in answers.items()}
    steps = {one.id: _concluding(told, one.call_id) for one, told in exactly.items()}
    paces = {
        account_id: pace
        for account_id, caller in callers.items()
        if (pace := pace_of(caller.capabilities, accounts.get(account_id))) is not None
    }
    await apply_each(transactions, steps, known, paces)
    await _hang_up(transactions, exactly, callers, known)
    for account_id, one in rounds.items():
        if one.error is not None:
            log.info("%d calls could not be looked up, the last for: %s", one.failures, one.error)
        if one.failures or one.answers:
            await transactions.run(_note_round, account_id, one)
    await _count_ends(transactions, answers, callers, accounts)


def pace_of(capabilities: Capabilities, account: Account | None) -> Pace | None:
    """How often the account's open calls are asked about, where its events do not come; None: where they do."""
    if capabilities.pace is not None:
        return capabilities.pace
    if account is not None and account.webhooks_missing_at is not None:
        return Pace(every=WITHOUT_WEBHOOKS, after_ringing=True)
    return None


class _Round:
    """How the questions to one account went."""

    def __init__(self) -> None:
        self.answers = 0
        self.failures = 0
        self.retry_after: float | None = None
        self.error: TelephonyProviderError | None = None


def _concluding(asked: Asked, call_id: CallId) -> Conclusion:
    def steps(definition: CampaignDefinition) -> Sequence[Step]:
        def conclusion(attempt: StoredAttempt, at: datetime) -> Progress:
            return conclude(silence_of(attempt, definition.call), asked, at)

        return [_only(call_id, step) for step in (*(hear(event) for event in asked.events), conclusion)]

    return steps


def _only(call_id: CallId, step: Step) -> Step:
    """The step for this very call: after a failover its row's id may have become another's."""
    return lambda attempt, at: step(attempt, at) if attempt.call_id == call_id else attempt.progress


async def _ask(
    suspect: OpenCall, caller: Caller, at: datetime, gate: asyncio.Semaphore, one: _Round
) -> Asked:
    capabilities: Capabilities = caller.capabilities
    if not caller.can_look_up:
        return Asked(at=at, can_be_asked=False, capabilities=capabilities)
    async with gate:
        try:
            events = await caller.look_up(_query(suspect))
        except TelephonyProviderError as error:
            one.failures += 1
            if isinstance(error, RateLimited):
                one.retry_after = max(one.retry_after or 0.0, error.retry_after or 0.0)
            one.error = error
            return Asked(at=at, capabilities=capabilities)
        except Exception:
            # An answer that our own reading stumbles over must not keep the other calls from being asked about.
            one.failures += 1
            log.exception("a look-up could not be read", extra={"call_id": suspect.call_id})
            return Asked(at=at, capabilities=capabilities)
    one.answers += 1
    return Asked(at=at, was_answered=True, events=events, capabilities=capabilities)


async def _hang_up(
    transactions: Transactions,
    answers: Mapping[OpenCall, Asked],
    callers: Mapping[AccountId, Caller],
    known: Definitions,
) -> None:
    """A call's end is what the provider says it is: that it took on to end it is only noted."""
    candidates = {
        one: told
        for one, told in answers.items()
        if callers[one.account_id].can_hang_up and (one.hang_up_because is not None or told.events)
    }
    if not candidates:
        return
    wanted = await transactions.run(_to_hang_up, candidates, known)
    ended: dict[AttemptId, str] = {}
    gate = asyncio.Semaphore(LOOK_UPS_AT_ONCE)

    async def end(one: OpenCall, theirs: ProviderCallId, reason: str, is_queued: bool) -> None:
        async with gate:
            try:
                await callers[one.account_id].hang_up(theirs, is_queued=is_queued)
            except TelephonyProviderError as error:
                log.info("a call could not be hung up: %s", error, extra={"call_id": one.call_id})
            except Exception:
                # A provider object of the host's own may raise anything.
                log.exception("a call could not be hung up", extra={"call_id": one.call_id})
            else:
                ended[one.id] = reason
                log.info("a call was hung up: %s", reason, extra={"call_id": one.call_id})

    await asyncio.gather(*(end(one, *how) for one, how in wanted.items()))
    if ended:
        await transactions.run(lambda c: lines.note_hung_up(c, ended, database_now(c)))


def _budgets(
    connection: sa.Connection, account_ids: Sequence[AccountId], accounts: Mapping[AccountId, Account]
) -> dict[AccountId, int]:
    """How many calls of each account may be asked about now, paid for by its rate of look-ups."""
    at = database_now(connection)
    overdue = lines.count_silent(connection, account_ids, at)
    budgets: dict[AccountId, int] = {}
    for account_id, count in sorted(overdue.items()):
        account = accounts.get(account_id)
        options = {} if account is None else account.options
        per_second = float(options.get("look_ups_per_second", LOOK_UPS_PER_SECOND))
        cursor, not_before, _ = standing.look_up_rate(connection, account_id)
        allowed = min(count, may_ask(cursor, not_before, at, per_second))
        if allowed:
            standing.move_look_ups(connection, account_id, cursor_after(cursor, at, per_second, allowed))
            budgets[account_id] = allowed
    return budgets


def _take_silent(connection: sa.Connection, account_id: AccountId, limit: int) -> list[OpenCall]:
    at = database_now(connection)
    return lines.take_silent(connection, [account_id], at, at + ASK_AGAIN, limit)


def _to_hang_up(
    connection: sa.Connection, answers: Mapping[OpenCall, Asked], known: Definitions
) -> dict[OpenCall, tuple[ProviderCallId, str, bool]]:
    """The provider's id of each call to hang up, why, and whether only if it was not answered meanwhile."""
    at = database_now(connection)
    stored = {one.id: one for one in attempts.lock(connection, [call.id for call in answers])}
    definitions = known.current(connection, {one.campaign_id for one in stored.values()})
    found: dict[OpenCall, tuple[ProviderCallId, str, bool]] = {}
    for call, asked in answers.items():
        attempt = stored.get(call.id)
        if attempt is None or attempt.call_id != call.call_id:
            continue
        theirs = attempt.progress.provider_call_id
        why = why_hang_up(silence_of(attempt, definitions[attempt.campaign_id].call), asked, at)
        if why is not None and theirs is not None:
            found[call] = (theirs, attempt.hang_up_because or why, why in {WITHDRAWN, QUEUED_TOO_LONG})
    return found


def _note_round(connection: sa.Connection, account_id: AccountId, one: _Round) -> None:
    """One answer shows that the provider can be asked; a round of failures makes the next one wait longer."""
    _, not_before, failures = standing.look_up_rate(connection, account_id)
    if one.answers:
        if failures or not_before is not None:
            standing.note_look_ups(connection, account_id, 0, database_now(connection), None)
        return
    wait = wait_after_failures(failures + 1, one.retry_after)
    standing.note_look_ups(connection, account_id, failures + 1, database_now(connection), wait)


async def _count_ends(
    transactions: Transactions,
    answers: Mapping[OpenCall, Asked],
    callers: Mapping[AccountId, Caller],
    accounts: Mapping[AccountId, Account],
) -> None:
    """Where webhooks should tell of ends, and look-ups do again and again, something keeps the webhooks away."""
    told = [one.id for one, answer in answers.items() if answer.events]
    if not told:
        return
    for account_id, count in (await transactions.run(lines.ended_by_look_up, told)).items():
        # An account that is asked instead has none to miss.
        account = accounts.get(account_id)
        options = {} if account is None else account.options
        missing_after = int(options.get("webhooks_missing_after", WEBHOOKS_MISSING_AFTER))
        if callers[account_id].capabilities.pace is None and await transactions.run(
            _count_end, account_id, count, missing_after
        ):
            log.error(
                "account %s: the provider's webhooks do not arrive: the last %d calls and more ended, and only look-ups told. "
                "Is `outdial serve` running, and does OUTDIAL_PUBLIC_URL (or TELEPHONY_CALLBACK_URL) lead the provider to it? "
                "Webhooks with a wrong signature are refused, which its log says. Until they arrive, calls are looked up "
                "from their ring time-out on",
                account_id if account is None else account.name,
                missing_after,
            )


def _count_end(connection: sa.Connection, account_id: AccountId, count: int, missing_after: int) -> bool:
    """Whether the account's webhooks are missing as of now."""
    in_a_row = standing.count_look_up_ends(connection, account_id, count)
    return in_a_row >= missing_after and standing.miss_webhooks(
        connection, account_id, database_now(connection)
    )


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
