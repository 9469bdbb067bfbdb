"""The one door to the database: transactions of the engine, the database's clock, and wake-ups.

Every transaction is READ COMMITTED on Postgres and carries its own time-outs (they hold behind pgbouncer and never
leak into a host's sessions); on SQLite it begins IMMEDIATE, so that a reader never has to become a writer midway.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import event

from outdial.clock import Clock
from outdial.storage.types import Instant

P = ParamSpec("P")
R = TypeVar("R")

CHANNEL: Final = "outdial"
RETRIES: Final = 5
# A process stopped inside a claim must not keep the account's row for longer than this.
IDLE_IN_TRANSACTION_SECONDS: Final = 2
LOCK_TIMEOUT_SECONDS: Final = 5
STATEMENT_TIMEOUT_SECONDS: Final = 15
SQLITE_BUSY_SECONDS: Final = 10
# 40001 serialization failure, 40P01 deadlock, 55P03 lock not available, 25P03 idle in transaction for too long (this
# process was stopped, or starved of the processor): the transaction left nothing behind.
RETRIED_SQLSTATES: Final = frozenset({"40001", "40P01", "55P03", "25P03"})

BEGIN_POSTGRES: Final = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;"
    f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_SECONDS}s';"
    f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s';"
    f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_SECONDS}s'"
)


def create_engine(url: str | sa.URL) -> sa.Engine:
    """An engine for `url`. A plain `postgresql://` means psycopg 3."""
    parsed = sa.make_url(url)
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        return sa.create_engine(parsed, connect_args={"timeout": SQLITE_BUSY_SECONDS})
    return sa.create_engine(
        parsed,
        pool_size=10,
        max_overflow=10,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 5,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            # What was sent to a server that has vanished is given up then, in milliseconds.
            "tcp_user_timeout": 20_000,
            "application_name": "outdial",
        },
    )


class Database:
    """Transactions on one engine. `engine` may be a host application's: its own sessions stay as they are."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self.clock = clock
        self.dialect = engine.dialect.name
        self.engine = engine.execution_options()
        self._listeners: list[Callable[[], None]] = []
        # SQLite lets one writer in at a time, and those who wait sleep and try again, unfairly: threads of one process
        # take turns here instead.
        self._turn: AbstractContextManager[object] = (
            threading.Lock() if self.dialect == "sqlite" else nullcontext()
        )
        if self.dialect == "sqlite":
            event.listen(self.engine, "engine_connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            event.listen(self.engine, "begin", _begin_postgres)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction: committed at the end of the block, rolled back if it raises."""
        with self._turn, self.engine.connect() as connection:
            connection.info.pop("outdial_woken", None)
            with connection.begin():
                yield connection
            woken = connection.info.pop("outdial_woken", False)
        if woken:
            self.wake()

    def run(self, body: Callable[Concatenate[sa.Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`body(connection, …)` in a transaction, again from the start after a deadlock or a lock time-out."""
        for tries_left in reversed(range(RETRIES)):
            try:
                with self.begin() as connection:
                    return body(connection, *args, **kwargs)
            except sa.exc.DBAPIError as error:
                if not tries_left or not _left_nothing_behind(error):
                    raise
                self.clock.sleep(0.02 * (RETRIES - tries_left))
        raise AssertionError("unreachable")

    def on_wake(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` (from any thread) when a transaction of this process woke the schedulers. Returns its end."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def wake(self) -> None:
        """Tell the schedulers of this process that there may be work."""
        for listener in tuple(self._listeners):
            listener()


def database_now(connection: sa.Connection) -> datetime:
    """The database's clock at this very statement (not at the transaction's begin), aware UTC."""
    return connection.execute(sa.select(now_expression(connection))).scalar_one()


def now_expression(connection: sa.Connection) -> sa.ColumnElement[datetime]:
    """The database's clock as an expression for statements."""
    if connection.dialect.name == "sqlite":
        return sa.literal_column("strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'", Instant)
    return sa.literal_column("clock_timestamp()", Instant)


def wake_schedulers(connection: sa.Connection) -> None:
    """When this transaction commits, wake the schedulers: those of all processes on Postgres, of this one on SQLite."""
    # Postgres sends one notification however often a transaction asks for it.
    connection.info["outdial_woken"] = True
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))


def _begin_postgres(connection: sa.Connection) -> None:
    connection.exec_driver_sql(BEGIN_POSTGRES)


def _prepare_sqlite(connection: sa.Connection) -> None:
    raw: Any = connection.connection.driver_connection
    try:
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        # No block of the caller's holds it yet, and its traceback would keep it from the pool, open.
        connection.close()
        raise


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _left_nothing_behind(error: sa.exc.DBAPIError) -> bool:
    sqlstate = getattr(error.orig, "sqlstate", None)
    return sqlstate in RETRIED_SQLSTATES or "database is locked" in str(error.orig)
