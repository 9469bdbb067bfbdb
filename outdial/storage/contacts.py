"""Statements over `contacts`, as the engine needs them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.contact import ContactState, Stage
from outdial.domain.exclusions import ExclusionScope
from outdial.domain.ids import CallingZoneId, CampaignId, ContactId
from outdial.domain.retries import NextStep
from outdial.domain.standing import Standing
from outdial.storage.rows import Rows
from outdial.storage.tables import call_attempts, campaigns, contacts, exclusion_list_entries
from outdial.storage.types import BigId, Instant

STANDING: Final = tuple(field.name for field in fields(Standing))
PENDING: sa.ColumnElement[str] = sa.literal_column(f"'{ContactState.PENDING}'")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactRow:
    """A contact, locked, as far as settling an attempt cares."""

    id: ContactId
    campaign_id: CampaignId
    calling_zone_id: CallingZoneId
    priority: int
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What becomes of a pending contact that a claim passed over. `next_attempt_at` None: it is final.

    `is_held`: only until a call to its number ends, or a rule changes, which makes it due at once.
    """

    id: ContactId
    state: ContactState = ContactState.PENDING
    final_reason: str | None = None
    next_attempt_at: datetime | None = None
    is_held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenTo:
    """A contact, as far as what is said to it cares."""

    external_contact_id: str | None
    name: str | None
    language: str | None
    attributes: Mapping[str, Any]


def spoken_to(connection: sa.Connection, contact_id: ContactId) -> SpokenTo:
    columns = (contacts.c.external_contact_id, contacts.c.name, contacts.c.language, contacts.c.attributes)
    row = connection.execute(sa.select(*columns).where(contacts.c.id == contact_id)).one()
    return SpokenTo(
        external_contact_id=row.external_contact_id,
        name=row.name,
        language=row.language,
        attributes=row.attributes,
    )


def person_keys(connection: sa.Connection, ids: Collection[ContactId]) -> dict[ContactId, str]:
    """Of those who have one."""
    query = sa.select(contacts.c.id, contacts.c.person_key).where(
        contacts.c.id.in_(tuple(ids)), contacts.c.person_key.is_not(None)
    )
    return {ContactId(row.id): row.person_key for row in connection.execute(query)}


def begin_attempts(connection: sa.Connection, ids: Collection[ContactId]) -> None:
    """Pending contacts of whom an attempt was just inserted."""
    rows, statement = _begin_attempts(connection.dialect.name)
    connection.execute(statement, rows.params([(contact_id,) for contact_id in ids]))


def move(connection: sa.Connection, moves: Collection[Move]) -> None:
    """Only pending contacts change."""
    if not moves:
        return
    rows, statement = _move(connection.dialect.name)
    listed = [
        (
            one.id,
            one.state,
            one.final_reason,
            one.next_attempt_at,
            one.next_attempt_at if one.is_held else None,
        )
        for one in moves
    ]
    connection.execute(statement, rows.params(listed))


def release_held(
    connection: sa.Connection, numbers: Collection[str], at: datetime
) -> list[tuple[CampaignId, CallingZoneId, int, Stage, datetime]]:
    """Who was held for a call to one of these numbers is due at `at`. Returns the buckets that they wait in.

    One that somebody else has locked is left to its own instant: to wait for it here could end in a deadlock.
    """
    if not numbers:
        return []
    chosen = (
        sa.select(contacts.c.id)
        .where(
            contacts.c.phone_number.in_(sorted(numbers)),
            contacts.c.state == PENDING,
            contacts.c.held_until == contacts.c.next_attempt_at,
        )
        .with_for_update(skip_locked=True, key_share=True)
        .cte("chosen")
    )
    statement = (
        sa.update(contacts)
        .where(contacts.c.id.in_(sa.select(chosen.c.id)), contacts.c.state == PENDING)
        .values(next_attempt_at=at, held_until=None)
        .returning(contacts.c.campaign_id, contacts.c.calling_zone_id, contacts.c.priority, contacts.c.stage)
    )
    return [
        (CampaignId(row.campaign_id), CallingZoneId(row.calling_zone_id), row.priority, Stage(row.stage), at)
        for row in connection.execute(statement)
    ]


