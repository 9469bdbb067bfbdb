import signal
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import create_engine, text

from tests.support.databases import PostgresServer
from tests.support.janitor import have_ended
from tests.support.postgres_process import PostgresProcess
from tests.support.processes import ROOT, Processes, ProcessProblem


def test_new_database_is_a_postgres_without_tables(empty_postgres_url: str) -> None:
    engine = create_engine(empty_postgres_url)
    with engine.connect() as connection:
        version = connection.execute(text("SHOW server_version_num")).scalar_one()
        tables = connection.execute(
            text(
                "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            )
        ).scalar_one()
    engine.dispose()
    assert int(version) >= 140000
    assert tables == 0


def test_databases_with_a_schema_come_from_one_migration_and_share_no_rows(
    postgres_server: PostgresServer,
) -> None:
    with (
        postgres_server.database(_make_one_table) as first,
        postgres_server.database(_make_one_table) as second,
    ):
        with psycopg.connect(_plain(first)) as connection:
            connection.execute("INSERT INTO made_by_a_migration VALUES (1)")
        with psycopg.connect(_plain(second)) as connection:
            assert connection.execute("SELECT count(*) FROM made_by_a_migration").fetchone() == (0,)


def test_server_of_its_own_keeps_what_was_committed_before_it_was_killed(
    own_postgres: PostgresProcess,
) -> None:
    with psycopg.connect(_plain(own_postgres.url)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
    own_postgres.kill()
    own_postgres.start()
    with psycopg.connect(_plain(own_postgres.url)) as connection:
        assert connection.execute("SELECT id FROM kept").fetchone() == (1,)


def test_killed_test_run_leaves_no_server_no_process_and_no_folder(process: Processes) -> None:
    run = process.start([sys.executable, "-c", A_RUN_WITH_A_SERVER_AND_A_PROCESS])
    folder = Path(run.wait_for_line("^folder (.*)")[1])
    postmaster, sleeper = (
        psutil.Process(int(run.wait_for_line(f"^{name} (.*)")[1])) for name in ("server", "sleeper")
    )
    assert postmaster.is_running()
    run.send(signal.SIGKILL)
    assert have_ended([postmaster, sleeper], timeout_seconds=20)
    observer = process.start([sys.executable, "-c", "import time; time.sleep(60)"])
    observer.wait_for(lambda: not folder.exists(), "the end of the folder")


def test_waiting_for_a_line_fails_with_what_the_process_wrote_before_it_ended(process: Processes) -> None:
    ended = process.start([sys.executable, "-c", "print('a reason'); raise SystemExit(3)"])
    with pytest.raises(ProcessProblem, match=r"(?s)ended with 3 before .*a reason"):
        ended.wait_for_line("never written")


def _make_one_table(url: str) -> None:
    with psycopg.connect(_plain(url)) as connection:
        connection.execute("CREATE TABLE made_by_a_migration (id integer)")


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


A_RUN_WITH_A_SERVER_AND_A_PROCESS = f"""
import sys, tempfile, time
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from tests.support.janitor import have_ended
from tests.support.postgres_process import start_postgres
from tests.support.processes import Processes
from tests.support.run_folder import RunFolder

run_folder = RunFolder.create()
server = start_postgres(run_folder)
sleeper = Processes(run_folder.path, run_folder).start(["sleep", "600"])
print("server", (server.data / "postmaster.pid").read_text().splitlines()[0])
print("sleeper", sleeper.pid)
print("folder", run_folder.path)
time.sleep(600)
"""
