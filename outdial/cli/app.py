"""The tree of commands. Importing it is cheap: each command imports what it needs when it runs."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Annotated

import typer

from outdial import __version__
from outdial.cli import account, calls, campaign, contacts, db, exclusions, numbers, results, rules
from outdial.cli.audit import audit
from outdial.cli.demo import demo
from outdial.cli.doctor import doctor
from outdial.cli.init import init
from outdial.cli.output import say
from outdial.cli.run import run
from outdial.cli.serve import serve
from outdial.cli.stop import resume, stop


def _say_version(is_asked: bool) -> None:
    if is_asked:
        say(f"outdial {__version__}")
        raise typer.Exit


app = typer.Typer(
    epilog="To see it work: outdial demo",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", help="The version of Outdial.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Outbound call campaigns: never a wrong call, never an idle line, never a riddle."""


app.add_typer(db.app, name="db")
app.add_typer(account.app, name="account")
app.add_typer(campaign.app, name="campaign")
app.add_typer(contacts.app, name="contacts")
app.add_typer(calls.app, name="calls")
app.add_typer(numbers.app, name="numbers")
app.add_typer(results.app, name="results")
app.add_typer(rules.app, name="rules")
app.add_typer(exclusions.app, name="exclusions")
app.add_typer(exclusions.app, name="dnc", help="The same as `outdial exclusions`.")
app.command(epilog="Example: outdial audit --since 7d")(audit)
app.command()(demo)
app.command()(init)
app.command()(doctor)
app.command()(run)
app.command()(stop)
app.command()(resume)
app.command()(serve)
with suppress(ModuleNotFoundError):
    app.command("simulate-provider")(import_module("outdial.cli.simulate").simulate_provider)
