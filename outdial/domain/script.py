"""Fills the contact's own words into a script."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


def words_of(
    attributes: Mapping[str, Any], name: str | None, external_contact_id: str | None
) -> dict[str, Any]:
    """What a script may say of a contact."""
    return {**attributes, "name": name, "external_contact_id": external_contact_id}


def render(text: str, values: Mapping[str, Any]) -> str:
    """`text` with `{name}` and the like replaced. What the contact lacks becomes nothing: braces are not read aloud."""

    def word(match: re.Match[str]) -> str:
        value = values.get(match.group(1))
        return "" if value is None else str(value)

    return PLACEHOLDER.sub(word, text)
