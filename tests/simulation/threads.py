"""A hub whose actors may stand in the middle of a transaction while others act: each has a thread, and one runs at a time.

A statement that waits for a lock is no hang: its actor counts as blocked, others go on, and once it has what it waited
for, it has to be chosen again like everybody else.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Final

from tests.simulation.hub import Actor, Crash, Hub
from tests.simulation.story import Story

# How long a statement may take before it is asked whether it waits for somebody.
LOOK_AFTER_SECONDS: Final = 0.004
STATEMENT_SECONDS: Final = 0.006
# No run of ours takes that long in one statement.
HANG_SECONDS: Final = 30.0
SECONDS_TO_BE_NOTICED: Final = 10

BlockersOf = Callable[[int], list[int]]
"""Which sessions (by process id) the session waits for."""


class _Runner:
    """An actor's thread. `pid`: the session of its transaction."""

    def __init__(self, actor: Actor) -> None:
        self.pid: int | None = None
        self.is_in_statement = False
        self.is_over = False
        self._actor = actor
        self._go = threading.Semaphore(0)
        self._reported = threading.Event()
        self._thread = threading.Thread(target=self._run, name=actor.name, daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """The actor's turn."""
        self._reported.clear()
        self._go.release()

    def has_reported(self, seconds: float) -> bool:
        """Whether it has given its turn back, within that time."""
        return self._reported.wait(seconds)

    def give_back(self) -> None:
        """In the actor's own thread: let others act until its next turn."""
        self._reported.set()
        self._go.acquire()

    def end(self) -> None:
        self.is_over = True
        self._go.release()
        self._thread.join(HANG_SECONDS)

    def _run(self) -> None:
        while True:
            self._go.acquire()
            if self.is_over:
                return
            self._actor.loop.run_one()
            self._reported.set()


class ThreadedHub(Hub):
    """`blockers_of` asks the database who waits for whom."""

    def __init__(
        self, chance: random.Random, story: Story, blockers_of: BlockersOf, is_gone: Callable[[int], bool]
    ) -> None:
        super().__init__(chance, story)
        self._blockers_of = blockers_of
        self._is_gone = is_gone
        self._runners: dict[Actor, _Runner] = {}

    def pause_here(self) -> None:
        actor = self.current
        if actor is None:
            return
        # A statement takes its time, in which transactions of others begin.
        actor.sleeps_until = max(actor.sleeps_until, self.at + self.chance.uniform(0, STATEMENT_SECONDS))
        actor.is_midway = True
        self._runners[actor].give_back()
        actor.is_midway = False
        actor.sleeps_until = 0.0
        if actor.is_dead:
            raise Crash

    def enter_statement(self, pid: int) -> None:
        """In the actor's thread: a statement begins, which may have to wait."""
        if self.current is not None:
            runner = self._runners[self.current]
            for other in self._runners.values():
                # A session of the pool goes from hand to hand.
                if other.pid == pid:
                    other.pid = None
            runner.pid, runner.is_in_statement = pid, True

    def leave_statement(self) -> None:
        """In the actor's thread: the statement is over. If it had to wait, others are at work now."""
        thread = threading.current_thread()
        for actor, runner in self._runners.items():
            if runner._thread is thread:
                runner.is_in_statement = False
                if actor.is_blocked:
                    runner.give_back()
                    actor.is_midway = False
                    if actor.is_dead:
                        raise Crash
                return

    def close(self) -> None:
        """Whoever stands in the middle of something dies there."""
        for _ in range(1000):
            midway = [actor for actor in self.actors if actor.is_midway and not actor.is_blocked]
            if not midway:
                break
            for actor in midway:
                actor.is_dead = True
                self._step(actor)
            self._see_who_was_blocked()
        for runner in self._runners.values():
            runner.end()
        self._runners.clear()
        super().close()

    def _step(self, actor: Actor) -> None:
        runner = self._runners.get(actor)
        if runner is None:
            runner = self._runners[actor] = _Runner(actor)
        runner.resume()
        self._await(actor, runner)
        self._see_who_was_blocked()

    def _bury(self, actor: Actor) -> None:
        runner = self._runners.pop(actor, None)
        if runner is not None:
            runner.end()
            # The session of a dead process holds its locks until the server has noticed.
            for _ in range(SECONDS_TO_BE_NOTICED * 1000):
                if runner.pid is None or self._is_gone(runner.pid):
                    break
                threading.Event().wait(0.001)
        self._see_who_was_blocked()
        super()._bury(actor)

    def _await(self, actor: Actor, runner: _Runner) -> None:
        """Until the actor gives its turn back, or waits for a lock."""
        waited = 0.0
        while not runner.has_reported(LOOK_AFTER_SECONDS):
            waited += LOOK_AFTER_SECONDS
            if waited > HANG_SECONDS:
                raise TimeoutError(f"{actor.name} hangs")
            if runner.is_in_statement and runner.pid is not None and self._blockers_of(runner.pid):
                actor.is_blocked = actor.is_midway = True
                self.tell("waits for a lock", who=actor.name)
                return

    def _see_who_was_blocked(self) -> None:
        """Those whose lock was released have their statement done before anybody acts."""
        for actor, runner in self._runners.items():
            while actor.is_blocked:
                if runner.has_reported(0):
                    self.tell("has the lock", who=actor.name)
                    actor.is_blocked = False
                elif runner.pid is not None and self._waits_for_others(runner.pid):
                    break
                else:
                    runner.has_reported(LOOK_AFTER_SECONDS)

    def _waits_for_others(self, pid: int) -> bool:
        """Not so in a circle, which the server will break soon."""
        seen: set[int] = set()
        waiting = self._blockers_of(pid)
        if not waiting:
            return False
        while waiting:
            one = waiting.pop()
            if one == pid:
                return False
            if one not in seen:
                seen.add(one)
                waiting += self._blockers_of(one)
        return True
