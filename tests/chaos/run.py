"""One seed: an installation of its own, struck by the seed's plan, then judged."""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from outdial.storage.migrate import upgrade
from tests.chaos.commands import Commands
from tests.chaos.judge import Evidence, gather, judge, recoveries
from tests.chaos.plan import plan
from tests.chaos.play import Play
from tests.chaos.scene import Scene, Story
from tests.support.databases import PostgresServer
from tests.support.postgres_process import PostgresProcess
from tests.support.processes import Processes
from tests.support.run_folder import RunFolder
from tests.support.stack import Stack
from tests.support.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`folder`: where the story and the logs are; None: nothing was broken, and they are gone."""

    seed: int
    seconds: float
    broken: list[str]
    figures: str
    folder: Path | None

    def __str__(self) -> str:
        word = "ok" if not self.broken else f"{len(self.broken)} BROKEN"
        return f"seed {self.seed:<4} {self.seconds:5.1f} s  {self.figures}  {word}"


def run_seed(
    seed: int,
    seconds: float,
    workers: int,
    postgres: PostgresProcess,
    run_folder: RunFolder,
    *,
    keep: bool = False,
) -> Verdict:
    """Strikes for `seconds`, then lets it run out. The server is this run's own: it is stopped and started again.

    `keep`: the story and the logs stay, though nothing was broken.
    """
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"outdial-chaos-{seed}-"))
    processes = Processes(folder, run_folder)
    with PostgresServer(postgres.url, run_folder, f"chaos{seed}").database() as url:
        upgrade(url)
        world = World(url)
        try:
            stack = Stack(world, processes, folder)
            scene = Scene(stack=stack, postgres=postgres, story=Story(begun_at=time.time()))
            scene.add_work(seconds)
            scene.start(workers, seed)
            scene.story.begun_at = time.time()
            commands = Commands(world.database)
            try:
                Play(scene=scene, commands=commands).run(plan(seed, seconds, workers))
            finally:
                commands.close()
            evidence = gather(scene)
            broken = judge(evidence)
        finally:
            processes.stop_all()
            if not postgres.is_running:
                postgres.start()
            world.close()
    if broken or keep:
        _keep(folder, evidence, broken, postgres)
    else:
        shutil.rmtree(folder)
    return Verdict(
        seed=seed,
        seconds=time.monotonic() - begun,
        broken=broken,
        figures=_figures(evidence),
        folder=folder if broken or keep else None,
    )


def _figures(evidence: Evidence) -> str:
    story = evidence.story
    waits = [full for _, _, full in recoveries(evidence) if full is not None]
    recovered = (
        f", lines full again after {statistics.median(waits):.1f} s ({max(waits):.1f})" if waits else ""
    )
    return (
        f"{len(evidence.ledger.calls)} calls, {len(story.killed_at)} kills, {len(story.exits)} exits, "
        f"{len(story.doubts)} in doubt{recovered}"
    )


def _keep(folder: Path, evidence: Evidence, broken: list[str], postgres: PostgresProcess) -> None:
    """What one needs to find out why."""
    (folder / "story.txt").write_text("\n".join([*evidence.story.lines, "", *broken, ""]))
    for name, rows in (("attempts", evidence.attempts), ("contacts", evidence.contacts)):
        lines = [json.dumps(dict(row), default=str) for row in rows]
        (folder / f"{name}.ndjson").write_text("\n".join([*lines, ""]))
    (folder / "postgres.log").write_text(postgres.log)
