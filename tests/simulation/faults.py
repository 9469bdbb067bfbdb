"""What befalls processes: crashes, lost connections, and standing still, at every statement, commit and edge of a POST."""

from __future__ import annotations

import asyncio
from typing import Final

import sqlalchemy as sa

from outdial.storage.database import IDLE_IN_TRANSACTION_SECONDS
from tests.simulation.hub import Hub
from tests.simulation.plan import Plan

# Longer than any lease, and than the patience with a request.
LONGEST_STALL_SECONDS: Final = 30.0


class ConnectionLost(Exception):
    """What a driver would say."""


class Faults:
    """The points at which an actor can be struck, until the plan's faults end."""

    def __init__(self, hub: Hub, plan: Plan) -> None:
        self.hub = hub
        self.plan = plan
        self.rates = plan.rates

    def at_statement(self, statement: str) -> None:
        actor = self.hub.current
        if actor is None:
            return
        is_claim = statement.startswith("INSERT INTO call_attempts")
        if self._draws(self.rates.dawdle_in_claim if is_claim else self.rates.dawdle):
            # Where transactions stand side by side, others do much in the middle of this one.
            seconds = self.hub.chance.uniform(0, IDLE_IN_TRANSACTION_SECONDS)
            self.hub.tell(f"DAWDLES for {seconds:.2f} s before {statement.split('(', maxsplit=1)[0][:40]!r}")
            actor.sleeps_until = self.hub.at + seconds
        self.hub.pause_here()
        self._strike(self.rates.crash_at_statement, "before a statement")
        self._lose_connection("before a statement")

    def before_commit(self) -> None:
        if self.hub.current is None:
            return
        self.hub.pause_here()
        self._strike(self.rates.crash_at_commit, "before a commit")
        self._lose_connection("before a commit")

    def after_commit(self) -> None:
        if self.hub.current is None:
            return
        self.hub.pause_here()
        self._strike(self.rates.crash_at_commit, "after a commit")
        self._lose_connection("after a commit")

    async def at_post(self, where: str) -> None:
        self._strike(self.rates.crash_at_post, where)
        actor = self.hub.current
        assert actor is not None
        if self._draws(self.rates.stall):
            seconds = self.hub.chance.choice((0.05, 0.3, 2.0, LONGEST_STALL_SECONDS))
            self.hub.tell(f"STALL of {seconds} s {where}")
            actor.stopped_until = self.hub.at + seconds
            # Others go on; whatever comes next here comes that much later.
            await asyncio.sleep(0)

    def _draws(self, rate: float) -> bool:
        if rate <= 0 or self.hub.at >= self.plan.faults_end:
            return False
        actor = self.hub.current
        return actor is not None and not actor.is_immune and self.hub.chance.random() < rate

    def _strike(self, rate: float, where: str) -> None:
        if self._draws(rate):
            self.hub.crash_here(where)

    def _lose_connection(self, where: str) -> None:
        if self._draws(self.rates.lost_connection):
            self.hub.tell(f"CONNECTION LOST {where}")
            raise sa.exc.OperationalError("lost", None, ConnectionLost())


def is_injected(error: BaseException) -> bool:
    """Whether the simulation did it."""
    return isinstance(error, sa.exc.OperationalError) and isinstance(error.orig, ConnectionLost)
