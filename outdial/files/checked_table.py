"""Reads one table of a file against the keys it may have, and collects all that is wrong instead of stopping at the first.

Each problem is one sentence that names the place, the value and what is allowed.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, Final


class WrongValue(ValueError):
    """A value that is not allowed; the message says what is, as the rest of "KEY = VALUE: …"."""


Check = Callable[[Any], Any]
"""From a file's value to ours. Raises ValueError, with a message as that of `WrongValue`."""

SHOWN_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """`field`: its name in the result, where that is another. `needed`: what to write, where it must not be missing."""

    check: Check
    field: str | None = None
    needed: str | None = None


def read_table(
    table: Any,
    keys: Mapping[str, Key],
    *,
    place: str,
    problems: list[str],
    elsewhere: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, Any]:
    """The fields of those keys that are there and right. `place` is the table's own path, empty for the whole file.

    `elsewhere`: the keys of other tables, to tell where a misplaced one belongs.
    """
    if not isinstance(table, Mapping):
        problems.append(f"{place} = {shown(table)}: must be a table")
        return {}
    fields: dict[str, Any] = {}
    for name, value in table.items():
        path = path_to(place, name)
        if name not in keys:
            problems.append(f"{path} = {shown(value)}: is unknown; {_instead(name, keys, elsewhere or {})}")
            continue
        try:
            fields[keys[name].field or name] = keys[name].check(value)
        except ValueError as error:
            problems.append(f"{path} = {shown(value)}: {error}")
    problems.extend(
        f"{path_to(place, name)} is missing: {key.needed}"
        for name, key in keys.items()
        if key.needed is not None and name not in table
    )
    return fields


def path_to(place: str, name: str) -> str:
    shown_name = name if _is_bare(name) else _shortened(json.dumps(str(name), ensure_ascii=False))
    return f"{place}.{shown_name}" if place else shown_name


def shown(value: object) -> str:
    """A value as a file would have it, shortened."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "a table"
    try:
        return _shortened(json.dumps(value, ensure_ascii=False, default=str))
    except ValueError:
        # Python writes out no number of more than 4300 digits, and a hexadecimal one may have more.
        return "(beyond all bounds)"


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _is_bare(name: object) -> bool:
    return isinstance(name, str) and name.isascii() and name.replace("-", "").replace("_", "").isalnum()


def _instead(name: str, keys: Iterable[str], elsewhere: Mapping[str, Iterable[str]]) -> str:
    homes = [home for home, known in elsewhere.items() if name in known and name not in keys]
    if homes:
        return f"it belongs {homes[0]}"
    similar = difflib.get_close_matches(str(name), list(keys), n=1)
    if similar:
        return f"did you mean {similar[0]}?"
    return f"allowed are {', '.join(keys)}"
