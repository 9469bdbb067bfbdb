"""One run of a simulation: a seed becomes a world, the world runs, and the judge says what was wrong with it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from outdial.domain.attempt import CallEvent
from outdial.domain.ids import AccountId, CallId
from tests.simulation.databases import Body
from tests.simulation.faults import Faults
from tests.simulation.hub import BEGIN, Hub
from tests.simulation.judge import Judge, Violation
from tests.simulation.operator import Operator
from tests.simulation.plan import Plan, draw
from tests.simulation.processes import Keeper, SimulatedIntake, SimulatedWorker, Surroundings
from tests.simulation.provider import SimulatedProvider
from tests.simulation.story import Story
from tests.simulation.world import World, rule_book, settle

# What is left undone by then is never done: the longest possible call, its result, and its retries, all in a row.
LONGEST_SECONDS = 400.0
NOTIFY_SECONDS = 0.01
TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a seed. `seconds` of virtual time, `steps` of actors, `calls` at the provider."""

    seed: int
    plan: Plan
    story: Story
    violations: list[Violation] = field(default_factory=list)
    seconds: float
    steps: int
    calls: int


def run(seed: int, body: Body, focus: Mapping[str, Any] | None = None) -> Outcome:
    """The same for the same seed. `focus`: see `plan.draw`."""
    chance = random.Random(seed)
    plan = draw(chance, focus)
    story = Story()
    hub = body.hub_for(chance, story)
    faults = Faults(hub, plan)
    body.reset(hub, faults)
    world = _World(hub, plan, body, faults)
    try:
        hub.run(world.is_over, plan.faults_end + LONGEST_SECONDS)
        world.judge.at_the_end()
    finally:
        hub.close()
    return Outcome(
        seed=seed,
        plan=plan,
        story=story,
        violations=world.judge.violations,
        seconds=hub.at,
        steps=hub.steps,
        calls=len(world.provider.ledger.calls),
    )


class _World:
    """All who take part in a run."""

    def __init__(self, hub: Hub, plan: Plan, body: Body, faults: Faults) -> None:
        self.hub = hub
        self.provider = SimulatedProvider(hub, plan, self._deliver)
        self._intake: Keeper | None = None
        self._workers: list[Keeper] = []
        around = Surroundings(
            hub=hub,
            faults=faults,
            body=body,
            rule_books=rule_book,
            provider=self.provider,
            notify=self._notify,
            new_call_id=_call_ids(),
            on_error=self._on_error,
        )
        database = around.database()
        world = database.run(settle, plan, BEGIN)
        self.world: World = world
        self.judge = Judge(hub, world, self.provider, body)
        self._intake = Keeper(hub, "intake", lambda: SimulatedIntake(around))
        for index in range(plan.workers):
            name = f"worker-{index + 1}"
            self._workers.append(Keeper(hub, name, partial(SimulatedWorker, around, name)))
        self.operator = Operator(hub, world, around.database(), self.judge)
        self._tick()

    def is_over(self) -> bool:
        return self.judge.is_over or bool(self.judge.violations)

    def _tick(self) -> None:
        """What must hold at every instant, looked at now and then."""
        self.judge.look(all(worker.is_at_work for worker in self._workers))
        self.hub.later(TICK_SECONDS, self._tick)

    def _notify(self) -> None:
        """As Postgres does: everybody who listens, a little later; and nobody where the connection was just lost."""
        for worker in self._workers:
            if self.provider.draws(self.provider.plan.rates.notification_lost):
                continue
            if isinstance(worker.process, SimulatedWorker) and worker.actor is not None:
                self.hub.later(
                    self.hub.chance.uniform(0, NOTIFY_SECONDS),
                    partial(worker.actor.loop.call_soon, worker.process.wake),
                )

    def _deliver(self, account_id: AccountId, event: CallEvent, was_answered: Callable[[], None]) -> None:
        intake = self._intake
        assert intake is not None
        if intake.actor is None or not intake.is_alive or not isinstance(intake.process, SimulatedIntake):
            return
        intake.actor.loop.call_soon(intake.process.take, account_id, event, was_answered)

    def _on_error(self, where: str, error: BaseException) -> None:
        self.judge.accuse("no error", f"{where} raised {type(error).__name__}: {error}")


def _call_ids() -> Callable[[], CallId]:
    """Short, so that a story can be read."""
    made = iter(range(1, 1_000_000))
    return lambda: CallId(f"C{next(made)}")
