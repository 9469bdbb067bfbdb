"""A Postgres server with a standby that follows it by streaming replication, behind one address."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from tests.support.postgres_process import PostgresProcess, free_port, run_as, start_postgres
from tests.support.proxy import Proxy
from tests.support.run_folder import RunFolder

SETTINGS = """
wal_level = replica
max_wal_senders = 5
hot_standby = on
wal_receiver_status_interval = 1s
"""
FOLLOWS_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """`address`: what clients connect to. `replication`: what the standby is connected through."""

    primary: PostgresProcess
    standby: PostgresProcess
    address: Proxy
    replication: Proxy

    def url_of(self, database: str) -> str:
        """Through the address, whichever server is behind it."""
        url = make_url(self.primary.url).set(port=self.address.port, database=database)
        return url.render_as_string(hide_password=False)

    def lose_what_follows(self) -> None:
        """The standby hears of nothing any more that the primary commits from now on."""
        self.replication.hold()

    def fail_over(self) -> None:
        """The primary dies; the standby takes its place, with what it has."""
        self.primary.kill()
        self.address.cut()
        self.replication.cut()
        promote: list[str | Path] = [
            self.standby.binaries / "pg_ctl",
            "promote",
            "-w",
            "-D",
            self.standby.data,
        ]
        run_as(promote, user=self.standby.user, folder=self.standby.folder)
        self.address.point_to(self.standby.port)


@contextmanager
def replicated_postgres(run_folder: RunFolder, *, synchronous: bool) -> Iterator[Pair]:
    """`synchronous`: no commit is reported before the standby has it. Raises PostgresUnavailable."""
    primary = start_postgres(run_folder)
    primary.stop()
    with (primary.data / "postgresql.conf").open("a") as configuration:
        configuration.write(SETTINGS)
    primary.start()
    with Proxy(primary.port) as address, Proxy(primary.port) as replication:
        standby = _standby_of(primary, replication, run_folder)
        try:
            _wait_until_it_follows(primary, synchronous=synchronous)
            yield Pair(primary=primary, standby=standby, address=address, replication=replication)
        finally:
            for server in (standby, primary):
                if server.is_running:
                    server.stop("immediate")


def _standby_of(primary: PostgresProcess, replication: Proxy, run_folder: RunFolder) -> PostgresProcess:
    standby = PostgresProcess(
        folder=run_folder.new_fast_folder("postgres"),
        binaries=primary.binaries,
        port=free_port(),
        password=primary.password,
        user=primary.user,
    )
    standby.folder.chmod(0o700)
    if standby.user is not None:
        shutil.chown(standby.folder, standby.user)
    source = f"host=127.0.0.1 port={replication.port} user=postgres password={primary.password}"
    copy: list[str | Path] = [primary.binaries / "pg_basebackup", "-D", standby.data, "-d", source]
    copy += ["-R", "-X", "stream", "-c", "fast", "--no-sync"]
    run_as(copy, user=standby.user, folder=standby.folder)
    with (standby.data / "postgresql.conf").open("a") as configuration:
        configuration.write(f"port = {standby.port}\n")
    standby.start()
    return standby


def _wait_until_it_follows(primary: PostgresProcess, *, synchronous: bool) -> None:
    url = make_url(primary.url).set(drivername="postgresql").render_as_string(hide_password=False)
    wanted = "sync" if synchronous else "async"
    with psycopg.connect(url, autocommit=True) as connection:
        if synchronous:
            # Only now: the copy must not wait for a standby of its own.
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + FOLLOWS_SECONDS
        found: list[tuple[str, ...]] = []
        while time.monotonic() < deadline:
            found = connection.execute("SELECT sync_state, state FROM pg_stat_replication").fetchall()
            if (wanted, "streaming") in found:
                return
            time.sleep(0.05)
    raise AssertionError(f"the standby does not follow: {found}")
