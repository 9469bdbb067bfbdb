"""How the audit reads rows: instants and JSON as text, so that one that somebody has spoiled keeps no other from being judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.audit import Attempt, Call
from outdial.domain.audit_history import Exclusion
from outdial.domain.audit_record import read_instant, read_limits, read_permit, read_zones
from outdial.domain.ids import AccountId, AttemptId, CampaignId
from outdial.domain.settle import Outcome
from outdial.domain.zones import CallingZone, ZoneSource
from outdial.storage.adopted import RESTORED
from outdial.storage.tables import call_attempts, call_events

attempts = call_attempts

# What stands for the name of a campaign that is not on record any more.
NAMELESS: Final = "?"
_ATTEMPT_INSTANTS: Final = (
    "claimed_at",
    "sent_at",
    "ringing_at",
    "answered_at",
    "ended_at",
    "settled_at",
    "callback_at",
)
MORE_INSTANTS: Final = ("dial_at", "not_after", "settle_at")
CONTACT_INSTANTS: Final = ("call_after", "call_before", "budget_renewed_at")
EXCLUSION_INSTANTS: Final = ("since", "created_at", "expires_at", "removed_at")
_READ: Final = {"heard_at", "is_heard_of", "read_at", "malformed", "unreadable"}
_PLAIN: Final = tuple(
    name for name in Attempt.__dataclass_fields__ if name not in _READ and name not in _ATTEMPT_INSTANTS
)
EXCLUSION: Final = tuple(
    name
    for name in Exclusion.__dataclass_fields__
    if name != "is_readable" and name not in EXCLUSION_INSTANTS
)
# In the place of an instant that is none.
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An attempt that was sent, as far as lines and rates care. `limits`: as its permit has them. `is_restored`: written
    down after it was made, so that its slot is not known.

    `ended_at`: when its line was free again as a claim could know.
    """

    id: AttemptId
    account_id: AccountId
    campaign_id: CampaignId
    sent_at: datetime
    ended_at: datetime | None
    dial_at: datetime
    is_call: bool
    is_test: bool
    is_restored: bool
    limits: Mapping[str, float | None] | None


def attempt_columns(connection: sa.Connection) -> list[sa.ColumnElement[Any]]:
    heard_at = (
        sa.select(instant(connection, sa.func.max(call_events.c.received_at)))
        .where(call_events.c.attempt_id == attempts.c.id)
        .correlate(attempts)
        .scalar_subquery()
    )
    return [
        *(attempts.c[name] for name in _PLAIN),
        *instants(connection, attempts, _ATTEMPT_INSTANTS),
        heard_at.label("heard_at"),
    ]


def instants(connection: sa.Connection, table: sa.Table, names: Iterable[str]) -> list[sa.ColumnElement[Any]]:
    return [instant(connection, table.c[name]).label(name) for name in names]


def instant(connection: sa.Connection, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """As text, as SQLite stores it: one that is none (any text there, infinity on Postgres) must not end the audit."""
    if connection.dialect.name == "sqlite":
        return sa.type_coerce(column, sa.Text)
    return sa.func.to_char(sa.func.timezone("UTC", column), "YYYY-MM-DD HH24:MI:SS.US", type_=sa.Text)


def json_text(connection: sa.Connection, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """JSON as text."""
    return (
        sa.type_coerce(column, sa.Text) if connection.dialect.name == "sqlite" else sa.cast(column, sa.Text)
    )


def limits_text(connection: sa.Connection) -> sa.ColumnElement[Any]:
    """Those of the permit, as text."""
    if connection.dialect.name == "sqlite":
        permit = sa.type_coerce(attempts.c.permit, sa.Text)
        limits = sa.func.json_extract(permit, "$.limits", type_=sa.Text)
        return sa.case((sa.func.json_valid(permit) == 1, limits))
    return sa.cast(attempts.c.permit["limits"], sa.Text)


def read_instants(row: Any, names: Iterable[str]) -> tuple[dict[str, Any], dict[str, object], frozenset[str]]:
    """The instants, those that are not written as all are, and which of these are none."""
    found: dict[str, Any] = {}
    malformed: dict[str, object] = {}
    for name in names:
        found[name], is_as_all = read_instant(row[name])
        if not is_as_all:
            malformed[name] = row[name]
    return found, malformed, frozenset(name for name in malformed if found[name] is None)


def attempt_of(row: sa.RowMapping, read_at: datetime, more: Iterable[str] = ()) -> Attempt:
    found, malformed, unreadable = read_instants(row, (*_ATTEMPT_INSTANTS, *more))
    heard_at, _ = read_instant(row["heard_at"])
    return Attempt(
        **{name: row[name] for name in _PLAIN},
        **{name: found[name] for name in _ATTEMPT_INSTANTS if name != "claimed_at"},
        claimed_at=found["claimed_at"] or _NEVER,
        heard_at=heard_at,
        is_heard_of=row["heard_at"] is not None,
        read_at=read_at,
        malformed=malformed,
        unreadable=unreadable,
    )


def call_of(row: sa.RowMapping, read_at: datetime) -> Call:
    more, _, _ = read_instants(row, MORE_INSTANTS)
    of_contact, malformed, _ = read_instants(row, CONTACT_INSTANTS)
    is_whole = row["campaign"] is not None and row["is_test"] is not None
    return Call(
        attempt=attempt_of(row, read_at, MORE_INSTANTS),
        campaign=row["campaign"] or NAMELESS,
        workspace_id=row["workspace_id"] or 0,
        dial_at=more["dial_at"] or _NEVER,
        not_after=more["not_after"] or _NEVER,
        settle_at=more["settle_at"],
        stored_permit=read_permit(row["permit"]),
        is_test=bool(row["is_test"]),
        person_key=row["person_key"],
        contact_number=row["contact_number"] if is_whole else None,
        contact_may_differ=row["contact_may_differ"],
        zone=_zone(row),
        malformed=malformed,
        awaits_confirmation=bool(row["awaits_confirmation"]),
        **of_contact,
    )


def _zone(row: sa.RowMapping) -> CallingZone | None:
    time_zones = read_zones(row["time_zones"])
    if time_zones is None or row["source"] not in set(ZoneSource):
        return None
    return CallingZone(
        time_zones=time_zones,
        country=row["country"],
        subdivision=row["subdivision"],
        source=ZoneSource(row["source"]),
    )


def exclusion_of(row: sa.RowMapping) -> Exclusion:
    found, _, unreadable = read_instants(row, EXCLUSION_INSTANTS)
    return Exclusion(**{name: row[name] for name in EXCLUSION}, **found, is_readable=not unreadable)


def sent_of(row: Any, until: datetime) -> Sent | None:
    """None: its instants cannot be read, or it was sent after `until`."""
    found, _, unreadable = read_instants(row._mapping, ("sent_at", "ended_at", "settled_at", "dial_at"))
    if unreadable or found["sent_at"] > until:
        return None
    ended_at, settled_at = found["ended_at"], found["settled_at"]
    # One that came to life again after it was given up held no line that a claim could count, as long as it was not
    # known; since when it was, the tables do not keep.
    if settled_at is not None and (ended_at is None or settled_at < ended_at):
        ended_at = settled_at
    return Sent(
        id=AttemptId(row.id),
        account_id=AccountId(row.account_id),
        campaign_id=CampaignId(row.campaign_id),
        sent_at=found["sent_at"],
        ended_at=ended_at,
        dial_at=found["dial_at"],
        is_call=row.outcome != Outcome.NOT_PLACED,
        is_test=bool(row.is_test),
        is_restored=row.claim_id == RESTORED,
        limits=read_limits(row.limits),
    )
