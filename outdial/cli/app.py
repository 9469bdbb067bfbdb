"""The tree of commands. Importing it is cheap: each command imports what it needs when it runs."""

from __future__ import annotations

from importlib import import_module

import typer

from outdial.cli import account, calls, campaign, db, results
from outdial.cli.run import run
from outdial.cli.serve import serve

app = typer.Typer(
    help="Outbound call campaigns: never a wrong call, never an idle line, never a riddle.",
    epilog="To see it work: outdial demo",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(db.app, name="db")
app.add_typer(account.app, name="account")
app.add_typer(campaign.app, name="campaign")
app.add_typer(calls.app, name="calls")
app.add_typer(results.app, name="results")
app.command()(run)
app.command()(serve)


def _later(module: str, attribute: str) -> object | None:
    try:
        found: object = getattr(import_module(module), attribute)
        return found
    except ModuleNotFoundError:
        return None


for _module, _names in (
    ("outdial.cli.contacts", ("contacts",)),
    ("outdial.cli.exclusions", ("exclusions", "dnc")),
):
    _sub = _later(_module, "app")
    if isinstance(_sub, typer.Typer):
        for _name in _names:
            app.add_typer(_sub, name=_name)
for _module, _function in (("outdial.cli.demo", "demo"), ("outdial.cli.simulate", "simulate_provider")):
    _command = _later(_module, _function)
    if callable(_command):
        app.command()(_command)
