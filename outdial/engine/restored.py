"""Writes an attempt again for a call of which the row is missing: after a failover, or in a restored database.

Its contact is found by what we gave the provider along, else by its number (`domain/lost_calls.py`). Whoever else
writes the same call down at the same time is first, and this one does nothing: our id, the provider's and the number
are unique. In a transaction that the caller owns.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.attempt import AttemptState, CallEvent, Origin
from outdial.domain.contact import ContactState
from outdial.domain.ids import AccountId, AttemptId, CallId, ContactId, ProviderCallId, WorkerId
from outdial.domain.lost_calls import Candidate, whose
from outdial.domain.patience import NOT_AFTER
from outdial.domain.settle import Outcome
from outdial.storage import accounts, adopted, contacts
from outdial.storage.adopted import RESTORED, LostCall
from outdial.storage.attempts import ClaimedRow
from outdial.storage.database import database_now

log = logging.getLogger("outdial.restored")

# A number that was free a moment ago may be taken by now: then the call is written down beside the one that has it.
TRIES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A call without a row. `because` is kept in its permit; `row`: what a claim had inserted, where we remember it.

    `is_superseded`: a later call to its number is known.
    """

    origin: Origin
    because: str
    call_id: CallId | None = None
    provider_call_id: ProviderCallId | None = None
    row: ClaimedRow | None = None
    is_superseded: bool = False

    @classmethod
    def of_event(cls, event: CallEvent, origin: Origin, because: str, *, is_superseded: bool = False) -> Lost:
        return cls(
            origin=origin,
            because=because,
            call_id=event.call_id,
            provider_call_id=event.provider_call_id,
            is_superseded=is_superseded,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """Both by place. `strangers`: calls to numbers that no contact of the account has."""

    attempts: Mapping[int, AttemptId]
    strangers: Sequence[int]


def restore(
    connection: sa.Connection,
    account_id: AccountId,
    lost: Sequence[Lost],
    *,
    awaits_confirmation: bool = False,
) -> Restored:
    """Write these calls down, in the order given, which is that of time. What is in neither list is written already."""
    at = database_now(connection)
    owners = _owners(connection, account_id, lost)
    # Before the attempts, as the claim does.
    contacts.lock(connection, {one.contact_id for one in owners.values()})
    account = accounts.by_id(connection, account_id)
    workers = {
        worker_id: adopted.worker_for(connection, worker_id, at)
        for worker_id in {None if one.row is None else one.row.worker_id for one in lost}
    }
    given = _Given(
        account_id=account_id,
        outbound_number="" if account is None else account.outbound_number or "",
        workers=workers,
        at=at,
        awaits_confirmation=awaits_confirmation,
    )
    made = {place: _attempt(lost[place], owner, given) for place, owner in owners.items()}
    found: dict[CallId, AttemptId] = {}
    for _ in range(TRIES):
        left = {place: one for place, one in made.items() if one.call_id not in found}
        if not left:
            break
        taken = adopted.taken_numbers(connection, {one.phone_number for one in left.values()})
        found |= adopted.insert(connection, _one_to_a_number(left, lost, taken, at))
    restored = {place: found[one.call_id] for place, one in made.items() if one.call_id in found}
    # Also whose call is written as given up: what it comes to moves them on.
    contacts.begin_attempts(connection, sorted({made[place].contact_id for place in restored}))
    return Restored(attempts=restored, strangers=[place for place in range(len(lost)) if place not in owners])


def call_id_of(account_id: AccountId, lost: Lost) -> CallId:
    """Ours, or one that whoever else finds the same call makes for it too."""
    name = f"outdial:{account_id}:{lost.provider_call_id}"
    return lost.call_id or CallId(str(uuid.uuid5(uuid.NAMESPACE_OID, name)))


def _owners(connection: sa.Connection, account_id: AccountId, lost: Sequence[Lost]) -> dict[int, Candidate]:
    numbers = {one.origin.to for one in lost if one.origin.to is not None}
    named = {one.origin.contact_id for one in lost if one.origin.contact_id is not None}
    known = adopted.candidates(connection, account_id, numbers, _as_ids(named))
    by_number: dict[str, dict[ContactId, Candidate]] = {}
    by_id: dict[str, Candidate] = {}
    for one in known:
        by_number.setdefault(one.phone_number, {})[one.contact_id] = one
        by_id[str(one.contact_id)] = one
    owners: dict[int, Candidate] = {}
    for place, call in enumerate(lost):
        named_contact = by_id.get(call.origin.contact_id or "")
        alike = by_number.get(call.origin.to or "", {})
        owner = whose(call.origin, [*alike.values(), *([named_contact] if named_contact else [])])
        if owner is None:
            continue
        owner = by_id[str(owner.contact_id)]
        owners[place] = owner
        # The next call to the number is less likely this one's, and has a higher number if it is.
        after = replace(
            owner, attempts=owner.attempts + 1, state=ContactState.IN_PROGRESS, next_attempt_at=None
        )
        by_id[str(owner.contact_id)] = by_number[owner.phone_number][owner.contact_id] = after
    return owners


def _as_ids(named: Iterable[str]) -> set[ContactId]:
    # What comes from outside may be any text, and a number that no column holds.
    return {ContactId(int(one)) for one in named if one.isascii() and one.isdigit() and len(one) < 18}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What all calls of one batch share."""

    account_id: AccountId
    outbound_number: str
    workers: Mapping[WorkerId | None, WorkerId]
    at: datetime
    awaits_confirmation: bool


def _attempt(lost: Lost, owner: Candidate, given: _Given) -> LostCall:
    at = given.at
    row = lost.row
    started_at = min(lost.origin.started_at or at, at)
    facts: dict[str, Any] = {"because": lost.because, "at": at.isoformat()}
    facts["found_by"] = "contact_id" if owner.is_named_by(lost.origin) else "phone_number"
    return LostCall(
        contact_id=owner.contact_id,
        campaign_id=owner.campaign_id,
        campaign_revision=owner.revision if row is None else row.new.campaign_revision,
        account_id=given.account_id,
        phone_number=lost.origin.to or owner.phone_number,
        from_number=lost.origin.from_number or given.outbound_number,
        attempt_number=owner.attempts + 1,
        call_id=call_id_of(given.account_id, lost),
        provider_call_id=lost.provider_call_id,
        claim_id=RESTORED if row is None else row.claim_id,
        worker_id=given.workers[None if row is None else row.worker_id],
        state=AttemptState.ACCEPTED if row is None else AttemptState.DIALING,
        claimed_at=started_at if row is None else min(row.new.dial_at, at),
        dial_at=started_at if row is None else row.new.dial_at,
        not_after=started_at + NOT_AFTER if row is None else row.new.not_after,
        sent_at=started_at if row is None else min(row.new.dial_at, at),
        started_at=started_at if row is None else None,
        look_up_at=at,
        settled_at=None,
        outcome=None,
        awaits_confirmation=given.awaits_confirmation,
        permit={"restored": facts} if row is None else row.new.permit,
    )


def _one_to_a_number(
    left: Mapping[int, LostCall], lost: Sequence[Lost], taken: set[str], at: datetime
) -> list[LostCall]:
    """Of each number the last call is unsettled, if the number is free; the others are written as given up."""
    last = {one.phone_number: place for place, one in sorted(left.items())}
    return [
        replace(one, settled_at=at, outcome=Outcome.UNKNOWN, awaits_confirmation=False)
        if lost[place].is_superseded or one.phone_number in taken or last[one.phone_number] != place
        else one
        for place, one in sorted(left.items())
    ]
