"""Fills the contact's own words into a script."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


def render(text: str, values: Mapping[str, Any]) -> str:
    """`text` with `{name}` and the like replaced. What the contact lacks becomes nothing: braces are not read aloud."""
    return PLACEHOLDER.sub(lambda match: str(values.get(match.group(1)) or ""), text)
