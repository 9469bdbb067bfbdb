"""Statements over `call_attempts`, as the engine needs them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from outdial.domain.attempt import AnsweredBy, AttemptState, Ending, ErrorClass, Progress, Source
from outdial.domain.breaker import Breaker
from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState
from outdial.domain.fences import Fence
from outdial.domain.ids import (
    AccountId,
    AttemptId,
    CallId,
    CampaignId,
    ContactId,
    WorkerId,
)
from outdial.domain.look_ups import Timing
from outdial.domain.settle import Outcome
from outdial.domain.settling import Settlement
from outdial.storage import deployment, test_calls
from outdial.storage.contacts import is_excluded
from outdial.storage.database import clock_of, now_expression
from outdial.storage.rows import Rows
from outdial.storage.tables import call_attempts, campaigns, contacts, provider_configurations
from outdial.storage.types import BigId, Instant, Json

attempts = call_attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCalls:
    """The account's open calls, and the instant of the count by the database's clock. `tests_waiting`: test calls that
    wait for a line, which is theirs before all others'.
    """

    at: datetime
    by_campaign: Mapping[CampaignId, int]
    tests_waiting: int = 0

    @property
    def total(self) -> int:
        return sum(self.by_campaign.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAttempt:
    """An attempt about to be inserted. Instants are aware UTC."""

    contact_id: ContactId
    campaign_id: CampaignId
    campaign_revision: int
    account_id: AccountId
    phone_number: str
    from_number: str
    attempt_number: int
    call_id: CallId
    dial_at: datetime
    not_after: datetime
    look_up_at: datetime
    permit: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRow:
    """An attempt as a claim has inserted it."""

    new: NewAttempt
    claim_id: str
    worker_id: WorkerId


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAttempt:
    """An attempt, locked, with all that deciding its next state needs."""

    id: AttemptId
    contact_id: ContactId
    campaign_id: CampaignId
    account_id: AccountId
    call_id: CallId
    phone_number: str
    dial_at: datetime
    not_after: datetime
    sent_at: datetime | None
    hang_up_because: str | None
    hung_up_at: datetime | None
    settled_at: datetime | None
    outcome: Outcome | None
    awaits_confirmation: bool
    progress: Progress

    @property
    def timing(self) -> Timing:
        return Timing(
            dial_at=self.dial_at,
            not_after=self.not_after,
            sent_at=self.sent_at,
            wants_end=self.hang_up_because is not None and self.hung_up_at is None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is written back of an attempt."""

    id: AttemptId
    progress: Progress
    settlement: Settlement


def count_open(connection: sa.Connection, account_id: AccountId) -> OpenCalls:
    """Open calls by campaign. Only exact when the account's row was locked in an earlier statement."""
    counted = (
        sa.select(attempts.c.campaign_id, sa.func.count().label("open"))
        .where(attempts.c.account_id == account_id, attempts.c.ended_at.is_(None))
        .group_by(attempts.c.campaign_id)
        .subquery()
    )
    now = now_expression(connection)
    clock = sa.select(now.label("at"), test_calls.waiting(account_id, now).label("tests_waiting")).subquery()
    query = sa.select(clock.c.at, clock.c.tests_waiting, counted.c.campaign_id, counted.c.open).select_from(
        clock.outerjoin(counted, sa.true())
    )
    rows = connection.execute(query).all()
    counts = {CampaignId(row.campaign_id): row.open for row in rows if row.campaign_id is not None}
    return OpenCalls(at=rows[0].at, by_campaign=counts, tests_waiting=rows[0].tests_waiting)


def insert(
    connection: sa.Connection, new: Sequence[NewAttempt], *, claim_id: str, worker_id: WorkerId, at: datetime
) -> dict[ContactId, AttemptId]:
    """Insert in the order of their numbers; one whose number is taken is passed over. Returns the inserted ones."""
    rows, statement = _insert(connection.dialect.name)
    listed = [
        (
            one.contact_id,
            one.campaign_id,
            one.campaign_revision,
            one.account_id,
            one.phone_number,
            one.from_number,
            one.attempt_number,
            one.call_id,
            one.dial_at,
            one.not_after,
            one.look_up_at,
            one.permit,
        )
        for one in new
    ]
    params = {**rows.params(listed), "claim_id": claim_id, "worker_id": worker_id, "at": at}
    inserted = connection.execute(statement, params)
    return {ContactId(row.contact_id): AttemptId(row.id) for row in inserted}


