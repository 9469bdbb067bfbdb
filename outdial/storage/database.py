"""The one door to the database: transactions of the engine, the database's clock, and wake-ups.

Every transaction is READ COMMITTED on Postgres and carries its own time-outs (they hold behind pgbouncer and never
leak into a host's sessions); on SQLite it begins IMMEDIATE, so that a reader never has to become a writer midway.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import event

from outdial.clock import Clock
from outdial.domain.errors import SettingsError, TransactionLost
from outdial.storage.types import Instant

P = ParamSpec("P")
R = TypeVar("R")

Translation = Mapping[str | None, str | None]

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
# 25006 read-only transaction: a standby, or a primary on its way down.
PASSING_SQLSTATES: Final = frozenset({"25006", "25P03"})

# The execution option by which an engine says in which schema of its Postgres database Outdial's tables are.
SCHEMA_OPTION: Final = "outdial_schema"
_SCHEMA_NAME: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
# On connections of our own, what the host's have for `schema_translate_map`; others do not have it.
_HOSTS_TRANSLATION: Final = "outdial_hosts_translation"

# What a report may take: it holds no lock that anybody waits for.
READING_TIMEOUT_SECONDS: Final = 120
_READING: Final = "outdial_reading"

BEGIN_READING: Final = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED READ ONLY;"
    f"SET LOCAL idle_in_transaction_session_timeout = '{READING_TIMEOUT_SECONDS}s';"
    f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s';"
    f"SET LOCAL statement_timeout = '{READING_TIMEOUT_SECONDS}s'"
)
BEGIN_POSTGRES: Final = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;"
    f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_SECONDS}s';"
    f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s';"
    f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_SECONDS}s'"
)


def create_engine(url: str | sa.URL, schema: str | None = None) -> sa.Engine:
    """An engine for `url`, with Outdial's tables in `schema` (None: the default one). A plain `postgresql://` means
    psycopg 3.

    Raises SettingsError for a schema that cannot be.
    """
    parsed = sa.make_url(url)
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if schema is not None:
        check_schema_name(schema, parsed.get_backend_name())
    if parsed.get_backend_name() == "sqlite":
        return sa.create_engine(parsed, connect_args={"timeout": SQLITE_BUSY_SECONDS})
    return sa.create_engine(
        parsed,
        execution_options={} if schema is None else {SCHEMA_OPTION: schema},
        pool_size=10,
        max_overflow=10,
        # Nobody waits for a connection for longer than for an answer.
        pool_timeout=10,
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


def check_schema_name(schema: str, backend: str) -> None:
    """Raises SettingsError, in one sentence, for a schema that cannot be."""
    if backend == "sqlite":
        raise SettingsError(
            f"OUTDIAL_DB_SCHEMA is {schema!r}, and SQLite has no schemas: leave it unset, or use Postgres."
        )
    if _SCHEMA_NAME.fullmatch(schema) is None:
        raise SettingsError(
            f"OUTDIAL_DB_SCHEMA is {schema!r}: write a name of small letters, digits and underscores, such as outdial."
        )


def schema_of(connection: sa.Connection | sa.Engine) -> str | None:
    """The schema in which Outdial's tables are, as the engine's execution option `outdial_schema` says; None: the
    default one. Raises SettingsError for one that cannot be.
    """
    schema: str | None = connection.get_execution_options().get(SCHEMA_OPTION)
    if schema is not None:
        check_schema_name(schema, connection.dialect.name)
    return schema


@contextmanager
def outdials_tables(connection: sa.Connection) -> Iterator[sa.Connection]:
    """Inside, statements on this connection, which may be a host's, find Outdial's tables; afterwards it is as it was."""
    before = connection.get_execution_options().get("schema_translate_map")
    with _translated(connection, _translation(before, schema_of(connection))):
        yield connection


@contextmanager
def hosts_tables(connection: sa.Connection) -> Iterator[sa.Connection]:
    """Inside, statements on this connection of ours find a host's tables, as on any connection of its engine."""
    with _translated(connection, connection.get_execution_options().get(_HOSTS_TRANSLATION)):
        yield connection


@contextmanager
def _translated(connection: sa.Connection, inside: Translation | None) -> Iterator[None]:
    # Not by search_path: that would be the session's, and the host's statements would find our tables for theirs.
    before = connection.get_execution_options().get("schema_translate_map")
    if (inside or None) == (before or None):
        yield
        return
    connection.execution_options(schema_translate_map=inside)
    try:
        yield
    finally:
        connection.execution_options(schema_translate_map=before)


def _translation(others: Translation | None, schema: str | None) -> Translation:
    """A map of its own each time, without what SQLAlchemy notes in it."""
    translation: dict[str | None, str | None] = {
        name: to for name, to in (others or {}).items() if name not in {None, "_none"}
    }
    if schema is not None:
        translation[None] = schema
    return translation


