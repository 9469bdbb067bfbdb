"""Hangs up open calls at their providers. The database only learns of it: an end is what the provider says it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from outdial.clock import Clock
from outdial.domain.account import Account
from outdial.domain.errors import TelephonyProviderError, UserError
from outdial.domain.ids import AccountId, AttemptId, CallId, ProviderCallId
from outdial.engine.transactions import Transactions
from outdial.engine.worker import Providers
from outdial.storage import accounts, lines
from outdial.storage.database import database_now
from outdial.storage.lines import OpenCall
from outdial.telephony.caller import Caller, caller_for
from outdial.telephony.protocol import LookUp
from outdial.telephony.transport import AsyncTransport

AT_ONCE: Final = 20
TRIES: Final = 3
PAUSE_SECONDS: Final = 0.25
# A call whose POST is still under way has no id yet at the provider: its time-out, and a little more.
PATIENCE_SECONDS: Final = 12.0

Which = Callable[[sa.Connection], Sequence[OpenCall]]
"""The open calls that are meant, each time as they are then."""


@dataclass(slots=True, kw_only=True)
class HungUp:
    """`failed` says by call what stood in the way; those may go on. What ended by itself meanwhile is in neither."""

    calls: list[CallId] = field(default_factory=list)
    failed: dict[CallId, str] = field(default_factory=dict)


async def hang_up(
    transactions: Transactions,
    providers: Providers,
    which: Which,
    clock: Clock,
    *,
    by: str,
    reason: str,
    progress: Callable[[int, int], None] | None = None,
) -> HungUp:
    """Hang up all of `which`; calls that the provider has not heard of are left to whoever stopped them.

    `progress` is told how many are done, and of how many.
    """
    async with AsyncTransport() as transport:
        round_of = _Rounds(providers=providers, transport=transport)
        round_of.accounts = {one.id: one for one in await transactions.run(accounts.all_accounts)}
        give_up_at = clock.monotonic() + PATIENCE_SECONDS
        while True:
            left = [
                call
                for call in await transactions.run(which)
                if call.sent_at and call.id not in round_of.done
            ]
            todo = [call for call in left if round_of.tries[call.id] < TRIES]
            if not todo or (clock.monotonic() > give_up_at and not round_of.can_be_tried(todo)):
                break
            before = len(round_of.done)
            await round_of.hang_up(todo)
            new = list(round_of.done)[before:]
            if new:
                await transactions.run(_note, new, by, reason)
            if progress is not None:
                progress(len(round_of.done), len(round_of.done) + len(left) - len(new))
            await clock.sleep_async(PAUSE_SECONDS)
        still_open = {
            call.id: call.call_id
            for call in await transactions.run(which)
            if call.sent_at and call.id not in round_of.done
        }
    return HungUp(
        calls=list(round_of.done.values()),
        failed={call_id: round_of.why(attempt_id) for attempt_id, call_id in still_open.items()},
    )


@dataclass(slots=True, kw_only=True)
class _Rounds:
    """What was tried so far."""

    providers: Providers
    transport: AsyncTransport
    accounts: Mapping[AccountId, Account] = field(default_factory=dict)
    callers: dict[AccountId, Caller | str] = field(default_factory=dict)
    tries: Counter[AttemptId] = field(default_factory=Counter)
    done: dict[AttemptId, CallId] = field(default_factory=dict)
    errors: dict[AttemptId, str] = field(default_factory=dict)

    async def hang_up(self, calls: Iterable[OpenCall]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._one(call, gate) for call in calls))

    def can_be_tried(self, calls: Iterable[OpenCall]) -> bool:
        return any(call.provider_call_id is not None for call in calls)

    def why(self, attempt_id: AttemptId) -> str:
        return self.errors.get(attempt_id, "the provider has not told its id of this call")

    async def _one(self, call: OpenCall, gate: asyncio.Semaphore) -> None:
        caller = self._caller_of(call.account_id)
        if isinstance(caller, str):
            self.tries[call.id] = TRIES
            self.errors[call.id] = caller
            return
        async with gate:
            try:
                theirs = call.provider_call_id or await _look_up(caller, call)
                if theirs is None:
                    return
                self.tries[call.id] += 1
                await caller.hang_up(theirs)
            except TelephonyProviderError as error:
                self.errors[call.id] = str(error)
            else:
                self.done[call.id] = call.call_id

    def _caller_of(self, account_id: AccountId) -> Caller | str:
        """Or why there is none."""
        if account_id not in self.callers:
            try:
                provider = self.providers.provider_for(self.accounts[account_id])
                self.callers[account_id] = caller_for(provider, self.transport, None)
            except UserError as error:
                self.callers[account_id] = str(error)
        return self.callers[account_id]


async def _look_up(caller: Caller, call: OpenCall) -> ProviderCallId | None:
    if not caller.can_look_up:
        return None
    query = LookUp(
        call_id=call.call_id, to=call.phone_number, from_number=call.from_number, sent_at=call.sent_at
    )
    # One that only looks alike may be somebody else's call.
    ours = [event for event in await caller.look_up(query) if event.call_id == call.call_id]
    return next((event.provider_call_id for event in ours if event.provider_call_id is not None), None)


def _note(connection: sa.Connection, ids: Sequence[AttemptId], by: str, reason: str) -> None:
    at = database_now(connection)
    lines.note_end(connection, ids, by=by, reason=reason, look_up_at=at + lines.HUNG_UP_LOOK_UP)
