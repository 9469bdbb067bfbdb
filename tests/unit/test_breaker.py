"""When an account's breaker opens, and how it is probed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from outdial.domain.breaker import (
    ANSWERS_COUNTED,
    PROBE_LIMIT,
    PROBE_LIMIT_OF_SUSPENDED,
    Breaker,
    Recent,
    Thresholds,
    lines_in_trial,
    probe_wait,
    why_open,
)

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@given(lines=st.integers(4, 500), share=st.floats(0.1, 0.9))
def test_doubts_never_take_all_lines(lines: int, share: float) -> None:
    """There is a number of doubts below all lines at which the breaker opens."""
    thresholds = Thresholds(doubts=share)
    opens_at = next(
        n for n in range(lines + 1) if why_open(Recent(doubts=n, answers=0, failures=0), lines, thresholds)
    )
    assert 3 <= opens_at < lines


@pytest.mark.parametrize(
    ("answers", "failures", "is_open"),
    [(ANSWERS_COUNTED, 10, True), (ANSWERS_COUNTED, 9, False), (ANSWERS_COUNTED - 1, 19, False)],
)
def test_half_of_the_last_answers_failing_opens_it(answers: int, failures: int, is_open: bool) -> None:
    recent = Recent(doubts=0, answers=answers, failures=failures)
    assert (why_open(recent, 100, Thresholds()) is not None) is is_open


def test_a_share_of_one_means_never() -> None:
    recent = Recent(doubts=10, answers=ANSWERS_COUNTED, failures=ANSWERS_COUNTED)
    assert why_open(recent, 10, Thresholds(doubts=1.0, failures=1.0)) is None


@pytest.mark.parametrize(("is_suspended", "limit"), [(False, PROBE_LIMIT), (True, PROBE_LIMIT_OF_SUSPENDED)])
def test_each_probe_waits_twice_as_long_up_to_a_limit(is_suspended: bool, limit: timedelta) -> None:
    waits = [probe_wait(n, is_suspended=is_suspended) for n in range(40)]
    assert all(later == min(limit, 2 * earlier) for earlier, later in pairwise(waits))
    assert waits[-1] == limit


@pytest.mark.parametrize(
    ("breaker", "trial_until", "lines"),
    [
        (None, None, None),
        (Breaker.OPEN, None, 0),
        (Breaker.HALF_OPEN, None, 1),
        (Breaker.HALF_OPEN, AT + timedelta(seconds=1), 0),
        (Breaker.HALF_OPEN, AT, 1),
    ],
)
def test_a_half_open_breaker_lets_one_call_out_at_a_time(
    breaker: Breaker | None, trial_until: datetime | None, lines: int | None
) -> None:
    assert lines_in_trial(breaker, trial_until, AT) == lines
