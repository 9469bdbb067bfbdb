"""The forecast promises no more than lines, rate and hours can carry."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, strategies as st

from outdial.domain.callability import Interval
from outdial.domain.sufficiency import PARTS, SLOT, Capacity, Load, forecast, slots

BEGIN = datetime(2026, 3, 2, 9, 7, tzinfo=UTC)
END = BEGIN + timedelta(days=1)


def interval(start_minutes: float, end_minutes: float) -> Interval:
    return Interval(BEGIN + timedelta(minutes=start_minutes), BEGIN + timedelta(minutes=end_minutes))


def openings_from(edges: list[int]) -> tuple[Interval, ...]:
    cut = sorted(set(edges))
    return tuple(interval(start, end) for start, end in zip(cut[::2], cut[1::2], strict=False))


loads = st.lists(
    st.builds(
        Load,
        calls=st.integers(0, 3000),
        openings=st.lists(st.integers(0, 24 * 60), max_size=8).map(openings_from),
    ),
    max_size=6,
)
capacities = st.builds(
    Capacity,
    lines=st.integers(0, 60),
    calls_per_second=st.none() | st.floats(0.01, 5),
    held_seconds=st.floats(1, 3000),
)


@given(loads, capacities)
def test_no_slot_has_more_calls_than_lines_and_rate_allow(listed: list[Load], capacity: Capacity) -> None:
    for slot in slots(listed, capacity, BEGIN, END):
        seconds = (slot.end - slot.begin).total_seconds()
        made = sum(slot.made.values()) / PARTS
        assert made <= capacity.lines * seconds / capacity.held_seconds
        if capacity.calls_per_second is not None:
            assert made <= capacity.calls_per_second * seconds


@given(loads, capacities)
def test_a_zone_is_called_only_while_it_is_open(listed: list[Load], capacity: Capacity) -> None:
    for slot in slots(listed, capacity, BEGIN, END):
        for index, parts in slot.made.items():
            open_seconds = sum(
                max(0.0, (min(one.end, slot.end) - max(one.begin, slot.begin)).total_seconds())
                for one in listed[index].openings
            )
            assert parts / PARTS <= capacity.lines * open_seconds / capacity.held_seconds


@given(loads, capacities)
def test_all_calls_are_made_or_left_and_none_twice(listed: list[Load], capacity: Capacity) -> None:
    made: Counter[int] = Counter()
    for slot in slots(listed, capacity, BEGIN, END):
        made.update(slot.made)
    found = forecast(listed, capacity, BEGIN, END)
    assert found.calls == sum(load.calls for load in listed)
    assert all(made[index] <= load.calls * PARTS for index, load in enumerate(listed))
    assert found.left == -(-(found.calls * PARTS - made.total()) // PARTS)
    assert found.suffices == (found.done_at is not None)


@given(loads, capacities, st.integers(1, 20))
def test_more_lines_never_finish_later(listed: list[Load], capacity: Capacity, more: int) -> None:
    fewer = forecast(listed, capacity, BEGIN, END)
    many = forecast(listed, replace(capacity, lines=capacity.lines + more), BEGIN, END)
    assert many.left <= fewer.left
    if fewer.done_at is not None:
        assert many.done_at is not None
        assert many.done_at <= fewer.done_at


def test_the_zone_that_closes_first_goes_first() -> None:
    listed = [
        Load(calls=30, openings=(interval(0, 600),)),
        Load(calls=30, openings=(interval(0, 15),)),
    ]
    capacity = Capacity(lines=1, calls_per_second=None, held_seconds=30)
    first = next(slots(listed, capacity, BEGIN, END))
    assert first.made == {1: 30 * PARTS}
    assert forecast(listed, capacity, BEGIN, END).done_at == BEGIN + 2 * SLOT


def test_what_does_not_fit_before_the_end_is_left() -> None:
    listed = [Load(calls=100, openings=(interval(0, 30),))]
    found = forecast(listed, Capacity(lines=1, calls_per_second=None, held_seconds=60), BEGIN, END)
    assert (found.left, found.done_at) == (70, None)


def test_nothing_to_do_is_done_at_once() -> None:
    found = forecast([], Capacity(lines=0, calls_per_second=None, held_seconds=60), BEGIN, END)
    assert (found.calls, found.left, found.done_at) == (0, 0, BEGIN)


def test_a_call_that_lasts_longer_than_a_slot_is_still_made() -> None:
    listed = [Load(calls=1, openings=(interval(0, 600),))]
    found = forecast(listed, Capacity(lines=1, calls_per_second=None, held_seconds=3600), BEGIN, END)
    assert found.done_at == BEGIN + timedelta(hours=1)
