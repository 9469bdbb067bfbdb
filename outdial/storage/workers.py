"""Statements over `workers`: who dials, and whether its heart beats."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from outdial.domain.ids import WorkerId
from outdial.storage.tables import workers


def start(connection: sa.Connection, name: str, at: datetime) -> WorkerId:
    statement = sa.insert(workers).values(name=name, started_at=at, beat_at=at).returning(workers.c.id)
    return WorkerId(connection.execute(statement).scalar_one())


def beat(connection: sa.Connection, worker_id: WorkerId, name: str, at: datetime) -> bool:
    """Raise the counter; others see that it changed, whatever their clocks say. False: the row is gone, or another's:
    a failover has lost it.
    """
    statement = (
        sa.update(workers)
        .where(workers.c.id == worker_id, workers.c.name == name)
        .values(beat=workers.c.beat + 1, beat_at=at, stopped_at=None, found_dead_at=None)
    )
    return connection.execute(statement).rowcount > 0


def beats(connection: sa.Connection) -> dict[WorkerId, int]:
    """The counters of those who have neither stopped nor been found dead."""
    query = sa.select(workers.c.id, workers.c.beat).where(
        workers.c.stopped_at.is_(None), workers.c.found_dead_at.is_(None)
    )
    return {WorkerId(worker_id): beat for worker_id, beat in connection.execute(query)}


def find_dead(connection: sa.Connection, worker_id: WorkerId, beat: int, at: datetime) -> str | None:
    """Note that the worker is dead, if its counter still stands there. Returns its name; None: somebody was faster."""
    statement = (
        sa.update(workers)
        .where(workers.c.id == worker_id, workers.c.beat == beat, workers.c.found_dead_at.is_(None))
        .values(found_dead_at=at)
        .returning(workers.c.name)
    )
    return connection.execute(statement).scalar_one_or_none()


def beating_since(connection: sa.Connection, at: datetime) -> list[tuple[WorkerId, datetime]]:
    """Who has not stopped and was heard of since, with the instant of their last beat."""
    query = sa.select(workers.c.id, workers.c.beat_at).where(
        workers.c.stopped_at.is_(None), workers.c.found_dead_at.is_(None), workers.c.beat_at >= at
    )
    return [(WorkerId(row.id), row.beat_at) for row in connection.execute(query.order_by(workers.c.id))]


def stop(connection: sa.Connection, worker_id: WorkerId, at: datetime) -> None:
    connection.execute(sa.update(workers).where(workers.c.id == worker_id).values(stopped_at=at))
