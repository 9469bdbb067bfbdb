"""Where the exclusion list meets the contacts: which of many numbers are on it, and whom it takes out of the queue."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from outdial.domain.contact import ContactState
from outdial.domain.ids import CampaignId
from outdial.storage.contacts import PENDING, is_excluded
from outdial.storage.rows import Rows
from outdial.storage.tables import contacts
from outdial.storage.types import BigId, Instant


def numbers_among(
    connection: sa.Connection, phone_numbers: Collection[str], campaign_id: CampaignId, at: datetime
) -> frozenset[str]:
    """Those of the numbers, all in E.164 form, that an exclusion in force at `at` forbids to this campaign."""
    rows, query = _numbers_among(connection.dialect.name)
    params = {**rows.params((number,) for number in phone_numbers), "campaign_id": campaign_id, "at": at}
    return frozenset(connection.execute(query, params).scalars())


def exclude_pending(
    connection: sa.Connection, phone_numbers: Collection[str], campaign_id: CampaignId | None = None
) -> int:
    """Pending contacts with these numbers, of one campaign or of all, become `excluded`. Returns how many."""
    rows, statement = _exclude_pending(connection.dialect.name, campaign_id is not None)
    params: dict[str, Any] = rows.params((number,) for number in sorted(phone_numbers))
    if campaign_id is not None:
        params["campaign"] = campaign_id
    return connection.execute(statement, params).rowcount


@cache
def _numbers_among(dialect: str) -> tuple[Rows, sa.Select[Any]]:
    rows = Rows(dialect, "n", {"phone_number": sa.Text})
    number = rows.c.phone_number
    campaign, at = sa.bindparam("campaign_id", type_=BigId), sa.bindparam("at", type_=Instant)
    return rows, sa.select(number).where(is_excluded(number, campaign, at))


@cache
def _exclude_pending(dialect: str, in_one_campaign: bool) -> tuple[Rows, sa.Update]:
    rows = Rows(dialect, "n", {"phone_number": sa.Text})
    chosen = (
        sa.select(contacts.c.id)
        .join(rows.source, contacts.c.phone_number == rows.c.phone_number)
        .where(contacts.c.state == PENDING)
    )
    if in_one_campaign:
        chosen = chosen.where(contacts.c.campaign_id == sa.bindparam("campaign", type_=BigId))
    # Locked in the order of their ids, as everybody does.
    locked = chosen.order_by(contacts.c.id).with_for_update(of=contacts, key_share=True)
    statement = (
        sa.update(contacts)
        .where(contacts.c.id.in_(locked), contacts.c.state == PENDING)
        .values(state=ContactState.EXCLUDED, final_reason="exclusion_list", next_attempt_at=None)
    )
    return rows, statement
