"""A demo from an empty folder to its summary, by the same operations that the commands call."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from rich.console import Console

from outdial.bootstrap import ADAPTERS
from outdial.clock import Clock
from outdial.demo.children import Child, Children, DemoFailed, free_port
from outdial.demo.files import ACCOUNT, FROM_NUMBER, DemoFiles, write_files
from outdial.demo.plan import DemoPlan
from outdial.demo.readings import Readings
from outdial.demo.reckoning import CampaignBook, Check, compare, read_books
from outdial.demo.screens import Screen
from outdial.demo.view import History
from outdial.operations.accounts import set_account
from outdial.operations.campaign_file import load_campaign_file
from outdial.operations.campaigns import apply_campaign, start
from outdial.operations.exclusions import Terms, add as add_exclusions
from outdial.operations.import_listeners import Listeners
from outdial.operations.imports import Counts, import_file
from outdial.operations.rejections import Rejection
from outdial.simulator.ledger import read_ledger
from outdial.storage import migrate
from outdial.storage.database import Database, create_engine

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
            _say(console, f"Everything is in {folder} and on this machine; all numbers are fictional.")
            provider = _start_provider(children, plan, folder, ledger_path)
            migrate.upgrade(url)
            files = write_files(folder, plan.contacts)
            base_url = provider.wait_for_line(r"simulated provider listening on (http://\S+)\n")[1]
            _say(console, f"Simulated provider: {base_url}")
            _set_account(database, plan, folder, base_url)
            service = _start_service(children, url)
            rows = _bring_in(database, files, console)
            for name in rows:
                database.run(start, name)
            service.wait_for_line(r"outdial listening on http://\S+\n")
            _watch(plan, url, children, screen, clock)
            children.stop()
        books = read_books(database, rows)
        checks = compare(
            books,
            read_ledger(ledger_path),
            lines=plan.lines,
            calls_per_second=plan.calls_per_second,
            never_call=files.never_call,
        )
        return DemoResult(books=books, checks=checks)
    finally:
        engine.dispose()


def _start_provider(children: Children, plan: DemoPlan, folder: Path, ledger_path: Path) -> Child:
    """Its secrets are made up, and lie in files of the folder."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    made = {"api_key": secrets.token_urlsafe(16), "webhook_secret": secret}
    for name, value in made.items():
        (folder / name).write_text(value, encoding="utf-8")
    settings = {**plan.simulator_settings(), **made, "ledger_path": str(ledger_path)}
    return children.start("provider", "outdial.simulator", json.dumps(settings))


def _set_account(database: Database, plan: DemoPlan, folder: Path, base_url: str) -> None:
    database.run(
        set_account,
        ACCOUNT,
        known_adapters=tuple(ADAPTERS),
        adapter="http",
        base_url=base_url,
        api_key=f"file:{folder / 'api_key'}",
        webhook_secret=f"file:{folder / 'webhook_secret'}",
        max_concurrent_calls=plan.lines,
        calls_per_second=plan.calls_per_second,
        outbound_number=FROM_NUMBER,
    )


def _start_service(children: Children, url: str) -> Child:
    """`outdial serve` with a worker: on SQLite one process does all."""
    port = free_port()
    settings = {"DATABASE_URL": url, "OUTDIAL_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    arguments = ("serve", "--with-worker", "--port", str(port))
    return children.start("service", "outdial", *arguments, settings=settings)


def _bring_in(database: Database, files: DemoFiles, console: Console) -> dict[str, Counts]:
    """Campaigns, exclusions and lists; what was wrong in the lists is told. Returns the counts by campaign."""
    definitions = [load_campaign_file(path) for path in files.campaigns]
    for definition in definitions:
        database.run(apply_campaign, definition)
    terms = Terms(reason="asked us not to call", source="demo")
    database.run(add_exclusions, [files.opted_out], terms)
    counts = {}
    for definition, path in zip(definitions, files.lists, strict=True):
        rejections: list[Rejection] = []
        imported = import_file(
            database, path, definition.name, listeners=Listeners(rejection=rejections.append)
        )
        counts[definition.name] = imported.counts
        _say(console, _imported(path.name, imported.counts))
        for rejection in rejections:
            _say(console, f"  {rejection}")
    return counts


def _imported(name: str, counts: Counts) -> str:
    return (
        f"{name}: {counts.rows:,} rows, {counts.accepted:,} accepted ({counts.excluded} of them not to be called), "
        f"{counts.rejected} rejected, {counts.repeated} repeated"
    )


def _say(console: Console, text: str) -> None:
    # As it is: Rich would color its numbers, take brackets for markup, and fold it in a file too.
    console.print(text, soft_wrap=not console.is_terminal, highlight=False, markup=False)


def _watch(plan: DemoPlan, url: str, children: Children, screen: Screen, clock: Clock) -> None:
    """Show how it goes until both campaigns are over."""
    history = History(plan)
    begun_at = clock.monotonic()
    with Readings(url) as readings, screen:
        while True:
            read_at = clock.monotonic()
            history.add(read_at - begun_at, readings.read())
            screen.show(history)
            if history.latest.is_over:
                return
            children.check()
            if history.seconds > plan.time_limit_seconds:
                raise DemoFailed(_too_slow(plan, history))
            took = clock.monotonic() - read_at
            clock.sleep(max(READ_EVERY_SECONDS - took, took / READING_SHARE))


def _too_slow(plan: DemoPlan, history: History) -> str:
    waiting = sum(progress.total for progress in history.latest.campaigns) - history.done
    return (
        f"after {plan.time_limit_seconds:.0f} seconds {waiting:,} contacts still waited: "
        "perhaps the machine is too busy; try fewer --contacts. What happened is in service.log."
    )
