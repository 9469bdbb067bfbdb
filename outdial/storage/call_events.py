"""Statements over `call_events`: every webhook as it came, once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.dialects import postgresql, sqlite

from outdial.domain.attempt import CallEvent
from outdial.domain.ids import AccountId, AttemptId
from outdial.storage.rows import Rows
from outdial.storage.tables import call_attempts, call_events
from outdial.storage.types import BigId, Instant, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """An event with the payload that it was read from."""

    account_id: AccountId
    event: CallEvent
    payload: dict[str, Any]
    attempt_id: AttemptId | None = None


COLUMNS: dict[str, Any] = {
    "account_id": BigId,
    "event_id": sa.Text,
    "attempt_id": BigId,
    "call_id": sa.Text,
    "provider_call_id": sa.Text,
    "kind": sa.Text,
    "event_at": Instant,
    "payload": Json,
    "normalized": Json,
}
AS_JSON = TypeAdapter(CallEvent)


def insert(
    connection: sa.Connection, received: Sequence[ReceivedEvent], at: datetime
) -> set[tuple[int, str]]:
    """Keep the events; returns (account, event id) of those that were not known before."""
    if not received:
        return set()
    rows, statement = _insert(connection.dialect.name)
    listed = [
        (
            one.account_id,
            one.event.event_id,
            one.attempt_id,
            one.event.call_id,
            one.event.provider_call_id,
            one.event.kind,
            one.event.at,
            one.payload,
            AS_JSON.dump_python(one.event, mode="json", exclude_defaults=True, exclude={"origin"}),
        )
        for one in received
    ]
    inserted = connection.execute(statement, {**rows.params(listed), "at": at})
    return {(row.account_id, row.event_id) for row in inserted}


def adopt(
    connection: sa.Connection, account_id: AccountId, attempts: dict[str, AttemptId]
) -> list[tuple[AttemptId, CallEvent]]:
    """Events that came before we knew the provider's id: they now belong to their attempt. Oldest first."""
    unknown = sa.and_(
        call_events.c.account_id == account_id,
        call_events.c.attempt_id.is_(None),
        call_events.c.provider_call_id.in_(tuple(attempts)),
    )
    query = sa.select(call_events.c.id, call_events.c.provider_call_id, call_events.c.normalized).where(
        unknown
    )
    found = connection.execute(query.order_by(call_events.c.event_at, call_events.c.id)).all()
    for row in found:
        connection.execute(
            sa.update(call_events)
            .where(call_events.c.id == row.id)
            .values(attempt_id=attempts[row.provider_call_id])
        )
    return [(attempts[row.provider_call_id], AS_JSON.validate_python(row.normalized)) for row in found]


def with_owner_now(
    connection: sa.Connection, since: datetime, limit: int
) -> dict[AccountId, dict[str, AttemptId]]:
    """Provider ids of unknown events received since, whose attempt is known by now: an event and the answer to its
    call's POST, written at the same instant, do not see each other.
    """
    query = (
        sa.select(call_events.c.account_id, call_events.c.provider_call_id, call_attempts.c.id)
        .join(
            call_attempts,
            sa.and_(
                call_attempts.c.account_id == call_events.c.account_id,
                call_attempts.c.provider_call_id == call_events.c.provider_call_id,
            ),
        )
        .where(call_events.c.attempt_id.is_(None), call_events.c.received_at > since)
        .limit(limit)
    )
    found: dict[AccountId, dict[str, AttemptId]] = {}
    for account_id, provider_call_id, attempt_id in connection.execute(query):
        found.setdefault(AccountId(account_id), {})[provider_call_id] = AttemptId(attempt_id)
    return found


def of_attempts(connection: sa.Connection, ids: Collection[AttemptId]) -> Sequence[sa.Row[Any]]:
    """The events of these attempts, oldest first."""
    query = sa.select(call_events).where(call_events.c.attempt_id.in_(tuple(ids)))
    return connection.execute(query.order_by(call_events.c.id)).all()


@cache
def _insert(dialect: str) -> tuple[Rows, sa.Insert]:
    rows = Rows(dialect, "e", COLUMNS)
    insert: Any = sqlite.insert if dialect == "sqlite" else postgresql.insert
    source = (
        sa.select(*(rows.c[name] for name in COLUMNS), sa.bindparam("at", type_=Instant))
        .where(sa.true())
        .order_by(rows.c.account_id, rows.c.event_id)
    )
    statement = insert(call_events).from_select([*COLUMNS, "received_at"], source, include_defaults=False)
    return rows, statement.on_conflict_do_nothing(index_elements=["account_id", "event_id"]).returning(
        call_events.c.account_id, call_events.c.event_id
    )
