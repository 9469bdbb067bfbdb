"""Breaks the engine as `mutations` says, each in a process of its own, and tells which seed saw it by which invariant.

`python -m tests.simulation.mutants` tries all, or those whose names contain a given text.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.util
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

from tests.simulation.mutations import MUTATIONS, Mutation
from tests.support.databases import PostgresServer
from tests.support.postgres_process import start_postgres
from tests.support.run_folder import RunFolder

SEEDS_AT_MOST: Final = 300
SECONDS_AT_MOST: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """`by`: the first broken promise that was seen; None: nothing was seen in so many seeds."""

    mutation: str
    by: str | None
    seed: int | None
    seeds: int
    seconds: float

    def __str__(self) -> str:
        if self.by is None:
            return f"NOT SEEN in {self.seeds} seeds, {self.seconds:.0f} s: {self.mutation}"
        return f"{self.mutation}: seed {self.seed} (after {self.seeds}, {self.seconds:.1f} s): {self.by}"


def problems(mutation: Mutation) -> list[str]:
    """What keeps the mutation from being made: text that is not there, or not once."""
    found: list[str] = []
    for module, old, new in mutation.changes:
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            found.append(f"there is no module {module}")
            continue
        with open(spec.origin, encoding="utf-8") as file:  # noqa: PTH123 - the path is the import system's
            count = file.read().count(old)
        if count != 1:
            found.append(f"{module} has this {count} times: {old!r}")
        if old == new:
            found.append(f"{module} is not changed")
    return found


def try_all(mutations: Sequence[Mutation], jobs: int) -> Iterator[Caught]:
    """Each in a process of its own, as they are done."""
    # Forked, so that what the engine imports from elsewhere is imported once.
    warm_up()
    context = multiprocessing.get_context("fork")
    with ExitStack() as stack:
        postgres: tuple[str, Path] | None = None
        if any(one.on_postgres for one in mutations):
            folder = RunFolder.create()
            stack.callback(folder.close)
            postgres = (start_postgres(folder).url, folder.path)
        pool = stack.enter_context(ProcessPoolExecutor(jobs, mp_context=context))
        yield from (
            done.result()
            for done in as_completed([pool.submit(_in_child, one.name, postgres) for one in mutations])
        )


def _in_child(name: str, postgres: tuple[str, Path] | None) -> Caught:
    """A pool's process lives on, so the mutant lives in a child of it."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def work() -> None:
        sender.send(try_one(_named(name), postgres))

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    sender.close()
    try:
        found: Caught = receiver.recv()
    except EOFError:
        found = Caught(mutation=name, by=None, seed=None, seeds=0, seconds=0)
    child.join()
    return found


def try_one(mutation: Mutation, postgres: tuple[str, Path] | None = None) -> Caught:
    """In this very process, which is good for nothing else afterwards. `postgres`: a server's URL and its run's folder."""
    loaded = [module for module, _, _ in mutation.changes if module in sys.modules]
    if loaded:
        raise RuntimeError(f"{loaded} cannot be changed any more")
    wrong = problems(mutation)
    if wrong:
        raise ValueError(f"{mutation.name}: {wrong}")
    sys.meta_path.insert(0, _Mutating(mutation))
    begun = time.monotonic()
    # Only now, so that they get the engine as it is changed.
    from tests.simulation.run import run
    from tests.simulation.servers import body_of

    with ExitStack() as stack:
        url: str | None = None
        if mutation.on_postgres:
            assert postgres is not None, "a mutant on Postgres needs a server"
            server = PostgresServer(postgres[0], RunFolder.join(postgres[1]), f"mutant{os.getpid()}")
            url = stack.enter_context(server.database())
        body = body_of(url, mutation.sql)
        stack.callback(body.close)
        logging.disable(logging.CRITICAL)
        tried = 0
        while tried < SEEDS_AT_MOST and time.monotonic() - begun < SECONDS_AT_MOST:
            outcome = run(mutation.first_seed + tried, body, mutation.focus)
            tried += 1
            if outcome.violations:
                return Caught(
                    mutation=mutation.name,
                    by=str(outcome.violations[0]),
                    seed=outcome.seed,
                    seeds=tried,
                    seconds=time.monotonic() - begun,
                )
    return Caught(mutation=mutation.name, by=None, seed=None, seeds=tried, seconds=time.monotonic() - begun)


def _named(name: str) -> Mutation:
    return next(one for one in MUTATIONS if one.name == name)


class _Mutating(importlib.abc.MetaPathFinder):
    """Finds the modules that are to be changed."""

    def __init__(self, mutation: Mutation) -> None:
        self._mutation = mutation

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        changes = [(old, new) for module, old, new in self._mutation.changes if module == fullname]
        if not changes:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert found is not None
        assert found.origin is not None
        return importlib.util.spec_from_loader(fullname, _MutantLoader(fullname, found.origin, changes))


class _MutantLoader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, changes: Sequence[tuple[str, str]]) -> None:
        super().__init__(fullname, path)
        self._changes = changes

    def get_code(self, fullname: str) -> CodeType:
        """Never from the cache of compiled modules, nor into it."""
        source = self.get_source(fullname)
        assert source is not None
        for old, new in self._changes:
            source = source.replace(old, new)
        return compile(source, self.path, "exec")


def warm_up() -> None:
    """What every mutant needs and none changes."""
    for name in ("sqlalchemy.dialects.postgresql", "sqlalchemy.orm", "alembic.command", "pydantic", "httpx", "aiohttp",
                 "phonenumbers", "holidays", "psycopg"):  # fmt: skip
        importlib.import_module(name)


def main(arguments: Sequence[str], say: Callable[[str], None]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names; none: all")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args(arguments)
    chosen = [one for one in MUTATIONS if not given.names or any(name in one.name for name in given.names)]
    unseen = 0
    for caught in try_all(chosen, given.jobs):
        say(str(caught))
        unseen += caught.by is None
    say(f"{len(chosen) - unseen} of {len(chosen)} mutants were seen")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], lambda line: print(line, flush=True)))
