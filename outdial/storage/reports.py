"""The read side: calls and results as people and scripts look at them. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from outdial.domain.ids import AttemptId, CampaignId, ContactId
from outdial.storage.tables import call_attempts, campaigns, contacts, provider_configurations

attempts = call_attempts


def calls(
    connection: sa.Connection,
    *,
    campaign_id: CampaignId | None,
    open_only: bool,
    limit: int,
    claimed_before: datetime | None = None,
) -> Sequence[sa.RowMapping]:
    """The newest attempts first."""
    query = _attempts().order_by(attempts.c.id.desc()).limit(limit)
    if campaign_id is not None:
        query = query.where(attempts.c.campaign_id == campaign_id)
    if open_only:
        query = query.where(attempts.c.ended_at.is_(None))
    if claimed_before is not None:
        query = query.where(attempts.c.claimed_at < claimed_before)
    return connection.execute(query).mappings().all()


def call_by_id(connection: sa.Connection, attempt_id: AttemptId) -> sa.RowMapping | None:
    return connection.execute(_attempts().where(attempts.c.id == attempt_id)).mappings().one_or_none()


def call_by_call_id(connection: sa.Connection, call_id: str) -> sa.RowMapping | None:
    return connection.execute(_attempts().where(attempts.c.call_id == call_id)).mappings().one_or_none()


def contacts_after(
    connection: sa.Connection, campaign_id: CampaignId, after: ContactId, limit: int
) -> Sequence[sa.RowMapping]:
    """The campaign's next contacts in the order in which they came in."""
    query = (
        sa.select(contacts)
        .where(contacts.c.campaign_id == campaign_id, contacts.c.id > after, ~contacts.c.is_test)
        .order_by(contacts.c.id)
        .limit(limit)
    )
    return connection.execute(query).mappings().all()


def attempts_of(connection: sa.Connection, contact_ids: Collection[ContactId]) -> Sequence[sa.RowMapping]:
    """The attempts of these contacts, oldest first."""
    query = sa.select(attempts).where(attempts.c.contact_id.in_(tuple(contact_ids))).order_by(attempts.c.id)
    return connection.execute(query).mappings().all()


def _attempts() -> sa.Select[Any]:
    return (
        sa.select(
            attempts,
            campaigns.c.name.label("campaign"),
            provider_configurations.c.name.label("account"),
            contacts.c.external_contact_id,
            contacts.c.name.label("contact_name"),
            contacts.c.state.label("contact_state"),
            contacts.c.is_test,
        )
        .join(campaigns, campaigns.c.id == attempts.c.campaign_id)
        .join(provider_configurations, provider_configurations.c.id == attempts.c.account_id)
        .join(contacts, contacts.c.id == attempts.c.contact_id)
    )
