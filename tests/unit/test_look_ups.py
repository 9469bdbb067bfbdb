"""When open calls are asked about, and how many at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from outdial.domain.attempt import AttemptState, Progress
from outdial.domain.campaign import CallOptions
from outdial.domain.look_ups import (
    DOUBT,
    DOUBT_LIMIT,
    Pace,
    Timing,
    cursor_after,
    may_ask,
    next_look_up,
    wait_after_failures,
)
from outdial.domain.patience import Patience

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
OPTIONS = CallOptions(ring_timeout_seconds=25, max_duration_seconds=600)
PATIENCE = Patience()


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def timing(*, sent: bool = True, wants_end: bool = False) -> Timing:
    return Timing(dial_at=AT, not_after=after(15), sent_at=AT if sent else None, wants_end=wants_end)


@given(
    rate=st.floats(0.05, 100),
    asks=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 60)), max_size=60),
)
def test_no_second_has_more_look_ups_than_the_rate_and_what_one_second_saves_up(
    rate: float, asks: list[tuple[float, int]]
) -> None:
    at, cursor = AT, None
    asked: list[datetime] = []
    for wait, wanted in asks:
        at += timedelta(seconds=wait)
        allowed = min(wanted, may_ask(cursor, None, at, rate))
        cursor = cursor_after(cursor, at, rate, allowed)
        asked += [at] * allowed
    for first in set(asked):
        in_a_second = sum(first <= one < first + timedelta(seconds=1) for one in asked)
        assert in_a_second <= 2 * rate + 1


def test_a_rate_below_one_is_kept_and_not_lost() -> None:
    cursor, asked = None, 0
    for second in range(101):
        allowed = may_ask(cursor, None, after(second), 0.1)
        cursor = cursor_after(cursor, after(second), 0.1, allowed)
        asked += allowed
    assert 10 <= asked <= 11


def test_nobody_asks_before_the_wait_after_a_failure_is_over() -> None:
    assert may_ask(None, after(5), after(4.9), 20) == 0
    assert may_ask(None, after(5), after(5), 20) == 20


def test_waits_after_failures_grow_to_a_minute_and_heed_the_provider() -> None:
    waits = [wait_after_failures(n).total_seconds() for n in range(1, 10)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert wait_after_failures(1, 90.0) == timedelta(seconds=90)


def test_what_nobody_has_sent_is_taken_up_after_its_slot() -> None:
    due = next_look_up(Progress(), timing(sent=False), OPTIONS, AT)
    assert due == AT + PATIENCE.unsent


def test_what_was_sent_is_taken_up_when_its_post_must_be_over() -> None:
    assert next_look_up(Progress(), timing(), OPTIONS, after(8)) == AT + PATIENCE.post_is_over


def test_a_doubt_is_asked_about_often_until_it_can_be_proved_and_then_ever_more_seldom() -> None:
    in_doubt = Progress(state=AttemptState.IN_DOUBT)
    asked = [after(12)]
    while asked[-1] < after(1800):
        asked.append(next_look_up(in_doubt, timing(), OPTIONS, asked[-1]))
    waits = [later - earlier for earlier, later in pairwise(asked)]
    assert all(wait == DOUBT for at, wait in zip(asked, waits, strict=False) if at < after(27))
    assert waits == sorted(waits)
    assert waits[-1] == DOUBT_LIMIT


@pytest.mark.parametrize("state", [AttemptState.ACCEPTED, AttemptState.RINGING])
def test_without_webhooks_look_ups_take_over_from_the_ring_time_out_on(state: AttemptState) -> None:
    progress = Progress(state=state, started_at=AT)
    pace = Pace(every=timedelta(seconds=10), after_ringing=True)
    assert next_look_up(progress, timing(), OPTIONS, after(1), pace=pace) == after(25)
    assert next_look_up(progress, timing(), OPTIONS, after(25), pace=pace) == after(35)


def test_where_no_events_are_sent_calls_are_asked_about_all_along() -> None:
    progress = Progress(state=AttemptState.ACCEPTED, started_at=AT)
    pace = Pace(every=timedelta(seconds=5))
    assert next_look_up(progress, timing(), OPTIONS, after(1), pace=pace) == after(6)


def test_a_call_that_somebody_wants_withdrawn_is_taken_up_at_once() -> None:
    progress = Progress(state=AttemptState.ACCEPTED, started_at=AT)
    assert next_look_up(progress, timing(wants_end=True), OPTIONS, after(1)) == after(2)
