"""What the audit reads: plain statements of its own, page by page in the order of ids. It shares none with the claim.

Pages are short transactions. What is stored of a call never moves back, so that pages which are read one after the
other agree as long as calls that left after the audit began are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.audit import Attempt, Call
from outdial.domain.audit_history import Exclusion
from outdial.domain.ids import AccountId, AttemptId, CallId, CampaignId, ContactId
from outdial.domain.zones import CallingZone, ZoneSource
from outdial.storage.rows import Rows
from outdial.storage.tables import (
    call_attempts,
    call_events,
    calling_zones,
    campaigns,
    contacts,
    exclusion_list_entries,
    imports,
)

attempts = call_attempts
entries = exclusion_list_entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Which calls are judged: those that left from `since` to `until` (aware UTC), of one campaign or of all.

    What never left and is not settled is among them.
    """

    until: datetime
    since: datetime | None = None
    campaign_id: CampaignId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An attempt that was sent, as far as lines and rates care. `limits`: as its permit has them."""

    id: AttemptId
    account_id: AccountId
    campaign_id: CampaignId
    sent_at: datetime
    ended_at: datetime | None
    dial_at: datetime
    is_call: bool
    is_test: bool
    limits: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """How a call is named in the report."""

    call_id: CallId
    contact_id: ContactId
    campaign: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownCall:
    """What the provider told of a call that no attempt of ours is."""

    id: int
    provider_call_id: str | None
    call_id: str | None
    account_id: AccountId
    kind: str
    received_at: datetime


def count(connection: sa.Connection, extent: Extent) -> int:
    query = sa.select(sa.func.count()).select_from(attempts).where(_in(extent))
    return connection.execute(query).scalar_one()


def calls_after(
    connection: sa.Connection, extent: Extent, after: AttemptId, limit: int
) -> Sequence[tuple[AttemptId, Call]]:
    """The next attempts that are judged."""
    query = (
        sa.select(
            *_ATTEMPT,
            attempts.c.dial_at,
            attempts.c.not_after,
            attempts.c.settle_at,
            attempts.c.provider_call_id,
            attempts.c.permit,
            campaigns.c.name.label("campaign"),
            campaigns.c.workspace_id,
            contacts.c.is_test,
            contacts.c.person_key,
            contacts.c.call_after,
            contacts.c.call_before,
            contacts.c.budget_renewed_at,
            calling_zones.c.time_zones,
            calling_zones.c.country,
            calling_zones.c.subdivision,
            calling_zones.c.source,
            _imported_since().label("contact_may_differ"),
        )
        .join(contacts, contacts.c.id == attempts.c.contact_id)
        .join(campaigns, campaigns.c.id == attempts.c.campaign_id)
        .join(calling_zones, calling_zones.c.id == contacts.c.calling_zone_id)
        .where(attempts.c.id > after, _in(extent))
        .order_by(attempts.c.id)
        .limit(limit)
    )
    return [(AttemptId(row["id"]), _call(row)) for row in connection.execute(query).mappings()]


def calls_to(
    connection: sa.Connection, numbers: Collection[str], since: datetime, until: datetime
) -> list[Attempt]:
    """The calls to these numbers, of all campaigns and accounts, that were claimed since or are open still."""
    rows = Rows(connection.dialect.name, "n", {"phone_number": sa.Text})
    query = (
        sa.select(*_ATTEMPT)
        .select_from(rows.source.join(attempts, attempts.c.phone_number == rows.c.phone_number))
        .where(
            attempts.c.sent_at <= until, sa.or_(attempts.c.claimed_at >= since, attempts.c.ended_at.is_(None))
        )
        .order_by(attempts.c.sent_at, attempts.c.id)
    )
    found = connection.execute(query, rows.params((one,) for one in sorted(numbers))).mappings()
    return [_attempt(row) for row in found]


def calls_of(connection: sa.Connection, contact_ids: Collection[ContactId], until: datetime) -> list[Attempt]:
    """The calls to these contacts."""
    query = (
        sa.select(*_ATTEMPT)
        .where(attempts.c.contact_id.in_(tuple(contact_ids)), attempts.c.sent_at <= until)
        .order_by(attempts.c.sent_at, attempts.c.id)
    )
    return [_attempt(row) for row in connection.execute(query).mappings()]


def exclusions_of(
    connection: sa.Connection, numbers: Collection[str], persons: Collection[str]
) -> list[Exclusion]:
    """All entries that were ever made for these numbers and persons."""
    by_number = Rows(connection.dialect.name, "n", {"phone_number": sa.Text})
    by_person = Rows(connection.dialect.name, "n", {"person_key": sa.Text})
    columns = [entries.c[name] for name in Exclusion.__dataclass_fields__]
    found: dict[int, Exclusion] = {}
    for rows, column, keys in (
        (by_number, entries.c.phone_number, numbers),
        (by_person, entries.c.person_key, persons),
    ):
        if keys:
            query = sa.select(entries.c.id, *columns).select_from(
                rows.source.join(entries, column == rows.c[column.name])
            )
            for row in connection.execute(query, rows.params((key,) for key in sorted(keys))).mappings():
                found[row["id"]] = Exclusion(**{name: row[name] for name in Exclusion.__dataclass_fields__})
    return list(found.values())


def sent_after(
    connection: sa.Connection,
    until: datetime,
    open_since: datetime | None,
    account_ids: Collection[AccountId],
    after: AttemptId,
    limit: int,
) -> list[Sent]:
    """The next attempts of these accounts that were sent, but for those that had ended by `open_since`."""
    query = (
        sa.select(
            attempts.c.id,
            attempts.c.account_id,
            attempts.c.campaign_id,
            attempts.c.sent_at,
            attempts.c.ended_at,
            attempts.c.dial_at,
            attempts.c.outcome,
            attempts.c.permit["limits"].label("limits"),
            contacts.c.is_test,
        )
        .join(contacts, contacts.c.id == attempts.c.contact_id)
        .where(
            attempts.c.id > after,
            attempts.c.account_id.in_(tuple(account_ids)),
            attempts.c.sent_at <= until,
            *(
                []
                if open_since is None
                else [sa.or_(attempts.c.ended_at.is_(None), attempts.c.ended_at > open_since)]
            ),
        )
        .order_by(attempts.c.id)
        .limit(limit)
    )
    return [
        Sent(
            id=AttemptId(row.id),
            account_id=AccountId(row.account_id),
            campaign_id=CampaignId(row.campaign_id),
            sent_at=row.sent_at,
            ended_at=row.ended_at,
            dial_at=row.dial_at,
            is_call=row.outcome != "not_placed",
            is_test=row.is_test,
            limits=row.limits,
        )
        for row in connection.execute(query)
    ]


def whose(connection: sa.Connection, ids: Collection[AttemptId]) -> dict[AttemptId, Whose]:
    query = (
        sa.select(attempts.c.id, attempts.c.call_id, attempts.c.contact_id, campaigns.c.name)
        .join(campaigns, campaigns.c.id == attempts.c.campaign_id)
        .where(attempts.c.id.in_(tuple(ids)))
    )
    return {
        AttemptId(row.id): Whose(
            call_id=CallId(row.call_id), contact_id=ContactId(row.contact_id), campaign=row.name
        )
        for row in connection.execute(query)
    }


def with_shared_id(connection: sa.Connection, ids: Collection[AttemptId]) -> dict[AttemptId, str]:
    """Those of the attempts whose id of the provider another attempt of the account has too, with that id."""
    other = attempts.alias("other")
    query = sa.select(attempts.c.id, attempts.c.provider_call_id).where(
        attempts.c.id.in_(tuple(ids)),
        sa.exists().where(
            other.c.account_id == attempts.c.account_id,
            other.c.provider_call_id == attempts.c.provider_call_id,
            other.c.id != attempts.c.id,
        ),
    )
    return {AttemptId(row.id): row.provider_call_id for row in connection.execute(query)}


def with_several_calls(connection: sa.Connection, ids: Collection[AttemptId]) -> dict[AttemptId, int]:
    """Those of the attempts for which the provider told of more than one call, and of how many."""
    calls = sa.func.count(call_events.c.provider_call_id.distinct())
    query = (
        sa.select(call_events.c.attempt_id, calls.label("calls"))
        .where(call_events.c.attempt_id.in_(tuple(ids)))
        .group_by(call_events.c.attempt_id)
        .having(calls > 1)
    )
    return {AttemptId(row.attempt_id): row.calls for row in connection.execute(query)}


def unknown_calls_after(
    connection: sa.Connection, extent: Extent, after: int, limit: int
) -> list[UnknownCall]:
    """The next events of calls that no attempt is, neither by our id nor by the provider's."""
    event = call_events
    query = (
        sa.select(
            event.c.id,
            event.c.provider_call_id,
            event.c.call_id,
            event.c.account_id,
            event.c.kind,
            event.c.received_at,
        )
        .where(
            event.c.id > after,
            event.c.attempt_id.is_(None),
            event.c.received_at <= extent.until,
            *([] if extent.since is None else [event.c.received_at >= extent.since]),
            ~sa.exists().where(
                attempts.c.account_id == event.c.account_id,
                attempts.c.provider_call_id == event.c.provider_call_id,
            ),
            ~sa.exists().where(
                attempts.c.account_id == event.c.account_id, attempts.c.call_id == event.c.call_id
            ),
        )
        .order_by(event.c.id)
        .limit(limit)
    )
    return [
        UnknownCall(
            id=row.id,
            provider_call_id=row.provider_call_id,
            call_id=row.call_id,
            account_id=AccountId(row.account_id),
            kind=row.kind,
            received_at=row.received_at,
        )
        for row in connection.execute(query)
    ]


