"""A person at the keyboard: stops and resumes, pauses and excludes, and believes what the commands report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from outdial.operations import campaigns, exclusions, stops
from outdial.operations.stops import SETTLE_SECONDS, Scope
from outdial.storage.database import Database
from tests.simulation.hub import Hub
from tests.simulation.judge import Judge
from tests.simulation.world import World

# When commands are given, and how long a stop lasts.
LAST_SECONDS: Final = 20.0
LONGEST_STOP_SECONDS: Final = 8.0


class Operator:
    """Gives the commands that the plan says. Each is one transaction of the real operation."""

    def __init__(self, hub: Hub, world: World, database: Database, judge: Judge) -> None:
        self._hub = hub
        self._world = world
        self._database = database
        self._judge = judge
        if world.plan.operator_acts:
            # A person repeats a command that failed: what matters is what follows once it has succeeded.
            hub.start("operator", self._main).is_immune = True

    async def _main(self) -> None:
        for _ in range(self._world.plan.operator_acts):
            asyncio.create_task(self._act())

    async def _act(self) -> None:
        act = self._hub.chance.choice((self._pause, self._stop_account, self._stop_all, self._exclude))
        await asyncio.sleep(self._hub.chance.uniform(0, LAST_SECONDS))
        undo = act()
        if undo is not None:
            await asyncio.sleep(self._hub.chance.uniform(0.5, LONGEST_STOP_SECONDS))
            undo()

    def _pause(self) -> Callable[[], None]:
        campaign_id, name = self._hub.chance.choice(list(self._world.campaigns.items()))
        self._do(campaigns.pause, name, paused_by="operator", reason="simulated")
        end = self._judge.forbid(f"campaign {name}", lambda post: post.campaign_id == campaign_id)

        def resume() -> None:
            end()
            try:
                self._do(campaigns.resume, name)
            except campaigns.NotPossible:
                self._hub.tell(f"{name} is completed, and cannot be resumed")

        return resume

    def _stop_account(self) -> Callable[[], None]:
        index = self._hub.chance.randrange(len(self._world.lines))
        account_id = list(self._world.lines)[index]
        return self._stop(Scope(account=f"account-{index + 1}"), account_id)

    def _stop_all(self) -> Callable[[], None]:
        return self._stop(Scope(), None)

    def _stop(self, scope: Scope, account_id: int | None) -> Callable[[], None]:
        self._do(stops.stop, scope, by="operator", reason="simulated")
        end = self._judge.forbid(scope.words, lambda post: account_id in {None, post.account_id})

        def resume() -> None:
            end()
            self._do(stops.resume, scope)

        return resume

    def _exclude(self) -> None:
        number = self._hub.chance.choice(self._world.people).phone_number
        self._do(exclusions.add, [number], exclusions.Terms("asked", "simulated"))
        self._judge.forbid(f"the number {number}", lambda post: post.to == number)

    def _do(self, operation: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        self._database.run(operation, *arguments, **named)
        said = ", ".join(str(getattr(one, "words", one)) for one in arguments)
        self._hub.tell(f"{operation.__name__} {said}: will be reported {SETTLE_SECONDS} s later")
