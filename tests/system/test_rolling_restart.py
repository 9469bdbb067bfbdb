"""Workers come and go while the lines are full: nobody is called twice, and no line notices."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from outdial.domain.campaign import CallOptions
from outdial.domain.retries import RetryPolicy
from outdial.storage.migrate import upgrade
from tests.support.databases import PostgresServer
from tests.support.idle_lines import longest_idle
from tests.support.postgres_process import PostgresProcess
from tests.support.processes import Process, Processes
from tests.support.run_folder import RunFolder
from tests.support.stack import Stack, assert_accounts_agree, assert_audits_clean
from tests.support.world import World, number

LINES = 16
CPS = 30
OPTIONS = CallOptions(result_timeout_seconds=2, ring_timeout_seconds=5, max_duration_seconds=10)
RETRY = RetryPolicy(max_attempts=2, default_delay=timedelta(seconds=1))
# Slow answers, so that each SIGTERM meets POSTs that are under way.
PROVIDER = {
    "max_concurrent_calls": LINES,
    "calls_per_second": CPS,
    "talk_time_mean_seconds": 2.0,
    "ring_time_mean_seconds": 0.3,
    "answer_latency_seconds": 0.4,
}
# The POST's time-out, and two seconds.
EXIT_SECONDS = 12.0
IDLE_SECONDS = 2.0

# Six workers are started one after the other: on a busy machine that alone takes a minute.
pytestmark = pytest.mark.timeout(300)


def add_work(stack: Stack, contacts: int) -> None:
    stack.world.set_account(max_concurrent_calls=LINES, calls_per_second=CPS)
    campaign = stack.world.add_campaign(retry=RETRY, call=OPTIONS)
    stack.world.add_contacts(campaign, map(number, range(contacts)))


def wait_for_load(stack: Stack, provider: Process) -> None:
    more_than = len(stack.ledger().calls) + 2 * LINES
    provider.wait_for(lambda: len(stack.ledger().calls) > more_than, "full lines", 60)


def seconds_to_end(worker: Process) -> float:
    begun = time.monotonic()
    assert worker.terminate(3 * EXIT_SECONDS) == 0
    return time.monotonic() - begun


def test_workers_are_replaced_one_by_one_and_no_line_idles(stack: Stack) -> None:
    add_work(stack, 2000)
    provider = stack.start_provider(**PROVIDER)
    stack.start_service()
    workers = stack.start_workers(3)
    wait_for_load(stack, provider)
    since = time.time()
    for worker in workers:
        stack.start_workers(1)
        assert seconds_to_end(worker) <= EXIT_SECONDS
    wait_for_load(stack, provider)
    until = time.time()
    assert stack.open_contacts() > LINES, "the work ran out: nothing was shown"
    assert longest_idle(stack.ledger(), LINES, since, until) <= IDLE_SECONDS
    end_of_all_calls(stack, provider)
    assert_accounts_agree(stack)
    assert_audits_clean(stack)
    assert stack.ledger().max_concurrent() <= LINES


def end_of_all_calls(stack: Stack, provider: Process) -> None:
    """No further call starts, and those that are open end by themselves."""
    stop = stack.processes.outdial("stop", "--all", env=stack.environment)
    assert stop.wait(60) == 0, stop.stderr
    provider.wait_for(lambda: stack.unsettled() == 0, "every call's end in the database", 60)


@pytest.fixture
def fragile_stack(
    own_postgres: PostgresProcess, run_folder: RunFolder, process: Processes, tmp_path: Path
) -> Iterator[Stack]:
    """On a Postgres that may be stopped."""
    with PostgresServer(own_postgres.url, run_folder, "fragile").database() as url:
        upgrade(url)
        world = World(url)
        yield Stack(world, process, tmp_path)
        process.stop_all()
        world.close()


@pytest.mark.parametrize("trouble", ["stopped", "frozen"])
def test_worker_told_to_end_while_the_database_is_away_ends_in_time(
    fragile_stack: Stack, own_postgres: PostgresProcess, trouble: str
) -> None:
    stack = fragile_stack
    add_work(stack, 160)
    provider = stack.start_provider(**PROVIDER)
    stack.start_service()
    worker, other = stack.start_workers(2)
    wait_for_load(stack, provider)
    if trouble == "stopped":
        own_postgres.stop("immediate")
    else:
        own_postgres.pause()
    try:
        # Longer than the answers take: now they are there, and cannot be recorded.
        time.sleep(4.0)
        other.send(signal.SIGTERM)
        assert seconds_to_end(worker) <= EXIT_SECONDS
        assert other.wait(EXIT_SECONDS) == 0
    finally:
        if trouble == "stopped":
            own_postgres.start()
        else:
            own_postgres.resume()
    said = worker.stderr.count("the database does not answer")
    # Where it stands still nothing fails, for a while.
    assert said == 1 if trouble == "stopped" else said <= 1
    stack.start_workers(1)
    provider.wait_for(stack.is_done, "the end of the campaign", 100)
    assert stack.unsettled() == 0
    assert_accounts_agree(stack)
    assert_audits_clean(stack)
