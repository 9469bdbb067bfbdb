"""`outdial contacts`: the people of a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from outdial.cli.context import open_context
from outdial.cli.import_report import ImportReport
from outdial.cli.output import say
from outdial.cli.person import person

app = typer.Typer(help="The people of a campaign.", no_args_is_help=True)


@app.callback()
def _contacts() -> None:
    """The people of a campaign."""


@app.command(
    "import", epilog="Example: outdial contacts import list.csv --campaign spring-survey --rejects bad.csv"
)
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV file with a header line.", metavar="FILE.csv")],
    campaign: Annotated[str, typer.Option(help="The campaign that they are called for.", metavar="NAME")],
    rejects: Annotated[
        Path | None, typer.Option(help="Write the rejected rows to this CSV file.", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Bring a list of people into a campaign.

    Columns: phone_number (required), external_contact_id, email, name,
    language, time_zone, priority, has_prior_consent, do_not_call.
    Every other column is kept as an attribute.

    Good rows come in, bad ones are reported with line and reason.
    Nobody comes in twice: the same file can be imported again at any time.

    Exit code: 1 if every row was rejected, 2 if the file or the campaign cannot be used.
    """
    from outdial.operations.imports import import_file

    report = ImportReport(file, rejects)
    with open_context() as context, report.listening() as listeners:
        done = import_file(context.database, file, campaign, imported_by=person(), listeners=listeners)
    counts = done.counts
    summary = {
        "import": done.import_id,
        "rows": counts.rows,
        "accepted": counts.accepted,
        "of_them_excluded": counts.excluded,
        "already_there": counts.already_there,
        "repeated": counts.repeated,
        "rejected": counts.rejected,
    }
    report.print(summary, counts.rejected, as_json=as_json)
    if counts.rejected and counts.rejected == counts.rows:
        raise typer.Exit(1)


@app.command(epilog="Example: outdial contacts retry --campaign spring-survey --outcome no_answer,busy")
def retry(
    campaign: Annotated[str, typer.Option(help="The campaign that they are called for.", metavar="NAME")],
    outcome: Annotated[
        str, typer.Option(help="How their last call ended: one or more, with commas.", metavar="OUTCOMES")
    ],
) -> None:
    """Give those whose attempts are used up a new budget: they wait again, and keep their history.

    The wait after their last call still holds, as do windows, exclusions and deadlines.
    """
    from outdial.operations.renewals import outcomes_of, renew_budgets

    outcomes = outcomes_of(outcome)
    with open_context() as context:
        count = renew_budgets(context.database, campaign, outcomes)
    say(f"Waiting again: {count}.")
