"""Statements over `deployment`: the database's own name, the stop of everything, the calling rules that were accepted.

One row, or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from outdial.storage.tables import deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """`name` None: the database has none, and asks for none. `stopped_at` is aware UTC.

    `accepted_rules`: version by id of the calling rules that somebody has accepted; None: nobody was ever asked.
    """

    name: str | None = None
    stopped_at: datetime | None = None
    stopped_by: str | None = None
    stopped_reason: str | None = None
    accepted_rules: Mapping[str, int] | None = None


def load(connection: sa.Connection) -> Deployment:
    row = connection.execute(sa.select(deployment)).mappings().one_or_none()
    if row is None:
        return Deployment()
    names = ("name", "stopped_at", "stopped_by", "stopped_reason", "accepted_rules")
    return Deployment(**{name: row[name] for name in names})


def set_name(connection: sa.Connection, name: str) -> None:
    _write(connection, {"name": name})


def accept_rules(connection: sa.Connection, versions: Mapping[str, int]) -> None:
    """These versions of calling rules, by id, are accepted; what was accepted of others stays so."""
    accepted = load(connection).accepted_rules or {}
    _write(connection, {"accepted_rules": {**accepted, **versions}})


def stop(connection: sa.Connection, by: str, reason: str, at: datetime) -> bool:
    """Stop everything; False if it stood already, and then its first reason stays."""
    values = {"stopped_at": at, "stopped_by": by, "stopped_reason": reason}
    return _write(connection, values, deployment.c.stopped_at.is_(None))


def resume(connection: sa.Connection) -> bool:
    """Let everything go on; False if it did."""
    statement = (
        sa.update(deployment)
        .where(deployment.c.stopped_at.is_not(None))
        .values(stopped_at=None, stopped_by=None, stopped_reason=None)
    )
    return connection.execute(statement).rowcount > 0


def forbids(own_name: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether everything is stopped, or the database belongs to another deployment than `own_name` (empty: none)."""
    return sa.exists().where(
        sa.or_(
            deployment.c.stopped_at.is_not(None),
            sa.and_(deployment.c.name.is_not(None), deployment.c.name != own_name),
        )
    )


def _write(
    connection: sa.Connection, values: Mapping[str, Any], where: sa.ColumnElement[bool] | None = None
) -> bool:
    insert: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = (
        insert(deployment)
        .values(id=1, **values)
        .on_conflict_do_update(index_elements=["id"], set_=dict(values), where=where)
        .returning(deployment.c.id)
    )
    return connection.execute(statement).one_or_none() is not None
