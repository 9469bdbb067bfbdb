"""A contact's states, and the order in which contacts of a campaign are called."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final


class ContactState(StrEnum):
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    REFUSED = "refused"
    NOT_REACHED = "not_reached"
    UNREACHABLE = "unreachable"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    EXCLUDED = "excluded"


OPEN_STATES: Final = frozenset({ContactState.PENDING, ContactState.IN_PROGRESS})
FINAL_STATES: Final = frozenset(ContactState) - OPEN_STATES


class Stage(IntEnum):
    """Where a pending contact stands in the order of service: lower is called first."""

    CALLBACK = 0
    FIRST = 1
    RETRY = 2
