"""The calls that were placed to a number, over all campaigns and accounts: what caps count."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.attempt import AnsweredBy
from outdial.domain.frequency import PastCall
from outdial.domain.settle import Outcome
from outdial.storage.rows import Rows
from outdial.storage.tables import call_attempts
from outdial.storage.types import Instant

attempts = call_attempts

# A call leaves at the latest that long after it was claimed, by which instant it is found.
CLAIMED_BEFORE_SENT: Final = timedelta(hours=1)
NOBODY: Final = frozenset({AnsweredBy.MACHINE, AnsweredBy.FAX})
_COUNTED: Final = (
    attempts.c.sent_at.is_not(None),
    sa.func.coalesce(attempts.c.outcome, "") != Outcome.NOT_PLACED,
)


def of_numbers(
    connection: sa.Connection, numbers: Collection[str], since: datetime
) -> dict[str, tuple[PastCall, ...]]:
    """The calls to each number that left after `since` (aware UTC), oldest first; of one that had none, an empty tuple.

    Counted is what was sent and may have rung: one that the provider turned away is not, one of which nobody knows is.
    """
    rows, query = _query(connection.dialect.name)
    params = {
        **rows.params([(number,) for number in sorted(set(numbers))]),
        "since": since - CLAIMED_BEFORE_SENT,
    }
    found: dict[str, list[PastCall]] = {number: [] for number in numbers}
    for row in connection.execute(query, params):
        if row.sent_at > since:
            found[row.phone_number].append(_past_call(row))
    return {number: tuple(calls) for number, calls in found.items()}


def was_called(number: sa.ColumnElement[str], since: datetime) -> sa.ColumnElement[bool]:
    """Whether `of_numbers` may find a call to it. Where it says no, there is none."""
    return sa.exists().where(*_made_to(number, since))


def calls_made(number: sa.ColumnElement[str], since: datetime) -> sa.ScalarSelect[int]:
    """How many calls `of_numbers` finds, or a few more."""
    return sa.select(sa.func.count()).where(*_made_to(number, since)).scalar_subquery()


def _made_to(number: sa.ColumnElement[str], since: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        attempts.c.phone_number == number,
        attempts.c.claimed_at > sa.literal(since - CLAIMED_BEFORE_SENT, Instant),
        *_COUNTED,
    )


@cache
def _query(dialect: str) -> tuple[Rows, sa.Select[Any]]:
    rows = Rows(dialect, "n", {"phone_number": sa.Text})
    query = (
        sa.select(
            attempts.c.phone_number,
            attempts.c.sent_at,
            attempts.c.answered_at,
            attempts.c.answered_by,
            attempts.c.outcome,
        )
        .select_from(rows.source.join(attempts, attempts.c.phone_number == rows.c.phone_number))
        .where(
            attempts.c.claimed_at > sa.bindparam("since", type_=Instant),
            *_COUNTED,
        )
        .order_by(attempts.c.sent_at, attempts.c.id)
    )
    return rows, query


def _past_call(row: sa.Row[Any]) -> PastCall:
    return PastCall(
        at=row.sent_at,
        is_connected=row.answered_at is not None and row.answered_by not in NOBODY,
        outcome=None if row.outcome is None else Outcome(row.outcome),
    )