def take_back(connection: sa.Connection, ids: Collection[AttemptId]) -> None:
    """Attempts that this very transaction has inserted, and nobody has seen."""
    if ids:
        connection.execute(
            sa.delete(attempts).where(attempts.c.id.in_(tuple(ids)), attempts.c.sent_at.is_(None))
        )


def last_check(
    connection: sa.Connection,
    ids: Mapping[AttemptId, CallId],
    worker_id: WorkerId,
    fence: Fence = Fence(),
    *,
    already_sent: bool = False,
) -> frozenset[AttemptId]:
    """Which of these may be sent right now; the first time it also writes `sent_at`, the fence.

    All that may have changed since the claim is asked again, in one statement: nobody stopped everything, the account
    or the campaign, the database is the one that we belong to, the account dials, the contact is still ours, the number
    is one that we may call and not excluded, the time has not passed. By our call id as well as by the row's: a server
    that has lost rows in a failover gives their ids out again.
    """
    rows, statement = _last_check(connection.dialect.name, already_sent, bool(fence.dial_only))
    params: dict[str, Any] = rows.params(sorted(ids.items()))
    params |= {"by_worker": worker_id, "own_deployment": fence.deployment or ""}
    if fence.dial_only:
        params["dial_only"] = sorted(fence.dial_only)
    return frozenset(AttemptId(row.id) for row in connection.execute(statement, params))


def note_before_call(connection: sa.Connection, said: Mapping[CallId, Mapping[str, Any]]) -> None:
    """What the host said of these calls becomes part of their permits."""
    if said:
        rows, statement = _note_before_call(connection.dialect.name)
        connection.execute(statement, rows.params(sorted(said.items())))


def forget_sent(connection: sa.Connection, ids: Collection[AttemptId]) -> None:
    """Attempts that passed the last check and were then given back by their owner: they were not sent after all."""
    if ids:
        given_back = sa.and_(attempts.c.id.in_(tuple(ids)), attempts.c.error_class == ErrorClass.RELEASED)
        connection.execute(sa.update(attempts).where(given_back).values(sent_at=None))


def move_slots(connection: sa.Connection, slots: Sequence[tuple[AttemptId, datetime]]) -> None:
    """Attempts that missed their slots have new ones."""
    if slots:
        rows, statement = _move_slots(connection.dialect.name)
        connection.execute(statement, rows.params(sorted(slots)))


def lock(connection: sa.Connection, ids: Collection[AttemptId]) -> list[StoredAttempt]:
    """The attempts, locked in the order of their ids."""
    query = (
        sa.select(attempts)
        .where(attempts.c.id.in_(tuple(ids)))
        .order_by(attempts.c.id)
        .with_for_update(key_share=True)
    )
    return [_stored(row) for row in connection.execute(query).mappings()]


def ids_by_call_id(
    connection: sa.Connection, account_id: AccountId, call_ids: Collection[str]
) -> dict[str, AttemptId]:
    query = sa.select(attempts.c.call_id, attempts.c.id).where(
        attempts.c.account_id == account_id, attempts.c.call_id.in_(tuple(call_ids))
    )
    return {call_id: AttemptId(attempt_id) for call_id, attempt_id in connection.execute(query)}


def ids_by_provider_call_id(
    connection: sa.Connection, account_id: AccountId, provider_call_ids: Collection[str]
) -> dict[str, AttemptId]:
    query = sa.select(attempts.c.provider_call_id, attempts.c.id).where(
        attempts.c.account_id == account_id, attempts.c.provider_call_id.in_(tuple(provider_call_ids))
    )
    return {call_id: AttemptId(attempt_id) for call_id, attempt_id in connection.execute(query)}


def write(connection: sa.Connection, changes: Sequence[Change]) -> None:
    if not changes:
        return
    rows, statement = _write(connection.dialect.name)
    connection.execute(statement, rows.params([_columns(change) for change in changes]))


def campaigns_of(connection: sa.Connection, ids: Collection[AttemptId]) -> dict[AttemptId, CampaignId]:
    query = sa.select(attempts.c.id, attempts.c.campaign_id).where(attempts.c.id.in_(tuple(ids)))
    return {AttemptId(row.id): CampaignId(row.campaign_id) for row in connection.execute(query)}


