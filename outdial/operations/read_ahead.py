"""Makes the next item while the last one is being used: rows are parsed while the database writes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in a thread of its own, one ahead and never more."""
    with ThreadPoolExecutor(1, thread_name_prefix="outdial-read-ahead") as thread:
        upcoming = thread.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, items, None)
            yield item
