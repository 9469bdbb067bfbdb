"""`outdial doctor`: what is wrong with this installation, all of it at once, with the cures."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outdial.cli.output import print_json, print_table, say
from outdial.domain.errors import SettingsError, UserError

if TYPE_CHECKING:
    from outdial.clock import Clock
    from outdial.domain.account import Account
    from outdial.domain.rules import RuleBook
    from outdial.operations.doctor import Check
    from outdial.settings import Settings
    from outdial.storage.database import Database


def doctor(as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False) -> None:
    """Look over the whole installation: program, settings, database, accounts, workers, campaigns.

    Nothing is written and no provider is asked. Exit code: 1 if a check fails, warnings are none.

    Example: outdial doctor
    """
    from outdial.clock import SystemClock
    from outdial.observability import redact
    from outdial.operations.doctor import Verdict

    found = [
        # What a person gave as a reason may hold anything.
        replace(one, says=redact(one.says), cure=None if one.cure is None else redact(one.cure))
        for one in _checks(SystemClock())
    ]
    failed = sum(one.verdict is Verdict.FAIL for one in found)
    if as_json:
        print_json({"is_well": not failed, "checks": [asdict(one) for one in found]})
    else:
        rows = [(one.name, one.verdict, one.says, one.cure) for one in found]
        print_table(["check", "verdict", "found", "cure"], rows, empty="")
        warned = sum(one.verdict is Verdict.WARN for one in found)
        say("")
        say(f"{len(found) - failed - warned} well, {warned} to look at, {failed} to mend.")
    if failed:
        raise typer.Exit(1)


def _checks(clock: Clock) -> Iterator[Check]:
    from outdial.operations.doctor import Check, Verdict, check_program, passed
    from outdial.settings import load_settings

    yield from check_program(clock.now().date())
    yield _own_rules()
    try:
        settings = load_settings()
    except SettingsError as error:
        # Its message shows values, and one may be a phone number: the names are enough to find them.
        names = ", ".join(line.split(" ", 1)[0] for line in str(error).splitlines())
        yield Check(
            name="settings",
            verdict=Verdict.FAIL,
            says=f"wrong: {names}",
            cure="`outdial db check` says what each of them must be; nothing behind them could be checked.",
        )
        return
    yield passed("settings", "readable")
    yield from _of_database(settings, clock)


def _own_rules() -> Check:
    from outdial.operations.doctor import Check, Verdict, passed
    from outdial.settings import own_rules_file

    path = own_rules_file()
    book = _book()
    if book is None:
        return Check(
            name="own rules",
            verdict=Verdict.FAIL,
            says=f"{path} cannot be used",
            cure="`outdial rules list` says what is wrong in the file that OUTDIAL_RULES_FILE names.",
        )
    return passed("own rules", f"{'none' if path is None else path}, {len(book.rules)} rules in all")


def _book() -> RuleBook | None:
    from outdial.files.rule_file import load_rule_book
    from outdial.settings import own_rules_file

    try:
        return load_rule_book(own_rules_file())
    except UserError:
        return None


def _of_database(settings: Settings, clock: Clock) -> Iterator[Check]:
    import sqlalchemy as sa

    from outdial.operations.doctor import Check, Verdict
    from outdial.storage.database import Database, create_engine

    url = sa.make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        # To look would make it.
        yield Check(
            name="database",
            verdict=Verdict.FAIL,
            says=f"{settings.shown_database_url} is not there",
            cure="Run `outdial init --deployment NAME`, or set DATABASE_URL to the one that is meant.",
        )
        return
    try:
        engine = create_engine(settings.database_url, settings.db_schema)
    except UserError as error:
        yield Check(
            name="database",
            verdict=Verdict.FAIL,
            says=str(error),
            cure="Mend OUTDIAL_DB_SCHEMA or DATABASE_URL.",
        )
        return
    try:
        yield from _of_reachable(Database(engine, clock), settings)
    except (sa.exc.DBAPIError, sqlite3.Error):
        yield Check(
            name="database",
            verdict=Verdict.FAIL,
            says=f"{settings.shown_database_url} cannot be used",
            cure="Check DATABASE_URL, and that the database is up and lets you in; `outdial db check` says what it answers.",
        )
    finally:
        engine.dispose()


def _of_reachable(database: Database, settings: Settings) -> Iterator[Check]:
    from outdial.bootstrap import AccountProviders, fence_of
    from outdial.operations.doctor import Verdict, check_installation, check_schema

    providers = AccountProviders(settings)

    def what_is_missing(account: Account) -> str | None:
        try:
            providers.adapter_for(account)
            providers.callback_url_for(account)
        except SettingsError as error:
            return str(error)
        return None

    schema = database.run(lambda connection: list(check_schema(connection)))
    yield from schema
    if all(one.verdict is not Verdict.FAIL for one in schema):
        yield from database.run(
            lambda connection: list(
                check_installation(connection, fence_of(settings), what_is_missing, _book())
            )
        )
