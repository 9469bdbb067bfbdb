"""What the audit reads: plain statements of its own, page by page in the order of ids. It shares none with the claim.

Pages are short transactions. What is stored of a call never moves back, so that pages which are read one after the
other agree as long as calls that left after the audit began are left out. How rows are read: `audit_rows`.
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
from outdial.domain.settle import Outcome
from outdial.storage.audit_rows import (
    CONTACT_INSTANTS,
    EXCLUSION,
    EXCLUSION_INSTANTS,
    MORE_INSTANTS,
    NAMELESS,
    Sent,
    attempt_columns,
    attempt_of,
    call_of,
    exclusion_of,
    instant,
    instants,
    json_text,
    limits_text,
    sent_of,
)
from outdial.storage.database import database_now
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

    What is not settled is among them whenever it left, and what is not readable as well. Rows that came after the
    newest ones of the beginning are none of this audit's.
    """

    until: datetime
    last_attempt_id: int
    last_event_id: int
    since: datetime | None = None
    campaign_id: CampaignId | None = None


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
    received_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortContact:
    """A contact that counts more attempts than there are."""

    id: ContactId
    campaign: str
    counted: int
    found: int


def extent(
    connection: sa.Connection, until: datetime, since: datetime | None, campaign_id: CampaignId | None
) -> Extent:
    newest = (sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0)) for table in (attempts, call_events))
    last_attempt_id, last_event_id = (connection.execute(query).scalar_one() for query in newest)
    return Extent(
        until=until,
        last_attempt_id=last_attempt_id,
        last_event_id=last_event_id,
        since=since,
        campaign_id=campaign_id,
    )


def count(connection: sa.Connection, extent: Extent) -> int:
    query = sa.select(sa.func.count()).select_from(attempts).where(*_in(connection, extent))
    return connection.execute(query).scalar_one()


def attempts_after(
    connection: sa.Connection, extent: Extent, after: AttemptId, limit: int
) -> Sequence[tuple[AttemptId, Call]]:
    """The next attempts that may have to be judged. One whose contact or campaign is gone is among them."""
    query = (
        sa.select(
            *attempt_columns(connection),
            *instants(connection, attempts, MORE_INSTANTS),
            *instants(connection, contacts, CONTACT_INSTANTS),
            json_text(connection, attempts.c.permit).label("permit"),
            attempts.c.awaits_confirmation,
            campaigns.c.name.label("campaign"),
            campaigns.c.workspace_id,
            contacts.c.is_test,
            contacts.c.person_key,
            contacts.c.phone_number.label("contact_number"),
            json_text(connection, calling_zones.c.time_zones).label("time_zones"),
            calling_zones.c.country,
            calling_zones.c.subdivision,
            calling_zones.c.source,
            _imported_since().label("contact_may_differ"),
        )
        .select_from(attempts)
        .outerjoin(contacts, contacts.c.id == attempts.c.contact_id)
        .outerjoin(campaigns, campaigns.c.id == attempts.c.campaign_id)
        .outerjoin(calling_zones, calling_zones.c.id == contacts.c.calling_zone_id)
        .where(attempts.c.id > after, *_in(connection, extent))
        .order_by(attempts.c.id)
        .limit(limit)
    )
    rows = connection.execute(query).mappings().all()
    # After the rows: what they hold cannot be later.
    read_at = database_now(connection)
    return [(AttemptId(row["id"]), call_of(row, read_at)) for row in rows]


def attempts_to(connection: sa.Connection, numbers: Collection[str], since: datetime) -> list[Attempt]:
    """The attempts on these numbers, of all campaigns and accounts, that were claimed since or are open still."""
    rows = Rows(connection.dialect.name, "n", {"phone_number": sa.Text})
    query = (
        sa.select(*attempt_columns(connection))
        .select_from(rows.source.join(attempts, attempts.c.phone_number == rows.c.phone_number))
        .where(sa.or_(attempts.c.claimed_at >= since, attempts.c.ended_at.is_(None)))
        .order_by(attempts.c.id)
    )
    found = connection.execute(query, rows.params((one,) for one in sorted(numbers))).mappings().all()
    read_at = database_now(connection)
    return [attempt_of(row, read_at) for row in found]


