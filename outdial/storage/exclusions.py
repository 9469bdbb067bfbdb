"""Statements over `exclusion_list_entries`. Entries are evidence: none is ever deleted.

Each is of one number or of one person. Who is excluded by both has two, so that to end the one leaves the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from outdial.domain.exclusions import EVERYWHERE, Reach
from outdial.storage.database import clock_of
from outdial.storage.rows import Rows, Types
from outdial.storage.tables import exclusion_list_entries
from outdial.storage.types import BigId, Instant

entries = exclusion_list_entries

NUMBER: Final = "phone_number"
PERSON: Final = "person_key"


# A tuple and not one of our records: a register has a million of them.
class Terms(NamedTuple):
    """Why a number or a person is excluded, by whom, from when on, and until when (None: for good)."""

    reason: str
    source: str
    since: datetime
    expires_at: datetime | None = None


def add_each(
    connection: sa.Connection, of: str, listed: Mapping[str, Terms], *, reach: Reach, at: datetime
) -> frozenset[str]:
    """Exclude numbers (`of` NUMBER) or persons (PERSON), each on terms of its own. Returns who was not so before.

    An entry in force of the same reach that ends earlier gives way to the new one, and stays as evidence.
    """
    if not listed:
        return frozenset()
    added = _insert(connection, of, listed, reach)
    met = {key: terms for key, terms in listed.items() if key not in added}
    if not met:
        return added
    # Only whom the list knew already can have an entry that ends earlier: of a register mostly nobody, or all.
    rows, give_way = _give_way(connection.dialect.name, of)
    params = {**rows.params([(key, *met[key]) for key in sorted(met)]), **_place(reach), "at": at}
    ended = frozenset(connection.execute(give_way, params).scalars())
    if not ended:
        return added
    return added | _insert(connection, of, {key: met[key] for key in ended}, reach)


def not_shorter(
    connection: sa.Connection, of: str, listed: Mapping[str, Terms], *, reach: Reach, at: datetime
) -> frozenset[str]:
    """Those whom an entry in force at `at` excludes as long already, so that to add them changes nothing."""
    if not listed:
        return frozenset()
    rows, query = _not_shorter(connection.dialect.name, of)
    given = [(key, *listed[key]) for key in listed]
    params = {**rows.params(given), **_place(reach), "at": at}
    return frozenset(connection.execute(query, params).scalars())


def remove(
    connection: sa.Connection,
    *,
    phone_number: str | None = None,
    person_key: str | None = None,
    by: str,
    why: str,
    at: datetime,
    reach: Reach = EVERYWHERE,
) -> int:
    """End the entries of this number and of this person with this very reach; they stay as evidence. Returns how many."""
    statement = (
        sa.update(entries)
        .where(
            _of(phone_number, [person_key]),
            entries.c.removed_at.is_(None),
            entries.c.scope == reach.scope,
            entries.c.workspace_id == reach.workspace_id,
            sa.func.coalesce(entries.c.campaign_id, 0) == (reach.campaign_id or 0),
        )
        .values(removed_at=at, removed_by=by, removed_why=why)
    )
    return connection.execute(statement).rowcount


def entries_of(
    connection: sa.Connection, phone_number: str | None, person_keys: Iterable[str] = ()
) -> Sequence[sa.RowMapping]:
    """All entries of the number and of these persons, also those that were removed, oldest first."""
    query = sa.select(entries).where(_of(phone_number, person_keys)).order_by(entries.c.id)
    return connection.execute(query).mappings().all()


def _insert(connection: sa.Connection, of: str, listed: Mapping[str, Terms], reach: Reach) -> frozenset[str]:
    """Returns who had no entry of that reach in force."""
    rows, statement = _add(connection.dialect.name, of)
    params = {
        # In one order, as everybody does who inserts them.
        **rows.params([(key, *listed[key]) for key in sorted(listed)]),
        "scope": reach.scope,
        "campaign_id": reach.campaign_id,
        "workspace_id": reach.workspace_id,
    }
    return frozenset(connection.execute(statement, params).scalars())


def _of(phone_number: str | None, person_keys: Iterable[str | None]) -> sa.ColumnElement[bool]:
    keys = [key for key in person_keys if key is not None]
    meant = [] if phone_number is None else [entries.c.phone_number == phone_number]
    return sa.or_(sa.false(), *meant, *([entries.c.person_key.in_(keys)] if keys else []))


def _rows(dialect: str, of: str) -> Rows:
    return Rows(
        dialect,
        "n",
        {of: sa.Text, "reason": sa.Text, "source": sa.Text, "since": Instant, "expires_at": Instant},
    )


def _same(rows: Rows, of: str) -> tuple[sa.ColumnElement[bool], ...]:
    """The entry that stands where the new one would."""
    return (
        entries.c[of] == rows.c[of],
        entries.c.removed_at.is_(None),
        entries.c.scope == sa.bindparam("in_scope", type_=sa.Text),
        entries.c.workspace_id == sa.bindparam("in_workspace", type_=sa.BigInteger),
        sa.func.coalesce(entries.c.campaign_id, 0) == sa.bindparam("in_campaign", type_=sa.BigInteger),
    )


def _place(reach: Reach) -> dict[str, Any]:
    """The parameters of `_same`."""
    return {
        "in_scope": reach.scope,
        "in_workspace": reach.workspace_id,
        "in_campaign": reach.campaign_id or 0,
    }


@cache
def _give_way(dialect: str, of: str) -> tuple[Rows, Any]:
    rows = _rows(dialect, of)
    until = rows.c.expires_at
    shorter = sa.or_(until.is_(None), entries.c.expires_at < until)
    statement = (
        sa.update(entries)
        .where(*_same(rows, of), entries.c.expires_at.is_not(None), shorter)
        .values(removed_at=sa.bindparam("at", type_=Instant), removed_why="replaced by a longer exclusion")
        .returning(entries.c[of])
    )
    return rows, statement


@cache
def _not_shorter(dialect: str, of: str) -> tuple[Rows, Any]:
    rows = _rows(dialect, of)
    ends = entries.c.expires_at
    lasts = sa.or_(
        ends.is_(None), sa.and_(ends > sa.bindparam("at", type_=Instant), ends >= rows.c.expires_at)
    )
    query = sa.select(rows.c[of]).where(sa.exists().where(*_same(rows, of), lasts).correlate_except(entries))
    return rows, query


@cache
def _add(dialect: str, of: str) -> tuple[Rows, Any]:
    rows = _rows(dialect, of)
    insert: Any = sqlite.insert if dialect == "sqlite" else postgresql.insert
    shared: Types = {"scope": sa.Text, "campaign_id": BigId, "workspace_id": BigId}
    bound: list[sa.ColumnElement[Any]] = [sa.bindparam(name, type_=kind) for name, kind in shared.items()]
    own = [of, "reason", "source", "since", "expires_at"]
    given = (*(rows.c[name] for name in own), *bound, clock_of(dialect))
    source = sa.select(*given).where(sa.true()).order_by(rows.c[of])
    statement = insert(entries).from_select([*own, *shared, "created_at"], source, include_defaults=False)
    return rows, statement.on_conflict_do_nothing(
        index_elements=[of, "workspace_id", "scope", sa.text("coalesce(campaign_id, 0)")],
        index_where=sa.and_(entries.c.removed_at.is_(None), entries.c[of].is_not(None)),
    ).returning(entries.c[of])
