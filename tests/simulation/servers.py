"""A database for a run: in memory, or on a Postgres of our own that is gone with the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.simulation.databases import Body, SqliteBody
from tests.simulation.postgres import PostgresBody
from tests.support.databases import PostgresServer
from tests.support.postgres_process import start_postgres
from tests.support.run_folder import RunFolder


@contextmanager
def database_for(database: str) -> Iterator[str | None]:
    """The URL of an empty Postgres database; None for SQLite, which needs none."""
    if database == "sqlite":
        yield None
        return
    with server() as running, running.database() as url:
        yield url


@contextmanager
def server() -> Iterator[PostgresServer]:
    """A Postgres of our own; everything that was made on it goes with it."""
    folder = RunFolder.create()
    try:
        yield PostgresServer(start_postgres(folder).url, folder, f"simulation{os.getpid()}")
    finally:
        folder.close()


def body_of(url: str | None, change: str | None = None) -> Body:
    """`url` None: SQLite. `change` is done to the schema."""
    return SqliteBody(change) if url is None else PostgresBody(url, change)
