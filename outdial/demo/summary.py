"""The end of a demo: what became of every row and contact, and whether the provider's ledger agrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from outdial.demo.reckoning import CampaignBook, Check
from outdial.domain.contact import ContactState

# Shown even where nobody is in them: a reader looks for them.
EXPECTED: Final = (
    ContactState.COMPLETED,
    ContactState.REFUSED,
    ContactState.NOT_REACHED,
    ContactState.UNREACHABLE,
    ContactState.EXCLUDED,
)


def print_summary(console: Console, books: Sequence[CampaignBook], checks: Sequence[Check]) -> None:
    console.print()
    console.print(_table(books))
    console.print()
    console.print("Checked against the provider's own ledger:")
    for check in checks:
        mark = (
            Text("  ok       ", style="green")
            if check.difference is None
            else Text("  DIFFERS  ", style="red")
        )
        console.print(mark + Text(check.claim, style="none"), soft_wrap=not console.is_terminal)
        if check.difference is not None:
            console.print(Text(f"           {check.difference}"), soft_wrap=not console.is_terminal)
    console.print()
    if all(check.difference is None for check in checks):
        console.print(Text("accounts agree", style="bold green"))
    else:
        console.print(Text("accounts differ", style="bold red"))


def _table(books: Sequence[CampaignBook]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for book in books:
        table.add_column(book.name, justify="right")
    table.add_column("both", justify="right")

    def add(label: str, counts: Sequence[int], style: str | None = None) -> None:
        table.add_row(label, *(f"{count:,}" for count in (*counts, sum(counts))), style=style)

    add("rows in the list", [book.rows.rows for book in books], "bold")
    add("  rejected", [book.rows.rejected for book in books])
    add("  repeated", [book.rows.repeated + book.rows.already_there for book in books])
    add("  accepted", [book.rows.accepted for book in books])
    table.add_row()
    add("contacts", [len(book.contacts) for book in books], "bold")
    for state in ContactState:
        counts = [book.states[state] for book in books]
        if any(counts) or state in EXPECTED:
            add(f"  {state.replace('_', ' ')}", counts)
    table.add_row()
    add("calls", [book.calls for book in books], "bold")
    add("  contacts called again", [book.called_again for book in books])
    return table
