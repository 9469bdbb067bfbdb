"""Statements that write calls down of which there is no row: lost with a failover, or made after the backup."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from outdial.domain.attempt import AttemptState, Source
from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState
from outdial.domain.ids import AccountId, AttemptId, CallId, CampaignId, ContactId, ProviderCallId, WorkerId
from outdial.domain.lost_calls import Candidate
from outdial.domain.settle import Outcome
from outdial.storage.rows import Rows
from outdial.storage.tables import call_attempts, campaigns, contacts, workers
from outdial.storage.types import BigId, Instant, Json

attempts = call_attempts

# Every attempt has a worker; what it stands for here is none that lives.
NO_WORKER: Final = "calls found again"
# In the place of a claim's id: no claim is known that has made the call.
RESTORED: Final = "restored"


@dataclass(frozen=True, slots=True, kw_only=True)
class LostCall:
    """An attempt to be written down after its call was made. Instants are aware UTC.

    `settled_at`: its number has an unsettled attempt already, or a later call. It is then written as one that was given
    up as unknown, which what the provider tells corrects: the database holds one unsettled attempt of a number.
    """

    contact_id: ContactId
    campaign_id: CampaignId
    campaign_revision: int
    account_id: AccountId
    phone_number: str
    from_number: str
    attempt_number: int
    call_id: CallId
    provider_call_id: ProviderCallId | None
    claim_id: str
    worker_id: WorkerId
    state: AttemptState
    claimed_at: datetime
    dial_at: datetime
    not_after: datetime
    sent_at: datetime
    started_at: datetime | None
    look_up_at: datetime
    settled_at: datetime | None
    outcome: Outcome | None
    awaits_confirmation: bool
    permit: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """An attempt that holds its line, and of which the provider's id is not known."""

    id: AttemptId
    phone_number: str
    dial_at: datetime


COLUMNS: Final[dict[str, Any]] = {
    "contact_id": BigId,
    "campaign_id": BigId,
    "campaign_revision": sa.Integer,
    "account_id": BigId,
    "phone_number": sa.Text,
    "from_number": sa.Text,
    "attempt_number": sa.Integer,
    "call_id": sa.Text,
    "provider_call_id": sa.Text,
    "claim_id": sa.Text,
    "worker_id": BigId,
    "state": sa.Text,
    "claimed_at": Instant,
    "dial_at": Instant,
    "not_after": Instant,
    "sent_at": Instant,
    "started_at": Instant,
    "look_up_at": Instant,
    "settled_at": Instant,
    "outcome": sa.Text,
    "awaits_confirmation": sa.Boolean,
    "permit": Json,
}


def candidates(
    connection: sa.Connection,
    account_id: AccountId,
    numbers: Collection[str],
    contact_ids: Collection[ContactId],
) -> list[Candidate]:
    """The contacts of this account's campaigns that have these numbers, or these ids."""
    counted = (
        sa.select(sa.func.count())
        .where(
            attempts.c.contact_id == contacts.c.id, sa.func.coalesce(attempts.c.outcome, "") != "not_placed"
        )
        .scalar_subquery()
    )
    query = (
        sa.select(
            contacts.c.id,
            contacts.c.campaign_id,
            contacts.c.phone_number,
            contacts.c.state,
            contacts.c.next_attempt_at,
            contacts.c.is_test,
            campaigns.c.revision,
            campaigns.c.status,
            counted.label("attempts"),
        )
        .join(campaigns, campaigns.c.id == contacts.c.campaign_id)
        .where(campaigns.c.account_id == account_id)
    )
    # Two statements, since one with OR would read all contacts.
    found: dict[ContactId, Candidate] = {}
    for which in (contacts.c.phone_number.in_(sorted(numbers)), contacts.c.id.in_(sorted(contact_ids))):
        for row in connection.execute(query.where(which).order_by(contacts.c.id)):
            found[ContactId(row.id)] = Candidate(
                contact_id=ContactId(row.id),
                campaign_id=CampaignId(row.campaign_id),
                revision=row.revision,
                status=CampaignStatus(row.status),
                phone_number=row.phone_number,
                state=ContactState(row.state),
                next_attempt_at=row.next_attempt_at,
                is_test=row.is_test,
                attempts=row.attempts,
            )
    return list(found.values())


def taken_numbers(connection: sa.Connection, numbers: Collection[str]) -> set[str]:
    """Those of the numbers that have an unsettled attempt."""
    query = sa.select(attempts.c.phone_number).where(
        attempts.c.phone_number.in_(sorted(numbers)), attempts.c.settled_at.is_(None)
    )
    return set(connection.execute(query).scalars())


def insert(connection: sa.Connection, lost: Sequence[LostCall]) -> dict[CallId, AttemptId]:
    """Write them down in the order of their calls; one that is there already, or whose number is taken, is left out."""
    if not lost:
        return {}
    rows, statement = _insert(connection.dialect.name)
    found = connection.execute(statement, rows.params([asdict(one) for one in lost]))
    return {CallId(row.call_id): AttemptId(row.id) for row in found}