class Database:
    """Transactions on one engine. `engine` may be a host application's: its own sessions stay as they are.

    Its execution option `outdial_schema` says in which schema our tables are.
    """

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self.clock = clock
        self.dialect = engine.dialect.name
        self.schema = schema_of(engine)
        self._host = engine
        hosts = engine.get_execution_options().get("schema_translate_map")
        options = {"schema_translate_map": _translation(hosts, self.schema), _HOSTS_TRANSLATION: hosts}
        self.engine = engine.execution_options(**options)
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
    def begin_reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads, and so holds nobody up: it may take its time between two statements."""
        with self.engine.connect() as connection:
            connection.execution_options(**{_READING: True})
            with connection.begin():
                yield connection

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction: committed at the end of the block, rolled back if it raises."""
        with self._turn, self.engine.connect() as connection:
            _was_asked_to_wake(connection)
            with connection.begin():
                yield connection
            woken = _was_asked_to_wake(connection)
        if woken:
            self.wake()

    def run(self, body: Callable[Concatenate[sa.Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`body(connection, …)` in a transaction, again from the start after a deadlock or a lock time-out."""
        for tries_left in reversed(range(RETRIES)):
            try:
                with self.begin() as connection:
                    return body(connection, *args, **kwargs)
            except (sa.exc.DBAPIError, TransactionLost) as error:
                if not tries_left or not _left_nothing_behind(error):
                    raise
                self.clock.sleep(0.02 * (RETRIES - tries_left))
        raise AssertionError("unreachable")

    def on_wake(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` (from any thread) when a transaction of this process woke the schedulers. Returns its end.

        On SQLite that is also a host's transaction on the same engine; on Postgres those notify by themselves.
        """
        self._listeners.append(listener)
        ends: list[Callable[[], None]] = [lambda: self._listeners.remove(listener)]
        if self.dialect == "sqlite":

            def committed(connection: sa.Connection) -> None:
                # Called just before the commit; whoever is woken waits for the writer's lock until it is done.
                if not _is_ours(connection) and _was_asked_to_wake(connection):
                    listener()

            def rolled_back(connection: sa.Connection) -> None:
                if not _is_ours(connection):
                    _was_asked_to_wake(connection)

            for name, heard in (("commit", committed), ("rollback", rolled_back)):
                event.listen(self._host, name, heard)
                ends.append(partial(event.remove, self._host, name, heard))

        def end() -> None:
            for one in ends:
                one()

        return end

    def wake(self) -> None:
        """Tell the schedulers of this process that there may be work."""
        for listener in tuple(self._listeners):
            listener()


def database_now(connection: sa.Connection) -> datetime:
    """The database's clock at this very statement (not at the transaction's begin), aware UTC."""
    return connection.execute(sa.select(now_expression(connection))).scalar_one()


def now_expression(connection: sa.Connection) -> sa.ColumnElement[datetime]:
    """The database's clock as an expression for statements; the execution option `outdial_now` is another clock."""
    clock: Callable[[], datetime] | None = connection.get_execution_options().get("outdial_now")
    if clock is not None:
        return sa.literal(clock(), Instant)
    return clock_of(connection.dialect.name)


def clock_of(dialect: str) -> sa.ColumnElement[datetime]:
    """The clock of a database of that kind, for statements that are built once."""
    if dialect == "sqlite":
        return sa.literal_column("strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'", Instant)
    return sa.literal_column("clock_timestamp()", Instant)


def wake_schedulers(connection: sa.Connection) -> None:
    """When this transaction commits, wake the schedulers: those of all processes on Postgres, of this one on SQLite."""
    # Postgres sends one notification however often a transaction asks for it.
    connection.info["outdial_woken"] = True
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))


def _is_ours(connection: sa.Connection) -> bool:
    return _HOSTS_TRANSLATION in connection.get_execution_options()


def _was_asked_to_wake(connection: sa.Connection) -> bool:
    """Asked once for each time."""
    return bool(connection.info.pop("outdial_woken", False))


def _begin_postgres(connection: sa.Connection) -> None:
    is_reading = connection.get_execution_options().get(_READING, False)
    connection.exec_driver_sql(BEGIN_READING if is_reading else BEGIN_POSTGRES)


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
    is_reading = connection.get_execution_options().get(_READING, False)
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")


def may_pass(error: BaseException) -> bool:
    """Whether the database is away, too busy, or a standby for a moment: later, the same statement may succeed."""
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.TimeoutError):
        return True
    return isinstance(error, sa.exc.DBAPIError) and getattr(error.orig, "sqlstate", None) in PASSING_SQLSTATES


def _left_nothing_behind(error: sa.exc.DBAPIError | TransactionLost) -> bool:
    if isinstance(error, TransactionLost):
        return True
    sqlstate = getattr(error.orig, "sqlstate", None)
    return sqlstate in RETRIED_SQLSTATES or "database is locked" in str(error.orig)
