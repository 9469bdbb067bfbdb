"""Runs the measurements and prints each as a line of JSON, with the machine and the versions that made it.

python -m benchmarks [pass_cost] [many_zones] [import_contacts] [preview] [soak] [--database-url URL] [--big N]
    [--rows N] [--rounds N] [--minutes N]

Exit code: 1 if a measurement found something broken.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from benchmarks import import_contacts, many_zones, pass_cost, preview, soak

# Each with the argument that says how large it is.
MEASURES: dict[str, tuple[Callable[..., dict[str, Any]], str]] = {
    "pass_cost": (pass_cost.measure, "big"),
    "many_zones": (many_zones.measure, "rounds"),
    "import_contacts": (import_contacts.measure, "rows"),
    "preview": (preview.measure, "big"),
    "soak": (soak.measure, "minutes"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("measure", nargs="*", choices=[*MEASURES, []], help="which; all without a name")
    parser.add_argument("--database-url", help="a Postgres server to use instead of one of our own")
    parser.add_argument("--big", type=int, default=1_000_000, help="contacts in the large table")
    parser.add_argument("--rows", type=int, default=200_000, help="rows in the imported file")
    parser.add_argument("--rounds", type=int, default=30, help="claims over one zone and over many")
    parser.add_argument("--minutes", type=int, default=60, help="simulated minutes of the soak")
    arguments = parser.parse_args()
    machine = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "sqlalchemy": version("sqlalchemy"),
        "psycopg": version("psycopg"),
    }
    print(json.dumps({"machine": machine}))
    is_broken = False
    for name in arguments.measure or MEASURES:
        print(f"measuring {name} …", file=sys.stderr)
        measure, size = MEASURES[name]
        sizes = {size: getattr(arguments, size)}
        found = measure(**sizes, database_url=arguments.database_url)
        is_broken = is_broken or bool(found.get("broken"))
        print(json.dumps(found))
    return 1 if is_broken else 0


if __name__ == "__main__":
    sys.exit(main())
