"""Slots of an account's rate, over random sequences of claims, and what the provider's answers do to the rate."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from outdial.domain.pacing import (
    HORIZON,
    RATE_FLOOR,
    UNREACHABLE_BACKOFF_LIMIT,
    Rate,
    Throttle,
    after_rate_limited,
    after_reached,
    after_unreachable,
    current_factor,
    reserve,
)

BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
UNHINDERED = Throttle()

RATES = st.builds(
    Rate,
    calls_per_second=st.sampled_from([0.2, 1.0, 3.0, 7.5, 50.0]),
    burst=st.integers(1, 5),
    margin=st.sampled_from([0.0, 0.02]),
)


@dataclass(frozen=True)
class Claim:
    """`after`: since the claim before. `taken`: how many of the slots that it gets it uses."""

    after: timedelta
    wanted: int
    taken: int


CLAIMS = st.lists(
    st.builds(
        Claim,
        after=st.sampled_from([0, 1, 20, 300, 999, 1001, 4000]).map(lambda ms: timedelta(milliseconds=ms)),
        wanted=st.integers(0, 60),
        taken=st.integers(0, 60),
    ),
    max_size=12,
)


@dataclass
class Account:
    """An account whose claims come one after the other, as its lock sees to; each may be another worker's."""

    rate: Rate
    throttle: Throttle = UNHINDERED
    cursor: datetime | None = None
    at: datetime = BEGIN
    slots: list[datetime] = field(default_factory=list)
    sent_at: list[datetime] = field(default_factory=list)

    def claim(self, claim: Claim) -> Sequence[datetime]:
        self.at += claim.after
        reserved = reserve(self.rate, self.throttle, self.cursor, self.at, claim.wanted)
        used = reserved.instants[: claim.taken]
        self.cursor = reserved.cursor_after(len(used)) or self.cursor
        self.slots += used
        self.sent_at += [max(slot, self.at) for slot in used]
        return reserved.instants


def account_after(rate: Rate, claims: list[Claim], throttle: Throttle = UNHINDERED) -> Account:
    account = Account(rate=rate, throttle=throttle)
    for claim in claims:
        account.claim(claim)
    return account


def most_in_one_second(instants: Sequence[datetime]) -> int:
    ordered = sorted(instants)
    return max((sum(1 for one in ordered if begin <= one < begin + SECOND) for begin in ordered), default=0)


def everything(
    rate: Rate, throttle: Throttle = UNHINDERED, cursor: datetime | None = None
) -> Sequence[datetime]:
    return reserve(rate, throttle, cursor, BEGIN, 10_000).instants


@given(RATES, CLAIMS)
def test_slots_are_never_closer_than_the_interval(rate: Rate, claims: list[Claim]) -> None:
    slots = account_after(rate, claims).slots
    gaps = [later - earlier for earlier, later in itertools.pairwise(slots)]
    assert all(gap >= rate.interval() for gap in gaps)


@given(RATES, CLAIMS)
def test_no_second_has_more_starts_than_the_rate_and_the_burst(rate: Rate, claims: list[Claim]) -> None:
    allowed = int(rate.calls_per_second or 0) + rate.burst
    assert most_in_one_second(account_after(rate, claims).sent_at) <= allowed


@given(st.integers(1, 100), CLAIMS, st.integers())
def test_with_a_margin_no_second_has_more_starts_than_the_rate_while_sends_jitter_by_less(
    calls_per_second: int, claims: list[Claim], seed: int
) -> None:
    rate = Rate(calls_per_second=calls_per_second, burst=1, margin=0.02)
    chance = random.Random(seed)
    sent_at = account_after(rate, claims).sent_at
    late = [instant + timedelta(seconds=chance.uniform(0, 0.0199)) for instant in sent_at]
    assert most_in_one_second(late) <= calls_per_second


@given(RATES, CLAIMS)
def test_nothing_is_reserved_beyond_the_horizon(rate: Rate, claims: list[Claim]) -> None:
    account = Account(rate=rate)
    for claim in claims:
        assert all(slot <= account.at + HORIZON for slot in account.claim(claim))


@given(RATES, CLAIMS)
def test_no_more_is_reserved_than_wanted(rate: Rate, claims: list[Claim]) -> None:
    account = Account(rate=rate)
    for claim in claims:
        assert len(account.claim(claim)) <= claim.wanted


@given(RATES, CLAIMS, st.integers(1, 60))
def test_an_account_left_alone_for_a_while_has_a_slot_at_once(
    rate: Rate, claims: list[Claim], wanted: int
) -> None:
    account = account_after(rate, claims)
    rest = SECOND + rate.interval() * rate.burst
    slots = account.claim(Claim(after=rest, wanted=wanted, taken=0))
    assert sum(1 for slot in slots if slot <= account.at) == min(wanted, rate.burst if account.cursor else 1)


@given(RATES, st.sampled_from([None, BEGIN - HOUR, BEGIN]), st.integers(1, 3000))
def test_no_slot_is_before_the_instant_that_the_provider_asked_us_to_wait_for(
    rate: Rate, cursor: datetime | None, milliseconds: int
) -> None:
    not_before = BEGIN + timedelta(milliseconds=milliseconds)
    assert all(slot >= not_before for slot in everything(rate, Throttle(not_before=not_before), cursor))


@given(RATES, st.sampled_from([0.5, 0.1, RATE_FLOOR]))
def test_a_throttled_account_has_wider_slots(rate: Rate, factor: float) -> None:
    slots = reserve(rate, Throttle(factor=factor, factor_at=BEGIN), None, BEGIN, 60)
    assert slots.interval >= rate.interval() / factor - timedelta(microseconds=100)