def _in(extent: Extent) -> sa.ColumnElement[bool]:
    left = [attempts.c.sent_at <= extent.until]
    if extent.since is not None:
        left.append(attempts.c.sent_at >= extent.since)
    lies_open = sa.and_(
        attempts.c.claimed_at <= extent.until,
        sa.or_(attempts.c.settled_at.is_(None), attempts.c.ended_at.is_(None)),
    )
    judged = sa.or_(sa.and_(*left), lies_open)
    if extent.campaign_id is None:
        return judged
    return sa.and_(judged, attempts.c.campaign_id == extent.campaign_id)


def _imported_since() -> sa.ColumnElement[bool]:
    """Whether an import into the campaign was under way after the call was claimed."""
    return sa.exists().where(
        imports.c.campaign_id == attempts.c.campaign_id,
        sa.or_(imports.c.finished_at.is_(None), imports.c.finished_at >= attempts.c.claimed_at),
    )


_HEARD_AT: Final = (
    sa.select(sa.func.max(call_events.c.received_at))
    .where(call_events.c.attempt_id == attempts.c.id)
    .correlate(attempts)
    .scalar_subquery()
    .label("heard_at")
)
_PLAIN: Final = tuple(name for name in Attempt.__dataclass_fields__ if name != "heard_at")
_ATTEMPT: Final = (*(attempts.c[name] for name in _PLAIN), _HEARD_AT)


def _attempt(row: sa.RowMapping) -> Attempt:
    return Attempt(**{name: row[name] for name in (*_PLAIN, "heard_at")})


def _call(row: sa.RowMapping) -> Call:
    same = (
        "campaign",
        "workspace_id",
        "dial_at",
        "not_after",
        "settle_at",
        "provider_call_id",
        "permit",
        "is_test",
        "person_key",
        "call_after",
        "call_before",
        "budget_renewed_at",
        "contact_may_differ",
    )
    return Call(
        attempt=_attempt(row),
        zone=CallingZone(
            time_zones=tuple(row["time_zones"]),
            country=row["country"],
            subdivision=row["subdivision"],
            source=ZoneSource(row["source"]),
        ),
        **{name: row[name] for name in same},
    )
