"""Who sits at the keyboard, for the record of what was done."""

from __future__ import annotations

import getpass


def person() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # In a container the user may have a number and no name.
        return "operator"