@given(RATES, st.sampled_from([UNHINDERED, Throttle(factor=0.5, factor_at=BEGIN - HOUR)]))
def test_a_cursor_that_a_jumped_clock_left_far_ahead_idles_the_account_for_one_horizon(
    rate: Rate, throttle: Throttle
) -> None:
    assert everything(rate, throttle, cursor=BEGIN + HOUR)[:1] == (BEGIN + HORIZON,)


@given(RATES, CLAIMS)
def test_a_cursor_that_a_jumped_clock_left_far_ahead_lets_nobody_hurry(
    rate: Rate, claims: list[Claim]
) -> None:
    account = Account(rate=rate, cursor=BEGIN + HOUR)
    for claim in claims:
        account.claim(claim)
    gaps = [later - earlier for earlier, later in zip(account.slots, account.slots[1:], strict=False)]
    assert all(gap >= rate.interval() for gap in gaps)


def test_two_claims_in_the_same_instant_share_the_slots_between_them() -> None:
    account = Account(rate=Rate(calls_per_second=10, margin=0))
    first = account.claim(Claim(after=timedelta(), wanted=4, taken=4))
    second = account.claim(Claim(after=timedelta(), wanted=60, taken=60))
    assert [*first, *second] == [BEGIN + timedelta(milliseconds=100) * n for n in range(11)]


def test_a_burst_goes_out_together_and_is_then_used_up() -> None:
    account = Account(rate=Rate(calls_per_second=1, burst=3, margin=0), cursor=BEGIN - HOUR)
    slots = account.claim(Claim(after=timedelta(), wanted=60, taken=60))
    assert [max(slot, BEGIN) for slot in slots] == [BEGIN, BEGIN, BEGIN, BEGIN + SECOND]


def test_an_unlimited_account_has_as_many_slots_as_wanted_at_once() -> None:
    assert reserve(Rate(calls_per_second=None), UNHINDERED, None, BEGIN, 500).instants == (BEGIN,) * 500


def test_an_unlimited_account_waits_too_when_the_provider_asks_for_it() -> None:
    unlimited = Rate(calls_per_second=None)
    assert not everything(unlimited, Throttle(not_before=BEGIN + 2 * SECOND))


def test_a_refusal_halves_the_rate() -> None:
    assert after_rate_limited(UNHINDERED, BEGIN, None).factor == 0.5


def test_refusals_of_one_second_halve_the_rate_once() -> None:
    throttle = UNHINDERED
    for milliseconds in (0, 1, 500, 999):
        throttle = after_rate_limited(throttle, BEGIN + timedelta(milliseconds=milliseconds), None)
    assert throttle.factor == 0.5


def test_the_rate_never_falls_below_its_floor() -> None:
    assert after_rate_limited(Throttle(factor=RATE_FLOOR), BEGIN, None).factor == RATE_FLOOR


def test_refusals_that_go_on_slow_the_account_down_to_a_twentieth() -> None:
    throttle = UNHINDERED
    for seconds in range(30):
        throttle = after_rate_limited(throttle, BEGIN + timedelta(seconds=seconds), None)
    assert throttle.factor == pytest.approx(0.05)


@given(st.floats(RATE_FLOOR, 1), st.floats(0, 60), st.floats(0, 60))
def test_the_rate_recovers_steadily_up_to_its_own(factor: float, earlier: float, more: float) -> None:
    throttle = Throttle(factor=factor, factor_at=BEGIN)
    before = current_factor(throttle, BEGIN + timedelta(seconds=earlier))
    after = current_factor(throttle, BEGIN + timedelta(seconds=earlier + more))
    assert factor <= before <= after <= 1


def test_a_halved_rate_is_whole_again_after_ten_seconds() -> None:
    throttle = Throttle(factor=0.5, factor_at=BEGIN)
    assert current_factor(throttle, BEGIN + 9 * SECOND) < current_factor(throttle, BEGIN + 11 * SECOND) == 1


@pytest.mark.parametrize(("asked", "waited"), [(None, 1), (0.0, 0.5), (30.0, 30), (1e9, 3600)])
def test_the_wait_that_the_provider_asks_for_is_kept_from_half_a_second_up_to_an_hour(
    asked: float | None, waited: float
) -> None:
    assert after_rate_limited(UNHINDERED, BEGIN, asked).not_before == BEGIN + waited * SECOND


def test_a_shorter_wait_never_ends_a_longer_one() -> None:
    throttle = after_rate_limited(UNHINDERED, BEGIN, 30)
    assert after_rate_limited(throttle, BEGIN + SECOND, 1).not_before == throttle.not_before


def test_an_unreachable_provider_is_tried_after_doubling_waits() -> None:
    throttle, at, waits = UNHINDERED, BEGIN, []
    for _ in range(8):
        throttle = after_unreachable(throttle, at)
        waits.append(throttle.not_before - at)
        at = throttle.not_before
    assert waits == [timedelta(seconds=n) for n in (1, 2, 4, 8, 16, 32, 60, 60)]
    assert max(waits) == UNREACHABLE_BACKOFF_LIMIT


def test_calls_that_fail_together_count_as_one_failure_to_reach() -> None:
    once = after_unreachable(UNHINDERED, BEGIN)
    assert after_unreachable(once, BEGIN + timedelta(milliseconds=10)) == once


def test_a_provider_that_answers_again_is_forgiven() -> None:
    throttle = replace(after_unreachable(UNHINDERED, BEGIN), unreachable_count=6)
    assert after_unreachable(after_reached(throttle), BEGIN + HOUR).not_before == BEGIN + HOUR + SECOND


@given(RATES)
def test_a_call_may_be_late_by_its_margin_at_least(rate: Rate) -> None:
    assert rate.tolerance() >= timedelta(seconds=rate.margin)
