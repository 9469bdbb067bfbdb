"""`outdial db recover`: a restored database learns which calls were made since its backup."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outdial.cli.context import Context, open_context
from outdial.cli.output import print_json, print_table, say, warn
from outdial.domain.errors import UserError

if TYPE_CHECKING:
    from datetime import datetime

    from outdial.domain.account import Account
    from outdial.engine.adopt import Adopted, Told

AT_ONCE: Final = 200


def recover(
    since: Annotated[
        str | None,
        typer.Option(help="When the backup was taken, with its offset.", metavar="INSTANT"),
    ] = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Settle what awaits a person's word, by what is known now.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts; needs --yes.")] = False,
) -> None:
    """After the database was restored from a backup: take in the calls that were made since, and hold who was called.

    It stops everything, asks each provider which calls its account has made since, and writes down those that the
    database does not know. Nobody who was called since is called again before --confirm. Repeating it is harmless.

    Exit code: 1 if a provider could not be asked; then run it again.

    Example: outdial db recover --since 2026-11-23T18:00:00Z
    """
    if confirm == (since is not None):
        raise UserError("Say one of --since INSTANT and --confirm.")
    if as_json and not yes:
        raise UserError("--json asks nothing: add --yes.")
    with open_context() as context:
        if confirm:
            _confirm(context, yes=yes, as_json=as_json)
        elif since is not None and not _recover(context, since, yes=yes, as_json=as_json):
            raise typer.Exit(1)


def _recover(context: Context, given: str, *, yes: bool, as_json: bool) -> bool:
    from outdial.operations import recovery, stops
    from outdial.storage.database import database_now

    since = recovery.instant_of(given, context.run(database_now))
    _ask(
        f"This stops all calls of {context.settings.shown_database_url}, and asks the providers what was called since "
        f"{since:%Y-%m-%d %H:%M:%S} UTC. Go on?",
        yes=yes,
    )
    context.run(recovery.begin, since)
    # A call whose last check came before our commit may still be leaving.
    context.clock.sleep(stops.SETTLE_SECONDS)
    warn(
        "note: everything is stopped. Workers may run meanwhile, if it is this database that they are connected to: "
        "one that still dials from another copy is to be ended first."
    )
    accounts = context.run(recovery.all_accounts)
    found = {account.name: _take_in(context, account, since) for account in accounts}
    paused = {
        account.name: context.run(recovery.pause_campaigns, account.id, since)
        for account in accounts
        if not found[account.name].can_list
    }
    document = _document(context, since, found, paused)
    if as_json:
        print_json(document)
    else:
        _say(document)
    return all(one.why_not is None or not one.can_list for one in found.values())


def _take_in(context: Context, account: Account, since: datetime) -> Adopted:
    with _counter(account.name) as told:
        return asyncio.run(_adopt(context, account, since, told))


async def _adopt(context: Context, account: Account, since: datetime, told: Told) -> Adopted:
    from outdial.bootstrap import AccountProviders
    from outdial.engine.adopt import Adopted, adopt_calls
    from outdial.engine.definitions import Definitions
    from outdial.engine.transactions import Transactions
    from outdial.operations.recovery import MARGIN
    from outdial.telephony.caller import caller_for
    from outdial.telephony.transport import AsyncTransport

    try:
        provider = AccountProviders(context.settings).provider_for(account)
    except UserError as error:
        return Adopted(why_not=str(error))
    async with AsyncTransport() as transport:
        return await adopt_calls(
            Transactions(context.database),
            account.id,
            caller_for(provider, transport, None),
            since - MARGIN,
            Definitions(),
            because="db recover",
            awaits_confirmation=True,
            told=told,
        )


def _confirm(context: Context, *, yes: bool, as_json: bool) -> None:
    from outdial.engine.adopt import confirm
    from outdial.engine.definitions import Definitions
    from outdial.operations import recovery, stops

    waiting = context.run(recovery.awaiting)
    if waiting.attempts:
        _ask(
            f"{waiting.attempts} calls are settled by what is known of them now; who was not reached may be called "
            "again. Go on?",
            yes=yes,
        )
    known = Definitions()
    done = 0
    while taken := context.run(confirm, known, AT_ONCE):
        done += taken
    stopped = context.run(stops.stop_of_everything)
    if as_json:
        print_json({"confirmed": done, "still_open": waiting.still_open, "is_stopped": stopped is not None})
        return
    say(
        f"Confirmed: {done} calls"
        + (
            f", of which {waiting.still_open} are open and are settled when they end."
            if waiting.still_open
            else "."
        )
    )
    if stopped is not None:
        say("To go on: outdial resume --all")


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError("Nobody is there to be asked: add --yes.")
    typer.confirm(question, abort=True)


def _document(
    context: Context, since: datetime, found: dict[str, Adopted], paused: dict[str, list[str]]
) -> dict[str, Any]:
    from outdial.operations import recovery

    waiting = context.run(recovery.awaiting)
    to_repeat = [name for name, one in found.items() if one.can_list and one.why_not is not None]
    steps = [
        *(f"account {name}: mend what it says, and run `outdial db recover` again" for name in to_repeat),
        *(
            f"account {name}: find who was called in the provider's own records, exclude or withdraw them, then "
            "`outdial campaign resume` each"
            for name in paused
        ),
        "look at the calls taken in, and mend what is lost",
        "outdial db recover --confirm",
        "outdial resume --all",
    ]
    return {
        "since": since,
        "accounts": [
            {
                "account": name,
                "can_list": one.can_list,
                "listed": one.listed,
                "known": one.known,
                "taken_in": one.adopted,
                "of_unknown_numbers": one.strangers,
                "still_open": one.still_open,
                "why_not": one.why_not,
                "paused_campaigns": paused.get(name, []),
            }
            for name, one in found.items()
        ],
        "awaiting_confirmation": waiting.attempts,
        "still_open": waiting.still_open,
        "may_be_lost": list(recovery.LOST),
        "next_steps": steps,
    }


def _say(document: dict[str, Any]) -> None:
    names = ("account", "listed", "known", "taken_in", "of_unknown_numbers", "still_open")
    titles = ("account", "calls since", "known", "taken in", "to unknown numbers", "still open")
    rows = [tuple(one[name] for name in names) for one in document["accounts"]]
    print_table(titles, rows, empty="There is no account.")
    for one in document["accounts"]:
        if one["why_not"] is not None:
            could_not = "could not be asked" if one["can_list"] else "cannot list its calls"
            say(f"The provider of account {one['account']} {could_not}: {one['why_not']}.")
        if one["paused_campaigns"]:
            say(f"Paused, since nobody can say whom they called: {', '.join(one['paused_campaigns'])}.")
    say("")
    say(
        f"{document['awaiting_confirmation']} calls wait to be confirmed, {document['still_open']} of them are open "
        "still. Nobody whom they were made to is called before."
    )
    for title, lines in (
        ("What may be lost, and no provider can tell:", document["may_be_lost"]),
        ("Next:", document["next_steps"]),
    ):
        say("")
        say(title)
        for line in lines:
            say(f"  - {line}")


@contextmanager
def _counter(account: str) -> Iterator[Told]:
    """How far it has come, for who watches; nothing for a pipe."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(f"account {account}: asking")
        yield lambda words: bar.update(task, description=f"account {account}: {words}")
