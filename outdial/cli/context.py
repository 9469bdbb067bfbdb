"""What nearly every command begins with: settings read, logs set up, the database open and its schema as it must be."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

from outdial.domain.errors import OutdialError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from outdial.clock import Clock
    from outdial.settings import Settings
    from outdial.storage.database import Database

P = ParamSpec("P")
R = TypeVar("R")


class DatabaseUnavailable(OutdialError):
    """The database cannot be reached or used. The message names it without its password."""

    def __init__(self, shown_url: str, reason: str, cure: str) -> None:
        self.shown_url = shown_url
        self.reason = reason
        super().__init__(f"The database {shown_url} cannot be used: {reason}. {cure}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    settings: Settings
    clock: Clock
    database: Database

    def run(self, body: Callable[Concatenate[sa.Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`body(connection, …)` in a transaction."""
        return self.database.run(body, *args, **kwargs)


@contextmanager
def open_context(*, check_schema: bool = True) -> Iterator[Context]:
    """Raises `SettingsError`, `SchemaOutOfDate`, and `DatabaseUnavailable`, also for what happens inside the block."""
    import sqlalchemy as sa

    from outdial.clock import SystemClock
    from outdial.observability import configure_logging
    from outdial.settings import load_settings
    from outdial.storage.database import Database, create_engine

    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    clock = SystemClock()
    engine = create_engine(settings.database_url, settings.db_schema)
    try:
        context = Context(settings=settings, clock=clock, database=Database(engine, clock))
        if check_schema:
            from outdial.storage import migrate

            context.run(migrate.check)
        yield context
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        # SQLite's own errors come from what prepares its connections.
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        cure = _cure(error, cause)
        if cure is None:
            raise
        reason = (str(cause).strip() or "it gave no reason").splitlines()[0].rstrip(". ")
        raise DatabaseUnavailable(settings.shown_database_url, reason, cure) from error
    finally:
        engine.dispose()


# lock not available, statement canceled by its time-out, serialization failure, deadlock
BUSY_SQLSTATES: Final = frozenset({"55P03", "57014", "40001", "40P01"})


def _cure(error: Exception, cause: BaseException | None) -> str | None:
    """What to do about the database; None where the fault is rather ours."""
    import sqlalchemy as sa

    words = str(cause)
    if getattr(cause, "sqlstate", None) in BUSY_SQLSTATES or "database is locked" in words:
        return "Something else is holding it: try again in a moment."
    if "file is not a database" in words or isinstance(
        error, sa.exc.OperationalError | sqlite3.OperationalError
    ):
        return "Check DATABASE_URL, and that the database is up and lets you in."
    return None
