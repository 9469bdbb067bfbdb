"""Stretches of one local date, in seconds of it, half-open: what hours are made of."""

from __future__ import annotations

from collections.abc import Iterable

Spans = tuple[tuple[int, int], ...]
"""Sorted, none empty, none overlapping or touching another."""


def joined(stretches: Iterable[tuple[int, int]]) -> Spans:
    """Any stretches, sorted; overlapping and touching ones made one."""
    made: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((start, end))
    return tuple(made)


def common(one: Spans, other: Spans) -> Spans:
    """What lies in both."""
    if one == other:
        return one
    return tuple(
        (max(start, begin), min(end, finish))
        for start, end in one
        for begin, finish in other
        if max(start, begin) < min(end, finish)
    )


def without(spans: Spans, taken: tuple[int, int]) -> Spans:
    """What lies outside a stretch; an empty one takes nothing."""
    begin, finish = taken
    if begin >= finish:
        return spans
    pieces = (
        piece for start, end in spans for piece in ((start, min(end, begin)), (max(start, finish), end))
    )
    return tuple((start, end) for start, end in pieces if start < end)


def holds(spans: Spans, second: int) -> bool:
    return any(start <= second < end for start, end in spans)
