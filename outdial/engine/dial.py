"""Dials claimed calls: waits for each one's slot, asks the last check, sends, and hands the answer to be recorded.

No transaction is open while a request is under way, and hundreds are. Nothing here decides what an answer means.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from outdial.clock import Clock
from outdial.domain.account import Account
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.errors import InDoubt, MissedMoment, TelephonyProviderError
from outdial.domain.fences import Fence
from outdial.domain.ids import AccountId, AttemptId, CallId, WorkerId
from outdial.domain.look_ups import Pace
from outdial.domain.script import render, words_of
from outdial.domain.veto import CallToMake
from outdial.engine.before_call import LIMIT_SECONDS, Gate, HostAnswer
from outdial.engine.claim import ClaimedCall
from outdial.engine.definitions import Definitions
from outdial.engine.effects import apply_effects, has_effects
from outdial.engine.group_commit import GroupCommit
from outdial.engine.lease import Lease
from outdial.engine.look_ups import pace_of
from outdial.engine.record import Answer, Dialed, Released, record
from outdial.engine.slots import reserve_again
from outdial.engine.transactions import Transactions
from outdial.storage import attempts
from outdial.storage.database import may_pass
from outdial.telephony.caller import Caller
from outdial.telephony.protocol import OutboundCallRequest, OutboundCallResponse

log = logging.getLogger("outdial.dial")

# How old the last check may be when the bytes leave: a stop that has waited this long is a stop.
LAST_CHECK_MAX_AGE_SECONDS: Final = 0.1
# How long before its slot a call asks for the last check: time for a commit, within the check's greatest age.
CHECK_LEAD_SECONDS: Final = 0.06
# And how long before that the host is asked, if it wants to be: a question may wait for the one before it.
ASK_LEAD_SECONDS: Final = 2 * LIMIT_SECONDS
TRIES_TO_LEAVE: Final = 10
# A call that could not leave this long after its slot is given back: soon the others would (`Patience.unsent_seconds`).
UNSENT_PATIENCE_SECONDS: Final = 5.0
# A machine that does not reach the database cannot record: it must not go on piling up answers.
UNRECORDED_LIMIT: Final = 5000
# Not to be had by an attribute of the same name: the provider's side knows them as ours.
OWN_IDS: Final = frozenset({"campaign_id", "contact_id", "call_id", "external_contact_id"})
RECORD_PAUSE_SECONDS: Final = 0.1
RECORD_PAUSE_LIMIT_SECONDS: Final = 2.0
# A worker that was told to stop has answers that it cannot record looked up by the others.
RECORD_PATIENCE_OF_STOPPED_SECONDS: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class DialResult:
    """What came of one call."""

    call: ClaimedCall
    answer: Answer


ToCheck = tuple[AttemptId, CallId, HostAnswer | None]
"""A call that asks for its last check, and what the host said of it, if it was asked."""


class Dialer:
    """Dials for one account. Calls of any number of claims may be under way at once."""

    def __init__(
        self,
        *,
        account: Account,
        worker_id: WorkerId,
        caller: Caller,
        callback_url: str | None,
        fence: Fence,
        lease: Lease,
        transactions: Transactions,
        known: Definitions,
        clock: Clock,
        gate: Gate | None = None,
    ) -> None:
        self.account = account
        self._account_id = account.id
        self._lease = lease
        self._worker_id = worker_id
        self._caller = caller
        self._callback_url = callback_url
        self._fence = fence
        self._transactions = transactions
        self._known = known
        self._clock = clock
        self._stopping = False
        self._stopped_at = float("inf")
        self._had_trouble = True
        self._gate = gate
        self._questions: GroupCommit[CallToMake, HostAnswer] = GroupCommit(self._ask, limit=UNRECORDED_LIMIT)
        self._checks: GroupCommit[ToCheck, tuple[bool, float]] = GroupCommit(
            self._check, limit=UNRECORDED_LIMIT
        )
        self._new_slots: GroupCommit[AttemptId, float | None] = GroupCommit(
            self._reserve_again, limit=UNRECORDED_LIMIT
        )
        self._records: GroupCommit[Dialed, None] = GroupCommit(self._record, limit=UNRECORDED_LIMIT)

    def is_stopping(self) -> bool:
        return self._stopping

    @property
    def is_full(self) -> bool:
        return self._records.is_full

    def stop(self) -> None:
        """Send nothing more: calls that wait for their slot are given back, those under way are finished."""
        if not self._stopping:
            self._stopping = True
            self._stopped_at = self._clock.monotonic()

    async def dial(
        self, call: ClaimedCall, definition: CampaignDefinition, tolerance_seconds: float
    ) -> DialResult:
        """One call, from its slot to its recorded answer."""
        answer = await self._dial(call, definition, tolerance_seconds)
        dialed = Dialed(
            is_tried=call.is_tried,
            attempt_id=call.attempt_id,
            account_id=self._account_id,
            campaign_id=call.campaign_id,
            to=call.contact.phone_number,
            from_number=call.from_number,
            row=call.row,
            answer=answer,
        )
        await self._records.submit(dialed)
        return DialResult(call=call, answer=answer)

    async def _dial(
        self, call: ClaimedCall, definition: CampaignDefinition, tolerance_seconds: float
    ) -> Answer:
        host: HostAnswer | None = None
        if self._gate is not None:
            await self._sleep_until(call.dial_at - CHECK_LEAD_SECONDS - ASK_LEAD_SECONDS)
            if self.is_stopping():
                return Released(why="worker_stopped")
            host = await self._questions.submit(_question(call, definition))
            if not host.allows:
                return Released(why=host.reason, host=host)
        try:
            return await self._check_and_send(call, definition, tolerance_seconds, host)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing was sent
            # What comes of a request that left is an answer: so this one did not.
            if not may_pass(error):
                log.warning(
                    "a call could not be checked before it left: %s", type(error).__name__, extra=_names(call)
                )
            return Released(why="not_checked")

    async def _check_and_send(
        self,
        call: ClaimedCall,
        definition: CampaignDefinition,
        tolerance_seconds: float,
        host: HostAnswer | None,
    ) -> Answer:
        await self._sleep_until(call.dial_at - CHECK_LEAD_SECONDS)
        if self.is_stopping():
            return Released(why="worker_stopped")
        request = request_for(call, definition, self._callback_url)
        may_send, checked_at = await self._checks.submit((call.attempt_id, call.call_id, host))
        slot: float | None = call.dial_at
        give_up_at = min(call.deadline, call.dial_at + UNSENT_PATIENCE_SECONDS)
        for _ in range(TRIES_TO_LEAVE):
            if not may_send:
                return Released(why="no_longer_allowed")
            if not self._lease.is_held:
                return Released(why="lease_lost")
            if slot is None:
                return Released(why="no_slot_left")
            await self._sleep_until(slot)
            now = self._clock.monotonic()
            if self.is_stopping():
                return Released(why="worker_stopped")
            if now >= give_up_at:
                break
            if now - slot > tolerance_seconds:
                slot = await self._new_slots.submit(call.attempt_id)
            elif now - checked_at > LAST_CHECK_MAX_AGE_SECONDS:
                checked_at = now
                may_send = await self._is_still_allowed(call)
            else:
                leave_by = min(checked_at + LAST_CHECK_MAX_AGE_SECONDS, slot + tolerance_seconds, give_up_at)
                answer = await self._send(call, request, leave_by)
                if answer is not None:
                    return answer
        return Released(why="too_late")

    async def _send(self, call: ClaimedCall, request: OutboundCallRequest, leave_by: float) -> Answer | None:
        """The provider's answer; None: nothing was sent, since no connection or thread was free by `leave_by`."""
        try:
            return await self._caller.start(
                request, lambda: self._clock.monotonic() <= leave_by and self._lease.is_held
            )
        except MissedMoment:
            return None
        except TelephonyProviderError as error:
            log.warning("Telephony provider failure: %s: %s", type(error).__name__, error, extra=_names(call))
            return error
        except Exception as error:
            # A provider object of the host's own may raise anything: the call may have been placed.
            log.exception("Telephony provider failure: %s", type(error).__name__, extra=_names(call))
            return InDoubt(f"{type(error).__name__} from the provider object")

    async def _is_still_allowed(self, call: ClaimedCall) -> bool:
        allowed = await self._transactions.run(
            attempts.last_check,
            {call.attempt_id: call.call_id},
            self._worker_id,
            self._fence,
            already_sent=True,
        )
        return call.attempt_id in allowed

    async def _reserve_again(self, ids: Sequence[AttemptId]) -> Sequence[float | None]:
        """New slots for calls that missed theirs: late ones sent together would break the rate."""
        moment, slots = await self._transactions.run(reserve_again, self._account_id, ids, self._clock)
        return [moment.monotonic(slots[index]) if index < len(slots) else None for index in range(len(ids))]

    async def _ask(self, calls: Sequence[CallToMake]) -> Sequence[HostAnswer]:
        assert self._gate is not None, "asked only with a gate"
        return await self._gate.ask(calls)

    async def _check(self, asked: Sequence[ToCheck]) -> Sequence[tuple[bool, float]]:
        # Its age counts from before the statement: a stop committed while it runs may not have been seen.
        checked_at = self._clock.monotonic()
        allowed = await self._transactions.run(_last_check, asked, self._worker_id, self._fence)
        return [(attempt_id in allowed, checked_at) for attempt_id, _, _ in asked]

    async def _record(self, dialed: Sequence[Dialed]) -> Sequence[None]:
        await self._record_with_patience(dialed)
        has_trouble = any(has_effects(one) for one in dialed)
        is_news = self._had_trouble or bool(self.account.probes) or any(one.is_tried for one in dialed)
        if has_trouble or is_news:
            await self._apply_effects(dialed, has_trouble=has_trouble)
        return [None] * len(dialed)

    async def _apply_effects(self, dialed: Sequence[Dialed], *, has_trouble: bool) -> None:
        try:
            said = await self._transactions.run(apply_effects, self._account_id, dialed)
        except sa.exc.SQLAlchemyError as error:
            # The answers are on record; what they mean for the account, the next ones will say again.
            if not may_pass(error):
                raise
            self._had_trouble = True
            return
        is_over = any(isinstance(one.answer, OutboundCallResponse) for one in dialed)
        self._had_trouble = has_trouble or (self._had_trouble and not is_over)
        for sentence in said:
            log.warning(sentence)

    @property
    def _paces(self) -> dict[AccountId, Pace]:
        pace = pace_of(self._caller.capabilities, self.account)
        return {} if pace is None else {self._account_id: pace}

    async def _record_with_patience(self, dialed: Sequence[Dialed]) -> None:
        """While the database is away, answers are kept in memory: without them the attempts would be in doubt.

        However long that is: what waits is bounded (`is_full`), and nothing is claimed meanwhile.
        """
        pause = RECORD_PAUSE_SECONDS
        while True:
            try:
                await self._transactions.run(record, dialed, self._known, self._paces)
            except sa.exc.SQLAlchemyError as error:
                if not may_pass(error):
                    raise
                if self._clock.monotonic() > self._stopped_at + RECORD_PATIENCE_OF_STOPPED_SECONDS:
                    raise
                await self._clock.sleep_async(pause)
                pause = min(pause * 2, RECORD_PAUSE_LIMIT_SECONDS)
            else:
                return

    async def _sleep_until(self, monotonic: float) -> None:
        seconds = monotonic - self._clock.monotonic()
        if seconds > 0:
            await self._clock.sleep_async(seconds)


