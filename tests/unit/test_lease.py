"""Whoever is taken for dead has long stopped dialing, whatever happens to clocks, processes and connections."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from outdial.domain.errors import SettingsError
from outdial.domain.ids import WorkerId
from outdial.domain.patience import MARGIN_SECONDS, Patience
from outdial.engine.lease import Lease, Onlooker

PATIENCE = Patience()
OTHER = WorkerId(2)


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


def test_a_worker_that_renews_dials() -> None:
    clock = HandClock()
    lease = Lease(clock, PATIENCE)
    assert not lease.is_held
    lease.renewed(clock.monotonic())
    clock.seconds += PATIENCE.fence_seconds - 0.1
    assert lease.is_held


def test_a_lease_counts_from_before_its_renewal_was_sent() -> None:
    clock = HandClock()
    lease = Lease(clock, PATIENCE)
    sent_at = clock.monotonic()
    clock.seconds += PATIENCE.fence_seconds
    lease.renewed(sent_at)
    assert not lease.is_held


def test_an_onlooker_that_was_away_itself_takes_nobody_for_dead() -> None:
    onlooker = Onlooker(HandClock(), PATIENCE)
    onlooker.look({OTHER: 1}, 0)
    assert onlooker.look({OTHER: 1}, 3600) == []


def test_a_counter_that_stands_still_for_the_lease_is_a_dead_workers() -> None:
    onlooker = Onlooker(HandClock(), PATIENCE)
    looks = {at: onlooker.look({OTHER: 1}, at) for at in range(0, 24, 2)}
    assert [at for at, dead in looks.items() if dead] == [20, 22]


def test_a_sign_of_life_begins_the_lease_anew() -> None:
    onlooker = Onlooker(HandClock(), PATIENCE)
    assert not any(onlooker.look({OTHER: at // 18}, at) for at in range(0, 36, 2))


# What passes before each step, and what happens then: the owner begins to renew, its renewal is in the database, the
# onlooker looks.
STEPS = st.lists(
    st.tuples(st.floats(0, 9), st.sampled_from(["send", "commit", "look", "wait"])), min_size=10, max_size=120
)


@given(steps=STEPS, lease_seconds=st.floats(16, 60), post_timeout_seconds=st.floats(1, 10))
def test_no_request_of_a_worker_that_is_taken_for_dead_is_still_under_way(
    steps: list[tuple[float, str]], lease_seconds: float, post_timeout_seconds: float
) -> None:
    patience = Patience(lease_seconds=lease_seconds, post_timeout_seconds=post_timeout_seconds)
    clock = HandClock()
    lease, onlooker = Lease(clock, patience), Onlooker(clock, patience)
    sent_at: float | None = None
    last_request = float("-inf")
    beat = 0
    for seconds, what in steps:
        # As late within this wait as its lease lets it, the owner sends a request.
        if lease.is_held:
            end = min(clock.seconds + seconds, lease._renewed_at + patience.fence_seconds)
            last_request = max(last_request, end)
        clock.seconds += seconds
        match what:
            case "send":
                sent_at = clock.monotonic()
            case "commit" if sent_at is not None:
                beat += 1
                lease.renewed(sent_at)
                sent_at = None
            case "look":
                if onlooker.look({OTHER: beat}, clock.monotonic()):
                    is_over_at = last_request + post_timeout_seconds + MARGIN_SECONDS
                    assert clock.monotonic() >= is_over_at - 1e-6


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ({"lease_seconds": 12.0}, "too short"),
        ({"post_timeout_seconds": 0.5}, "from 1 to 120"),
        ({"unsent_seconds": 2.0}, "from 6 to 60"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(numbers: dict[str, float], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Patience(**numbers)