def release_capped(
    connection: sa.Connection, campaign_ids: Collection[CampaignId], at: datetime, limit: int
) -> list[tuple[CampaignId, CallingZoneId, int, Stage, datetime]]:
    """Who was held in these campaigns is due at `at`, at most `limit` at once. Returns the buckets that they wait in."""
    chosen = (
        sa.select(contacts.c.id)
        .where(
            contacts.c.campaign_id.in_(sorted(campaign_ids)),
            contacts.c.state == PENDING,
            contacts.c.held_until.is_not(None),
        )
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("chosen")
    )
    # One that has another wait by now only loses the mark.
    is_held = contacts.c.held_until == contacts.c.next_attempt_at
    statement = (
        sa.update(contacts)
        .where(contacts.c.id.in_(sa.select(chosen.c.id)), contacts.c.state == PENDING)
        .values(next_attempt_at=sa.case((is_held, at), else_=contacts.c.next_attempt_at), held_until=None)
        .returning(contacts.c.campaign_id, contacts.c.calling_zone_id, contacts.c.priority, contacts.c.stage)
    )
    return [
        (CampaignId(row.campaign_id), CallingZoneId(row.calling_zone_id), row.priority, Stage(row.stage), at)
        for row in connection.execute(statement)
    ]


def lock(connection: sa.Connection, ids: Collection[ContactId]) -> list[ContactRow]:
    """The contacts, locked in the order of their ids."""
    query = (
        sa.select(
            contacts.c.id,
            contacts.c.campaign_id,
            contacts.c.calling_zone_id,
            contacts.c.priority,
            *(contacts.c[name] for name in STANDING),
        )
        .where(contacts.c.id.in_(tuple(ids)))
        .order_by(contacts.c.id)
        .with_for_update(key_share=True)
    )
    return [
        ContactRow(
            id=ContactId(row.id),
            campaign_id=CampaignId(row.campaign_id),
            calling_zone_id=CallingZoneId(row.calling_zone_id),
            priority=row.priority,
            standing=Standing(
                **{name: getattr(row, name) for name in STANDING} | {"state": ContactState(row.state)}
            ),
        )
        for row in connection.execute(query)
    ]


def write_steps(
    connection: sa.Connection, steps: Mapping[ContactId, tuple[NextStep, str | None, datetime | None]]
) -> None:
    """Where contacts stand after their attempts: (next step, last outcome, last attempt's end)."""
    if not steps:
        return
    rows, statement = _write_steps(connection.dialect.name)
    connection.execute(
        statement,
        rows.params(
            [
                (
                    contact_id,
                    str(step.state),
                    step.final_reason,
                    step.attempts_count,
                    int(step.stage),
                    step.next_attempt_at,
                    outcome,
                    ended_at,
                )
                for contact_id, (step, outcome, ended_at) in sorted(steps.items())
            ]
        ),
    )


