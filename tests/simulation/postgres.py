"""Postgres under a simulation: statements of several processes run side by side, and one that waits really waits."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from outdial.storage.database import BEGIN_POSTGRES
from outdial.storage.migrate import upgrade
from outdial.storage.tables import metadata
from tests.simulation.databases import Points
from tests.simulation.hub import Hub
from tests.simulation.story import Story
from tests.simulation.threads import ThreadedHub

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# A sequence, since it is no part of any transaction: what it says is the same for all at once.
CLOCK: Final = """
CREATE SCHEMA simulation;
CREATE SEQUENCE simulation.clock;
CREATE FUNCTION simulation.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
$$ SELECT timestamptz 'epoch' + last_value * interval '1 microsecond' FROM simulation.clock $$;
"""
# Ours is found before Postgres's own.
SEARCH_PATH: Final = "-c search_path=simulation,pg_catalog,public"
# A transaction may stand still for as long as the others take, by the clock on the wall.
BEGIN_WITHOUT_LIMITS: Final = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;"
    "SET LOCAL idle_in_transaction_session_timeout = 0;"
    "SET LOCAL lock_timeout = 0;"
    "SET LOCAL statement_timeout = 0"
)


class PostgresBody:
    """A database of its own on a server of the tests."""

    def __init__(self, url: str, change: str | None = None) -> None:
        upgrade(url)
        arguments = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._monitor = psycopg.connect(arguments, autocommit=True)
        self._monitor.execute(CLOCK)
        if change is not None:
            self._monitor.execute(change.encode())
        self.engine = sa.create_engine(
            sa.make_url(url).set(drivername="postgresql+psycopg"),
            poolclass=QueuePool,
            pool_size=20,
            connect_args={"options": SEARCH_PATH, "application_name": "outdial-simulation"},
        )
        self._hub: ThreadedHub | None = None
        self._points: Points | None = None
        self._clock_at = -1.0
        event.listen(self.engine, "before_cursor_execute", self._before_statement, retval=True)
        event.listen(self.engine, "after_cursor_execute", self._after_statement)
        event.listen(self.engine, "handle_error", self._after_statement)
        event.listen(self.engine, "commit", self._before_commit)

    def hub_for(self, chance: random.Random, story: Story) -> Hub:
        return ThreadedHub(chance, story, self._blockers_of, self._is_gone)

    def reset(self, hub: Hub, points: Points) -> None:
        assert isinstance(hub, ThreadedHub)
        tables = ", ".join(table.name for table in metadata.sorted_tables)
        self._monitor.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE".encode())
        self._hub, self._points = hub, points
        self._clock_at = -1.0
        self._set_clock()

    def look(self, query: str) -> list[tuple[Any, ...]]:
        return self._monitor.execute(query.encode()).fetchall()

    def text(self, instant: datetime) -> str:
        return f"timestamptz '{instant.isoformat()}'"

    def close(self) -> None:
        self._monitor.close()
        self.engine.dispose()

    def _before_statement(
        self, connection: sa.Connection, _: Any, statement: str, parameters: Any, *__: Any
    ) -> tuple[str, Any]:
        if self._points is not None and self._hub is not None:
            if statement == BEGIN_POSTGRES:
                statement = BEGIN_WITHOUT_LIMITS
            else:
                self._points.at_statement(statement)
            self._set_clock()
            raw: Any = connection.connection.driver_connection
            self._hub.enter_statement(raw.info.backend_pid)
        return statement, parameters

    def _after_statement(self, *_: Any) -> None:
        if self._hub is not None:
            self._hub.leave_statement()

    def _before_commit(self, _: sa.Connection) -> None:
        if self._points is not None:
            self._points.before_commit()
            self._set_clock()

    def _set_clock(self) -> None:
        assert self._hub is not None
        if self._hub.at != self._clock_at:
            self._clock_at = self._hub.at
            microseconds = round((self._hub.instant() - EPOCH).total_seconds() * 1_000_000)
            self._monitor.execute("SELECT setval('simulation.clock', %s)", (microseconds,))

    def _blockers_of(self, pid: int) -> list[int]:
        row = self._monitor.execute("SELECT pg_blocking_pids(%s)", (pid,)).fetchone()
        assert row is not None
        return list(row[0])

    def _is_gone(self, pid: int) -> bool:
        """Ended, or in no transaction any more."""
        row = self._monitor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND xact_start IS NOT NULL", (pid,)
        ).fetchone()
        return row == (0,)
