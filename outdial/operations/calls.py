"""Calls as an operator looks at them: what is and was on the lines, and one call from its claim to its end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.errors import NotFound, UserError
from outdial.domain.ids import AttemptId, CampaignId
from outdial.files.file_values import SECONDS_PER_UNIT
from outdial.storage import call_events, campaigns, reports
from outdial.storage.database import database_now

# What a BIGINT holds for sure.
LONGEST_ID: Final = 18
AGE: Final = re.compile(r"([0-9]{1,6})([smhd])")

SUMMARY: Final = (
    "id",
    "call_id",
    "provider_call_id",
    "campaign",
    "account",
    "contact_id",
    "external_contact_id",
    "contact_name",
    "phone_number",
    "from_number",
    "attempt_number",
    "is_test",
    "state",
    "ending",
    "answered_by",
    "result",
    "outcome",
    "duration_seconds",
    "error_class",
    "error_code",
)
INSTANTS: Final = {
    "claimed": "claimed_at",
    "sent": "sent_at",
    "started": "started_at",
    "ringing": "ringing_at",
    "answered": "answered_at",
    "ended": "ended_at",
    "settled": "settled_at",
}
DETAILS: Final = (
    "contact_state",
    "campaign_revision",
    "dial_at",
    "not_after",
    "look_up_at",
    "settle_at",
    "ended_by",
    "callback_at",
    "opt_out",
    "sip_code",
    "provider_raw_status",
    "cost",
    "answers",
    "artifacts",
    "metadata",
    "permit",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One line of a call's timeline. `source` is `outdial` or `provider`; `at` is ours, aware UTC."""

    at: datetime
    source: str
    what: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStory:
    """`facts` is the attempt as it stands, in the words of the table; `timeline` is in the order of time."""

    facts: Mapping[str, Any]
    timeline: Sequence[Moment]


def list_calls(
    connection: sa.Connection,
    *,
    campaign: str | None = None,
    open_only: bool = False,
    older_than: timedelta | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """The newest calls first, each with its facts and instants; those claimed within `older_than` are left out.

    Raises `NotFound` for an unknown campaign.
    """
    rows = reports.calls(
        connection,
        campaign_id=None if campaign is None else _campaign_id(connection, campaign),
        open_only=open_only,
        claimed_before=None if older_than is None else database_now(connection) - older_than,
        limit=limit,
    )
    return [{name: row[name] for name in (*SUMMARY, *INSTANTS.values())} for row in rows]


def show_call(connection: sa.Connection, call: str) -> CallStory:
    """One call, by its `call_id` or by the id of its row. Raises `NotFound`."""
    row = _row(connection, call)
    ours = [
        Moment(at=row[column], source="outdial", what=what, details={})
        for what, column in INSTANTS.items()
        if row[column] is not None
    ]
    theirs = [
        Moment(at=event.received_at, source="provider", what=event.kind, details=event.payload)
        for event in sorted(
            call_events.of_attempts(connection, [AttemptId(row["id"])]),
            # Events that came together are told apart by the provider's clock.
            key=lambda event: (event.received_at, event.event_at),
        )
    ]
    return CallStory(
        facts={name: row[name] for name in (*SUMMARY, *DETAILS, *INSTANTS.values())},
        # Sorting keeps the order of equals: what we were told stands before what we made of it.
        timeline=sorted([*theirs, *ours], key=lambda moment: moment.at),
    )


def find_call(connection: sa.Connection, call: str) -> AttemptId:
    """By its `call_id` or by the id of its row. Raises `NotFound`."""
    return AttemptId(_row(connection, call)["id"])


def age(text: str) -> timedelta:
    """How long ago: "90s", "10m", "2h", "1d". Raises `UserError`."""
    found = AGE.fullmatch(text.strip())
    if found is None:
        raise UserError(f"--older-than is {text!r}: write a time such as 90s, 10m, 2h or 1d.")
    return timedelta(seconds=int(found[1]) * SECONDS_PER_UNIT[found[2]])


def _row(connection: sa.Connection, call: str) -> sa.RowMapping:
    row = reports.call_by_call_id(connection, call)
    if row is None and call.isdecimal() and len(call) <= LONGEST_ID:
        row = reports.call_by_id(connection, AttemptId(int(call)))
    if row is None:
        raise NotFound("call", call, "`outdial calls list` shows the latest, with their ids.")
    return row


def _campaign_id(connection: sa.Connection, name: str) -> CampaignId:
    campaign = campaigns.by_name(connection, name)
    if campaign is None:
        raise NotFound("campaign", name, "`outdial campaign list` shows all there are.")
    return campaign.id
