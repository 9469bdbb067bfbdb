"""Group commit: what waits while a batch is being written is the next batch. No timer, so nothing waits in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from outdial.storage.database import may_pass

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class GroupCommit(Generic[Item, Answer]):
    """`write` gets a batch and returns an answer for each item; a batch that fails is redone one by one."""

    def __init__(
        self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], *, limit: int, batch: int = 500
    ) -> None:
        self._write = write
        self._limit = limit
        self._batch = batch
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._flusher: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether so much waits that more should be refused."""
        return len(self._waiting) >= self._limit

    async def submit(self, item: Item) -> Answer:
        """Returns when the item's batch is durable; raises what writing the item raised."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        return await future

    async def drain(self) -> None:
        """Returns when nothing waits any more."""
        while self._flusher is not None:
            await asyncio.shield(self._flusher)

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
                await self._write_batch(batch)
        finally:
            self._flusher = None

    async def _write_batch(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._write([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - it belongs to whoever submitted
            if len(batch) == 1 or may_pass(error):
                for _, future in batch:
                    _fail(future, error)
                return
            # One bad item must not take the others with it.
            for one in batch:
                await self._write_batch([one])
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)


def _fail(future: asyncio.Future[Answer], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
