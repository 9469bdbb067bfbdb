"""`outdial contacts`: the people of a campaign."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outdial.cli.context import open_context
from outdial.cli.import_report import ImportReport
from outdial.cli.output import print_facts, print_json, print_table, say, warn
from outdial.cli.person import person
from outdial.domain.contact import ContactState, OnDuplicate
from outdial.domain.errors import UserError

if TYPE_CHECKING:
    from outdial.operations.imports import Imported

app = typer.Typer(help="The people of a campaign.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Campaign = Annotated[str, typer.Option(help="The campaign that they are called for.", metavar="NAME")]
Region = Annotated[
    str | None,
    typer.Option(
        help="The country whose national numbers are meant where none is given, such as IT.",
        metavar="CC",
        show_default="refuse them",
    ),
]
Limit = Annotated[int, typer.Option(help="How many at most.", min=1, max=10_000)]
Reason = Annotated[str, typer.Option(help="Why, for whoever asks later.")]
Duplicates = Annotated[
    OnDuplicate,
    typer.Option(help="What to do about who is there already; `error` stops at the first such line."),
]


@app.callback()
def _contacts() -> None:
    """The people of a campaign."""


@app.command(
    "import", epilog="Example: outdial contacts import list.csv --campaign spring-survey --rejects bad.csv"
)
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV file with a header line.", metavar="FILE.csv")],
    campaign: Campaign,
    region: Region = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="Which column is which; may be repeated.", metavar="TARGET=COLUMN"),
    ] = None,
    on_duplicate: Duplicates = OnDuplicate.SKIP,
    dry_run: Annotated[bool, typer.Option(help="Say what would come in, and write nothing.")] = False,
    rejects: Annotated[
        Path | None, typer.Option(help="Write the rejected rows to this CSV file.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring a list of people into a campaign.

    Columns: phone_number (required), external_contact_id, person_key, email,
    name, language, time_zone, country, region, postal_code, priority,
    has_prior_consent, consent_kind, consent_at, consent_source, do_not_call,
    call_after, call_before, and the usual other names for them.
    Every other column is kept as an attribute.

    Good rows come in, bad ones are reported with line and reason.
    Nobody comes in twice: the same file can be imported again at any time.

    Exit code: 1 if every row was rejected, 2 if the file or the campaign cannot be used.
    """
    from outdial.domain.phone_numbers import NO_COUNTRY_CODE
    from outdial.operations.contact_columns import parse_mapping
    from outdial.operations.imports import ImportOptions, import_file

    options = ImportOptions(
        columns=parse_mapping(mapping or []), region=region, on_duplicate=on_duplicate, dry_run=dry_run
    )
    report = ImportReport(file, rejects)
    with open_context() as context, report.listening() as listeners:
        done = import_file(
            context.database, file, campaign, imported_by=person(), options=options, listeners=listeners
        )
    counts = done.counts
    report.print(_summary(done), counts.rejected, notes=done.notes, as_json=as_json)
    if not counts.rows:
        warn(f"note: {file.name} has the names of its columns and nobody under them.")
    if region is None and any(one.reason.startswith(NO_COUNTRY_CODE) for one in report.first_rejections):
        warn(
            "note: numbers without a country code can be read as those of one country: --region IT, for example."
        )
    if dry_run and not as_json:
        say("This was a dry run: nothing has been written.")
    if counts.rejected and counts.rejected == counts.rows:
        raise typer.Exit(1)


