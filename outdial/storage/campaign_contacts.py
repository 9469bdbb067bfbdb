"""Statements over all contacts of one campaign: how they stand. Those of test calls are left out."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from outdial.domain.contact import ContactState
from outdial.domain.ids import CampaignId
from outdial.domain.zones import ZoneSource
from outdial.storage.contacts import PENDING
from outdial.storage.tables import buckets, call_attempts, calling_zones, contacts


def has_any(connection: sa.Connection, campaign_id: CampaignId) -> bool:
    query = sa.select(sa.exists().where(contacts.c.campaign_id == campaign_id, ~contacts.c.is_test))
    return bool(connection.execute(query).scalar_one())


def count_by_state(connection: sa.Connection, campaign_id: CampaignId) -> dict[ContactState, int]:
    """How many contacts stand where, in the order of the states; those without any are left out."""
    query = (
        sa.select(contacts.c.state, sa.func.count())
        .where(contacts.c.campaign_id == campaign_id, ~contacts.c.is_test)
        .group_by(contacts.c.state)
    )
    counts = {row[0]: row[1] for row in connection.execute(query)}
    return {state: counts[state] for state in ContactState if state in counts}


def count_open_calls(connection: sa.Connection, campaign_id: CampaignId) -> int:
    query = sa.select(sa.func.count()).where(
        call_attempts.c.campaign_id == campaign_id, call_attempts.c.ended_at.is_(None)
    )
    return connection.execute(query).scalar_one()


def count_waiting_in_unknown_zones(
    connection: sa.Connection, campaign_ids: Collection[CampaignId]
) -> dict[CampaignId, int]:
    """How many contacts of each campaign wait although nobody knows where they ring; those without any are left out."""
    unknown = connection.scalars(
        sa.select(calling_zones.c.id).where(calling_zones.c.source == ZoneSource.UNKNOWN)
    ).all()
    if not unknown or not campaign_ids:
        return {}
    query = (
        sa.select(contacts.c.campaign_id, sa.func.count())
        .where(
            contacts.c.state == PENDING,
            contacts.c.campaign_id.in_(tuple(campaign_ids)),
            contacts.c.calling_zone_id.in_(unknown),
        )
        .group_by(contacts.c.campaign_id)
    )
    return {CampaignId(row[0]): row[1] for row in connection.execute(query)}


def open_countries(connection: sa.Connection, campaign_id: CampaignId) -> set[str | None]:
    """The countries of those who wait or are being called; None stands for a number of no country."""
    waiting = sa.select(buckets.c.calling_zone_id).where(
        buckets.c.campaign_id == campaign_id,
        sa.exists().where(
            contacts.c.campaign_id == campaign_id,
            contacts.c.calling_zone_id == buckets.c.calling_zone_id,
            contacts.c.priority == buckets.c.priority,
            contacts.c.stage == buckets.c.stage,
            contacts.c.state == PENDING,
        ),
    )
    called = sa.select(contacts.c.calling_zone_id).where(
        contacts.c.campaign_id == campaign_id,
        contacts.c.state == sa.literal_column(f"'{ContactState.IN_PROGRESS}'"),
        sa.literal_column("NOT contacts.is_test", sa.Boolean),
    )
    query = sa.select(calling_zones.c.country).where(
        sa.or_(calling_zones.c.id.in_(waiting), calling_zones.c.id.in_(called))
    )
    return set(connection.execute(query).scalars())
