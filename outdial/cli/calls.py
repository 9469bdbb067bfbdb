"""`outdial calls`: what is and was on the lines."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from outdial.cli.context import open_context
from outdial.cli.output import print_facts, print_json, print_table, say, shown
from outdial.cli.person import person

app = typer.Typer(
    help="Calls: the latest, those that are open, and one from claim to end.", no_args_is_help=True
)

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


@app.command("list", epilog="Example: outdial calls list --open --older-than 10m")
def list_(
    campaign: Annotated[str | None, typer.Option(help="Only those of this campaign.", metavar="NAME")] = None,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that hold a line.")] = False,
    older_than: Annotated[
        str | None, typer.Option(help="Only those that began longer ago: 90s, 10m, 2h, 1d.", metavar="TIME")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=10_000)] = 50,
    as_json: Json = False,
) -> None:
    """The latest calls, newest first."""
    from outdial.operations.calls import age, list_calls

    least = None if older_than is None else age(older_than)
    with open_context() as context:
        found = context.run(list_calls, campaign=campaign, open_only=open_only, older_than=least, limit=limit)
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


Call = Annotated[str, typer.Argument(help="The call_id, or the id of the call's row.", show_default=False)]
Reason = Annotated[str, typer.Option(help="Why; kept with the call.")]


@app.command(
    epilog="Example: outdial calls hangup 0197b2c4-6f5e-7d3a-9c41-2f60a1b7e9d0 --reason 'wrong script'"
)
def hangup(call: Call, reason: Reason) -> None:
    """Hang up an open call at the provider. Its end comes as the provider tells it, within seconds.

    Exit code: 1 if the call could not be hung up.
    """
    from outdial.cli.hanging_up import hang_up_now
    from outdial.operations.calls import find_call
    from outdial.storage import lines

    with open_context() as context:
        attempt_id = context.run(find_call, call)
        found = context.run(lines.open_calls, attempt_id=attempt_id)
        if not found:
            say(f"Call {call} has ended already.")
            return
        if found[0].sent_at is None:
            say(f"Call {call} was not sent yet: `outdial calls end {call} --reason …` keeps it from leaving.")
            raise typer.Exit(1)
        is_done = hang_up_now(
            context, lambda c: lines.open_calls(c, attempt_id=attempt_id), by=person(), reason=reason
        )
    if not is_done:
        raise typer.Exit(1)


@app.command(
    epilog="Example: outdial calls end 0197b2c4-6f5e-7d3a-9c41-2f60a1b7e9d0 --reason 'provider says: no such call'"
)
def end(
    call: Call,
    reason: Reason,
    ending: Annotated[
        Literal["unknown", "canceled"], typer.Option("--as", help="What is put down as its end.")
    ] = "unknown",
) -> None:
    """Put down an open call as ended and free its line, without asking the provider: for calls that nobody knows of.

    It counts as an attempt, unless it was never sent. Use `outdial calls hangup` for a call that is really open:
    a line that is freed while the provider still has the call is one call too many.
    """
    from outdial.domain.attempt import Ending
    from outdial.engine.by_hand import end_by_hand
    from outdial.engine.definitions import Definitions
    from outdial.operations.calls import find_call

    with open_context() as context:
        attempt_id = context.run(find_call, call)
        has_changed = context.run(
            end_by_hand,
            attempt_id,
            ending=Ending(ending),
            by=person(),
            reason=reason,
            known=Definitions(),
        )
    say(f"Call {call} has ended{'' if has_changed else ', as it had already'}.")
