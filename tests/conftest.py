"""Fixtures for every test: databases on SQLite and Postgres, and processes that are gone when the test is.

One Postgres serves the whole run, shared by its workers: that of OUTDIAL_TEST_DATABASE_URL, else one of our own.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support.databases import PostgresServer, copy_of_migrated_sqlite, sqlite_url as url_of_sqlite
from tests.support.postgres_process import PostgresProcess, start_postgres
from tests.support.processes import Processes
from tests.support.run_folder import RunFolder

# Started in the background by a shell, this process ignores the interrupt, and so would all whom it starts.
with suppress(ValueError):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

RUN_FOLDER = pytest.StashKey[RunFolder]()
SERVER_URL_VARIABLE = "OUTDIAL_TEST_DATABASE_URL"

# No deadline for a single example: on a busy machine it fails what is right. pytest's time-out bounds the whole test.
hypothesis.settings.register_profile("outdial", deadline=None, print_blob=True)
hypothesis.settings.load_profile("outdial")


def pytest_configure(config: pytest.Config) -> None:
    worker_input = getattr(config, "workerinput", None)
    if worker_input is None:
        config.stash[RUN_FOLDER] = RunFolder.create()
    else:
        config.stash[RUN_FOLDER] = RunFolder.join(Path(worker_input["outdial_run_folder"]))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["outdial_run_folder"] = str(node.config.stash[RUN_FOLDER].path)


def pytest_unconfigure(config: pytest.Config) -> None:
    run_folder = config.stash.get(RUN_FOLDER, None)
    if run_folder is None or hasattr(config, "workerinput"):
        return
    try:
        if (url := os.environ.get(SERVER_URL_VARIABLE)) and run_folder.has_made("postgres"):
            PostgresServer(url, run_folder, "end").drop_all()
    finally:
        run_folder.close()


@pytest.fixture(scope="session")
def run_folder(request: pytest.FixtureRequest) -> RunFolder:
    return request.config.stash[RUN_FOLDER]


@pytest.fixture(autouse=True)
def _environment_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer has set for their own Outdial must not decide a test."""
    for name in list(os.environ):
        is_ours = name == "DATABASE_URL" or name.startswith(("OUTDIAL_", "TELEPHONY_", "SCHEDULER_"))
        if is_ours and not name.startswith("OUTDIAL_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server(run_folder: RunFolder) -> PostgresServer:
    """The server that all workers of this run share. Never stop it: `own_postgres` is for that."""
    given = os.environ.get(SERVER_URL_VARIABLE)
    server = run_folder.once("postgres", lambda: {"url": given or start_postgres(run_folder).url})
    return PostgresServer(server["url"], run_folder, os.environ.get("PYTEST_XDIST_WORKER", "main"))


@pytest.fixture
def own_postgres(run_folder: RunFolder) -> Iterator[PostgresProcess]:
    """A server for this test alone, to be stopped, killed, paused and started again."""
    server = start_postgres(run_folder)
    yield server
    if server.is_running:
        server.resume()
        server.stop("immediate")


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database with Outdial's schema and no rows, on Postgres."""
    with postgres_server.database(_upgrade) as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database with nothing in it, not even a schema."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def sqlite_url(run_folder: RunFolder, tmp_path: Path) -> str:
    """A database with Outdial's schema and no rows, in a file of this test's own."""
    return copy_of_migrated_sqlite(run_folder, tmp_path / "outdial.sqlite3", _upgrade)


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """A database file that is not there yet."""
    return url_of_sqlite(tmp_path / "empty.sqlite3")


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The test runs twice: on SQLite and on Postgres, with Outdial's schema and no rows."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """The test runs twice: on SQLite and on Postgres, with nothing in the database."""
    return str(request.getfixturevalue(f"empty_{request.param}_url"))


@pytest.fixture
def process(run_folder: RunFolder, tmp_path: Path) -> Iterator[Processes]:
    """Starts processes, `process.outdial("serve", …)` or `process.start([…])`; the end of the test kills them."""
    processes = Processes(tmp_path, run_folder)
    yield processes
    processes.stop_all()


def _upgrade(url: str) -> None:
    # Here and not above: tests of the domain run without the storage layer and what it imports.
    from outdial.storage.migrate import upgrade

    upgrade(url)
