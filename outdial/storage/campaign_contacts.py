"""Statements over all contacts of one campaign: how they stand, and their withdrawal."""

from __future__ import annotations

import sqlalchemy as sa

from outdial.domain.contact import ContactState
from outdial.domain.ids import CampaignId
from outdial.storage.contacts import PENDING
from outdial.storage.tables import call_attempts, contacts


def has_any(connection: sa.Connection, campaign_id: CampaignId) -> bool:
    query = sa.select(sa.exists().where(contacts.c.campaign_id == campaign_id))
    return bool(connection.execute(query).scalar_one())


def count_by_state(connection: sa.Connection, campaign_id: CampaignId) -> dict[ContactState, int]:
    """How many contacts stand where, in the order of the states; those without any are left out."""
    query = (
        sa.select(contacts.c.state, sa.func.count())
        .where(contacts.c.campaign_id == campaign_id)
        .group_by(contacts.c.state)
    )
    counts = {row[0]: row[1] for row in connection.execute(query)}
    return {state: counts[state] for state in ContactState if state in counts}


def count_open_calls(connection: sa.Connection, campaign_id: CampaignId) -> int:
    query = sa.select(sa.func.count()).where(
        call_attempts.c.campaign_id == campaign_id, call_attempts.c.ended_at.is_(None)
    )
    return connection.execute(query).scalar_one()


def withdraw_pending(connection: sa.Connection, campaign_id: CampaignId, reason: str, limit: int) -> int:
    """Pending contacts become `withdrawn`, at most `limit` at once. Returns how many.

    One that somebody else has locked is left for the next time.
    """
    # A CTE, since Postgres may run a subquery that locks rows again and again, each time with other rows.
    chosen = (
        sa.select(contacts.c.id)
        .where(contacts.c.campaign_id == campaign_id, contacts.c.state == PENDING)
        .order_by(contacts.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("chosen")
    )
    statement = (
        sa.update(contacts)
        .where(contacts.c.id.in_(sa.select(chosen.c.id)), contacts.c.state == PENDING)
        .values(state=ContactState.WITHDRAWN, final_reason=reason, next_attempt_at=None)
        .returning(contacts.c.id)
    )
    # Counted from what comes back: of a statement with a CTE, SQLite's driver tells no count.
    return len(connection.execute(statement).all())
