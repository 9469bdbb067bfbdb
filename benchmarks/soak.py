"""Does an installation that dials for an hour grow? Memory of its processes and connections to the database, sampled
while a worker and the service dial a simulated hour; the last quarter against the first.

An hour of simulated calls takes minutes: the simulated people talk faster, and more of them.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from benchmarks.pass_cost import postgres
from outdial.domain.campaign import CallOptions
from outdial.domain.retries import RetryPolicy
from outdial.operations.campaigns import cancel
from tests.support.processes import Process, Processes
from tests.support.run_folder import RunFolder
from tests.support.stack import Stack, assert_accounts_agree, assert_audits_clean
from tests.support.world import World, number

LINES = 24
CPS = 30
# So many simulated seconds pass in a real one.
PACE = 20
RING_SECONDS = 8.0
TALK_SECONDS = 50.0
OPTIONS = CallOptions(result_timeout_seconds=2, ring_timeout_seconds=30, max_duration_seconds=120)
RETRY = RetryPolicy(max_attempts=2, default_delay=timedelta(seconds=30))
SAMPLE_SECONDS = 0.5
RUN_OUT_SECONDS = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    worker_mib: float
    service_mib: float
    connections: int


def measure(*, minutes: int, database_url: str | None = None) -> dict[str, Any]:
    """`minutes` of simulated time. What disagrees between the provider's ledger and the database is in `broken`."""
    seconds = minutes * 60 / PACE
    with postgres(database_url) as url, _stack(url) as stack:
        worker, service = _start(stack, contacts=int(seconds * LINES))
        samples = list(_samples(stack, worker, service, seconds))
        at_end = stack.open_contacts()
        _let_run_out(stack)
        ledger = stack.ledger()
        return {
            "soak": {
                "simulated_minutes": minutes,
                "seconds": round(seconds),
                "calls": len(ledger.calls),
                "samples": len(samples),
                **{name: _compared(samples, name) for name in Sample.__slots__},
            },
            "broken": _broken(stack, at_end),
        }


@contextmanager
def _stack(url: str) -> Iterator[Stack]:
    run_folder = RunFolder.create()
    world = World(url)
    try:
        with tempfile.TemporaryDirectory() as folder:
            processes = Processes(Path(folder), run_folder)
            try:
                yield Stack(world, processes, Path(folder))
            finally:
                processes.stop_all()
    finally:
        world.close()
        run_folder.close()


def _start(stack: Stack, contacts: int) -> tuple[Process, Process]:
    stack.world.set_account(max_concurrent_calls=LINES, calls_per_second=CPS)
    campaign = stack.world.add_campaign(retry=RETRY, call=OPTIONS)
    stack.world.add_contacts(campaign, map(number, range(contacts)))
    stack.start_provider(
        max_concurrent_calls=LINES,
        calls_per_second=CPS,
        time_scale=1 / PACE,
        ring_time_mean_seconds=RING_SECONDS,
        talk_time_mean_seconds=TALK_SECONDS,
        lost_answer=0.005,
        error_after=0.005,
        webhook_lost=0.005,
        webhook_doubled=0.02,
        webhook_reordered=0.02,
    )
    service = stack.start_service()
    (worker,) = stack.start_workers(1)
    return worker, service


def _samples(stack: Stack, worker: Process, service: Process, seconds: float) -> Iterator[Sample]:
    seen = [psutil.Process(one.pid) for one in (worker, service)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        worker_mib, service_mib = (one.memory_info().rss / 2**20 for one in seen)
        yield Sample(worker_mib=worker_mib, service_mib=service_mib, connections=_connections(stack))
        time.sleep(SAMPLE_SECONDS)


def _connections(stack: Stack) -> int:
    """Of the worker and the service: our own is not counted."""
    ours = "datname = current_database() AND pid <> pg_backend_pid()"
    with stack.world.database.begin() as connection:
        return int(
            connection.execute(sa.text(f"SELECT count(*) FROM pg_stat_activity WHERE {ours}")).scalar_one()
        )


def _compared(samples: Sequence[Sample], name: str) -> dict[str, float]:
    """The medians of the first and of the last quarter, and the last as a multiple of the first."""
    values = [float(getattr(one, name)) for one in samples]
    quarter = max(1, len(values) // 4)
    first, last = statistics.median(values[:quarter]), statistics.median(values[-quarter:])
    return {"first": round(first, 1), "last": round(last, 1), "ratio": round(last / first, 3)}


def _let_run_out(stack: Stack) -> None:
    """Whoever still waits is withdrawn; open calls go on to their end."""
    while stack.world.database.run(cancel, "survey").has_more:
        pass
    deadline = time.monotonic() + RUN_OUT_SECONDS
    while stack.unsettled() and time.monotonic() < deadline:
        time.sleep(SAMPLE_SECONDS)


def _broken(stack: Stack, at_end: int) -> list[str]:
    broken = [] if at_end > LINES else ["the work ran out before the time was over"]
    if unsettled := stack.unsettled():
        broken.append(f"{unsettled} calls are not settled {RUN_OUT_SECONDS:.0f} s after the end")
    if (most := stack.ledger().max_concurrent()) > LINES:
        broken.append(f"{most} calls were open at once, {LINES} are allowed")
    for judged in (assert_accounts_agree, assert_audits_clean):
        try:
            judged(stack)
        except AssertionError as error:
            broken.append(str(error))
    for sentence in broken:
        print(sentence, file=sys.stderr)
    return broken
