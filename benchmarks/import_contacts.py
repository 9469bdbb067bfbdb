"""Rows per second of `contacts import`, beside a bare COPY of the same rows into the same table.

The COPY is given finished rows and does nothing but store them, so that the ratio says what reading, checking and
deduplicating cost on top, on whatever machine this runs.

    python -m benchmarks.import_contacts [--rows N] [--rounds N] [--database-url URL]
"""

import argparse
import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from benchmarks.pass_cost import postgres
from outdial.clock import SystemClock
from outdial.domain.campaign import CampaignDefinition, Purpose
from outdial.operations.imports import import_file
from outdial.storage import accounts, campaigns
from outdial.storage.database import Database, create_engine, database_now

HEADER = "external_contact_id,phone_number,email,name,language,time_zone,priority,has_prior_consent,do_not_call,city,tier"
COPIED = (
    "campaign_id, import_line, external_contact_id, identity_key, phone_number, email, name, language, attributes, "
    "consent_at, consent_kind, consent_source, calling_zone_id, priority, stage, state, next_attempt_at, created_at"
)


RATES = ("bare_copy", "import", "import_again")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rows", type=int, default=200_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--database-url", help="a Postgres server to use instead of one of our own")
    given = arguments.parse_args()
    print(json.dumps(measure(rows=given.rows, rounds=given.rounds, database_url=given.database_url)))


def measure(*, rows: int = 200_000, rounds: int = 3, database_url: str | None = None) -> dict[str, Any]:
    """The median rows per second of each, the range that it was found in, and the import's share of the bare COPY."""
    with postgres(database_url) as url, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "list.csv"
        write_list(file, rows)
        rates = rates_of(sa.make_url(url), file, rows, rounds)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    return {
        "measure": f"contacts import of {rows:,} rows, against a bare COPY of the finished rows, in rows per second",
        **{name: round(median) for name, median in medians.items()},
        **{f"{name}_range": [round(min(found)), round(max(found))] for name, found in rates.items()},
        "ratio": round(medians["import"] / medians["bare_copy"], 2),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "rounds": rounds,
    }


def rates_of(url: sa.URL, file: Path, rows: int, rounds: int) -> dict[str, list[float]]:
    engine = create_engine(url)
    database = Database(engine, SystemClock())
    database.run(prepare)
    import_file(database, file, "bench")
    finished_rows = copy_out(url)
    rates: dict[str, list[float]] = {name: [] for name in RATES}
    for _ in range(rounds):
        # Side by side in every round, for the machine has other things to do as well.
        database.run(empty)
        rates["bare_copy"].append(rows / timed(lambda: copy_in(url, finished_rows)))
        database.run(empty)
        rates["import"].append(rows / timed(lambda: import_file(database, file, "bench")))
        rates["import_again"].append(rows / timed(lambda: import_file(database, file, "bench")))
    engine.dispose()
    return rates


def write_list(file: Path, rows: int) -> None:
    chance = random.Random(1)
    with file.open("w", encoding="utf-8") as out:
        out.write(HEADER + "\n")
        for index in range(rows):
            number = f"+39{chance.choice(['320', '347', '333'])}{chance.randrange(10**7):07d}"
            out.write(f"id-{index},{number},a{index}@example.com,Ada Rossi {index},it,,0,yes,,Milano,gold\n")


def prepare(connection: sa.Connection) -> None:
    account = accounts.insert(connection, {"name": "main", "max_concurrent_calls": 1})
    definition = CampaignDefinition(
        name="bench",
        purpose=Purpose.SURVEY,
        account="main",
        default_time_zone="Europe/Rome",
        countries=("IT",),
    )
    campaigns.insert(connection, account, definition, database_now(connection))


def empty(connection: sa.Connection) -> None:
    connection.exec_driver_sql("TRUNCATE contacts, buckets, call_attempts, call_events")


def copy_out(url: sa.URL) -> list[bytes]:
    """The finished rows, as a spool in memory would hold them: the file of the COPY itself."""
    with connect(url) as connection, connection.cursor().copy(f"COPY contacts ({COPIED}) TO STDOUT") as copy:
        return [bytes(block) for block in copy]


def copy_in(url: sa.URL, blocks: list[bytes]) -> None:
    with connect(url) as connection, connection.cursor().copy(f"COPY contacts ({COPIED}) FROM STDIN") as copy:
        joined = b"".join(blocks)
        for start in range(0, len(joined), 1 << 18):
            copy.write(joined[start : start + (1 << 18)])


def connect(url: sa.URL) -> "psycopg.Connection[Any]":
    return psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))


def timed(body: Callable[[], object]) -> float:
    started = time.perf_counter()
    body()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
