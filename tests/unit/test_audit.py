"""The audit's own reading of hours, held against what the rules must answer; lines and slots, by hand."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from outdial.domain.audit_hours import rule_allows, window_allows
from outdial.domain.audit_lines import UNKNOWN, UNLIMITED, OpenCalls, Starts
from outdial.domain.ids import AttemptId
from outdial.domain.windows import CallingWindow, WeeklyWindow, is_open
from outdial.domain.zones import zone
from outdial.files.rule_file import load_rule_book

DATA = tomllib.loads((Path(__file__).parent.parent / "data" / "calling_rules.toml").read_text())
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BOOK = load_rule_book(None)


OF_RULES = [case for case in DATA["window"] if "rule" in case and case["zones"]]


@pytest.mark.parametrize("case", OF_RULES, ids=lambda case: case["id"])
def test_rules_are_read_as_they_must_be(case: dict[str, Any]) -> None:
    rule = BOOK.find(case["rule"])
    at = datetime.fromisoformat(case["at"])
    answers = [
        rule_allows(rule, case.get("country"), case.get("subdivision"), at.astimezone(zone(name)))
        for name in (*case["zones"], *rule.fixed_zones)
    ]
    assert all(answers) is case["is_open"], case["why"]


windows = st.builds(
    CallingWindow,
    weekly=st.lists(
        st.builds(
            WeeklyWindow,
            days=st.frozensets(st.integers(0, 6), min_size=1),
            start_minute=st.integers(1, 700),
            end_minute=st.one_of(st.integers(701, 1440), st.just(0)),
        )
        | st.builds(
            WeeklyWindow,
            days=st.frozensets(st.integers(0, 6), min_size=1),
            start_minute=st.integers(700, 1439),
            end_minute=st.integers(0, 600),
        ),
        max_size=3,
    ).map(tuple),
    closed_dates=st.frozensets(st.dates(date(2026, 3, 20), date(2026, 4, 5)), max_size=4),
)


@given(
    window=windows.filter(lambda one: all(w.start_minute != w.end_minute for w in one.weekly)),
    at=st.datetimes(datetime(2026, 3, 20), datetime(2026, 4, 5), timezones=st.just(UTC)),  # noqa: DTZ001
    name=st.sampled_from(["Europe/Rome", "America/New_York", "Asia/Kolkata", "UTC"]),
)
def test_two_readings_of_a_window_agree(window: CallingWindow, at: datetime, name: str) -> None:
    assert window_allows(window, at.astimezone(zone(name))) is is_open(window, (name,), at)


def open_calls(*calls: tuple[int, float, float | None, float]) -> set[int]:
    lines = OpenCalls("it")
    for number, begin, end, limit in calls:
        ended_at = None if end is None else AT + end * SECOND
        lines.add(AttemptId(number), AT + begin * SECOND, ended_at, limit)
    return {one for one, finding in lines.over_limit() if finding.is_violation}


def test_a_call_above_the_limit_is_found() -> None:
    assert open_calls((1, 0, 10, 2), (2, 1, None, 2), (3, 2, 5, 2)) == {3}


def test_a_line_that_is_freed_at_that_instant_is_free() -> None:
    assert open_calls((1, 0, 10, 1), (2, 10, 20, 1)) == set()


def test_a_limit_lowered_after_the_claims_accuses_nobody() -> None:
    assert open_calls((1, 0, 10, 3), (2, 1, 10, 3), (3, 2, 10, 3), (4, 11, 12, 1)) == set()
    assert open_calls((1, 0, 10, 3), (2, 1, 10, 3), (3, 2, 10, 3), (4, 9, 12, 1)) == {4}


def test_no_limit_and_one_that_nobody_kept_are_broken_by_no_call() -> None:
    assert open_calls((1, 0, 10, UNLIMITED), (2, 1, 10, UNKNOWN)) == set()


def starts(*slots: tuple[int, float, float]) -> set[int]:
    account = Starts("it")
    for number, at, most in slots:
        account.add(AttemptId(number), AT + at * SECOND, most)
    return {one for one, finding in account.too_fast() if finding.is_violation}


def test_a_second_that_is_too_full_is_found() -> None:
    assert starts((1, 0.0, 2), (2, 0.5, 2), (3, 0.99, 2), (4, 1.6, 2)) == {3}


def test_a_whole_second_later_is_another_second() -> None:
    assert starts((1, 0.0, 2), (2, 0.5, 2), (3, 1.0, 2), (4, 1.5, 2)) == set()


def test_over_a_change_of_the_rate_the_greater_counts() -> None:
    assert starts((1, 0.0, 3), (2, 0.5, 3), (3, 0.9, 2)) == set()