@app.command(epilog="Example: outdial contacts add +393471234567 --campaign spring-survey --name Ada")
def add(
    number: Annotated[str, typer.Argument(help="The number to call.", show_default=False)],
    *,
    campaign: Campaign,
    name: Annotated[str, typer.Option(help="Who it is.")] = "",
    external_id: Annotated[str, typer.Option(help="Your own id of the contact.")] = "",
    person_key: Annotated[
        str, typer.Option("--person", help="Your key of the person, the same for all their numbers.")
    ] = "",
    email: Annotated[str, typer.Option()] = "",
    language: Annotated[str, typer.Option(help="Such as it or pt-BR.")] = "",
    time_zone: Annotated[str, typer.Option(help="Such as Europe/Rome.")] = "",
    country: Annotated[str, typer.Option(help="Where they live, such as US.", metavar="CC")] = "",
    state: Annotated[
        str, typer.Option(help="Their state, province or region, such as FL.", metavar="CODE")
    ] = "",
    postal_code: Annotated[str, typer.Option(help="Tells the state, in the US and Canada.")] = "",
    priority: Annotated[str, typer.Option(help="Higher is called earlier.")] = "",
    call_after: Annotated[str, typer.Option(help="Not before then.", metavar="WHEN")] = "",
    call_before: Annotated[str, typer.Option(help="Not after then.", metavar="WHEN")] = "",
    has_prior_consent: Annotated[bool, typer.Option("--consent", help="Gave prior consent.")] = False,
    consent_kind: Annotated[
        str, typer.Option(help="The kind of consent: prior, express, opt_in or written.", metavar="KIND")
    ] = "",
    consent_at: Annotated[
        str, typer.Option(help="When it was given.", metavar="WHEN", show_default="now")
    ] = "",
    consent_source: Annotated[str, typer.Option(help="Where it is on record.", metavar="TEXT")] = "",
    attribute: Annotated[
        list[str] | None, typer.Option(help="For the script; may be repeated.", metavar="NAME=VALUE")
    ] = None,
    region: Region = None,
    on_duplicate: Duplicates = OnDuplicate.SKIP,
    as_json: Json = False,
) -> None:
    """Add one person to a campaign. If it runs, they are called as soon as a line and their window are open."""
    from outdial.operations.contact_lists import add_contact, parse_attributes

    columns = {
        "phone_number": number,
        "name": name,
        "external_contact_id": external_id,
        "person_key": person_key,
        "email": email,
        "language": language,
        "time_zone": time_zone,
        "country": country,
        "region": state,
        "postal_code": postal_code,
        "priority": priority,
        "call_after": call_after,
        "call_before": call_before,
        "has_prior_consent": "yes" if has_prior_consent else "",
        "consent_kind": consent_kind,
        "consent_at": consent_at,
        "consent_source": consent_source,
    }
    with open_context() as context:
        added = context.run(
            add_contact,
            campaign,
            columns,
            parse_attributes(attribute or []),
            source=f"by {person()}",
            region=region,
            on_duplicate=on_duplicate,
        )
    if as_json:
        print_json(asdict(added))
        return
    sentences = {
        "pending": f"{number} is in the campaign {campaign} and waits to be called.",
        "excluded": f"{number} must not be called: the contact came in as excluded.",
        "updated": f"{number} was there already and has been brought up to date.",
        "already_there": f"{number} was there already and is as it was.",
    }
    say(next(sentence for field, sentence in sentences.items() if getattr(added, field)))


