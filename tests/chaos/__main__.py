"""`python -m tests.chaos`: an installation under kills, stalls, crashes and a faulty provider, seed by seed.

Each seed prints a line. A broken promise prints what is broken, where the story and the logs are, and how to repeat it.
"""

from __future__ import annotations

import argparse
import secrets
import sys

from tests.chaos.run import run_seed
from tests.support.postgres_process import PostgresUnavailable, start_postgres
from tests.support.run_folder import RunFolder


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="the first seed; by default any")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of blows; the time to run out comes after"
    )
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="story and logs, of good runs too")
    arguments = parser.parse_args()
    if arguments.seeds < 1 or arguments.workers < 1 or arguments.seconds < 1:
        parser.error("--seeds, --workers and --seconds must be 1 or more")
    first = secrets.randbelow(10_000) if arguments.seed is None else arguments.seed
    run_folder = RunFolder.create()
    failed = []
    try:
        postgres = start_postgres(run_folder)
        for seed in range(first, first + arguments.seeds):
            verdict = run_seed(
                seed, arguments.seconds, arguments.workers, postgres, run_folder, keep=arguments.keep
            )
            print(verdict, flush=True)
            if verdict.folder is not None:
                print(f"    story and logs: {verdict.folder}", flush=True)
            if verdict.broken:
                failed.append(seed)
                print(*(f"    {sentence}" for sentence in verdict.broken), sep="\n")
                again = f"--seed {seed} --seconds {arguments.seconds:g} --workers {arguments.workers}"
                print(f"    again: python -m tests.chaos {again}", flush=True)
        postgres.stop("immediate")
    except PostgresUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        run_folder.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
