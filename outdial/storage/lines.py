"""Calls that hold a line: listed, taken to be asked about, and marked by whoever ended them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.attempt import AttemptState, Source
from outdial.domain.ids import (
    AccountId,
    AttemptId,
    CallId,
    CampaignId,
    ProviderCallId,
)
from outdial.domain.look_ups import NOT_RINGING
from outdial.storage.rows import Rows
from outdial.storage.tables import call_attempts
from outdial.storage.types import BigId, Instant, Json

attempts = call_attempts

# Should no event tell of its end, a call that was hung up is asked about then.
HUNG_UP_LOOK_UP: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCall:
    """A call that holds a line. `sent_at` None: the provider has not heard of it."""

    id: AttemptId
    account_id: AccountId
    call_id: CallId
    provider_call_id: ProviderCallId | None
    phone_number: str
    from_number: str
    sent_at: datetime | None
    hang_up_because: str | None


OPEN_CALL: Final = tuple(attempts.c[field.name] for field in fields(OpenCall))


def open_calls(
    connection: sa.Connection,
    *,
    account_id: AccountId | None = None,
    campaign_id: CampaignId | None = None,
    attempt_id: AttemptId | None = None,
) -> list[OpenCall]:
    """The calls that hold a line, of all accounts and campaigns or of those that are named."""
    query = sa.select(*OPEN_CALL).where(attempts.c.ended_at.is_(None))
    wanted = {"account_id": account_id, "campaign_id": campaign_id, "id": attempt_id}
    for name, value in wanted.items():
        if value is not None:
            query = query.where(attempts.c[name] == value)
    return [OpenCall(**row) for row in connection.execute(query.order_by(attempts.c.id)).mappings()]


def note_end(
    connection: sa.Connection,
    ids: Collection[AttemptId],
    *,
    by: str,
    reason: str,
    look_up_at: datetime | None = None,
) -> None:
    """Who ended these calls and why; open ones are asked about at `look_up_at`, should no event tell of their end."""
    rows, statement = _note_end(connection.dialect.name)
    params = rows.params([(attempt_id,) for attempt_id in sorted(ids)])
    connection.execute(
        statement, {**params, "by": by, "metadata": {"ended_because": reason}, "look_up_at": look_up_at}
    )


def count_silent(
    connection: sa.Connection, account_ids: Collection[AccountId], at: datetime
) -> dict[AccountId, int]:
    """How many calls of each of these accounts are overdue for a sign of life: no more than it has lines."""
    query = (
        sa.select(attempts.c.account_id, sa.func.count())
        .where(attempts.c.ended_at.is_(None), attempts.c.look_up_at <= at, _sent(account_ids))
        .group_by(attempts.c.account_id)
    )
    return {AccountId(account_id): count for account_id, count in connection.execute(query)}


def doubt_unsent(connection: sa.Connection, account_id: AccountId, at: datetime) -> None:
    """The account's calls that look as if nobody had sent them may have been sent: the database forgot its last moments."""
    connection.execute(
        sa.update(attempts)
        .where(
            attempts.c.account_id == account_id,
            attempts.c.ended_at.is_(None),
            attempts.c.state == AttemptState.DIALING,
            attempts.c.sent_at.is_(None),
        )
        .values(state=AttemptState.IN_DOUBT, sent_at=attempts.c.dial_at, look_up_at=at)
    )


def newest_claim(connection: sa.Connection, account_id: AccountId) -> datetime | None:
    """When the newest call of the account that is on record was claimed."""
    query = sa.select(attempts.c.claimed_at).where(attempts.c.account_id == account_id)
    return connection.execute(query.order_by(attempts.c.id.desc()).limit(1)).scalar_one_or_none()


def ask_now(connection: sa.Connection, account_ids: Collection[AccountId], at: datetime) -> None:
    """The open calls of these accounts are asked about as soon as somebody can."""
    connection.execute(
        sa.update(attempts)
        .where(attempts.c.ended_at.is_(None), attempts.c.look_up_at > at, _sent(account_ids))
        .values(look_up_at=at)
    )


