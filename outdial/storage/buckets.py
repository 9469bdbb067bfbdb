"""Statements over `buckets`: who waits where, and when the first of them is due. Hints may be early, never late."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from outdial.domain.contact import Stage
from outdial.domain.ids import CallingZoneId, CampaignId
from outdial.domain.order import Bucket
from outdial.storage.rows import Rows
from outdial.storage.tables import buckets, contacts
from outdial.storage.types import BigId, Instant


def waiting(connection: sa.Connection, campaign_ids: Sequence[CampaignId]) -> list[Bucket]:
    """All buckets of these campaigns in which somebody waits."""
    query = sa.select(buckets).where(
        buckets.c.campaign_id.in_(campaign_ids), buckets.c.next_due_at.is_not(None)
    )
    return [
        Bucket(
            campaign_id=CampaignId(row.campaign_id),
            calling_zone_id=CallingZoneId(row.calling_zone_id),
            priority=row.priority,
            stage=Stage(row.stage),
            next_due_at=row.next_due_at,
            version=row.version,
        )
        for row in connection.execute(query)
    ]


def add_due(
    connection: sa.Connection, entries: Iterable[tuple[CampaignId, CallingZoneId, int, Stage, datetime]]
) -> None:
    """Somebody now waits in these buckets. In the transaction that makes them wait, after their rows are written."""
    earliest: dict[tuple[CampaignId, CallingZoneId, int, Stage], datetime] = {}
    for campaign_id, zone_id, priority, stage, due_at in entries:
        key = (campaign_id, zone_id, priority, stage)
        earliest[key] = min(due_at, earliest.get(key, due_at))
    if not earliest:
        return
    rows, statement = _add_due(connection.dialect.name)
    connection.execute(statement, rows.params([(*key, due_at) for key, due_at in sorted(earliest.items())]))


def refresh(connection: sa.Connection, read: Collection[Bucket]) -> None:
    """After a claim: set each hint to its true next due instant, unless somebody touched the bucket meanwhile.

    Touched means a newer version, or a lock held right now: the hint then stays as early as it was.
    """
    if not read:
        return
    rows, statement = _refresh(connection.dialect.name)
    keys = [(b.campaign_id, b.calling_zone_id, b.priority, b.stage, b.version, b.next_due_at) for b in read]
    connection.execute(statement, rows.params(keys))


KEY: dict[str, Any] = {
    "campaign_id": BigId,
    "calling_zone_id": BigId,
    "priority": sa.Integer,
    "stage": sa.Integer,
}


@cache
def _add_due(dialect: str) -> tuple[Rows, sa.Insert]:
    rows = Rows(dialect, "b", {**KEY, "next_due_at": Instant})
    names = [*KEY, "next_due_at"]
    insert: Any = sqlite.insert if dialect == "sqlite" else postgresql.insert
    # SQLite needs the WHERE to tell ON CONFLICT from a join's ON.
    source = (
        sa.select(*(rows.c[name] for name in names))
        .where(sa.true())
        .order_by(*(rows.c[name] for name in KEY))
    )
    statement = insert(buckets).from_select(names, source, include_defaults=False)
    new = statement.excluded.next_due_at
    return rows, statement.on_conflict_do_update(
        index_elements=list(KEY),
        set_={
            "next_due_at": sa.case((buckets.c.next_due_at <= new, buckets.c.next_due_at), else_=new),
            "version": buckets.c.version + 1,
        },
    )


@cache
def _refresh(dialect: str) -> tuple[Rows, sa.Update]:
    rows = Rows(dialect, "b", {**KEY, "version": sa.BigInteger, "next_due_at": Instant})
    target = buckets.alias("target")
    same = [target.c[name] == rows.c[name] for name in KEY]
    free = (
        sa.select(*(rows.c[name] for name in [*KEY, "version", "next_due_at"]))
        .select_from(sa.join(rows.source, target, sa.and_(*same, target.c.version == rows.c.version)))
        .with_for_update(of=target, skip_locked=True)
        .cte("free")
    )
    first_due = (
        sa.select(contacts.c.next_attempt_at)
        .where(*(contacts.c[name] == free.c[name] for name in KEY))
        .where(
            contacts.c.state == sa.literal_column("'pending'"),
            contacts.c.next_attempt_at >= free.c.next_due_at,
        )
        .order_by(contacts.c.next_attempt_at, contacts.c.id)
        .limit(1)
        .correlate(free)
        .scalar_subquery()
    )
    statement = (
        sa.update(buckets)
        .where(*(buckets.c[name] == free.c[name] for name in KEY))
        .values(next_due_at=first_due)
        .execution_options(synchronize_session=False)
    )
    return rows, statement
