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


class UniqueBy(StrEnum):
    """By what a campaign knows a contact again when it comes in a second time."""

    EXTERNAL_CONTACT_ID = "external_contact_id"
    PHONE_NUMBER = "phone_number"


class OnDuplicate(StrEnum):
    """What to do about a contact who is in the campaign already."""

    SKIP = "skip"
    UPDATE = "update"
    ERROR = "error"


def identity_key(unique_by: UniqueBy | None, external_contact_id: str | None, phone_number: str) -> str:
    """Equal for what is the same contact. `unique_by` None: the external id, and the number where there is none.

    Raises ValueError where the campaign asks for an external id and there is none.
    """
    if external_contact_id and unique_by is not UniqueBy.PHONE_NUMBER:
        return f"id:{external_contact_id}"
    if unique_by is UniqueBy.EXTERNAL_CONTACT_ID:
        raise ValueError("is empty: the campaign tells its contacts apart by it (unique_by)")
    return f"tel:{phone_number}"


OPEN_STATES: Final = frozenset({ContactState.PENDING, ContactState.IN_PROGRESS})
FINAL_STATES: Final = frozenset(ContactState) - OPEN_STATES


class Stage(IntEnum):
    """Where a pending contact stands in the order of service: lower is called first."""

    CALLBACK = 0
    FIRST = 1
    RETRY = 2