def want_end(connection: sa.Connection, campaign_id: CampaignId, because: str, at: datetime) -> int:
    """The provider shall end the campaign's calls whose phones do not ring yet, as soon as it can be told. Returns how
    many there are.
    """
    statement = (
        sa.update(attempts)
        .where(
            attempts.c.campaign_id == campaign_id,
            attempts.c.ended_at.is_(None),
            attempts.c.sent_at.is_not(None),
            attempts.c.state.in_((AttemptState.DIALING, *sorted(NOT_RINGING))),
        )
        .values(
            hang_up_because=because,
            look_up_at=sa.case(
                (attempts.c.state == AttemptState.DIALING, attempts.c.look_up_at),
                else_=sa.literal(at, Instant),
            ),
        )
    )
    return connection.execute(statement).rowcount


def note_hung_up(connection: sa.Connection, reasons: Mapping[AttemptId, str], at: datetime) -> None:
    """The provider has taken on to end these calls, which are asked about soon, should no event tell of their end."""
    for attempt_id, reason in sorted(reasons.items()):
        connection.execute(
            sa.update(attempts)
            .where(attempts.c.id == attempt_id, attempts.c.ended_at.is_(None))
            .values(
                # The first time: from then on it may be listed as open for a while.
                hung_up_at=sa.func.coalesce(attempts.c.hung_up_at, sa.literal(at, Instant)),
                hang_up_because=reason,
                ended_by=sa.func.coalesce(attempts.c.ended_by, "outdial"),
                look_up_at=at + HUNG_UP_LOOK_UP,
            )
        )


def ended_by_look_up(connection: sa.Connection, ids: Collection[AttemptId]) -> dict[AccountId, int]:
    """How many of these attempts ended by what a look-up told, by account."""
    query = (
        sa.select(attempts.c.account_id, sa.func.count())
        .where(attempts.c.id.in_(tuple(ids)), attempts.c.ending_source == int(Source.LOOKUP))
        .where(attempts.c.started_at.is_not(None))
        .group_by(attempts.c.account_id)
    )
    return {AccountId(account_id): count for account_id, count in connection.execute(query)}


def take_dialing(
    connection: sa.Connection,
    at: datetime,
    again_at: datetime,
    limit: int,
    but_of: Collection[AccountId] = (),
) -> list[OpenCall]:
    """Attempts that are overdue while still dialing, but of these accounts; `look_up_at` is pushed to `again_at`: others
    leave them to us.
    """
    wanted = attempts.c.state == AttemptState.DIALING
    if but_of:
        wanted = sa.and_(wanted, attempts.c.account_id.not_in(tuple(but_of)))
    return _take(connection, wanted, at, again_at, limit)


def take_silent(
    connection: sa.Connection,
    account_ids: Collection[AccountId],
    at: datetime,
    again_at: datetime,
    limit: int,
) -> list[OpenCall]:
    """Calls of these accounts that were sent and are overdue for a sign of life; pushed as `take_dialing` does."""
    return _take(connection, _sent(account_ids), at, again_at, limit)


def _sent(account_ids: Collection[AccountId]) -> sa.ColumnElement[bool]:
    return sa.and_(attempts.c.state != AttemptState.DIALING, attempts.c.account_id.in_(tuple(account_ids)))


def _take(
    connection: sa.Connection, wanted: sa.ColumnElement[bool], at: datetime, again_at: datetime, limit: int
) -> list[OpenCall]:
    # A CTE, since Postgres may run a subquery that locks rows again and again, each time with other rows.
    chosen = (
        sa.select(attempts.c.id)
        .where(attempts.c.ended_at.is_(None), attempts.c.look_up_at <= at, wanted)
        .order_by(attempts.c.look_up_at, attempts.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("chosen")
    )
    statement = (
        sa.update(attempts)
        .where(attempts.c.id.in_(sa.select(chosen.c.id)))
        .values(look_up_at=again_at)
        .returning(*OPEN_CALL)
    )
    return [OpenCall(**row) for row in connection.execute(statement).mappings()]


@cache
def _note_end(dialect: str) -> tuple[Rows, sa.Update]:
    rows = Rows(dialect, "r", {"id": BigId})
    look_up_at: sa.ColumnElement[Any] = sa.bindparam("look_up_at", type_=Instant)
    if dialect == "postgresql":
        # Postgres does not guess the type of a parameter inside a CASE.
        look_up_at = sa.cast(look_up_at, Instant)
    statement = (
        sa.update(attempts)
        .where(attempts.c.id == rows.c.id)
        .values(
            ended_by=sa.bindparam("by", type_=sa.Text),
            metadata=sa.bindparam("metadata", type_=Json),
            look_up_at=sa.case((attempts.c.ended_at.is_(None), look_up_at), else_=attempts.c.look_up_at),
        )
    )
    return rows, statement
