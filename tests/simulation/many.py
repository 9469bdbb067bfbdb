"""Many seeds, in several processes."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import multiprocessing.queues
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from tests.simulation.databases import Body
from tests.simulation.run import run
from tests.simulation.servers import body_of, server

SEEDS_AT_ONCE: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A seed that went wrong."""

    seed: int
    what: str


Done = Callable[[int, int, Sequence[Failure]], None]
"""Told how many seeds are done, how many calls they made, and which of the last ones failed."""


def run_many(seeds: Sequence[int], database: str, jobs: int, done: Done) -> None:
    """Each process has a database of its own for all of its seeds."""
    with ExitStack() as stack:
        urls = multiprocessing.get_context("spawn").SimpleQueue()
        if database == "postgres":
            running = stack.enter_context(server())
            for _ in range(jobs):
                urls.put(stack.enter_context(running.database()))
        else:
            for _ in range(jobs):
                urls.put(None)
        pool = stack.enter_context(
            ProcessPoolExecutor(
                jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_begin, initargs=(urls,)
            )
        )
        parts = [seeds[at : at + SEEDS_AT_ONCE] for at in range(0, len(seeds), SEEDS_AT_ONCE)]
        count = calls = 0
        for part in as_completed([pool.submit(_run_part, list(part)) for part in parts]):
            ran, made, failed = part.result()
            count += ran
            calls += made
            done(count, calls, failed)


@contextmanager
def quietly() -> Iterator[None]:
    """The engine logs every fault that it meets, and here it meets many."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


_bodies: list[Body] = []


def _begin(urls: multiprocessing.queues.SimpleQueue[str | None]) -> None:
    _bodies.append(body_of(urls.get()))
    # What was imported stays; to look through it again and again would cost a fifth of the run.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _run_part(seeds: list[int]) -> tuple[int, int, list[Failure]]:
    calls = 0
    failures: list[Failure] = []
    with quietly():
        for seed in seeds:
            outcome = run(seed, _bodies[0])
            calls += outcome.calls
            if outcome.violations:
                failures.append(Failure(seed=seed, what=str(outcome.violations[0])))
    return len(seeds), calls, failures
