"""What a host is asked before a call leaves, and what it may answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outdial.domain.ids import AttemptId, CallId, ContactId


@dataclass(frozen=True, slots=True, kw_only=True)
class CallToMake:
    """A call that is about to leave. `attempt_number` counts from 1; `phone_number` is in E.164 form."""

    call_id: CallId
    attempt_id: AttemptId
    attempt_number: int
    contact_id: ContactId
    external_contact_id: str | None
    campaign: str
    phone_number: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """The call may leave. `note` is kept with the attempt's permit."""

    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """The call must not leave, and no attempt is spent.

    `until` (an aware instant): when the contact may be asked about again, in a second at the earliest; None: never, and
    the contact is withdrawn, for good, with `reason`. Raises ValueError for an instant without a time zone.
    """

    reason: str
    until: datetime | None = None

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("a refusal needs a reason")
        if self.until is not None and self.until.tzinfo is None:
            raise ValueError(f"until is {self.until.isoformat()}: it needs a time zone")
