"""What came of all attempts of a contact, as deciding its next step needs it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from outdial.domain.attempt import ErrorClass, Source
from outdial.domain.ids import ContactId
from outdial.domain.retries import PastAttempt
from outdial.domain.settle import Outcome
from outdial.storage.tables import call_attempts

attempts = call_attempts


def load(
    connection: sa.Connection, contact_ids: Collection[ContactId]
) -> dict[ContactId, list[PastAttempt | None]]:
    """All attempts of each contact, oldest first; None stands for one that is not settled."""
    query = (
        sa.select(
            attempts.c.contact_id,
            attempts.c.outcome,
            attempts.c.settled_at,
            attempts.c.ended_at,
            attempts.c.started_at,
            attempts.c.ringing_at,
            attempts.c.answered_at,
            attempts.c.ending_source,
            attempts.c.error_class,
            attempts.c.error_code,
            attempts.c.result,
            attempts.c.callback_at,
            attempts.c.refused_until,
        )
        .where(attempts.c.contact_id.in_(tuple(contact_ids)))
        .order_by(attempts.c.id)
    )
    found: dict[ContactId, list[PastAttempt | None]] = {}
    for row in connection.execute(query):
        found.setdefault(ContactId(row.contact_id), []).append(_past(row))
    return found


def _past(row: Any) -> PastAttempt | None:
    if row.settled_at is None:
        return None
    return PastAttempt(
        outcome=Outcome(row.outcome),
        ended_at=row.ended_at or row.settled_at,
        was_accepted=row.started_at is not None,
        # Nor do we know it of a call that was ended by a guess.
        has_rung=(row.ringing_at or row.answered_at) is not None or row.ending_source == Source.GUESS,
        error_class=None if row.error_class is None else ErrorClass(row.error_class),
        error_code=row.error_code,
        result=row.result,
        callback_at=row.callback_at,
        refused_until=row.refused_until,
    )
