"""A short run of what `python -m tests.chaos` does at length."""

from __future__ import annotations

import pytest

from tests.chaos.plan import Kind, plan
from tests.chaos.run import run_seed
from tests.support.postgres_process import PostgresProcess
from tests.support.run_folder import RunFolder

SEED = 570
SECONDS = 12.0
WORKERS = 2


@pytest.mark.timeout(300)
def test_no_promise_is_broken_under_blows(own_postgres: PostgresProcess, run_folder: RunFolder) -> None:
    verdict = run_seed(SEED, SECONDS, WORKERS, own_postgres, run_folder)
    again = f"python -m tests.chaos --seed {SEED} --seconds {SECONDS:g} --workers {WORKERS}"
    assert verdict.broken == [], f"{verdict.folder}; again: {again}"


def test_the_same_seed_makes_the_same_plan_and_leaves_everything_running() -> None:
    for seed in range(200):
        blows = plan(seed, 30.0, 3)
        assert blows == plan(seed, 30.0, 3)
        for begin, end in PAIRS:
            for target in {blow.target for blow in blows if blow.kind is begin}:
                of_it = [blow.kind for blow in blows if blow.kind in {begin, end} and blow.target == target]
                assert of_it == [begin, end] * (len(of_it) // 2)


PAIRS = (
    (Kind.FREEZE_WORKER, Kind.THAW_WORKER),
    (Kind.CRASH_DATABASE, Kind.START_DATABASE),
    (Kind.PAUSE, Kind.RESUME),
    (Kind.STOP_ACCOUNT, Kind.RESUME_ACCOUNT),
)


def test_the_seeds_together_strike_in_every_way() -> None:

    struck = {blow.kind for seed in range(50) for blow in plan(seed, 25.0, 3)}
    assert struck == set(Kind)
