"""Runs the measurements and prints each as a line of JSON, with the machine and the versions that made it.

python -m benchmarks [pass_cost] [--database-url URL] [--big N]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version

from benchmarks import pass_cost

MEASURES = {"pass_cost": pass_cost.measure}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("measure", nargs="*", choices=[*MEASURES, []], help="which; all without a name")
    parser.add_argument("--database-url", help="a Postgres server to use instead of one of our own")
    parser.add_argument("--big", type=int, default=1_000_000, help="contacts in the large table")
    arguments = parser.parse_args()
    machine = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "sqlalchemy": version("sqlalchemy"),
        "psycopg": version("psycopg"),
    }
    print(json.dumps({"machine": machine}))
    for name in arguments.measure or MEASURES:
        print(f"measuring {name} …", file=sys.stderr)
        print(json.dumps(MEASURES[name](big=arguments.big, database_url=arguments.database_url)))


if __name__ == "__main__":
    main()
