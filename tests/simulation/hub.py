"""The hub of a simulation: one virtual clock, and of all who could act one who does, chosen by the seed.

An actor stands for a process: it has an event loop of its own, and may crash, be stopped for a while, and start anew.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.simulation.event_loop import VirtualLoop
from tests.simulation.story import Story

BEGIN: Final = datetime(2026, 3, 10, 11, 0, tzinfo=UTC)
"""A Tuesday noon in Rome."""


class Crash(BaseException):
    """The process dies here. No `except Exception` of the engine's sees it."""


@dataclass(eq=False)
class Actor:
    """A process. `skew`: what its monotonic clock began at, by which nothing may be compared across processes."""

    name: str
    loop: VirtualLoop
    skew: float
    is_dead: bool = False
    stopped_until: float = 0.0
    # No fault strikes it.
    is_immune: bool = False
    # In the middle of a step, where several are under way at once.
    is_midway: bool = False
    is_blocked: bool = False
    sleeps_until: float = 0.0
    on_death: Callable[[], None] = field(default=lambda: None)

    def is_ready(self, at: float) -> bool:
        if self.is_dead or self.stopped_until > at:
            return False
        if self.is_midway:
            return not self.is_blocked and self.sleeps_until <= at
        return self.loop.has_ready()

    def next_instant(self) -> float | None:
        if self.is_dead or self.is_blocked:
            return None
        found = self.sleeps_until if self.is_midway else self.loop.next_timer()
        return None if found is None else max(found, self.stopped_until)


class Hub:
    """Runs actors and the world outside by turns. `at` is in seconds since the beginning."""

    def __init__(self, chance: random.Random, story: Story) -> None:
        self.chance = chance
        self.story = story
        self.at = 0.0
        self.actors: list[Actor] = []
        self.current: Actor | None = None
        self.steps = 0
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self.at

    def instant(self) -> datetime:
        return BEGIN + timedelta(seconds=self.at)

    def tell(self, what: str, *about: str, who: str | None = None) -> None:
        """One more line of the story."""
        name = who or (self.current.name if self.current is not None else "world")
        self.story.tell(self.at, name, what, *about)

    def later(self, seconds: float, what: Callable[[], object]) -> None:
        """Let the world outside do `what` then."""
        heapq.heappush(self._agenda, (self.at + seconds, next(self._order), what))

    def start(self, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> Actor:
        """A new process."""
        # It is as much of a loop as tasks and futures need.
        loop = VirtualLoop(self.now)  # type: ignore[abstract]
        actor = Actor(name, loop, skew=self.chance.uniform(0, 1e5))
        self.actors.append(actor)
        actor.loop.create_task(main())
        return actor

    def crash_here(self, where: str) -> None:
        """The process that is at work dies."""
        actor = self.current
        assert actor is not None, "only an actor can crash"
        self.tell(f"CRASH {where}")
        actor.is_dead = True
        raise Crash

    def kill(self, actor: Actor) -> None:
        """A process that is not at work dies."""
        if not actor.is_dead:
            actor.is_dead = True
            self.tell("KILLED", who=actor.name)
            self._bury(actor)

    def run(self, is_over: Callable[[], bool], horizon: float) -> None:
        """Until it is over, or the clock reaches the horizon."""
        while not is_over():
            ready = [actor for actor in self.actors if actor.is_ready(self.at)]
            is_due = bool(self._agenda) and self._agenda[0][0] <= self.at
            if not ready and not is_due:
                found = self._next_instant()
                if found is None or found > horizon:
                    return
                self.at = max(self.at, found)
                continue
            self.steps += 1
            choice = self.chance.randrange(len(ready) + is_due) if len(ready) + is_due > 1 else 0
            if choice == len(ready):
                heapq.heappop(self._agenda)[2]()
                continue
            actor = ready[choice]
            self.current = actor
            try:
                self._step(actor)
            finally:
                self.current = None
            if actor.is_dead:
                self._bury(actor)

    def close(self) -> None:
        for actor in self.actors:
            actor.loop.abandon()

    def pause_here(self) -> None:
        """Others may act in between, where statements of several are under way at once."""

    def _step(self, actor: Actor) -> None:
        actor.loop.run_one()

    def _bury(self, actor: Actor) -> None:
        self.actors.remove(actor)
        actor.loop.abandon()
        actor.on_death()

    def _next_instant(self) -> float | None:
        instants = [found for actor in self.actors if (found := actor.next_instant()) is not None]
        if self._agenda:
            instants.append(self._agenda[0][0])
        return min(instants, default=None)


class VirtualClock:
    """The clock of one process: the hub's time, and a monotonic clock of its own."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def now(self) -> datetime:
        return self._hub.instant()

    def monotonic(self) -> float:
        actor = self._hub.current
        return self._hub.at + (0.0 if actor is None else actor.skew)

    def sleep(self, seconds: float) -> None:
        """A thread's sleep: on SQLite nobody else could act meanwhile, so it takes no time."""
        actor = self._hub.current
        if actor is not None:
            actor.sleeps_until = self._hub.at + seconds
            self._hub.pause_here()

    async def sleep_async(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)
