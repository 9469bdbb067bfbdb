"""`outdial audit`: were the calls that were made lawful, and within all limits?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outdial.cli.context import open_context
from outdial.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from outdial.operations.audit_report import Broken, Report

MOST_LINES: Final = 100


def audit(
    campaign: Annotated[str | None, typer.Option(help="Only its calls.", metavar="NAME")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only calls that left since: 2h or 7d ago, or an instant with its offset.",
            metavar="TIME",
            show_default="the first call",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Judge every call that was made by what is stored of it, apart from what let it be made.

    Windows, calling rules and their caps, exclusions, limits, rates, intervals and budgets of attempts. Earlier calls
    are counted whenever, and by whichever campaign, they were made. Exit code: 1 if a call broke one of them.
    """
    from outdial.bootstrap import queue_limits
    from outdial.files.rule_file import load_rule_book
    from outdial.operations.audit import Asked, audit as judge, since_instant
    from outdial.settings import own_rules_file
    from outdial.storage.database import database_now

    with open_context() as context:
        asked = Asked(
            book=load_rule_book(own_rules_file()),
            campaign=campaign,
            since=None if since is None else since_instant(since, context.run(database_now)),
            queue_limits=queue_limits(context.database),
        )
        with _bar() as progress:
            report = judge(context.database.begin_reading, asked, progress)
    if as_json:
        print_json(_document(report))
    else:
        _say(report)
    if report.violations:
        raise typer.Exit(1)


def _say(report: Report) -> None:
    from outdial.domain.audit import MEANINGS
    from outdial.operations.audit_report import MOST_KEPT

    rows = [
        (check, tally.judged, tally.violations, tally.unjudged or "", f"every call {MEANINGS[check]}")
        for check, tally in report.of.items()
    ]
    print_table(["check", "judged", "violations", "cannot be judged", "asks whether"], rows, empty="")
    say("")
    tests = f", {report.tests} of them tests" if report.tests else ""
    say(f"{report.calls} calls were made{tests}. Violations: {report.violations}.")
    if report.restored:
        say(
            f"{report.restored} of them were written down after the database had lost them: what permitted these is not "
            "known, so that only their record, their ids and exclusions are judged."
        )
    _list([one for one in report.broken if one.is_violation], report.violations, "Violations")
    unjudged = [one for one in report.broken if not one.is_violation]
    _list(unjudged, report.unjudged if len(report.broken) >= MOST_KEPT else len(unjudged), "Cannot be judged")
    if report.rules:
        say("")
        say("Cannot be judged by their rules:")
    for name, of_rule in sorted(report.rules.items()):
        say(f"  {of_rule.calls} calls permitted by {name}: {of_rule.says}.")


def _list(found: list[Broken], count: int, title: str) -> None:
    if not found:
        return
    say("")
    say(f"{title}:")
    for one in found[:MOST_LINES]:
        call = [] if one.call_id is None else [f"call {one.call_id}"]
        contact = [] if one.contact_id is None else [f"contact {one.contact_id} of {one.campaign}"]
        say(f"  {one.check}: {', '.join([*call, *contact])}: {one.says}.")
    if count > MOST_LINES:
        say(f"  … and {count - MOST_LINES} more.")


def _document(report: Report) -> dict[str, Any]:
    return {
        "at": report.at,
        "calls": report.calls,
        "tests": report.tests,
        "restored": report.restored,
        "violations": report.violations,
        "cannot_be_judged": report.unjudged,
        "checks": [
            {
                "check": check,
                "judged": tally.judged,
                "violations": tally.violations,
                "cannot_be_judged": tally.unjudged,
            }
            for check, tally in report.of.items()
        ],
        "found": [
            {
                "check": one.check,
                "is_violation": one.is_violation,
                "call_id": one.call_id,
                "contact_id": one.contact_id,
                "campaign": one.campaign,
                "says": one.says,
            }
            for one in report.broken
        ],
        "rules": [
            {"rule": name, "calls": of_rule.calls, "says": of_rule.says}
            for name, of_rule in sorted(report.rules.items())
        ],
    }


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar for who watches; nothing for a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("judging calls"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
