"""Statements over `buckets`: who waits where, when the first of them is due, and whether they may be called by the hour.

Hints may be early, never late. What a permit said of a zone is only a note: it is asked again before anybody is called.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from outdial.domain.contact import Stage
from outdial.domain.ids import CallingZoneId, CampaignId
from outdial.domain.order import Bucket
from outdial.storage.rows import Rows
from outdial.storage.tables import buckets, contacts
from outdial.storage.types import BigId, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Who waits in some campaigns at an instant.

    `to_ask`: buckets that may be called now for all that is known of them: those that were never judged by these facts,
    and of the others the first so many in which somebody is due and nothing holds them. Of the rest, `held` counts those
    in which somebody is due, by what holds them, and `next_due_at` (aware UTC) is when the first of them may be called.
    """

    to_ask: Sequence[Bucket]
    held: Mapping[str, int]
    next_due_at: datetime | None
    is_anybody: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """What was said of all buckets of a campaign in a zone; see the columns."""

    campaign_id: CampaignId
    calling_zone_id: CallingZoneId
    judged_as: str
    judged_until: datetime | None
    held_by: str | None


def waiting(connection: sa.Connection, facts: Mapping[CampaignId, str], at: datetime, most: int) -> Waiting:
    """`facts`: the campaigns, each with what its zones are to be judged by now; `most`: how many of those that were found
    open are listed for each. With 0 none is, and `next_due_at` is `at` where somebody is due among them.
    """
    if not facts:
        return Waiting(to_ask=(), held={}, next_due_at=None, is_anybody=False)
    rows, summary, unjudged, first_open = _waiting(connection.dialect.name)
    params = {**rows.params(sorted(facts.items())), "at": at}
    groups = connection.execute(summary, params).all()
    to_ask: list[Bucket] = []
    if not all(group.is_judged for group in groups):
        to_ask += [_bucket(row, is_judged=False) for row in connection.execute(unjudged, params)]
    is_open = any(group.is_judged and group.held_by is None and group.due for group in groups)
    if is_open and most:
        found = connection.execute(first_open, {**params, "most": most})
        to_ask += [_bucket(row, is_judged=True) for row in found]
    judged = [group for group in groups if group.is_judged]
    instants = [group.first_at for group in judged if group.first_at is not None]
    return Waiting(
        to_ask=to_ask,
        held={group.held_by: group.due for group in judged if group.held_by is not None and group.due},
        next_due_at=at if is_open and not most else min(instants, default=None),
        is_anybody=bool(groups),
    )


def zones_of(connection: sa.Connection, campaign_id: CampaignId) -> set[CallingZoneId]:
    """The zones in which somebody waits for this campaign's call."""
    query = (
        sa.select(buckets.c.calling_zone_id)
        .where(buckets.c.campaign_id == campaign_id, buckets.c.next_due_at.is_not(None))
        .distinct()
    )
    return {CallingZoneId(zone_id) for zone_id in connection.execute(query).scalars()}


def judge(connection: sa.Connection, judgments: Collection[Judgment]) -> None:
    """Note what was said, so that the next claim need not ask. In a transaction of its own: who adds contacts waits for it."""
    if not judgments:
        return
    rows, statement = _judge(connection.dialect.name)
    listed = [
        (one.campaign_id, one.calling_zone_id, one.judged_as, one.judged_until, one.held_by)
        for one in judgments
    ]
    connection.execute(statement, rows.params(sorted(listed, key=lambda row: row[:2])))


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


def _bucket(row: sa.Row[Any], *, is_judged: bool) -> Bucket:
    return Bucket(
        campaign_id=CampaignId(row.campaign_id),
        calling_zone_id=CallingZoneId(row.calling_zone_id),
        priority=row.priority,
        stage=Stage(row.stage),
        next_due_at=row.next_due_at,
        version=row.version,
        is_judged=is_judged,
        judged_as=row.judged_as,
    )


KEY: dict[str, Any] = {
    "campaign_id": BigId,
    "calling_zone_id": BigId,
    "priority": sa.Integer,
    "stage": sa.Integer,
}


def _judged(judged_as: sa.ColumnElement[str], at: sa.ColumnElement[datetime]) -> sa.ColumnElement[bool]:
    return sa.and_(
        buckets.c.judged_as == judged_as,
        sa.or_(buckets.c.judged_until.is_(None), buckets.c.judged_until > at),
    )