def expire_overdue(connection: sa.Connection, at: datetime, limit: int) -> int:
    """Pending contacts of any campaign whose own time to be called has passed. Returns how many, at most `limit`."""
    # In two statements, since mostly there is nobody, and a plan for any number of them would read the whole table.
    query = (
        sa.select(contacts.c.id)
        .where(contacts.c.state == PENDING, contacts.c.call_before <= at)
        .order_by(contacts.c.call_before)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    overdue = list(connection.execute(query).scalars())
    if overdue:
        connection.execute(
            sa.update(contacts)
            .where(contacts.c.id.in_(overdue))
            .values(state=ContactState.EXPIRED, final_reason="deadline", next_attempt_at=None)
        )
    return len(overdue)


def close_pending(
    connection: sa.Connection,
    campaign_ids: Collection[CampaignId],
    state: ContactState,
    reason: str,
    limit: int,
) -> int:
    """Pending contacts of these campaigns become final, at most `limit` at once. Returns how many.

    One that somebody else has locked is left for the next time.
    """
    # A CTE, since Postgres may run a subquery that locks rows again and again, each time with other rows. No ORDER BY:
    # it would sort all that wait to close a few.
    chosen = (
        sa.select(contacts.c.id)
        .where(contacts.c.campaign_id.in_(tuple(campaign_ids)), contacts.c.state == PENDING)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("chosen")
    )
    statement = (
        sa.update(contacts)
        .where(contacts.c.id.in_(sa.select(chosen.c.id)), contacts.c.state == PENDING)
        .values(state=state, final_reason=reason, next_attempt_at=None)
        .returning(contacts.c.id)
    )
    # Counted from what comes back: of a statement with a CTE, SQLite's driver tells no count.
    return len(connection.execute(statement).all())


def is_excluded(
    number: sa.ColumnElement[Any],
    person_key: sa.ColumnElement[Any],
    campaign: sa.ColumnElement[int],
    at: Any,
) -> sa.ColumnElement[bool]:
    """Whether an exclusion in force at `at` forbids `campaign` to call `number`, or the person, if it is known whose."""
    entry = exclusion_list_entries
    # Each by an index of its own; the person's is not asked for who has no key.
    of_number = _is_forbidden(entry.c.phone_number == number, campaign, at)
    of_person = _is_forbidden(entry.c.person_key == person_key, campaign, at)
    return sa.or_(of_number, sa.and_(person_key.is_not(None), of_person))


def _is_forbidden(
    is_meant: sa.ColumnElement[bool], campaign: sa.ColumnElement[int], at: Any
) -> sa.ColumnElement[bool]:
    entry, calling = exclusion_list_entries, campaigns.alias("calling")
    workspace = sa.select(calling.c.workspace_id).where(calling.c.id == campaign).correlate_except(calling)
    holds = sa.or_(
        entry.c.scope == ExclusionScope.ALL,
        entry.c.campaign_id == campaign,
        sa.and_(
            entry.c.scope == ExclusionScope.WORKSPACE, entry.c.workspace_id == workspace.scalar_subquery()
        ),
    )
    in_force = sa.or_(entry.c.expires_at.is_(None), entry.c.expires_at > at)
    # Everything else is the asking statement's, at whatever depth this stands in it.
    return sa.exists().where(is_meant, entry.c.removed_at.is_(None), in_force, holds).correlate_except(entry)


def is_contact_excluded(at: Any) -> sa.ColumnElement[bool]:
    return is_excluded(contacts.c.phone_number, contacts.c.person_key, contacts.c.campaign_id, at)


def busy_numbers() -> sa.CompoundSelect[Any]:
    """All numbers that are busy at once, for who asks about a whole list."""
    attempts = call_attempts
    # A union, so that each half is read from its own small index.
    return sa.union(
        *(
            sa.select(attempts.c.phone_number).where(one.is_(None))
            for one in (attempts.c.settled_at, attempts.c.ended_at)
        )
    )


def is_busy() -> sa.ColumnElement[bool]:
    unsettled = sa.exists().where(
        call_attempts.c.phone_number == contacts.c.phone_number, call_attempts.c.settled_at.is_(None)
    )
    # A call that was given up, and settled, may have come to life again.
    reopened = sa.exists().where(
        call_attempts.c.phone_number == contacts.c.phone_number, call_attempts.c.ended_at.is_(None)
    )
    return sa.or_(unsettled, reopened)


@cache
def _begin_attempts(dialect: str) -> tuple[Rows, sa.Update]:
    rows = Rows(dialect, "r", {"id": BigId})
    statement = (
        sa.update(contacts)
        .where(contacts.c.id == rows.c.id, contacts.c.state == PENDING)
        .values(state=ContactState.IN_PROGRESS, next_attempt_at=None)
    )
    return rows, statement


@cache
def _move(dialect: str) -> tuple[Rows, sa.Update]:
    columns = {"state": sa.Text, "final_reason": sa.Text, "next_attempt_at": Instant, "held_until": Instant}
    rows = Rows(dialect, "r", {"id": BigId, **columns})
    statement = (
        sa.update(contacts)
        .where(contacts.c.id == rows.c.id, contacts.c.state == PENDING)
        .values({contacts.c[name]: rows.c[name] for name in columns})
    )
    return rows, statement


@cache
def _write_steps(dialect: str) -> tuple[Rows, sa.Update]:
    columns = {
        "state": sa.Text,
        "final_reason": sa.Text,
        "attempts_count": sa.Integer,
        "stage": sa.Integer,
        "next_attempt_at": Instant,
        "last_outcome": sa.Text,
        "last_attempt_at": Instant,
    }
    rows = Rows(dialect, "r", {"id": BigId, **columns})
    statement = (
        sa.update(contacts)
        .where(contacts.c.id == rows.c.id)
        .values({contacts.c[name]: rows.c[name] for name in columns})
    )
    return rows, statement
