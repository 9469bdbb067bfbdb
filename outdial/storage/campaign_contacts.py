"""Statements over all contacts of one campaign: how they stand. Those of test calls are left out."""

from __future__ import annotations

import sqlalchemy as sa

from outdial.domain.contact import ContactState
from outdial.domain.ids import CampaignId
from outdial.storage.tables import call_attempts, contacts


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