def _last_check(
    connection: sa.Connection,
    asked: Sequence[ToCheck],
    worker_id: WorkerId,
    fence: Fence,
) -> frozenset[AttemptId]:
    """What the host allowed is on record before the call may leave."""
    attempts.note_before_call(
        connection, {call_id: host.facts for _, call_id, host in asked if host is not None}
    )
    return attempts.last_check(connection, {one: call_id for one, call_id, _ in asked}, worker_id, fence)


def _question(call: ClaimedCall, definition: CampaignDefinition) -> CallToMake:
    return CallToMake(
        call_id=call.call_id,
        attempt_id=call.attempt_id,
        attempt_number=call.contact.attempts_count + 1,
        contact_id=call.contact.id,
        external_contact_id=call.contact.external_contact_id,
        campaign=definition.name,
        phone_number=call.contact.phone_number,
        attributes=call.contact.attributes,
    )


def request_for(
    call: ClaimedCall, definition: CampaignDefinition, callback_url: str | None
) -> OutboundCallRequest:
    """What is asked of the provider for this call. The contact's attributes never replace our own ids."""
    contact = call.contact
    words = words_of(contact.attributes, contact.name, contact.external_contact_id)
    own: dict[str, Any] = {
        "campaign_id": str(call.campaign_id),
        "contact_id": str(contact.id),
        "call_id": call.call_id,
    }
    if contact.external_contact_id is not None:
        own["external_contact_id"] = contact.external_contact_id
    intro = definition.script.intro
    return OutboundCallRequest(
        call_id=call.call_id,
        to=contact.phone_number,
        from_number=call.from_number,
        callback_url=callback_url,
        language=contact.language or definition.language,
        intro_script=None if intro is None else render(intro, words),
        questions=definition.script.questions,
        metadata={
            **{name: value for name, value in contact.attributes.items() if name not in OWN_IDS},
            **own,
        },
        not_after=call.not_after,
        ring_timeout_seconds=definition.call.ring_timeout_seconds,
        max_duration_seconds=definition.call.max_duration_seconds,
        machine_detection=str(definition.call.machine),
    )


def _names(call: ClaimedCall) -> dict[str, object]:
    return {"call_id": call.call_id, "attempt_id": call.attempt_id, "campaign": call.campaign_id}