@app.command("list", epilog="Example: outdial contacts list --campaign spring-survey --state pending --json")
def list_(
    campaign: Campaign,
    state: Annotated[ContactState | None, typer.Option(help="Only those in this state.")] = None,
    import_id: Annotated[
        int | None, typer.Option("--import", help="Only those that this import brought.", metavar="ID")
    ] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """The people of a campaign, in the order in which they came in."""
    from outdial.operations.contact_lists import list_contacts

    with open_context() as context:
        found = context.run(list_contacts, campaign, state=state, import_id=import_id, limit=limit)
    if as_json:
        print_json(found)
        return
    columns = ("id", "phone_number", "external_contact_id", "name", "state", "final_reason", "attempts_count")
    titles = ["id", "number", "external id", "name", "state", "reason", "calls", "next"]
    print_table(
        titles,
        [[*(row[column] for column in columns), row["next_attempt_at"]] for row in found],
        empty="There are no such contacts.",
    )


@app.command("imports", epilog="Example: outdial contacts imports --campaign spring-survey")
def list_of_imports(
    campaign: Annotated[
        str | None, typer.Option(help="Only those into this campaign.", metavar="NAME")
    ] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """The files that were imported, newest first: who, when, and what became of their rows."""
    from outdial.operations.contact_lists import list_imports

    with open_context() as context:
        found = context.run(list_imports, campaign=campaign, limit=limit)
    if as_json:
        print_json(found)
        return
    print_table(
        ["id", "file", "campaign", "state", "by", "at", "checksum", "rows", "pending", "rejected"],
        [
            (
                row["id"],
                row["file"],
                row["campaign"],
                row["state"],
                row["imported_by"],
                row["created_at"],
                (row["checksum"] or "")[:12],
                *(row["counts"].get(name, 0) for name in ("rows", "pending", "rejected")),
            )
            for row in found
        ],
        empty="Nothing has been imported yet.",
    )
    for row in found:
        if row["problem"]:
            say(f"{row['id']}: {row['problem']}")


@app.command(epilog="Example: outdial contacts withdraw --import 7 --reason 'last year’s list'")
def withdraw(
    contact: Annotated[
        str | None, typer.Argument(help="A phone number or an external id.", show_default=False)
    ] = None,
    import_id: Annotated[
        int | None, typer.Option("--import", help="All that this import brought.", metavar="ID")
    ] = None,
    campaign: Annotated[
        str | None, typer.Option(help="The campaign of the one contact.", metavar="NAME")
    ] = None,
    region: Region = None,
    reason: Reason = "withdrawn by hand",
    as_json: Json = False,
) -> None:
    """Take a wrong list back, or one person out of a campaign.

    Once this has answered, no further call to them starts; a call under way
    runs on to its end. Of a list that is taken back, who was never called can
    be imported again; one person who is taken out stays out.
    """
    from outdial.operations.campaigns import SETTLE_SECONDS
    from outdial.operations.withdrawals import withdraw_contact, withdraw_import

    if (import_id is None) == (contact is None) or (contact is None) == (campaign is not None):
        raise UserError(
            "Say whom: `outdial contacts withdraw --import ID`, or "
            "`outdial contacts withdraw NUMBER --campaign NAME`."
        )
    with open_context() as context:
        if import_id is not None:
            done = withdraw_import(context.database, import_id, by=person(), reason=reason)
        else:
            assert contact is not None
            assert campaign is not None
            done = context.run(withdraw_contact, campaign, contact, reason=reason, region=region)
        # A call whose last check came before our commit may still be leaving.
        context.clock.sleep(SETTLE_SECONDS)
    if as_json:
        print_json(asdict(done))
        return
    print_facts({"withdrawn": done.total, "of them in a call": done.in_progress, "final before": done.final})
    if done.in_progress:
        say("A call under way runs on to its end; nobody is called again.")


@app.command(epilog="Example: outdial contacts why +393471234567 --campaign spring-survey")
def why(
    contact: Annotated[
        str, typer.Argument(help="A phone number or an external id.", metavar="NUMBER|ID", show_default=False)
    ],
    campaign: Annotated[
        str | None, typer.Option(help="Only in this campaign.", metavar="NAME", show_default="in all")
    ] = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Why somebody is called or is not, in one sentence and check by check, and when it may be called next.

    Asked are the very checks that decide about each call.
    """
    from outdial.cli.asking import asked_of
    from outdial.cli.why import as_document, say_why
    from outdial.operations.why import why as why_of

    with open_context() as context:
        found = context.run(why_of, contact, asked_of(context), campaign=campaign, region=region)
    if as_json:
        print_json([as_document(one) for one in found])
        return
    for number, one in enumerate(found):
        if number:
            say("")
        say_why(one)


def _summary(done: Imported) -> dict[str, object]:
    counts = done.counts
    return {
        "import": done.import_id,
        "rows": counts.rows,
        "accepted": counts.accepted,
        "of_them_excluded": counts.excluded,
        "updated": counts.updated,
        "already_there": counts.already_there,
        "repeated": counts.repeated,
        "rejected": counts.rejected,
        "zones": {str(source): count for source, count in done.zone_sources.items()},
    }


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
