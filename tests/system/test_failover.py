"""The database's server dies in the middle of a campaign, and a standby takes its place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from outdial.domain.campaign import CallOptions
from outdial.domain.retries import RetryPolicy
from outdial.storage.migrate import upgrade
from tests.support.databases import PostgresServer
from tests.support.postgres_process import PostgresUnavailable
from tests.support.processes import Process, Processes
from tests.support.replication import Pair, replicated_postgres
from tests.support.run_folder import RunFolder
from tests.support.stack import Stack, assert_accounts_agree, assert_audits_clean
from tests.support.world import World, number

LINES = 12
CPS = 20
CONTACTS = 150
OPTIONS = CallOptions(result_timeout_seconds=2, ring_timeout_seconds=5, max_duration_seconds=10)
RETRY = RetryPolicy(max_attempts=2, default_delay=timedelta(seconds=1))
PROVIDER = {
    "max_concurrent_calls": LINES,
    "calls_per_second": CPS,
    "enforce_limits": False,
    "talk_time_mean_seconds": 1.0,
    "ring_time_mean_seconds": 0.2,
    "answer_latency_seconds": 0.2,
    "webhook_max_attempts": 60,
    "webhook_backoff_max_seconds": 2.0,
}


pytestmark = pytest.mark.timeout(300)


@contextmanager
def replicated_stack(
    run_folder: RunFolder, processes: Processes, folder: Path, *, synchronous: bool
) -> Iterator[tuple[Stack, Pair]]:
    try:
        with replicated_postgres(run_folder, synchronous=synchronous) as pair:
            database = PostgresServer(pair.primary.url, run_folder, "failover").make()
            upgrade(pair.url_of(database))
            world = World(pair.url_of(database))
            try:
                yield Stack(world, processes, folder), pair
            finally:
                processes.stop_all()
                world.close()
    except PostgresUnavailable as error:
        pytest.skip(str(error))


def start(stack: Stack) -> Process:
    stack.world.set_account(max_concurrent_calls=LINES, calls_per_second=CPS)
    half = CONTACTS // 2
    for name, first in (("one", 0), ("two", half)):
        campaign = stack.world.add_campaign(name, retry=RETRY, call=OPTIONS)
        stack.world.add_contacts(campaign, map(number, range(first, first + half)))
    provider = stack.start_provider(**PROVIDER)
    stack.start_service()
    stack.start_workers(2)
    provider.wait_for(lambda: calls_so_far(stack) > 2 * LINES, "full lines", 60)
    return provider


def calls_so_far(stack: Stack) -> int:
    return len(stack.ledger().calls)


def test_failover_to_a_synchronous_standby_loses_and_doubles_no_call(
    run_folder: RunFolder, process: Processes, tmp_path: Path
) -> None:
    with replicated_stack(run_folder, process, tmp_path, synchronous=True) as (stack, pair):
        provider = start(stack)
        before = calls_so_far(stack)
        pair.fail_over()
        provider.wait_for(lambda: calls_so_far(stack) > before + LINES, "calls after the failover", 60)
        provider.wait_for(stack.is_done, "the end of both campaigns", 90)
        assert stack.unsettled() == 0
        assert_accounts_agree(stack)
        assert_audits_clean(stack)
        assert stack.ledger().max_concurrent() <= LINES


def test_failover_to_a_standby_that_lags_ends_with_an_exact_account(
    run_folder: RunFolder, process: Processes, tmp_path: Path
) -> None:
    with replicated_stack(run_folder, process, tmp_path, synchronous=False) as (stack, pair):
        provider = start(stack)
        pair.lose_what_follows()
        before = calls_so_far(stack)
        # Claims, answers and ends of these are committed, and lost: the standby has none of them.
        provider.wait_for(lambda: calls_so_far(stack) > before + 2 * LINES, "calls that will be lost", 30)
        died_at = time.time()
        pair.fail_over()
        provider.wait_for(lambda: starts_since(stack, died_at) > LINES, "calls after the failover", 60)
        provider.wait_for(stack.is_done, "the end of both campaigns", 90)
        restored = [row for row in stack.world.attempts() if "restored" in row["permit"]]
        assert restored, "the standby had everything: nothing was tested"
        assert not what_was_lost(stack), "\n".join(what_was_lost(stack))
        assert stack.unsettled() == 0
        assert_accounts_agree(stack)
        assert_audits_clean(stack)
        assert stack.ledger().max_concurrent() <= LINES


def starts_since(stack: Stack, at: float) -> int:
    return sum(call.started_at > at for call in stack.ledger().calls.values())


def what_was_lost(stack: Stack) -> list[str]:
    """Calls that the database does not know, calls that it takes for others, and who was called twice at once."""
    ledger = stack.ledger()
    rows = {row["call_id"]: row for row in stack.world.attempts()}
    lost = [
        f"call {call_id} to {ledger.calls[call_id].to} is not in the database"
        for call_id in sorted(ledger.calls.keys() - rows.keys())
    ]
    lost += [
        f"attempt {call_id} is {call.provider_call_id}, and has {rows[call_id]['provider_call_id']}"
        for call_id, call in ledger.calls.items()
        if call_id in rows and rows[call_id]["provider_call_id"] != call.provider_call_id
    ]
    return lost + [f"{called} had two open calls at once" for called in ledger.calls_per_number_overlap()]
