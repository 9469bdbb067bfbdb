"""`outdial exclusions`: the list of numbers that are never called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outdial.cli.context import Context, open_context
from outdial.cli.import_report import ImportReport
from outdial.cli.output import print_json, print_table, say
from outdial.cli.person import person

if TYPE_CHECKING:
    from outdial.operations.exclusions import Standing, Terms

app = typer.Typer(help="Numbers that are never called (do not call).", no_args_is_help=True)

Campaign = Annotated[
    str | None, typer.Option(help="For this campaign only.", metavar="NAME", show_default="for all")
]
Reason = Annotated[str, typer.Option(help="Why, for whoever asks later.")]
Expires = Annotated[
    str | None,
    typer.Option(
        help="The last day, or an instant with its offset.", metavar="WHEN", show_default="for good"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


@app.command(
    epilog="Example: outdial exclusions add +390212345678 --reason 'asked by mail' --expires 2027-12-31"
)
def add(
    numbers: Annotated[list[str], typer.Argument(help="Numbers with + and country code.", metavar="NUMBER…")],
    campaign: Campaign = None,
    reason: Reason = "requested",
    expires: Expires = None,
    as_json: Json = False,
) -> None:
    """Exclude numbers: once this has answered, no call to them starts.

    Contacts who wait with such a number become excluded, and stay so.
    """
    from outdial.operations import exclusions

    terms = _terms(reason, f"by {person()}", campaign, expires)
    with open_context() as context:
        done = context.run(exclusions.add, numbers, terms)
        _let_it_take_effect(context)
    if as_json:
        print_json(asdict(done))
        return
    say(
        f"Newly excluded: {done.entries} of {len(numbers)}. Waiting contacts taken out of the queue: {done.contacts}."
    )


@app.command(epilog="Example: outdial exclusions remove +390212345678 --reason 'consented on 2027-03-01'")
def remove(
    number: Annotated[str, typer.Argument(help="A number with + and country code.")],
    reason: Annotated[str, typer.Option(help="Why it may be called again; kept as evidence.")],
    campaign: Campaign = None,
    as_json: Json = False,
) -> None:
    """Let a number be called again. Its entries are kept, with when and why they ended.

    Contacts that were excluded stay excluded.
    """
    from outdial.operations import exclusions

    with open_context() as context:
        standing = context.run(exclusions.remove, number, by=person(), why=reason, campaign=campaign)
    _print_standing(standing, as_json=as_json)


@app.command(epilog="Example: outdial exclusions check +390212345678")
def check(
    number: Annotated[str, typer.Argument(help="A number with + and country code.")], as_json: Json = False
) -> None:
    """Whether a number is excluded, with every entry that it has or had."""
    from outdial.operations import exclusions

    with open_context() as context:
        standing = context.run(exclusions.check, number)
    _print_standing(standing, as_json=as_json)


@app.command("import", epilog="Example: outdial exclusions import opt-outs.csv --reason 'national register'")
def import_(
    file: Annotated[
        Path, typer.Argument(help="A CSV file with a column phone_number, or one number a line.")
    ],
    campaign: Campaign = None,
    reason: Reason = "requested",
    expires: Expires = None,
    rejects: Annotated[
        Path | None, typer.Option(help="Write the rejected rows to this CSV file.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Exclude the numbers of a file: once this has answered, no call to them starts.

    The same file can be imported again at any time.

    Exit code: 1 if every row was rejected, 2 if the file cannot be used.
    """
    from outdial.operations import exclusions

    terms = _terms(reason, f"file {file.name}", campaign, expires)
    report = ImportReport(file, rejects)
    with open_context() as context:
        with report.listening() as listeners:
            counts = exclusions.import_file(context.database, file, terms, listeners=listeners)
        _let_it_take_effect(context)
    summary = {
        "rows": counts.rows,
        "newly_excluded": counts.added,
        "already_there": counts.already_there,
        "rejected": counts.rejected,
        "waiting_contacts_excluded": counts.contacts,
    }
    report.print(summary, counts.rejected, as_json=as_json)
    if counts.rejected and counts.rejected == counts.rows:
        raise typer.Exit(1)


def _terms(reason: str, source: str, campaign: str | None, expires: str | None) -> Terms:
    from outdial.operations.exclusions import Terms, expiry_of

    expires_at = None if expires is None else expiry_of(expires)
    return Terms(reason=reason, source=source, campaign=campaign, expires_at=expires_at)


def _let_it_take_effect(context: Context) -> None:
    """Wait until no call can start any more on a check that was made before our commit."""
    from outdial.operations.campaigns import SETTLE_SECONDS

    context.clock.sleep(SETTLE_SECONDS)


def _print_standing(standing: Standing, *, as_json: bool) -> None:
    if as_json:
        entries = [_document(entry) for entry in standing.entries]
        excluded = bool(standing.in_force)
        print_json({"phone_number": standing.phone_number, "is_excluded": excluded, "entries": entries})
        return
    scopes = sorted({entry["campaign"] or "" for entry in standing.in_force})
    if not scopes:
        say(f"{standing.phone_number} is not excluded.")
    elif "" in scopes:
        say(f"{standing.phone_number} is excluded everywhere.")
    else:
        say(f"{standing.phone_number} is excluded for {', '.join(scopes)}.")
    if standing.entries:
        print_table(
            ["since", "for", "reason", "source", "until", "removed", "why"],
            [
                (
                    entry["since"],
                    entry["campaign"] or "all",
                    entry["reason"],
                    entry["source"],
                    entry["expires_at"],
                    entry["removed_at"],
                    entry["removed_why"],
                )
                for entry in standing.entries
            ],
            empty="",
        )


def _document(entry: Mapping[str, Any]) -> dict[str, Any]:
    names = ("since", "campaign", "reason", "source", "expires_at", "removed_at", "removed_by", "removed_why")
    return {name: entry[name] for name in names}
