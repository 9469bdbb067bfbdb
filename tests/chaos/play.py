"""Plays a plan against an installation in real time, and then lets it run out undisturbed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.commands import Commands
from tests.chaos.plan import CAMPAIGNS, Blow, Kind
from tests.chaos.scene import Scene

SAMPLE_SECONDS: Final = 0.4
LOOK_SECONDS: Final = 0.02
RUN_OUT_SECONDS: Final = 90.0
START_SECONDS: Final = 30.0
ACCOUNT: Final = "main"
STRIKES_WORKER: Final = frozenset({Kind.KILL_WORKER, Kind.END_WORKER, Kind.FREEZE_WORKER})
STRIKES_SERVICE: Final = frozenset({Kind.KILL_SERVICE, Kind.END_SERVICE})


@dataclass(slots=True, kw_only=True)
class Play:
    scene: Scene
    commands: Commands
    sampled_at: float = 0.0
    # What hinders right now, and since when.
    hindrances: dict[str, float] = field(default_factory=dict)

    def run(self, blows: Sequence[Blow]) -> None:
        begun_at = self.scene.story.begun_at
        for blow in blows:
            while time.time() < begun_at + blow.at:
                self._look()
            # On a slow machine the plan is stretched: a blow at what is still starting would strike no work.
            since = time.time()
            while not self._is_ready(blow) and time.time() < since + START_SECONDS:
                self._look()
            begun_at += time.time() - since
            self.scene.story.tell(str(blow))
            DO[blow.kind](self, blow)
        self._let_run_out()

    def _is_ready(self, blow: Blow) -> bool:
        # Without a database nothing becomes ready, and who brings it back is behind this blow in the plan.
        if self.scene.database_is_down:
            return True
        if blow.kind in STRIKES_WORKER:
            return self.scene.is_at_work(self.scene.workers[_place(blow)])
        if blow.kind in STRIKES_SERVICE:
            return self.scene.service is not None and self.scene.is_at_work(self.scene.service)
        return True

    def _look(self) -> None:
        self._reap_commands()
        self.scene.watch()
        self._note_hindrances()
        if time.monotonic() - self.sampled_at > SAMPLE_SECONDS and not self.scene.database_is_down:
            self.sampled_at = time.monotonic()
            self.scene.sample()
        time.sleep(LOOK_SECONDS)

    def _let_run_out(self) -> None:
        """Everything runs again, nothing is stopped; until nothing is left to do."""
        story = self.scene.story
        deadline = time.monotonic() + RUN_OUT_SECONDS
        while self.commands.are_running and time.monotonic() < deadline:
            self._look()
        # A resume that met a database that was away has failed; a person would repeat it.
        for name in CAMPAIGNS:
            self.commands.give(Kind.RESUME, name)
        self.commands.give(Kind.RESUME_ACCOUNT, ACCOUNT)
        while self.commands.are_running and time.monotonic() < deadline:
            self._look()
        story.tell("no more blows")
        while (left := self.scene.left_to_do()) and time.monotonic() < deadline:
            for _ in range(10):
                self._look()
        for name in list(self.hindrances):
            self._hindered_no_more(name)
        if left:
            story.problems.append(f"after {RUN_OUT_SECONDS:.0f} s without blows {', '.join(left)}")
        story.tell("over")

    def _reap_commands(self) -> None:
        for told in self.commands.ended():
            self.scene.story.told.append(told)
            self.scene.story.tell(f"  {told.kind} {told.target}: {told.error or 'done'}")
            if told.told_at is not None and told.kind in {Kind.RESUME, Kind.RESUME_ACCOUNT}:
                self._hindered_no_more(f"{told.kind} {told.target}")

    def _note_hindrances(self) -> None:
        """While no worker works, or nobody hears of the ends of calls, lines are idle for a reason."""
        scene = self.scene
        away = {
            "workers": not any(
                place not in scene.frozen and scene.is_at_work(worker)
                for place, worker in scene.workers.items()
            ),
            "service": scene.service is None or not scene.is_at_work(scene.service),
        }
        for name, is_away in away.items():
            if is_away:
                self.hindered(name)
            else:
                self._hindered_no_more(name)

    def hindered(self, name: str) -> None:
        self.hindrances.setdefault(name, time.time())

    def _hindered_no_more(self, name: str) -> None:
        if (since := self.hindrances.pop(name, None)) is not None:
            self.scene.story.hindered.append((since, time.time()))

    # --- blows ---------------------------------------------------------------------------------------------------

    def kill_worker(self, blow: Blow) -> None:
        worker = self.scene.workers.pop(_place(blow))
        self.scene.story.killed_at.append(time.time())
        worker.kill()

    def end_worker(self, blow: Blow) -> None:
        worker = self.scene.workers.pop(_place(blow))
        self.scene.leaving.append((worker, time.time()))
        worker.send(signal.SIGTERM)

    def start_worker(self, blow: Blow) -> None:
        self.scene.start_worker(_place(blow))

    def freeze_worker(self, blow: Blow) -> None:
        self.scene.workers[_place(blow)].pause()
        self.scene.frozen.add(_place(blow))

    def thaw_worker(self, blow: Blow) -> None:
        self.scene.workers[_place(blow)].resume()
        self.scene.frozen.discard(_place(blow))

    def kill_service(self, blow: Blow) -> None:
        del blow
        if self.scene.service is not None:
            self.scene.service.kill()
            self.scene.service = None

    def end_service(self, blow: Blow) -> None:
        del blow
        if self.scene.service is not None:
            self.scene.leaving.append((self.scene.service, time.time()))
            self.scene.service.send(signal.SIGTERM)
            self.scene.service = None

    def start_service(self, blow: Blow) -> None:
        del blow
        # The port is its own: the one before may still drain its requests.
        while any(process.name.startswith("outdial-serve") for process, _ in self.scene.leaving):
            self._look()
        if self.scene.service is None:
            self.scene.start_service()

    def crash_database(self, blow: Blow) -> None:
        del blow
        self.hindered("database")
        self.scene.database_is_down = True
        self.scene.postgres.stop("immediate")

    def start_database(self, blow: Blow) -> None:
        del blow
        self.scene.postgres.start()
        self.scene.database_is_down = False
        self.scene.database_was_down_at = time.time()
        self._hindered_no_more("database")

    def pause(self, blow: Blow) -> None:
        self.hindered(f"{Kind.RESUME} {blow.target}")
        self.commands.give(Kind.PAUSE, str(blow.target))

    def resume(self, blow: Blow) -> None:
        self.commands.give(Kind.RESUME, str(blow.target))

    def stop_account(self, blow: Blow) -> None:
        del blow
        self.hindered(f"{Kind.RESUME_ACCOUNT} {ACCOUNT}")
        self.commands.give(Kind.STOP_ACCOUNT, ACCOUNT)

    def resume_account(self, blow: Blow) -> None:
        del blow
        self.commands.give(Kind.RESUME_ACCOUNT, ACCOUNT)

    def exclude(self, blow: Blow) -> None:
        numbers = self.scene.numbers
        self.commands.give(Kind.EXCLUDE, numbers[int(float(blow.target) * (len(numbers) - 1))])


DO: Final[Mapping[Kind, Callable[[Play, Blow], None]]] = {
    Kind.KILL_WORKER: Play.kill_worker,
    Kind.END_WORKER: Play.end_worker,
    Kind.START_WORKER: Play.start_worker,
    Kind.FREEZE_WORKER: Play.freeze_worker,
    Kind.THAW_WORKER: Play.thaw_worker,
    Kind.KILL_SERVICE: Play.kill_service,
    Kind.END_SERVICE: Play.end_service,
    Kind.START_SERVICE: Play.start_service,
    Kind.CRASH_DATABASE: Play.crash_database,
    Kind.START_DATABASE: Play.start_database,
    Kind.PAUSE: Play.pause,
    Kind.RESUME: Play.resume,
    Kind.STOP_ACCOUNT: Play.stop_account,
    Kind.RESUME_ACCOUNT: Play.resume_account,
    Kind.EXCLUDE: Play.exclude,
}


def _place(blow: Blow) -> int:
    assert isinstance(blow.target, int)
    return blow.target
