"""`outdial exclusions`: the list of numbers and persons that are never called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outdial.cli.context import Context, open_context
from outdial.cli.import_report import ImportReport
from outdial.cli.output import print_json, print_table, say
from outdial.cli.person import person

if TYPE_CHECKING:
    from outdial.operations.exclusions import Standing, Terms

app = typer.Typer(help="Numbers and persons that are never called (do not call).", no_args_is_help=True)

Campaign = Annotated[
    str | None, typer.Option(help="For this campaign only.", metavar="NAME", show_default="for all")
]
Workspace = Annotated[bool, typer.Option("--workspace", help="For the campaigns of this workspace only.")]
Person = Annotated[
    str | None, typer.Option("--person", help="A person's key, as lists have it.", metavar="KEY")
]
Number = Annotated[str | None, typer.Argument(help="A number with + and country code.", show_default=False)]
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
    numbers: Annotated[
        list[str] | None, typer.Argument(help="Numbers with + and country code.", metavar="NUMBER…")
    ] = None,
    *,
    person_key: Annotated[
        list[str] | None,
        typer.Option(
            "--person",
            help="A person's key: excluded with all their numbers. May be repeated.",
            metavar="KEY",
        ),
    ] = None,
    campaign: Campaign = None,
    workspace: Workspace = False,
    reason: Reason = "requested",
    expires: Expires = None,
    as_json: Json = False,
) -> None:
    """Exclude numbers or persons: once this has answered, no call to them starts.

    Contacts who wait with such a number become excluded, and stay so.
    """
    from outdial.operations import exclusions

    terms = _terms(reason, f"by {person()}", campaign, workspace, expires)
    numbers, person_keys = numbers or [], person_key or []
    with open_context() as context:
        done = context.run(exclusions.add, numbers, terms, person_keys=person_keys)
        _let_it_take_effect(context)
    if as_json:
        print_json(asdict(done))
        return
    say(
        f"Newly excluded: {done.entries} of {len(numbers) + len(person_keys)}. "
        f"Waiting contacts taken out of the queue, for good: {done.contacts}."
    )


@app.command(epilog="Example: outdial exclusions remove +390212345678 --reason 'consented on 2027-03-01'")
def remove(
    number: Number = None,
    *,
    reason: Annotated[str, typer.Option(help="Why it may be called again; kept as evidence.")],
    person_key: Person = None,
    campaign: Campaign = None,
    workspace: Workspace = False,
    as_json: Json = False,
) -> None:
    """Let a number or a person be called again: ends what was added with the same --campaign or --workspace.

    The entries are kept, with when, by whom and why they ended. Contacts that
    were excluded stay excluded.
    """
    from outdial.operations import exclusions

    with open_context() as context:
        standing = context.run(
            exclusions.remove,
            number,
            by=person(),
            why=reason,
            person_key=person_key,
            campaign=campaign,
            workspace=workspace,
        )
    if not as_json:
        say(
            f"Entries ended: {standing.removed}."
            if standing.removed
            else "No such entry was there to be ended."
        )
        for entry in standing.in_force:
            say(f"Still in force: {_key(entry)}, for {_reach(entry)}. {_cure(entry)}")
    _print_standing(standing, as_json=as_json)


@app.command("check", hidden=True, epilog="Example: outdial exclusions check +390212345678")
@app.command(epilog="Example: outdial exclusions show +390212345678")
def show(
    number: Number = None,
    person_key: Person = None,
    as_json: Json = False,
) -> None:
    """Whether a number or a person may be called, with every entry that there is or was.

    Of a number also those of the persons whose it is, as contacts say.
    """
    from outdial.operations import exclusions

    with open_context() as context:
        standing = context.run(exclusions.check, number, person_key=person_key)
    _print_standing(standing, as_json=as_json)


@app.command("import", epilog="Example: outdial exclusions import opt-outs.csv --reason 'national register'")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="A CSV file with a column phone_number or person_key, or one number a line.",
            show_default=False,
        ),
    ],
    *,
    campaign: Campaign = None,
    workspace: Workspace = False,
    reason: Reason = "requested",
    expires: Expires = None,
    region: Annotated[
        str | None,
        typer.Option(
            help="The country whose national numbers are meant where none is given, such as IT.",
            metavar="CC",
            show_default="refuse them",
        ),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="Which column is which; may be repeated.", metavar="TARGET=COLUMN"),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be excluded, and write nothing.")] = False,
    rejects: Annotated[
        Path | None, typer.Option(help="Write the rejected rows to this CSV file.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Exclude those of a file: once this has answered, no call to them starts.

    Columns: phone_number, person_key (one of them in each row), reason, since,
    expires, and the usual other names for them. --reason and --expires hold
    where a row says nothing.

    The same file can be imported again at any time.

    Exit code: 1 if every row was rejected, 2 if the file cannot be used.
    """
    from outdial.operations.contact_columns import parse_mapping
    from outdial.operations.exclusion_imports import OF_EXCLUSIONS, Options, import_file

    terms = _terms(reason, f"file {file.name}", campaign, workspace, expires)
    options = Options(columns=parse_mapping(mapping or [], OF_EXCLUSIONS), region=region, dry_run=dry_run)
    report = ImportReport(file, rejects)
    with open_context() as context:
        with report.listening() as listeners:
            done = import_file(context.database, file, terms, options=options, listeners=listeners)
        if not dry_run:
            _let_it_take_effect(context)
    counts = done.counts
    summary = {
        "rows": counts.rows,
        "newly_excluded": counts.added,
        "already_there": counts.already_there,
        "rejected": counts.rejected,
        "waiting_contacts_excluded": counts.contacts,
    }
    report.print(summary, counts.rejected, notes=done.notes, as_json=as_json)
    if dry_run and not as_json:
        say("This was a dry run: nothing has been written.")
    if counts.rejected and counts.rejected == counts.rows:
        raise typer.Exit(1)


