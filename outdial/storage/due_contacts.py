"""Who is due, with all that must be known to call them or to pass them over: taken and locked by a claim, or looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from outdial.domain.contact import ContactState, Stage
from outdial.domain.ids import CallingZoneId, CampaignId, ContactId
from outdial.domain.order import Bucket
from outdial.storage.contacts import PENDING, is_busy, is_contact_excluded, is_excluded
from outdial.storage.rows import Rows
from outdial.storage.tables import call_attempts, campaigns, contacts
from outdial.storage.types import BigId, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class DueContact:
    """A contact that a claim took, with what must be known to call it or pass it over."""

    id: ContactId
    campaign_id: CampaignId
    calling_zone_id: CallingZoneId
    priority: int
    stage: Stage
    phone_number: str
    external_contact_id: str | None
    name: str | None
    email: str | None
    language: str | None
    attributes: Mapping[str, Any]
    attempts_count: int
    call_before: datetime | None
    is_excluded: bool
    is_busy: bool
    person_key: str | None = None
    consent_kind: str | None = None
    consent_at: datetime | None = None
    consent_source: str | None = None


def take_due(
    connection: sa.Connection, due: Sequence[Bucket], shares: Mapping[CampaignId, int], at: datetime
) -> list[DueContact]:
    """Due contacts, locked: for each campaign at most its share, from `due` buckets in their order.

    What another transaction has locked is skipped. No bucket is read once its campaign's share is filled.
    """
    taken = _take_on_sqlite if connection.dialect.name == "sqlite" else _take_on_postgres
    return [_due(row) for row in taken(connection, due, shares, at)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAt:
    """A contact as it stands, and what a claim would know of it. Instants aware UTC.

    `awaits_confirmation`: a call of it, or of its number, does, after a restore.
    """

    contact: DueContact
    campaign: str
    state: ContactState
    final_reason: str | None
    next_attempt_at: datetime | None
    awaits_confirmation: bool


def look_at(
    connection: sa.Connection,
    at: datetime,
    *,
    phone_number: str | None,
    external_contact_id: str,
    campaign_id: CampaignId | None,
) -> list[LookedAt]:
    """Whom a number (E.164) or an external id means, over all campaigns or in one, as a claim would see them at `at`.

    Reads without a lock; test calls are nobody.
    """
    is_meant = contacts.c.external_contact_id == external_contact_id
    if phone_number is not None:
        is_meant = sa.or_(is_meant, contacts.c.phone_number == phone_number)
    if campaign_id is not None:
        is_meant = sa.and_(is_meant, contacts.c.campaign_id == campaign_id)
    now = sa.literal(at, Instant)
    query: sa.Select[Any] = (
        sa.select(
            *TAKEN,
            is_excluded(contacts.c.phone_number, contacts.c.person_key, contacts.c.campaign_id, now).label(
                "is_excluded"
            ),
            is_busy().label("is_busy"),
            campaigns.c.name.label("campaign"),
            contacts.c.state,
            contacts.c.final_reason,
            contacts.c.next_attempt_at,
            sa.exists()
            .where(
                call_attempts.c.phone_number == contacts.c.phone_number,
                call_attempts.c.settled_at.is_(None),
                call_attempts.c.awaits_confirmation,
            )
            .label("awaits_confirmation"),
        )
        .select_from(contacts.join(campaigns))
        .where(is_meant, ~contacts.c.is_test)
        .order_by(contacts.c.id)
    )
    return [
        LookedAt(
            contact=_due(row),
            campaign=row.campaign,
            state=ContactState(row.state),
            final_reason=row.final_reason,
            next_attempt_at=row.next_attempt_at,
            awaits_confirmation=row.awaits_confirmation,
        )
        for row in connection.execute(query)
    ]


TAKEN = (
    contacts.c.id,
    contacts.c.campaign_id,
    contacts.c.calling_zone_id,
    contacts.c.priority,
    contacts.c.stage,
    contacts.c.phone_number,
    contacts.c.external_contact_id,
    contacts.c.name,
    contacts.c.email,
    contacts.c.language,
    contacts.c.attributes,
    contacts.c.attempts_count,
    contacts.c.call_before,
    contacts.c.person_key,
    contacts.c.consent_kind,
    contacts.c.consent_at,
    contacts.c.consent_source,
)


def _take_on_postgres(
    connection: sa.Connection, due: Sequence[Bucket], shares: Mapping[CampaignId, int], at: datetime
) -> Sequence[sa.Row[Any]]:
    share_rows, bucket_rows, query = _take_query()
    params = {
        **share_rows.params([(campaign_id, share) for campaign_id, share in sorted(shares.items())]),
        **bucket_rows.params(
            [(b.campaign_id, b.calling_zone_id, b.priority, int(b.stage), b.next_due_at) for b in due]
        ),
        "at": at,
    }
    return connection.execute(query, params).all()


@cache
def _take_query() -> tuple[Rows, Rows, sa.Select[Any]]:
    """One statement for all campaigns: LATERAL reads bucket after bucket, and the LIMIT above stops it when filled."""
    shares = Rows("postgresql", "s", {"campaign_id": BigId, "share": sa.Integer})
    due = Rows(
        "postgresql",
        "b",
        {
            "campaign_id": BigId,
            "calling_zone_id": BigId,
            "priority": sa.Integer,
            "stage": sa.Integer,
            "floor": Instant,
        },
    )
    at = sa.bindparam("at", type_=Instant)
    in_bucket = (
        sa.select(
            *TAKEN,
            is_contact_excluded(at).label("is_excluded"),
            is_busy().label("is_busy"),
        )
        .where(
            *(
                contacts.c[name] == due.c[name]
                for name in ("campaign_id", "calling_zone_id", "priority", "stage")
            ),
            contacts.c.state == PENDING,
            contacts.c.next_attempt_at <= at,
            contacts.c.next_attempt_at >= due.c.floor,
        )
        .order_by(contacts.c.next_attempt_at, contacts.c.id)
        .limit(shares.c.share)
        .with_for_update(of=contacts, skip_locked=True, key_share=True)
        .lateral("in_bucket")
    )
    # No ORDER BY above the buckets on purpose: it would read them all. A nested loop keeps the order of its outer
    # rows, and LATERAL admits no other join.
    in_campaign = (
        sa.select(in_bucket)
        .select_from(due.source.join(in_bucket, sa.true()))
        .where(due.c.campaign_id == shares.c.campaign_id)
        .limit(shares.c.share)
        .lateral("in_campaign")
    )
    return shares, due, sa.select(in_campaign).select_from(shares.source.join(in_campaign, sa.true()))


def _take_on_sqlite(
    connection: sa.Connection, due: Sequence[Bucket], shares: Mapping[CampaignId, int], at: datetime
) -> Sequence[sa.Row[Any]]:
    left = dict(shares)
    taken: list[sa.Row[Any]] = []
    for bucket in due:
        wanted = left.get(bucket.campaign_id, 0)
        if wanted > 0:
            params = {
                "campaign_id": bucket.campaign_id,
                "calling_zone_id": bucket.calling_zone_id,
                "priority": bucket.priority,
                "stage": int(bucket.stage),
                "floor": bucket.next_due_at,
                "at": at,
                "wanted": wanted,
            }
            rows = connection.execute(_bucket_query(), params).all()
            taken.extend(rows)
            left[bucket.campaign_id] = wanted - len(rows)
    return taken


@cache
def _bucket_query() -> sa.Select[Any]:
    at = sa.bindparam("at", type_=Instant)
    names = ("campaign_id", "calling_zone_id", "priority", "stage")
    return (
        sa.select(
            *TAKEN,
            is_contact_excluded(at).label("is_excluded"),
            is_busy().label("is_busy"),
        )
        .where(
            *(contacts.c[name] == sa.bindparam(name) for name in names),
            contacts.c.state == PENDING,
            contacts.c.next_attempt_at <= at,
            contacts.c.next_attempt_at >= sa.bindparam("floor", type_=Instant),
        )
        .order_by(contacts.c.next_attempt_at, contacts.c.id)
        .limit(sa.bindparam("wanted"))
    )


def _due(row: sa.Row[Any]) -> DueContact:
    return DueContact(
        id=ContactId(row.id),
        campaign_id=CampaignId(row.campaign_id),
        calling_zone_id=CallingZoneId(row.calling_zone_id),
        priority=row.priority,
        stage=Stage(row.stage),
        phone_number=row.phone_number,
        external_contact_id=row.external_contact_id,
        name=row.name,
        email=row.email,
        language=row.language,
        attributes=row.attributes,
        attempts_count=row.attempts_count,
        call_before=row.call_before,
        is_excluded=bool(row.is_excluded),
        is_busy=bool(row.is_busy),
        person_key=row.person_key,
        consent_kind=row.consent_kind,
        consent_at=row.consent_at,
        consent_source=row.consent_source,
    )
