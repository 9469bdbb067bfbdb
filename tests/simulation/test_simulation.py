"""The engine in virtual time, against a faulty provider. What a failure prints repeats it."""

import os
import secrets
import subprocess
import sys

import pytest

from tests.simulation.command import command_of
from tests.simulation.databases import Body, SqliteBody
from tests.simulation.many import Failure, run_many
from tests.simulation.postgres import PostgresBody
from tests.simulation.run import run
from tests.support.databases import PostgresServer

# For every change; `make simulate SEEDS=5000` is for a night.
SQLITE_SEEDS = 300
POSTGRES_SEEDS = 20
RANDOM_SEEDS = 20
JOBS = 2


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("database", "count"), [("sqlite", SQLITE_SEEDS), ("postgres", POSTGRES_SEEDS)])
def test_no_seed_breaks_a_promise(database: str, count: int) -> None:
    # A few that nobody has seen before, wherever this runs.
    beyond = 1_000_000 + secrets.randbelow(1_000_000)
    seeds = [*range(count), *range(beyond, beyond + RANDOM_SEEDS)]
    print(f"random seeds: {beyond} to {beyond + RANDOM_SEEDS - 1}")
    failures: list[Failure] = []
    run_many(seeds, database, JOBS, lambda _, __, failed: failures.extend(failed))
    told = [f"{one.what}\n    {command_of(one.seed, database)}" for one in failures]
    assert not failures, f"{len(failures)} of {len(seeds)} seeds:\n" + "\n".join(told)


@pytest.mark.parametrize("seed", [3, 8, 21])
def test_the_same_seed_tells_the_same_story(seed: int) -> None:
    body: Body = SqliteBody()
    stories = [run(seed, body).story for _ in range(2)]
    body.close()
    assert len(stories[0].lines) > 10
    assert stories[0].digest() == stories[1].digest()


@pytest.mark.parametrize("seed", [3, 8])
def test_the_same_seed_tells_the_same_story_on_postgres(postgres_server: PostgresServer, seed: int) -> None:
    digests = []
    for _ in range(2):
        with postgres_server.database() as url:
            body = PostgresBody(url)
            digests.append(run(seed, body).story.digest())
            body.close()
    assert digests[0] == digests[1]


def test_a_story_hangs_on_nothing_but_the_seed() -> None:
    """Not on the order in which Python keeps its sets, either."""
    told = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "11", "--story"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert told[0].count("\n") > 10
    assert told[0] == told[1]