def attempts_of(connection: sa.Connection, contact_ids: Collection[ContactId]) -> list[Attempt]:
    """All attempts on these contacts."""
    query = (
        sa.select(*attempt_columns(connection))
        .where(attempts.c.contact_id.in_(tuple(contact_ids)))
        .order_by(attempts.c.id)
    )
    found = connection.execute(query).mappings().all()
    read_at = database_now(connection)
    return [attempt_of(row, read_at) for row in found]


def exclusions_of(
    connection: sa.Connection, numbers: Collection[str], persons: Collection[str]
) -> list[Exclusion]:
    """All entries that were ever made for these numbers and persons."""
    by_number = Rows(connection.dialect.name, "n", {"phone_number": sa.Text})
    by_person = Rows(connection.dialect.name, "n", {"person_key": sa.Text})
    columns = [
        *(entries.c[name] for name in EXCLUSION),
        *instants(connection, entries, EXCLUSION_INSTANTS),
    ]
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
                found[row["id"]] = exclusion_of(row)
    return list(found.values())


def sent_after(
    connection: sa.Connection,
    extent: Extent,
    open_since: datetime | None,
    account_ids: Collection[AccountId],
    after: AttemptId,
    limit: int,
) -> tuple[list[Sent], AttemptId | None]:
    """The next attempts of these accounts that were sent, but for those that had ended by `open_since`; and after which
    one to go on, None after the last. One of which it cannot be read when it held its line is left out.
    """
    query = (
        sa.select(
            attempts.c.id,
            attempts.c.account_id,
            attempts.c.campaign_id,
            attempts.c.outcome,
            attempts.c.claim_id,
            *instants(connection, attempts, ("sent_at", "ended_at", "settled_at", "dial_at")),
            limits_text(connection).label("limits"),
            contacts.c.is_test,
        )
        .select_from(attempts)
        .outerjoin(contacts, contacts.c.id == attempts.c.contact_id)
        .where(
            attempts.c.id > after,
            attempts.c.id <= extent.last_attempt_id,
            attempts.c.account_id.in_(tuple(account_ids)),
            attempts.c.sent_at.is_not(None),
            *(
                []
                if open_since is None
                else [sa.or_(attempts.c.ended_at.is_(None), attempts.c.ended_at > open_since)]
            ),
        )
        .order_by(attempts.c.id)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    found = [sent for row in rows if (sent := sent_of(row, extent.until)) is not None]
    return found, AttemptId(rows[-1].id) if len(rows) == limit else None


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
            instant(connection, event.c.received_at).label("received_at"),
        )
        .where(
            event.c.id > after,
            event.c.id <= extent.last_event_id,
            event.c.attempt_id.is_(None),
            *_received_since(connection, extent),
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
    return [_unknown_call(row) for row in connection.execute(query)]


def orphaned_events_after(
    connection: sa.Connection, extent: Extent, after: int, limit: int
) -> tuple[list[UnknownCall], int | None]:
    """Of the next `limit` events those whose attempt is gone; and after which to go on, None after the last."""
    event = call_events
    page = (
        sa.select(
            event.c.id,
            event.c.attempt_id,
            event.c.provider_call_id,
            event.c.call_id,
            event.c.account_id,
            event.c.kind,
            event.c.received_at,
        )
        .where(event.c.id > after, event.c.id <= extent.last_event_id)
        .order_by(event.c.id)
        .limit(limit)
        .subquery()
    )
    last, length = connection.execute(sa.select(sa.func.max(page.c.id), sa.func.count(page.c.id))).one()
    query = (
        sa.select(
            page.c.id,
            page.c.provider_call_id,
            page.c.call_id,
            page.c.account_id,
            page.c.kind,
            instant(connection, page.c.received_at).label("received_at"),
        )
        .where(
            page.c.attempt_id.is_not(None),
            ~sa.exists().where(attempts.c.id == page.c.attempt_id),
            *_received_since(connection, extent, page.c.received_at),
        )
        .order_by(page.c.id)
    )
    found = [_unknown_call(row) for row in connection.execute(query)]
    return found, last if length == limit else None


def short_contacts_after(
    connection: sa.Connection, extent: Extent, after: ContactId, limit: int
) -> tuple[list[ShortContact], ContactId | None]:
    """Of the next `limit` contacts that count attempts those that have fewer; and after which to go on."""
    page = (
        sa.select(contacts.c.id, contacts.c.campaign_id, contacts.c.attempts_count)
        .where(
            contacts.c.id > after,
            contacts.c.attempts_count > 0,
            ~contacts.c.is_test,
            *([] if extent.campaign_id is None else [contacts.c.campaign_id == extent.campaign_id]),
            *([] if extent.since is None else [contacts.c.last_attempt_at >= extent.since]),
        )
        .order_by(contacts.c.id)
        .limit(limit)
        .subquery()
    )
    placed = (
        sa.select(sa.func.count())
        .where(
            attempts.c.contact_id == page.c.id,
            sa.or_(
                sa.func.coalesce(attempts.c.outcome, "") != Outcome.NOT_PLACED,
                attempts.c.answered_at.is_not(None),
            ),
        )
        .scalar_subquery()
    )
    query = (
        sa.select(page.c.id, page.c.attempts_count, campaigns.c.name, placed.label("found"))
        .select_from(page.outerjoin(campaigns, campaigns.c.id == page.c.campaign_id))
        .order_by(page.c.id)
    )
    rows = connection.execute(query).all()
    short = [
        ShortContact(
            id=ContactId(row.id), campaign=row.name or NAMELESS, counted=row.attempts_count, found=row.found
        )
        for row in rows
        if row.attempts_count > row.found
    ]
    return short, ContactId(rows[-1].id) if len(rows) == limit else None


def _in(connection: sa.Connection, extent: Extent) -> list[sa.ColumnElement[bool]]:
    judged: list[sa.ColumnElement[bool]] = [attempts.c.id <= extent.last_attempt_id]
    if extent.campaign_id is not None:
        judged.append(attempts.c.campaign_id == extent.campaign_id)
    if extent.since is not None:
        judged.append(
            sa.or_(
                attempts.c.sent_at >= extent.since,
                attempts.c.claimed_at >= extent.since,
                attempts.c.settled_at.is_(None),
                attempts.c.ended_at.is_(None),
                *_is_odd(connection, attempts.c.sent_at),
                *_is_odd(connection, attempts.c.claimed_at),
            )
        )
    return judged


def _received_since(
    connection: sa.Connection, extent: Extent, received_at: sa.ColumnElement[Any] = call_events.c.received_at
) -> list[sa.ColumnElement[bool]]:
    if extent.since is None:
        return []
    return [sa.or_(received_at >= extent.since, *_is_odd(connection, received_at))]


def _is_odd(connection: sa.Connection, instant: sa.ColumnElement[Any]) -> list[sa.ColumnElement[bool]]:
    """Whether an instant is not written as all are, so that to compare it tells nothing: SQLite keeps any text."""
    if connection.dialect.name != "sqlite":
        return []
    day, clock = "-".join(("[0-9]" * 4, "[0-9]" * 2, "[0-9]" * 2)), ":".join(["[0-9]" * 2] * 3)
    pattern = f"{day} {clock}.{'[0-9]' * 6}"
    return [~sa.type_coerce(instant, sa.Text).op("GLOB", is_comparison=True)(pattern)]


def _imported_since() -> sa.ColumnElement[bool]:
    """Whether an import into the campaign was under way after the call was claimed."""
    return sa.exists().where(
        imports.c.campaign_id == attempts.c.campaign_id,
        sa.or_(imports.c.finished_at.is_(None), imports.c.finished_at >= attempts.c.claimed_at),
    )


def _unknown_call(row: Any) -> UnknownCall:
    return UnknownCall(
        id=row.id,
        provider_call_id=row.provider_call_id,
        call_id=row.call_id,
        account_id=AccountId(row.account_id),
        kind=row.kind,
        received_at=str(row.received_at)[:_TO_THE_SECOND],
    )


_TO_THE_SECOND: Final = len("2026-11-23 18:00:00")
