"""Makes the next item while the last one is being used: rows are parsed while the database writes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def read_ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """The same items, each made in a thread of its own, one ahead and never more; the thread ends with the block."""
    with ThreadPoolExecutor(1, thread_name_prefix="outdial-read-ahead") as thread:
        yield _one_ahead(items, thread)


def _one_ahead(items: Iterator[T], thread: ThreadPoolExecutor) -> Iterator[T]:
    upcoming = thread.submit(next, items, None)
    while (item := upcoming.result()) is not None:
        upcoming = thread.submit(next, items, None)
        yield item