@cache
def _waiting(dialect: str) -> tuple[Rows, sa.Select[Any], sa.Select[Any], sa.Select[Any]]:
    """How those who wait stand, which buckets are to be judged, and which are open: one scan where all are judged."""
    rows = Rows(dialect, "f", {"campaign_id": BigId, "judged_as": sa.Text})
    at = sa.bindparam("at", type_=Instant)
    # NULL where it was never judged, and that is no yes.
    is_judged = sa.func.coalesce(_judged(rows.c.judged_as, at), sa.false())
    source = rows.source.join(buckets, buckets.c.campaign_id == rows.c.campaign_id)
    somebody = buckets.c.next_due_at.is_not(None)
    unjudged = sa.select(*(buckets.c[name] for name in SHOWN)).select_from(source).where(somebody, ~is_judged)
    opens_at = sa.case(
        (buckets.c.judged_until > buckets.c.next_due_at, buckets.c.judged_until), else_=buckets.c.next_due_at
    )
    first_at = sa.case(
        (sa.and_(buckets.c.held_by.is_(None), buckets.c.next_due_at > at), buckets.c.next_due_at),
        (sa.and_(buckets.c.held_by.is_not(None), buckets.c.judged_until.is_not(None)), opens_at),
    )
    due = sa.func.sum(sa.case((buckets.c.next_due_at <= at, 1), else_=0))
    groups = (is_judged, buckets.c.held_by)
    summary = (
        sa.select(
            is_judged.label("is_judged"),
            buckets.c.held_by,
            due.label("due"),
            sa.type_coerce(sa.func.min(first_at), Instant).label("first_at"),
        )
        .select_from(source)
        .where(somebody)
        .group_by(*groups)
    )
    return rows, summary, unjudged, _first_open(dialect, rows, at)


SHOWN: Final = (
    "campaign_id",
    "calling_zone_id",
    "priority",
    "stage",
    "next_due_at",
    "version",
    "judged_as",
)


def _first_open(dialect: str, rows: Rows, at: sa.BindParameter[datetime]) -> sa.Select[Any]:
    """Of each campaign the first so many buckets that are open and in which somebody is due."""
    # As `order` has it.
    service = (
        sa.case((buckets.c.stage == int(Stage.CALLBACK), 0), else_=1),
        buckets.c.priority.desc(),
        buckets.c.judged_until.asc().nulls_last(),
        buckets.c.stage,
        buckets.c.next_due_at,
        buckets.c.calling_zone_id,
    )
    most = sa.bindparam("most", type_=sa.Integer)
    of_campaign = buckets.c.campaign_id == rows.c.campaign_id
    here = (_judged(rows.c.judged_as, at), buckets.c.held_by.is_(None), buckets.c.next_due_at <= at)
    shown = [buckets.c[name] for name in SHOWN]
    if dialect == "sqlite":
        place = sa.func.row_number().over(partition_by=buckets.c.campaign_id, order_by=service)
        ranked = (
            sa.select(*shown, place.label("place"))
            .select_from(rows.source.join(buckets, of_campaign))
            .where(*here)
            .subquery("ranked")
        )
        return sa.select(*(ranked.c[name] for name in SHOWN)).where(ranked.c.place <= most)
    # To keep the first few costs a fifth of ranking them all.
    one = sa.select(*shown).where(of_campaign, *here).order_by(*service).limit(most).lateral("one")
    return sa.select(*(one.c[name] for name in SHOWN)).select_from(rows.source.join(one, sa.true()))


@cache
def _judge(dialect: str) -> tuple[Rows, sa.Update]:
    columns = {"judged_as": sa.Text, "judged_until": Instant, "held_by": sa.Text}
    rows = Rows(dialect, "j", {"campaign_id": BigId, "calling_zone_id": BigId, **columns})
    target = buckets.alias("target")
    here = [target.c[name] == rows.c[name] for name in ("campaign_id", "calling_zone_id")]
    # Locked in the order in which all others lock them.
    locked = (
        sa.select(*(target.c[name] for name in KEY), *(rows.c[name] for name in columns))
        .select_from(sa.join(rows.source, target, sa.and_(*here)))
        .order_by(*(target.c[name] for name in KEY))
        .with_for_update(of=target)
        .cte("locked")
    )
    statement = (
        sa.update(buckets)
        .where(*(buckets.c[name] == locked.c[name] for name in KEY))
        .values({name: locked.c[name] for name in columns})
        .execution_options(synchronize_session=False)
    )
    return rows, statement


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