def _terms(reason: str, source: str, campaign: str | None, workspace: bool, expires: str | None) -> Terms:
    from outdial.operations.exclusions import Terms, expiry_of

    expires_at = None if expires is None else expiry_of(expires)
    return Terms(reason=reason, source=source, campaign=campaign, workspace=workspace, expires_at=expires_at)


def _let_it_take_effect(context: Context) -> None:
    """Wait until no call can start any more on a check that was made before our commit."""
    from outdial.operations.campaigns import SETTLE_SECONDS

    context.clock.sleep(SETTLE_SECONDS)


def _print_standing(standing: Standing, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "phone_number": standing.phone_number,
                "person_keys": list(standing.person_keys),
                "is_excluded": bool(standing.in_force),
                "summary": standing.summary,
                "entries": [_document(entry) for entry in standing.entries],
            }
        )
        return
    say(standing.summary)
    if standing.entries:
        print_table(
            ["of", "since", "for", "reason", "source", "until", "removed", "by", "why"],
            [
                (
                    _key(entry),
                    entry["since"],
                    _reach(entry),
                    entry["reason"],
                    entry["source"],
                    entry["expires_at"],
                    entry["removed_at"],
                    entry["removed_by"],
                    entry["removed_why"],
                )
                for entry in standing.entries
            ],
            empty="",
        )


def _key(entry: Mapping[str, Any]) -> str:
    number, person_key = entry["phone_number"], entry["person_key"]
    return " and ".join(filter(None, (number, person_key and f"person {person_key}")))


def _reach(entry: Mapping[str, Any]) -> str:
    return entry["campaign"] or ("all" if entry["scope"] == "all" else "this workspace")


def _cure(entry: Mapping[str, Any]) -> str:
    whom = f"--person {entry['person_key']}" if entry["phone_number"] is None else entry["phone_number"]
    reach = {"campaign": f" --campaign {entry['campaign']}", "workspace": " --workspace", "all": ""}
    return f"To end it: `outdial exclusions remove {whom}{reach[entry['scope']]} --reason …`."


def _document(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in DOCUMENTED}


DOCUMENTED: Final = (
    "phone_number",
    "person_key",
    "scope",
    "campaign",
    "since",
    "reason",
    "source",
    "expires_at",
    "removed_at",
    "removed_by",
    "removed_why",
)