def unsent_of_claim(connection: sa.Connection, claim_id: str) -> list[AttemptId]:
    """Attempts of a claim that nobody has sent. Looked for among those that hold a line, which are few."""
    query = sa.select(attempts.c.id).where(
        attempts.c.ended_at.is_(None),
        attempts.c.claim_id == claim_id,
        attempts.c.state == AttemptState.DIALING,
        attempts.c.sent_at.is_(None),
    )
    return [AttemptId(attempt_id) for attempt_id in connection.execute(query).scalars()]


def due_to_settle(connection: sa.Connection, at: datetime, limit: int) -> list[AttemptId]:
    """Ended attempts whose time to wait for a result is over."""
    query = (
        sa.select(attempts.c.id)
        .where(attempts.c.ended_at.is_not(None), attempts.c.settled_at.is_(None), attempts.c.settle_at <= at)
        .order_by(attempts.c.settle_at, attempts.c.id)
        .limit(limit)
    )
    return [AttemptId(attempt_id) for attempt_id in connection.execute(query).scalars()]


NEW: dict[str, Any] = {
    "contact_id": BigId,
    "campaign_id": BigId,
    "campaign_revision": sa.Integer,
    "account_id": BigId,
    "phone_number": sa.Text,
    "from_number": sa.Text,
    "attempt_number": sa.Integer,
    "call_id": sa.Text,
    "dial_at": Instant,
    "not_after": Instant,
    "look_up_at": Instant,
    "permit": Json,
}


@cache
def _insert(dialect: str) -> tuple[Rows, sa.Insert]:
    rows = Rows(dialect, "n", NEW)
    insert: Any = sqlite.insert if dialect == "sqlite" else postgresql.insert
    names = [*NEW, "claim_id", "worker_id", "state", "claimed_at"]
    source = (
        sa.select(
            *(rows.c[name] for name in NEW),
            sa.bindparam("claim_id", type_=sa.Text),
            sa.bindparam("worker_id", type_=BigId),
            sa.literal_column(f"'{AttemptState.DIALING}'"),
            sa.bindparam("at", type_=Instant),
        )
        .where(sa.true())
        .order_by(rows.c.phone_number, rows.c.contact_id)
    )
    statement = insert(attempts).from_select(names, source, include_defaults=False)
    return rows, statement.on_conflict_do_nothing(
        index_elements=["phone_number"], index_where=sa.text("settled_at IS NULL")
    ).returning(attempts.c.id, attempts.c.contact_id)


OVER: Final = (CampaignStatus.COMPLETED, CampaignStatus.CANCELED)


@cache
def _last_check(dialect: str, already_sent: bool, is_fenced: bool) -> tuple[Rows, Any]:
    rows = Rows(dialect, "r", {"id": BigId, "call_id": sa.Text})
    now = clock_of(dialect)
    still_true = (
        attempts.c.id == rows.c.id,
        attempts.c.call_id == rows.c.call_id,
        attempts.c.worker_id == sa.bindparam("by_worker"),
        attempts.c.state == AttemptState.DIALING,
        attempts.c.sent_at.is_not(None) if already_sent else attempts.c.sent_at.is_(None),
        attempts.c.not_after > now,
        ~deployment.forbids(sa.bindparam("own_deployment", type_=sa.Text)),
        sa.exists().where(
            provider_configurations.c.id == attempts.c.account_id,
            provider_configurations.c.suspended_at.is_(None),
            provider_configurations.c.breaker.is_distinct_from(Breaker.OPEN),
            provider_configurations.c.stopped_at.is_(None),
            sa.or_(
                provider_configurations.c.not_before.is_(None), provider_configurations.c.not_before <= now
            ),
        ),
        sa.exists().where(
            contacts.c.id == attempts.c.contact_id,
            contacts.c.state == ContactState.IN_PROGRESS,
            # An import may have brought the contact other times since the claim.
            sa.or_(contacts.c.call_after.is_(None), contacts.c.call_after <= now),
            sa.or_(contacts.c.call_before.is_(None), contacts.c.call_before > now),
            campaigns.c.id == attempts.c.campaign_id,
            # What was permitted by an older revision is permitted anew, or not.
            campaigns.c.revision == attempts.c.campaign_revision,
            # A test call is made before its campaign runs too.
            sa.or_(
                campaigns.c.status == CampaignStatus.RUNNING,
                sa.and_(contacts.c.is_test, campaigns.c.status.not_in(OVER)),
            ),
            ~is_excluded(attempts.c.phone_number, contacts.c.person_key, attempts.c.campaign_id, now),
            # An import may have brought it another consent too.
            contacts.c.consent_kind.is_not_distinct_from(attempts.c.permit["consent"]["kind"].as_string()),
        ),
        *([attempts.c.phone_number.in_(sa.bindparam("dial_only", expanding=True))] if is_fenced else []),
    )
    if already_sent:
        return rows, sa.select(attempts.c.id).select_from(rows.source.join(attempts, sa.true())).where(
            *still_true
        )
    return rows, sa.update(attempts).where(*still_true).values(sent_at=now).returning(attempts.c.id)


