"""How commands answer: sentences and tables for people, JSON for scripts, all on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

# Into a file or a pipe, a table is as wide as it needs to be for most screens; a terminal says its own width.
PIPE_WIDTH: Final = 160


def say(text: str) -> None:
    print(text)


def warn(text: str) -> None:
    """A note that is no part of the answer."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, default=_as_json))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table; the sentence `empty` where there are no rows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    listed = list(rows)
    if not listed:
        print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in listed:
        table.add_row(*(Text(shown(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line; what is None or empty is left out."""
    kept = {name: shown(value) for name, value in facts.items() if value is not None and value != ""}
    width = max(map(len, kept), default=0)
    for name, value in kept.items():
        print(f"{name:<{width}}  {value}")


def shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S") + "Z"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=_as_json)
    return str(value)


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return str(value)
