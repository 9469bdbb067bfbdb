"""Group commit: in which order things are written, and who hears of a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
import sqlalchemy as sa

from outdial.engine.group_commit import GroupCommit

AWAY = sa.exc.OperationalError("SELECT 1", {}, Exception("the database is away"))


class Writer:
    """Remembers its batches. Each waits until the test opens the gate; items in `bad` cannot be written."""

    def __init__(self, bad: Sequence[int] = (), error: Exception | None = None) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.bad = bad
        self.error = error or ValueError("bad item")

    async def write(self, items: Sequence[int]) -> list[str]:
        self.batches.append(list(items))
        await self.gate.wait()
        if set(items) & set(self.bad):
            raise self.error
        return [f"wrote {item}" for item in items]


Scenario = Callable[[Writer, "GroupCommit[int, str]"], Awaitable[object]]


def run(scenario: Scenario, writer: Callable[[], Writer] = Writer, batch: int = 500) -> Writer:
    async def main() -> Writer:
        made = writer()
        await asyncio.wait_for(scenario(made, GroupCommit(made.write, limit=3, batch=batch)), 5)
        return made

    return asyncio.run(main())


async def submitted(commit: GroupCommit[int, str], *items: int) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(commit.submit(item)) for item in items]
    # Once for the tasks to begin, once for the flush that the first of them started.
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


def test_what_comes_while_a_batch_is_written_is_the_next_batch_in_its_order() -> None:
    async def scenario(writer: Writer, commit: GroupCommit[int, str]) -> None:
        first = await submitted(commit, 1)
        later = [*await submitted(commit, 4), *await submitted(commit, 3, 2)]
        assert writer.batches == [[1]]
        writer.gate.set()
        answers = await asyncio.gather(*first, *later)
        assert answers == ["wrote 1", "wrote 4", "wrote 3", "wrote 2"]

    assert run(scenario).batches == [[1], [4, 3, 2]]


def test_no_batch_is_larger_than_allowed_and_none_overtakes() -> None:
    async def scenario(writer: Writer, commit: GroupCommit[int, str]) -> None:
        writer.gate.set()
        await asyncio.gather(*await submitted(commit, *range(5)))

    assert run(scenario, batch=2).batches == [[0, 1], [2, 3], [4]]


def test_nobody_hears_success_before_the_batch_is_written() -> None:
    async def scenario(writer: Writer, commit: GroupCommit[int, str]) -> None:
        (task,) = await submitted(commit, 1)
        assert not task.done()
        writer.gate.set()
        assert await task == "wrote 1"

    run(scenario)


def test_a_bad_item_fails_alone_and_the_others_are_written_in_order() -> None:
    async def scenario(writer: Writer, commit: GroupCommit[int, str]) -> None:
        writer.gate.set()
        tasks = await submitted(commit, 1, 2, 3)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert answers == ["wrote 1", writer.error, "wrote 3"]
        assert await commit.submit(4) == "wrote 4"

    assert run(scenario, lambda: Writer(bad=[2])).batches == [[1, 2, 3], [1], [2], [3], [4]]


def test_when_the_database_is_away_all_hear_it_at_once_and_later_ones_are_tried_anew() -> None:
    async def scenario(writer: Writer, commit: GroupCommit[int, str]) -> None:
        writer.gate.set()
        tasks = await submitted(commit, 1, 2, 3)
        assert await asyncio.gather(*tasks, return_exceptions=True) == [AWAY] * 3
        writer.bad = ()
        assert await commit.submit(4) == "wrote 4"

    assert run(scenario, lambda: Writer(bad=[2], error=AWAY)).batches == [[1, 2, 3], [4]]


def test_a_batch_that_fails_does_not_take_those_that_wait_with_it() -> None:
    async def scenario(writer: Writer, commit: GroupCommit[int, str]) -> None:
        (bad,) = await submitted(commit, 1)
        (good,) = await submitted(commit, 2)
        writer.gate.set()
        with pytest.raises(ValueError, match="bad item"):
            await bad
        assert await good == "wrote 2"

    run(scenario, lambda: Writer(bad=[1]))


def test_whoever_stops_waiting_is_written_all_the_same_and_disturbs_nobody() -> None:
    async def scenario(writer: Writer, commit: GroupCommit[int, str]) -> None:
        impatient, patient = await submitted(commit, 1, 2)
        impatient.cancel()
        writer.gate.set()
        assert await patient == "wrote 2"

    assert run(scenario).batches == [[1, 2]]


def test_it_is_full_when_as_many_wait_as_its_limit_and_drained_when_nobody_does() -> None:
    async def scenario(writer: Writer, commit: GroupCommit[int, str]) -> None:
        tasks = await submitted(commit, 1)
        tasks += await submitted(commit, 2, 3)
        assert not commit.is_full
        tasks += await submitted(commit, 4)
        assert commit.is_full
        writer.gate.set()
        await commit.drain()
        assert not commit.is_full
        assert all(task.done() for task in tasks)

    run(scenario)
