"""Databases for tests: made in a moment from one that was migrated once per run, dropped when the test is over."""

import itertools
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from tests.support.run_folder import RunFolder

PREFIX = "outdial_test"
OLDEST_SUPPORTED = 140000
FIRST_WITH_STRATEGIES = 150000


class PostgresServer:
    """A server in which databases can be made: our own, or the one of OUTDIAL_TEST_DATABASE_URL.

    All databases of a run begin with the same name, by which `drop_all` finds them.
    """

    def __init__(self, url: str, run_folder: RunFolder, worker: str) -> None:
        self._url = make_url(url).set(drivername="postgresql+psycopg")
        self._run_folder = run_folder
        self._run_prefix = f"{PREFIX}_{run_folder.name}"
        self._names = (f"{self._run_prefix}_{worker}_{number}" for number in itertools.count(1))
        with self._connection() as connection:
            self.version = connection.info.server_version
        if self.version < OLDEST_SUPPORTED:
            raise ValueError(f"Postgres 14 or newer is needed; the server says {self.version // 10000}")

    def url_of(self, database: str) -> str:
        return self._url.set(database=database).render_as_string(hide_password=False)

    @contextmanager
    def database(self, migrate: Callable[[str], None] | None = None) -> Iterator[str]:
        """The URL of a new database: empty, or with the schema that `migrate` makes (run once per test run)."""
        name = self.make(migrate)
        try:
            yield self.url_of(name)
        finally:
            self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def make(self, migrate: Callable[[str], None] | None = None) -> str:
        """As `database`, but the name of one that stays."""
        name = next(self._names)
        template = "template0" if migrate is None else self._template(migrate)
        # Copying the files is quicker here than writing each block to the log, the default; 14 knows only the former.
        strategy = " STRATEGY file_copy" if self.version >= FIRST_WITH_STRATEGIES else ""
        self._execute("CREATE DATABASE {} TEMPLATE {}" + strategy, name, template)
        return name

    def drop_all(self) -> None:
        with self._connection() as connection:
            found = connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (self._run_prefix,)
            ).fetchall()
        for (name,) in found:
            self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _template(self, migrate: Callable[[str], None]) -> str:
        name = f"{self._run_prefix}_from_{migrate.__name__.strip('_')}"

        def make() -> dict[str, Any]:
            self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
            self._execute("CREATE DATABASE {} TEMPLATE template0", name)
            migrate(self.url_of(name))
            # A connection that the migration left open would make every copy fail.
            with self._connection() as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
                )
            return {"name": name}

        self._run_folder.once(name, make)
        return name

    def _execute(self, statement: str, *names: str) -> None:
        with self._connection() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _connection(self) -> psycopg.Connection:
        url = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(url, autocommit=True)


def sqlite_url(path: Path) -> str:
    return URL.create("sqlite", database=str(path)).render_as_string()


def copy_of_migrated_sqlite(run_folder: RunFolder, path: Path, migrate: Callable[[str], None]) -> str:
    """The URL of a new database file at that path, with the schema that `migrate` makes (run once per test run)."""
    template = run_folder.path / "template.sqlite3"

    def make() -> dict[str, Any]:
        template.unlink(missing_ok=True)
        migrate(sqlite_url(template))
        # All into the one file: what is still in the write-ahead log would be missing in the copies.
        connection = sqlite3.connect(template)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return {}

    run_folder.once("sqlite-template", make)
    shutil.copyfile(template, path)
    return sqlite_url(path)
