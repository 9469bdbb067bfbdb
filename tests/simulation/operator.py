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
        if world.plan.commands:
            # A person repeats a command that failed: what matters is what follows once it has succeeded.
            hub.start("operator", self._main).is_immune = True

    async def _main(self) -> None:
        acts: dict[str, Callable[[], Callable[[], None] | None]] = {
            "pause": self._pause,
            "stop_account": self._stop_account,
            "stop_all": self._stop_all,
            "exclude": self._exclude,
        }
        await asyncio.gather(*(self._act(acts[command]) for command in self._world.plan.commands))

    async def _act(self, act: Callable[[], Callable[[], None] | None]) -> None:
        # Often while the first calls are about to leave.
        await asyncio.sleep(self._hub.chance.uniform(0.5, self._hub.chance.choice((3.0, LAST_SECONDS))))
        try:
            undo = act()
            if undo is not None:
                await asyncio.sleep(self._hub.chance.uniform(0.5, LONGEST_STOP_SECONDS))
                undo()
        except Exception as error:  # noqa: BLE001 - nothing strikes a command, so it must not fail
            self._judge.accuse("no error", f"a command raised {type(error).__name__}: {error}")

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
        self._do(exclusions.add, [number], exclusions.Terms(reason="asked", source="simulated"))
        self._judge.forbid(f"the number {number}", lambda post: post.to == number)

    def _do(self, operation: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        self._database.run(operation, *arguments, **named)
        said = ", ".join(str(getattr(one, "words", one)) for one in arguments)
        self._hub.tell(f"{operation.__name__} {said}: will be reported {SETTLE_SECONDS} s later")
