"""Statements over `exclusion_list_entries`. Entries are evidence: none is ever deleted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from outdial.domain.ids import CampaignId
from outdial.storage.rows import Rows
from outdial.storage.tables import exclusion_list_entries
from outdial.storage.types import Instant

entries = exclusion_list_entries


def add(
    connection: sa.Connection,
    phone_numbers: Collection[str],
    *,
    reason: str,
    source: str,
    at: datetime,
    campaign_id: CampaignId | None = None,
    expires_at: datetime | None = None,
) -> int:
    """Exclude the numbers, everywhere or for one campaign. Returns how many were not excluded so before.

    An entry in force that ends earlier than the new one gives way to it, and stays as evidence.
    """
    if not phone_numbers:
        return 0
    rows, statement = _add(connection.dialect.name)
    replaced, give_way = _give_way(connection.dialect.name)
    numbers = [(number,) for number in sorted(set(phone_numbers))]
    connection.execute(
        give_way,
        {**replaced.params(numbers), "at": at, "campaign": campaign_id or 0, "until": expires_at},
    )
    params = {
        **rows.params(numbers),
        "reason": reason,
        "source": source,
        "scope": "all" if campaign_id is None else "campaign",
        "campaign_id": campaign_id,
        "since": at,
        "expires_at": expires_at,
    }
    return len(connection.execute(statement, params).all())


def remove(
    connection: sa.Connection,
    phone_number: str,
    *,
    by: str,
    why: str,
    at: datetime,
    campaign_id: CampaignId | None = None,
) -> int:
    """End the entries in force of this number in this scope; they stay as evidence. Returns how many."""
    scope = entries.c.campaign_id.is_(None) if campaign_id is None else entries.c.campaign_id == campaign_id
    statement = (
        sa.update(entries)
        .where(entries.c.phone_number == phone_number, entries.c.removed_at.is_(None), scope)
        .values(removed_at=at, removed_by=by, removed_why=why)
    )
    return connection.execute(statement).rowcount


def of_number(connection: sa.Connection, phone_number: str) -> Sequence[sa.RowMapping]:
    """All entries of the number, also those that were removed, oldest first."""
    query = sa.select(entries).where(entries.c.phone_number == phone_number).order_by(entries.c.id)
    return connection.execute(query).mappings().all()


@cache
def _give_way(dialect: str) -> tuple[Rows, Any]:
    rows = Rows(dialect, "n", {"phone_number": sa.Text})
    at = sa.bindparam("at", type_=Instant)
    until = sa.bindparam("until", type_=Instant)
    shorter = (
        sa.or_(sa.cast(until, Instant).is_(None), entries.c.expires_at < until)
        if dialect != "sqlite"
        else (sa.or_(until.is_(None), entries.c.expires_at < until))
    )
    statement = (
        sa.update(entries)
        .where(
            entries.c.phone_number == rows.c.phone_number,
            entries.c.removed_at.is_(None),
            sa.func.coalesce(entries.c.campaign_id, 0) == sa.bindparam("campaign", type_=sa.BigInteger),
            entries.c.expires_at.is_not(None),
            shorter,
        )
        .values(removed_at=at, removed_why="replaced by a longer exclusion")
    )
    return rows, statement


@cache
def _add(dialect: str) -> tuple[Rows, Any]:
    rows = Rows(dialect, "n", {"phone_number": sa.Text})
    insert: Any = sqlite.insert if dialect == "sqlite" else postgresql.insert
    given = {"reason": sa.Text, "source": sa.Text, "scope": sa.Text, "campaign_id": sa.BigInteger}
    instants = {"since": Instant, "expires_at": Instant}
    bound: list[sa.BindParameter[Any]] = [
        sa.bindparam(name, type_=kind) for name, kind in {**given, **instants}.items()
    ]
    source = sa.select(rows.c.phone_number, *bound).where(sa.true()).order_by(rows.c.phone_number)
    statement = insert(entries).from_select(
        ["phone_number", *given, *instants], source, include_defaults=False
    )
    return rows, statement.on_conflict_do_nothing(
        index_elements=["phone_number", "workspace_id", sa.text("coalesce(campaign_id, 0)")],
        index_where=entries.c.removed_at.is_(None),
    ).returning(entries.c.id)
