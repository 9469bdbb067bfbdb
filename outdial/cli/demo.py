"""`outdial demo`: see it work, with nothing but this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from outdial.demo.folder import DemoFolder
    from outdial.demo.plan import DemoPlan


def demo(
    contacts: Annotated[int, typer.Option(help="People to call, 10 to 20,000, over both campaigns.")] = 200,
    lines: Annotated[int, typer.Option(help="The account's lines, 1 to 500.")] = 20,
    seed: Annotated[
        int, typer.Option(help="The provider's seed: decides whose numbers are out of service.")
    ] = 0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the folder with database, lists, ledger and logs behind.")
    ] = False,
) -> None:
    """Dial two campaigns to their end, against a simulated provider on this machine.

    Needs nothing and touches nothing: a database in a temporary folder, numbers that are kept for fiction, time that
    runs fast. At the end every contact and every call is checked against the provider's own ledger; the exit code is 0
    only if both agree.

    Example: outdial demo --contacts 500 --lines 50
    """
    from rich.console import Console

    from outdial.demo.children import DemoFailed
    from outdial.demo.folder import demo_folder
    from outdial.demo.plan import DemoPlan

    plan = DemoPlan(contacts=contacts, lines=lines, seed=seed)
    console = Console(highlight=False)
    try:
        with demo_folder(is_kept=keep) as folder:
            try:
                agrees = _run(plan, folder.path, console)
                folder.is_kept |= not agrees
            except DemoFailed:
                folder.is_kept = True
                raise
            finally:
                _tell(folder)
    except DemoFailed as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as interruption:
        typer.echo("Stopped; nothing is left running.", err=True)
        raise typer.Exit(130) from interruption
    if not agrees:
        raise typer.Exit(1)


def _run(plan: DemoPlan, folder: Path, console: Console) -> bool:
    from outdial.clock import SystemClock
    from outdial.demo.run import run_demo
    from outdial.demo.screens import screen_for
    from outdial.demo.summary import print_summary

    result = run_demo(plan, folder, console, screen_for(console), SystemClock())
    print_summary(console, result.books, result.checks)
    return result.agrees


def _tell(folder: DemoFolder) -> None:
    if folder.is_kept:
        typer.echo(
            f"\nThe database, the lists, the ledger and the logs are in {folder.path}. To look into it:"
        )
        typer.echo(f"  DATABASE_URL=sqlite:///{folder.path / 'outdial.sqlite3'} outdial campaign list")
