"""What a deployment may be called."""

from __future__ import annotations

import re
from typing import Final

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def check_deployment_name(name: str) -> str:
    """The name as it is. Raises ValueError."""
    if not NAME.fullmatch(name):
        raise ValueError(
            "must be 1 to 100 letters, digits, dots, dashes and underscores, beginning with a letter or digit"
        )
    return name
