"""`outdial calls`: what is and was on the lines."""

from __future__ import annotations

from typing import Annotated

import typer

from outdial.cli.context import open_context
from outdial.cli.output import print_facts, print_json, print_table, say, shown

app = typer.Typer(
    help="Calls: the latest, those that are open, and one from claim to end.", no_args_is_help=True
)

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


@app.command("list", epilog="Example: outdial calls list --campaign spring-survey --open")
def list_(
    campaign: Annotated[str | None, typer.Option(help="Only those of this campaign.", metavar="NAME")] = None,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that hold a line.")] = False,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=10_000)] = 50,
    as_json: Json = False,
) -> None:
    """The latest calls, newest first."""
    from outdial.operations.calls import list_calls

    with open_context() as context:
        found = context.run(list_calls, campaign=campaign, open_only=open_only, limit=limit)
    if as_json:
        print_json(found)
        return
    columns = (
        "call_id",
        "campaign",
        "phone_number",
        "attempt_number",
        "state",
        "ending",
        "outcome",
        "sent_at",
    )
    titles = ["call", "campaign", "number", "try", "state", "ending", "outcome", "sent at"]
    print_table(
        titles, [[call[column] for column in columns] for call in found], empty="There are no such calls."
    )


@app.command(epilog="Example: outdial calls show 0197b2c4-6f5e-7d3a-9c41-2f60a1b7e9d0")
def show(
    call: Annotated[
        str, typer.Argument(help="The call_id, or the id of the call's row.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """One call: all that is known of it, and what happened when."""
    from outdial.operations.calls import show_call

    with open_context() as context:
        story = context.run(show_call, call)
    if as_json:
        timeline = [
            {"at": one.at, "source": one.source, "what": one.what, "details": one.details}
            for one in story.timeline
        ]
        print_json({**story.facts, "timeline": timeline})
        return
    print_facts(story.facts)
    say("")
    for one in story.timeline:
        details = f"  {shown(one.details)}" if one.details else ""
        say(f"{shown(one.at)}  {one.source:<8}  {one.what}{details}")
