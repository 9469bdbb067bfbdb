"""`outdial campaign`: campaigns from their file to their end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outdial.cli.context import Context, open_context
from outdial.cli.output import print_facts, print_json, print_table, say, warn
from outdial.cli.person import person

if TYPE_CHECKING:
    from outdial.operations.campaigns import CampaignProgress, Moved

app = typer.Typer(
    help="Campaigns: apply their files, start, pause, resume and cancel them.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="The campaign's name.", metavar="NAME", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


@app.command(epilog="Example: outdial campaign apply spring-survey.toml")
def apply(
    file: Annotated[
        Path, typer.Argument(help="A campaign file (TOML).", metavar="FILE.toml", show_default=False)
    ],
) -> None:
    """Create the campaign that the file defines, or change it, and show what changed. Applying it again does nothing."""
    from outdial.files.rule_file import load_rule_book
    from outdial.operations.campaign_file import load_campaign_file
    from outdial.operations.campaigns import Applied, apply_campaign
    from outdial.settings import own_rules_file

    definition = load_campaign_file(file)
    book = load_rule_book(own_rules_file())
    with open_context() as context:
        done = context.run(apply_campaign, definition, book)
    what = {
        Applied.CREATED: f"created, as a {done.status}",
        Applied.CHANGED: f"changed: it is {done.status}, at revision {done.revision}",
        Applied.UNCHANGED: f"unchanged: it is {done.status}, at revision {done.revision}",
    }
    say(f"Campaign {done.name} {what[done.applied]}.")
    for change in done.changes:
        say(f"  {change}")
    for note in done.notes:
        warn(f"note: {note}")


@app.command("list", epilog="Example: outdial campaign list --json")
def list_(as_json: Json = False) -> None:
    """All campaigns with their progress."""
    from outdial.operations.campaigns import list_campaigns

    with open_context() as context:
        found = context.run(list_campaigns)
    if as_json:
        print_json([_summary(progress) for progress in found])
        return
    columns = [
        "campaign",
        "status",
        "account",
        "contacts",
        "pending",
        "calling",
        "completed",
        "other",
        "paused by",
    ]
    empty = "There are no campaigns yet: create one with `outdial campaign apply FILE.toml`."
    print_table(columns, [_row(progress) for progress in found], empty=empty)


@app.command(epilog="Example: outdial campaign show spring-survey --json")
def show(name: Name, as_json: Json = False) -> None:
    """One campaign: where it stands, how its contacts stand, and its definition."""
    from outdial.operations.campaign_changes import describe_definition, to_document
    from outdial.operations.campaigns import campaign_progress
    from outdial.operations.hindrances import hindrances
    from outdial.operations.stops import still_stopped

    with open_context() as context:
        progress = context.run(campaign_progress, name)
        hindered = context.run(hindrances, name)
        stops = context.run(still_stopped, progress.campaign.definition.account)
    definition = progress.campaign.definition
    if as_json:
        print_json(
            {
                **_summary(progress),
                "stops": stops,
                "hindrances": hindered,
                "definition": to_document(definition),
            }
        )
        return
    counts = ", ".join(f"{count} {state}" for state, count in progress.contacts.items()) or "none"
    print_facts(
        {
            "status": progress.campaign.status,
            "paused by": progress.campaign.paused_by,
            "paused because": progress.campaign.paused_reason,
            "revision": progress.campaign.revision,
            "contacts": counts,
            "open calls": progress.open_calls,
            "stopped": " ".join(stops),
            "hindered": " ".join(hindered),
        }
    )
    say("")
    print_facts(describe_definition(definition))


@app.command(epilog="Example: outdial campaign preview spring-survey --json")
def preview(name: Name, as_json: Json = False) -> None:
    """What the campaign is about to do: who may be called now and later, what blocks the others, when which zone is open,
    and whether the lines suffice. Nothing is changed, and nobody called.
    """
    from outdial.cli.asking import asked_of
    from outdial.cli.preview import as_document, preview_of, say_preview

    with open_context() as context:
        found = preview_of(context, name, asked_of(context))
    if as_json:
        print_json(as_document(found))
        return
    say_preview(found)


@app.command(epilog="Example: outdial campaign start spring-survey")
def start(name: Name) -> None:
    """Let a draft run; with a starts_at in the future it is scheduled for then."""
    from outdial.cli.asking import asked_of
    from outdial.cli.preview import preview_of, say_summary
    from outdial.operations.campaigns import start as start_campaign

    with open_context() as context:
        # First, so that a mistake in a file of rules is said before anything runs.
        asked = asked_of(context)
        _report(context.run(start_campaign, name))
        say_summary(preview_of(context, name, asked))


@app.command(epilog='Example: outdial campaign pause spring-survey --reason "wrong intro text"')
def pause(
    name: Name,
    reason: Annotated[
        str, typer.Option(help="Shown to whoever wonders why it stands still.")
    ] = "paused by hand",
) -> None:
    """Start no further call of the campaign. Open calls go on to their end."""
    from outdial.operations.campaigns import pause as pause_campaign

    with open_context() as context:
        moved = context.run(pause_campaign, name, paused_by=person(), reason=reason)
        _wait_for_last_check(context)
    _report(moved)


@app.command(epilog="Example: outdial campaign resume spring-survey")
def resume(name: Name) -> None:
    """Let a paused campaign go on."""
    from outdial.operations.campaigns import resume as resume_campaign
    from outdial.operations.hindrances import hindrances

    with open_context() as context:
        _report(context.run(resume_campaign, name))
        notes = context.run(hindrances, name)
    for note in notes:
        warn(f"note: {note}")


@app.command(epilog="Example: outdial campaign cancel spring-survey")
def cancel(name: Name) -> None:
    """End the campaign for good. Who still waits is withdrawn.

    Calls that the provider has and that do not ring yet are called back by the workers, where the provider can; calls
    that ring or are answered go on to their end.
    """
    from outdial.operations.campaigns import cancel as cancel_campaign

    with open_context() as context:
        moved = context.run(cancel_campaign, name)
        withdrawn, has_more = moved.withdrawn, moved.has_more
        while has_more:
            more = context.run(cancel_campaign, name)
            withdrawn, has_more = withdrawn + more.withdrawn, more.has_more
        _wait_for_last_check(context)
    _report(moved)
    if withdrawn:
        say(f"{withdrawn} contacts were withdrawn.")
    if moved.called_back:
        say(f"{moved.called_back} calls that do not ring yet are being called back, where the provider can.")


@app.command("test", epilog="Example: outdial campaign test spring-survey --to +393471234567")
def try_out(
    name: Name,
    to: Annotated[str, typer.Option(help="A number of your own, with + and country code.", metavar="NUMBER")],
    now: Annotated[bool, typer.Option("--now", help="Also outside the campaign's windows.")] = False,
) -> None:
    """Place one call for the campaign, follow it to its end, and count it nowhere.

    The campaign need not run. Exclusions, stops, OUTDIAL_DIAL_ONLY and the account's limits hold; no worker is needed.
    Ctrl-C stops following; the call goes on.

    Exit code: 0 if the call was answered, 1 if it was not.
    """
    from outdial.cli.test_call import call_and_follow

    with open_context() as context:
        if not call_and_follow(context, name, to, now=now):
            raise typer.Exit(1)


def _wait_for_last_check(context: Context) -> None:
    """A call whose last check came before our commit may still be leaving: only then is it true that none starts."""
    from outdial.operations.campaigns import SETTLE_SECONDS

    context.clock.sleep(SETTLE_SECONDS)


def _report(moved: Moved) -> None:
    say(f"Campaign {moved.name} is {moved.status}{'' if moved.has_changed else ', as it was'}.")


def _summary(progress: CampaignProgress) -> dict[str, Any]:
    campaign = progress.campaign
    return {
        "name": campaign.definition.name,
        "status": campaign.status,
        "paused_by": campaign.paused_by,
        "paused_reason": campaign.paused_reason,
        "revision": campaign.revision,
        "account": campaign.definition.account,
        "created_at": campaign.created_at,
        "starts_at": campaign.definition.starts_at,
        "ends_at": campaign.definition.ends_at,
        "contacts": {"total": progress.total, **progress.contacts},
        "open_calls": progress.open_calls,
    }


def _row(progress: CampaignProgress) -> tuple[object, ...]:
    from outdial.domain.contact import FINAL_STATES, ContactState

    campaign, contacts = progress.campaign, progress.contacts
    completed = contacts.get(ContactState.COMPLETED, 0)
    return (
        campaign.definition.name,
        campaign.status,
        campaign.definition.account,
        progress.total,
        contacts.get(ContactState.PENDING, 0),
        contacts.get(ContactState.IN_PROGRESS, 0),
        completed,
        sum(count for state, count in contacts.items() if state in FINAL_STATES) - completed,
        "" if campaign.paused_by is None else f"{campaign.paused_by}: {campaign.paused_reason}",
    )
