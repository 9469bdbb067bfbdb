"""Calls that hold a line: listed, taken to be asked about, and marked by whoever ended them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.attempt import AttemptState
from outdial.domain.ids import (
    AccountId,
    AttemptId,
    CallId,
    CampaignId,
    ProviderCallId,
)
from outdial.storage.rows import Rows
from outdial.storage.tables import call_attempts
from outdial.storage.types import BigId, Instant, Json

attempts = call_attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCall:
    """A call that holds a line. `sent_at` None: the provider has not heard of it."""

    id: AttemptId
    account_id: AccountId
    call_id: CallId
    provider_call_id: ProviderCallId | None
    phone_number: str
    from_number: str
    sent_at: datetime | None


OPEN_CALL: Final = tuple(attempts.c[field.name] for field in fields(OpenCall))


def open_calls(
    connection: sa.Connection,
    *,
    account_id: AccountId | None = None,
    campaign_id: CampaignId | None = None,
    attempt_id: AttemptId | None = None,
) -> list[OpenCall]:
    """The calls that hold a line, of all accounts and campaigns or of those that are named."""
    query = sa.select(*OPEN_CALL).where(attempts.c.ended_at.is_(None))
    wanted = {"account_id": account_id, "campaign_id": campaign_id, "id": attempt_id}
    for name, value in wanted.items():
        if value is not None:
            query = query.where(attempts.c[name] == value)
    return [OpenCall(**row) for row in connection.execute(query.order_by(attempts.c.id)).mappings()]


def note_end(
    connection: sa.Connection,
    ids: Collection[AttemptId],
    *,
    by: str,
    reason: str,
    look_up_at: datetime | None = None,
) -> None:
    """Who ended these calls and why; open ones are asked about at `look_up_at`, should no event tell of their end."""
    rows, statement = _note_end(connection.dialect.name)
    params = rows.params([(attempt_id,) for attempt_id in sorted(ids)])
    connection.execute(
        statement, {**params, "by": by, "metadata": {"ended_because": reason}, "look_up_at": look_up_at}
    )


def take_dialing(connection: sa.Connection, at: datetime, again_at: datetime, limit: int) -> list[OpenCall]:
    """Attempts that are overdue while still dialing; `look_up_at` is pushed to `again_at`: others leave them to us."""
    return _take(connection, attempts.c.state == AttemptState.DIALING, at, again_at, limit)


def take_silent(
    connection: sa.Connection,
    account_ids: Collection[AccountId],
    at: datetime,
    again_at: datetime,
    limit: int,
) -> list[OpenCall]:
    """Calls of these accounts that were sent and are overdue for a sign of life; pushed as `take_dialing` does."""
    wanted = sa.and_(attempts.c.state != AttemptState.DIALING, attempts.c.account_id.in_(tuple(account_ids)))
    return _take(connection, wanted, at, again_at, limit)


def _take(
    connection: sa.Connection, wanted: sa.ColumnElement[bool], at: datetime, again_at: datetime, limit: int
) -> list[OpenCall]:
    # A CTE, since Postgres may run a subquery that locks rows again and again, each time with other rows.
    chosen = (
        sa.select(attempts.c.id)
        .where(attempts.c.ended_at.is_(None), attempts.c.look_up_at <= at, wanted)
        .order_by(attempts.c.look_up_at, attempts.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("chosen")
    )
    statement = (
        sa.update(attempts)
        .where(attempts.c.id.in_(sa.select(chosen.c.id)))
        .values(look_up_at=again_at)
        .returning(*OPEN_CALL)
    )
    return [OpenCall(**row) for row in connection.execute(statement).mappings()]


@cache
def _note_end(dialect: str) -> tuple[Rows, sa.Update]:
    rows = Rows(dialect, "r", {"id": BigId})
    look_up_at: sa.ColumnElement[Any] = sa.bindparam("look_up_at", type_=Instant)
    if dialect == "postgresql":
        # Postgres does not guess the type of a parameter inside a CASE.
        look_up_at = sa.cast(look_up_at, Instant)
    statement = (
        sa.update(attempts)
        .where(attempts.c.id == rows.c.id)
        .values(
            ended_by=sa.bindparam("by", type_=sa.Text),
            metadata=sa.bindparam("metadata", type_=Json),
            look_up_at=sa.case((attempts.c.ended_at.is_(None), look_up_at), else_=attempts.c.look_up_at),
        )
    )
    return rows, statement
