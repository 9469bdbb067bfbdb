"""`outdial numbers`: the numbers that accounts show."""

from __future__ import annotations

from typing import Annotated

import typer

from outdial.cli.context import open_context
from outdial.cli.output import print_json, print_table, say

app = typer.Typer(
    help="The numbers that accounts show: use them, rest them, retire them.", no_args_is_help=True
)

Number = Annotated[str, typer.Argument(help="A number with + and country code.", metavar="NUMBER")]
Account = Annotated[str, typer.Option(help="The account that shows it.", metavar="NAME")]
Reason = Annotated[str, typer.Option(help="Why; shown in the list.")]
COLUMNS = ("account", "phone_number", "country", "state", "reason", "changed_at")


@app.command("list", epilog="Example: outdial numbers list --account main")
def list_(
    account: Annotated[str | None, typer.Option(help="Only those of this account.", metavar="NAME")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """The caller numbers of all accounts, which of them rest, and why."""
    from outdial.operations.caller_numbers import list_numbers

    with open_context() as context:
        found = context.run(list_numbers, account)
    if as_json:
        print_json([{name: row[name] for name in COLUMNS} for row in found])
        return
    print_table(
        ["account", "number", "country", "state", "reason", "since"],
        [[row[name] for name in COLUMNS] for row in found],
        empty="There are no caller numbers yet: give one with `outdial account set NAME --from NUMBER`.",
    )


@app.command(epilog="Example: outdial numbers rest +390212345678 --account main --reason 'marked as spam'")
def rest(number: Number, account: Account, reason: Reason) -> None:
    """Show a number no more for now. Calls that were claimed already may still show it, for a second."""
    from outdial.operations.caller_numbers import rest as rest_number

    with open_context() as context:
        has_changed = context.run(rest_number, account, number, reason)
    say(f"{number} rests{'' if has_changed else ', as it did'}.")


@app.command(epilog="Example: outdial numbers use +390212345678 --account main")
def use(number: Number, account: Account) -> None:
    """Show a number again that rested or was retired, or take a new one into the list."""
    from outdial.operations.caller_numbers import use as use_number

    with open_context() as context:
        has_changed = context.run(use_number, account, number)
    say(f"{number} is in use{'' if has_changed else ', as it was'}.")


@app.command(epilog="Example: outdial numbers retire +390212345678 --account main --reason 'given back'")
def retire(number: Number, account: Account, reason: Reason) -> None:
    """Show a number never again, whatever the account's settings do: only `outdial numbers use` brings it back."""
    from outdial.operations.caller_numbers import retire as retire_number

    with open_context() as context:
        has_changed = context.run(retire_number, account, number, reason)
    say(f"{number} is retired{'' if has_changed else ', as it was'}.")
