"""A demo from an empty folder to its summary, by the same operations that the commands call."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from rich.console import Console

from outdial.bootstrap import ADAPTERS
from outdial.clock import Clock
from outdial.demo.children import Children, DemoFailed, free_port
from outdial.demo.files import ACCOUNT, FROM_NUMBER, DemoFiles, write_files
from outdial.demo.plan import DemoPlan
from outdial.demo.readings import Readings
from outdial.demo.reckoning import CampaignBook, Check, compare, read_books
from outdial.demo.screens import Screen
from outdial.demo.view import History
from outdial.operations.accounts import set_account
from outdial.operations.campaign_file import load_campaign_file
from outdial.operations.campaigns import apply_campaign, start
from outdial.operations.imports import Counts, Listeners, import_file
from outdial.operations.rejections import Rejection
from outdial.simulator.ledger import read_ledger
from outdial.storage import exclusions, migrate
from outdial.storage.database import Database, create_engine, database_now

READ_EVERY_SECONDS: Final = 0.25
# Reading takes at most such a share of a core, however long the lists are.
READING_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    books: Sequence[CampaignBook]
    checks: Sequence[Check]

    @property
    def agrees(self) -> bool:
        return all(check.difference is None for check in self.checks)


def run_demo(plan: DemoPlan, folder: Path, console: Console, screen: Screen, clock: Clock) -> DemoResult:
    """Everything lies in `folder`, everything runs on this machine. Raises `DemoFailed`."""
    url = sa.URL.create("sqlite", database=str(folder / "outdial.sqlite3")).render_as_string()
    ledger_path = folder / "ledger.ndjson"
    engine = create_engine(url)
    database = Database(engine, clock)
    try:
        with Children(folder, clock) as children:
            base_url = _start_provider(children, plan, folder, ledger_path)
            migrate.upgrade(url)
            console.print(f"database          {url}", soft_wrap=True, highlight=False)
            console.print(f"simulated provider at {base_url}", soft_wrap=True, highlight=False)
            _set_account(database, plan, folder, base_url)
            service = _start_service(children, url)
            files = write_files(folder, plan.contacts)
            rows = _bring_in(database, files, console)
            service.wait_for_line(r"outdial listening on http://\S+")
            for name in rows:
                database.run(start, name)
            _watch(plan, url, children, screen, clock)
            children.stop()
        books = read_books(database, rows)
        checks = compare(
            books,
            read_ledger(ledger_path),
            lines=plan.lines,
            calls_per_second=plan.calls_per_second,
            never_call={files.opted_out},
        )
        return DemoResult(books=books, checks=checks)
    finally:
        engine.dispose()