def unanswered(
    connection: sa.Connection, account_id: AccountId, numbers: Collection[str]
) -> list[Unanswered]:
    """The open attempts to these numbers that a call without our id may be."""
    query = sa.select(attempts.c.id, attempts.c.phone_number, attempts.c.dial_at).where(
        attempts.c.account_id == account_id,
        attempts.c.ended_at.is_(None),
        attempts.c.provider_call_id.is_(None),
        attempts.c.phone_number.in_(sorted(numbers)),
    )
    return [Unanswered(**row) for row in connection.execute(query.order_by(attempts.c.id)).mappings()]


def undecided(connection: sa.Connection, ids: Collection[AttemptId]) -> set[AttemptId]:
    """Those of the attempts of which the provider can still tell something: open, unsettled, or ended by a guess."""
    query = sa.select(attempts.c.id).where(
        attempts.c.id.in_(tuple(ids)),
        sa.or_(
            attempts.c.settled_at.is_(None),
            attempts.c.ended_at.is_(None),
            attempts.c.ending_source == int(Source.GUESS),
        ),
    )
    return {AttemptId(one) for one in connection.execute(query).scalars()}


def note_sent(connection: sa.Connection, sent: Mapping[AttemptId, datetime]) -> None:
    """The provider has these calls: they were sent, though the database, as old as it is, does not know it."""
    unsent = sa.select(attempts.c.id).where(attempts.c.id.in_(tuple(sent)), attempts.c.sent_at.is_(None))
    for attempt_id in connection.execute(unsent.order_by(attempts.c.id)).scalars().all():
        connection.execute(
            sa.update(attempts)
            .where(attempts.c.id == attempt_id, attempts.c.sent_at.is_(None))
            .values(sent_at=sent[AttemptId(attempt_id)])
        )


def await_confirmation(connection: sa.Connection) -> None:
    """No attempt that is not settled now is, before a person says so: also not when its time is over."""
    connection.execute(
        sa.update(attempts)
        .where(attempts.c.settled_at.is_(None))
        .values(awaits_confirmation=True, settle_at=None)
    )


def awaiting(connection: sa.Connection) -> tuple[int, int]:
    """How many attempts wait to be confirmed, and how many of them are open calls still."""
    query = sa.select(sa.func.count(), sa.func.count().filter(attempts.c.ended_at.is_(None))).where(
        attempts.c.awaits_confirmation, attempts.c.settled_at.is_(None)
    )
    all_of_them, open_ones = connection.execute(query).one()
    return all_of_them, open_ones


def confirm(connection: sa.Connection, limit: int) -> list[AttemptId]:
    """The next attempts that waited to be confirmed, and wait no more."""
    chosen = (
        sa.select(attempts.c.id)
        .where(attempts.c.awaits_confirmation, attempts.c.settled_at.is_(None))
        .order_by(attempts.c.id)
        .limit(limit)
        .with_for_update(key_share=True)
        .cte("chosen")
    )
    statement = (
        sa.update(attempts)
        .where(attempts.c.id.in_(sa.select(chosen.c.id)))
        .values(awaits_confirmation=False)
        .returning(attempts.c.id)
    )
    return sorted(AttemptId(one) for one in connection.execute(statement).scalars())


def worker_for(connection: sa.Connection, worker_id: WorkerId | None, at: datetime) -> WorkerId:
    """The worker, if it is on record still; else the row that stands for none, made when it is first needed."""
    named = sa.select(workers.c.id).where(workers.c.id == worker_id)
    found = None if worker_id is None else connection.execute(named).scalar_one_or_none()
    if found is None:
        nobody = sa.select(sa.func.min(workers.c.id)).where(workers.c.name == NO_WORKER)
        found = connection.execute(nobody).scalar_one()
    if found is None:
        made = sa.insert(workers).values(name=NO_WORKER, started_at=at, beat_at=at, stopped_at=at)
        found = connection.execute(made.returning(workers.c.id)).scalar_one()
    return WorkerId(found)


@cache
def _insert(dialect: str) -> tuple[Rows, sa.Insert]:
    rows = Rows(dialect, "l", COLUMNS)
    insert: Any = sqlite.insert if dialect == "sqlite" else postgresql.insert
    source = (
        sa.select(*(rows.c[name] for name in COLUMNS))
        .where(sa.true())
        .order_by(rows.c.claimed_at, rows.c.phone_number)
    )
    statement = insert(attempts).from_select(list(COLUMNS), source, include_defaults=False)
    # Whichever of its unique columns is taken: our id, the provider's, the number.
    return rows, statement.on_conflict_do_nothing().returning(attempts.c.id, attempts.c.call_id)
