"""`outdial stop` and `outdial resume`: the big red button, and its opposite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from outdial.cli.context import Context, open_context
from outdial.cli.output import say, warn
from outdial.cli.person import person
from outdial.domain.errors import UserError

if TYPE_CHECKING:
    from outdial.operations.stops import Scope

All = Annotated[bool, typer.Option("--all", help="Everything, over all accounts and campaigns.")]
Account = Annotated[str | None, typer.Option(help="All calls of this account.", metavar="NAME")]
Campaign = Annotated[str | None, typer.Option(help="All calls of this campaign.", metavar="NAME")]


def stop(
    everything: All = False,
    account: Account = None,
    campaign: Campaign = None,
    hangup: Annotated[bool, typer.Option("--hangup", help="Hang up open calls at the provider too.")] = False,
    reason: Annotated[
        str, typer.Option(help="Shown to whoever wonders why it stands still.")
    ] = "stopped by hand",
) -> None:
    """Start no further call: once this has answered, none starts. Open calls go on to their end, unless --hangup.

    A stop lasts until `outdial resume` of the same. Stopping a campaign is pausing it.

    Exit code: 1 if a call could not be hung up; it is named.

    Example: outdial stop --all --reason "wrong list"
    """
    import sqlalchemy as sa

    from outdial.operations import stops
    from outdial.storage import migrate

    scope = _scope(everything, account, campaign)
    # The schema is checked only where it fails: a stop is for the worst moment, and works with a newer one too.
    with open_context(check_schema=False) as context:
        try:
            done = context.run(stops.stop, scope, by=person(), reason=reason)
        except sa.exc.DBAPIError:
            context.run(migrate.check)
            raise
        # A call whose last check came before our commit may still be leaving.
        context.clock.sleep(stops.SETTLE_SECONDS)
        for note in done.notes:
            warn(f"note: {note}")
        say(f"Stopped: {scope.words}{'' if done.has_changed else ', as it was'}. No further call starts.")
        if hangup and not _hang_up(context, scope, reason):
            raise typer.Exit(1)


def resume(everything: All = False, account: Account = None, campaign: Campaign = None) -> None:
    """End a stop: calls start again, where windows, limits and other stops allow.

    Example: outdial resume --all
    """
    from outdial.operations import campaigns, stops

    scope = _scope(everything, account, campaign)
    with open_context() as context:
        if campaign is not None:
            moved = context.run(campaigns.resume, campaign)
            say(f"Campaign {moved.name} is {moved.status}{'' if moved.has_changed else ', as it was'}.")
            notes = context.run(stops.still_stopped)
        else:
            done = context.run(stops.resume, scope)
            say(f"Going on: {scope.words}{'' if done.has_changed else ', as it was'}.")
            notes = list(done.notes)
    for note in notes:
        warn(f"note: {note}")


def _hang_up(context: Context, scope: Scope, reason: str) -> bool:
    from outdial.cli.hanging_up import hang_up_now
    from outdial.operations.stops import open_calls

    return hang_up_now(context, lambda c: open_calls(c, scope), by=person(), reason=reason)


def _scope(everything: bool, account: str | None, campaign: str | None) -> Scope:
    from outdial.operations.stops import Scope

    if [everything, account is not None, campaign is not None].count(True) != 1:
        raise UserError("Say what: one of --all, --account NAME and --campaign NAME.")
    return Scope(account=account, campaign=campaign)
