"""Statements that give contacts who were not reached a new budget of attempts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from functools import cache

import sqlalchemy as sa

from outdial.domain.contact import ContactState, Stage
from outdial.domain.ids import CallingZoneId, CampaignId, ContactId
from outdial.domain.settle import Outcome
from outdial.storage import buckets
from outdial.storage.rows import Rows
from outdial.storage.tables import contacts
from outdial.storage.types import BigId, Instant


def renew(
    connection: sa.Connection,
    campaign_id: CampaignId,
    outcomes: Collection[Outcome],
    at: datetime,
    due_at: Callable[[Outcome, datetime], datetime],
    *,
    after: ContactId,
    limit: int,
) -> tuple[int, ContactId | None]:
    """Not-reached contacts with these last outcomes wait again, at most `limit` of those behind `after`.

    `due_at` says from what is known of the last attempt when its contact may be called again. One whose time to be
    called is over by then stays. Returns how many wait again, and where to go on (None: there are no more).
    """
    query = (
        sa.select(
            contacts.c.id,
            contacts.c.calling_zone_id,
            contacts.c.priority,
            contacts.c.last_outcome,
            contacts.c.last_attempt_at,
            contacts.c.call_before,
        )
        .where(
            contacts.c.campaign_id == campaign_id,
            contacts.c.id > after,
            contacts.c.state == ContactState.NOT_REACHED,
            contacts.c.last_outcome.in_(sorted(outcomes)),
            ~contacts.c.is_test,
        )
        .order_by(contacts.c.id)
        .limit(limit)
        .with_for_update(key_share=True)
    )
    found = connection.execute(query).all()
    due = {row.id: max(at, due_at(Outcome(row.last_outcome), row.last_attempt_at)) for row in found}
    renewed = [row for row in found if row.call_before is None or due[row.id] < row.call_before]
    if renewed:
        rows, statement = _renew(connection.dialect.name)
        connection.execute(statement, {**rows.params([(row.id, due[row.id]) for row in renewed]), "at": at})
        buckets.add_due(
            connection,
            [
                (campaign_id, CallingZoneId(row.calling_zone_id), row.priority, Stage.RETRY, due[row.id])
                for row in renewed
            ],
        )
    return len(renewed), ContactId(found[-1].id) if len(found) == limit else None


@cache
def _renew(dialect: str) -> tuple[Rows, sa.Update]:
    rows = Rows(dialect, "r", {"id": BigId, "next_attempt_at": Instant})
    statement = (
        sa.update(contacts)
        .where(contacts.c.id == rows.c.id)
        .values(
            state=ContactState.PENDING,
            final_reason=None,
            stage=int(Stage.RETRY),
            next_attempt_at=rows.c.next_attempt_at,
            budget_renewed_at=sa.bindparam("at", type_=Instant),
        )
    )
    return rows, statement