@cache
def _note_before_call(dialect: str) -> tuple[Rows, sa.Update]:
    rows = Rows(dialect, "r", {"call_id": sa.Text, "said": Json})
    permit: sa.ColumnElement[Any]
    if dialect == "sqlite":
        permit = sa.func.json_set(attempts.c.permit, "$.before_call", sa.func.json(rows.c.said))
    else:
        permit = attempts.c.permit.op("||")(sa.func.jsonb_build_object("before_call", rows.c.said))
    statement = sa.update(attempts).where(attempts.c.call_id == rows.c.call_id)
    return rows, statement.values(permit=sa.type_coerce(permit, Json))


@cache
def _move_slots(dialect: str) -> tuple[Rows, sa.Update]:
    rows = Rows(dialect, "r", {"id": BigId, "dial_at": Instant})
    return rows, sa.update(attempts).where(attempts.c.id == rows.c.id).values(dial_at=rows.c.dial_at)


PROGRESS: dict[str, Any] = {
    "state": sa.Text,
    "provider_call_id": sa.Text,
    "started_at": Instant,
    "ringing_at": Instant,
    "answered_at": Instant,
    "ended_at": Instant,
    "ending": sa.Text,
    "ending_source": sa.Integer,
    "answered_by": sa.Text,
    "result": sa.Text,
    "duration_seconds": sa.Float,
    "callback_at": Instant,
    "opt_out": sa.Boolean,
    "sip_code": sa.Integer,
    "error_code": sa.Text,
    "error_class": sa.Text,
    "provider_raw_status": sa.Text,
    "cost": sa.Text,
    "answers": Json,
    "artifacts": Json,
    "refused_until": Instant,
}
DECIDED: dict[str, Any] = {
    "settle_at": Instant,
    "settled_at": Instant,
    "outcome": sa.Text,
    "look_up_at": Instant,
}


@cache
def _write(dialect: str) -> tuple[Rows, sa.Update]:
    columns = {**PROGRESS, **DECIDED}
    rows = Rows(dialect, "r", {"id": BigId, **columns})
    statement = (
        sa.update(attempts)
        .where(attempts.c.id == rows.c.id)
        .values({attempts.c[name]: rows.c[name] for name in columns})
    )
    return rows, statement


def _columns(change: Change) -> dict[str, Any]:
    progress = {name: getattr(change.progress, name) for name in PROGRESS}
    source = change.progress.ending_source
    return {
        **progress,
        "id": change.id,
        "ending_source": None if source is None else int(source),
        **{name: getattr(change.settlement, name) for name in DECIDED},
    }


def _stored(row: sa.RowMapping) -> StoredAttempt:
    return StoredAttempt(
        id=AttemptId(row["id"]),
        contact_id=ContactId(row["contact_id"]),
        campaign_id=CampaignId(row["campaign_id"]),
        account_id=AccountId(row["account_id"]),
        call_id=CallId(row["call_id"]),
        phone_number=row["phone_number"],
        dial_at=row["dial_at"],
        not_after=row["not_after"],
        sent_at=row["sent_at"],
        hang_up_because=row["hang_up_because"],
        hung_up_at=row["hung_up_at"],
        settled_at=row["settled_at"],
        outcome=None if row["outcome"] is None else Outcome(row["outcome"]),
        awaits_confirmation=row["awaits_confirmation"],
        progress=_progress(row),
    )


def _progress(row: sa.RowMapping) -> Progress:
    kinds: dict[str, Any] = {
        "state": AttemptState,
        "ending": Ending,
        "ending_source": Source,
        "answered_by": AnsweredBy,
        "error_class": ErrorClass,
    }
    values = {name: row[name] for name in PROGRESS}
    for name, kind in kinds.items():
        if values[name] is not None:
            values[name] = kind(values[name])
    return Progress(**values)
