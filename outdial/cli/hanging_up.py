"""Hanging up, as commands show it: how far it has come, and by name what could not be hung up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from outdial.cli.context import Context
from outdial.cli.output import say, warn

if TYPE_CHECKING:
    from outdial.engine.hang_up import Which


def hang_up_now(context: Context, which: Which, *, by: str, reason: str) -> bool:
    """Whether every one of these calls was hung up, or had ended."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from outdial.bootstrap import AccountProviders
    from outdial.engine.hang_up import hang_up
    from outdial.engine.transactions import Transactions

    with Progress(
        TextColumn("hanging up"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=None)
        done = asyncio.run(
            hang_up(
                Transactions(context.database),
                AccountProviders(context.settings),
                which,
                context.clock,
                by=by,
                reason=reason,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        )
    say(f"Hung up: {len(done.calls)}.{f' Could not be hung up: {len(done.failed)}.' if done.failed else ''}")
    for call_id, why in sorted(done.failed.items()):
        warn(f"{call_id}: {why}")
    return not done.failed
