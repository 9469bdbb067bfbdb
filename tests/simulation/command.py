"""The command line of the simulation."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Final

from tests.simulation.many import Failure, run_many
from tests.simulation.run import Outcome, run
from tests.simulation.servers import body_of, database_for
from tests.simulation.story import Line

PROGRESS_EVERY: Final = 100

Say = Callable[[str], None]


def main(arguments: Sequence[str], say: Say) -> int:
    """The exit code: 0 when nothing was wrong, 1 when something was."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description="Runs the engine against a faulty provider in virtual time; the same seed is the same run.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="run this one seed")
    which.add_argument("--seeds", type=int, help="run so many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of many seeds (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, help="in so many processes (default: 2)")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument(
        "--story", action="store_true", help="tell all of the one seed, though nothing was wrong"
    )
    given = parser.parse_args(arguments)
    if given.seed is not None:
        return _one(given.seed, given.database, given.story, say)
    return _many(range(given.first, given.first + given.seeds), given.database, given.jobs, say)


def command_of(seed: int, database: str) -> str:
    """What repeats the run."""
    return f"python -m tests.simulation --seed {seed} --database {database}"


def story_of(outcome: Outcome, database: str, *, whole: bool = False) -> list[str]:
    """The story as far as it is about what went wrong, and the command that tells it again."""
    about = {one for violation in outcome.violations for one in violation.about}
    lines: Sequence[Line] = outcome.story.lines
    if about and not whole:
        # A call is also known by its number, and a number by its calls.
        near = {one for line in lines if not about.isdisjoint(line.about) for one in line.about}
        lines = outcome.story.of(near)
    return [
        f"seed {outcome.seed}: {outcome.plan}",
        *(str(line) for line in lines),
        *(f"WRONG: {violation}" for violation in outcome.violations),
        f"{outcome.calls} calls in {outcome.seconds:.1f} virtual seconds. Again: {command_of(outcome.seed, database)}",
    ]


def _one(seed: int, database: str, tell_all: bool, say: Say) -> int:
    with database_for(database) as url:
        body = body_of(url)
        try:
            outcome = run(seed, body)
        finally:
            body.close()
    if outcome.violations or tell_all:
        for line in story_of(outcome, database, whole=tell_all):
            say(line)
    else:
        say(
            f"seed {seed}: nothing wrong in {outcome.seconds:.1f} virtual seconds and {outcome.calls} calls. "
            "--story tells of them."
        )
    return 1 if outcome.violations else 0


def _many(seeds: range, database: str, jobs: int, say: Say) -> int:
    failures: list[Failure] = []

    def done(count: int, calls: int, failed: Sequence[Failure]) -> None:
        failures.extend(failed)
        for one in failed:
            say(f"seed {one.seed}: {one.what}. Again: {command_of(one.seed, database)}")
        if count % PROGRESS_EVERY == 0 or count == len(seeds):
            say(f"{count} of {len(seeds)} seeds, {calls} calls, {len(failures)} failed")

    run_many(seeds, database, jobs, done)
    return 1 if failures else 0
