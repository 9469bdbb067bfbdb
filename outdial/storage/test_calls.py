"""Statements over the contacts of test calls: each is made for one call, and stands in no bucket and no count.

From its first moment it is `in_progress`, so that no claim takes it. Until `call_before` it waits for a line.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.contact import ContactState, Stage
from outdial.domain.ids import AccountId, CallingZoneId, CampaignId, ContactId
from outdial.storage.tables import campaigns, contacts
from outdial.storage.types import Instant

# As text, so that SQLite finds its partial index by the same words.
IN_PROGRESS: Final = sa.text(f"contacts.is_test AND contacts.state = '{ContactState.IN_PROGRESS}'")


def insert(
    connection: sa.Connection,
    campaign_id: CampaignId,
    calling_zone_id: CallingZoneId,
    phone_number: str,
    *,
    key: str,
    at: datetime,
    until: datetime,
) -> ContactId:
    """The contact of one test call, which waits for its line from `at` until `until`; `key` is unique."""
    statement = (
        sa.insert(contacts)
        .values(
            campaign_id=campaign_id,
            calling_zone_id=calling_zone_id,
            phone_number=phone_number,
            identity_key=f"test:{key}",
            attributes={},
            stage=int(Stage.FIRST),
            state=ContactState.IN_PROGRESS,
            is_test=True,
            call_before=until,
            created_at=at,
        )
        .returning(contacts.c.id)
    )
    return ContactId(connection.execute(statement).scalar_one())


def begin(connection: sa.Connection, contact_id: ContactId, at: datetime) -> bool:
    """It has its line; False if it does not wait any more."""
    statement = (
        sa.update(contacts)
        .where(contacts.c.id == contact_id, IN_PROGRESS, contacts.c.last_attempt_at.is_(None))
        .values(last_attempt_at=at, call_before=None)
    )
    return connection.execute(statement).rowcount > 0


def give_up(connection: sa.Connection, contact_id: ContactId) -> None:
    """It never had a line, and waits no more."""
    connection.execute(
        sa.update(contacts)
        .where(contacts.c.id == contact_id, IN_PROGRESS, contacts.c.last_attempt_at.is_(None))
        .values(state=ContactState.WITHDRAWN, final_reason="test")
    )


def waiting(account_id: AccountId, now: sa.ColumnElement[datetime]) -> sa.ScalarSelect[Any]:
    """How many test calls of this account wait for a line."""
    return (
        sa.select(sa.func.count())
        .select_from(contacts)
        .where(
            IN_PROGRESS,
            contacts.c.last_attempt_at.is_(None),
            contacts.c.call_before > sa.type_coerce(now, Instant),
            contacts.c.campaign_id == campaigns.c.id,
            campaigns.c.account_id == account_id,
        )
        .scalar_subquery()
    )
