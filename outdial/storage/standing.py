"""Statements over how accounts stand: suspended, with an open breaker, without webhooks, and how they are asked.

Each is a compare-and-set on one row: any worker may come first, and only the first is told that it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

from outdial.domain.attempt import AttemptState, Ending, ErrorClass
from outdial.domain.breaker import ANSWERS_COUNTED, COUNTED_FOR, Breaker, Recent
from outdial.domain.ids import AccountId
from outdial.storage.tables import call_attempts, provider_configurations

accounts = provider_configurations
# How far back the last answers of an account are looked for, in attempts of all accounts.
LOOKED_THROUGH = 1000


def suspend(
    connection: sa.Connection, account_id: AccountId, reason: str, at: datetime, probe_at: datetime
) -> bool:
    """Stop dialing for the account; False if it stood already."""
    values = {"suspended_at": at, "suspended_reason": reason, "probe_at": probe_at}
    return _change(connection, account_id, accounts.c.suspended_at.is_(None), values)


def resume(connection: sa.Connection, account_id: AccountId) -> bool:
    """Let the account dial again; False if it did. How often it was probed is kept until a call is accepted."""
    values = {"suspended_at": None, "suspended_reason": None}
    return _change(connection, account_id, accounts.c.suspended_at.is_not(None), values)


def open_breaker(
    connection: sa.Connection, account_id: AccountId, reason: str, at: datetime, probe_at: datetime
) -> bool:
    """Stop dialing until the provider is known to answer; False if the breaker was open already."""
    values = {
        "breaker": Breaker.OPEN,
        "breaker_at": at,
        "breaker_reason": reason,
        "trial_until": None,
        "probe_at": probe_at,
    }
    return _change(connection, account_id, accounts.c.breaker.is_distinct_from(Breaker.OPEN), values)


def half_open(connection: sa.Connection, account_id: AccountId) -> bool:
    """One call may try; False if the breaker was not open."""
    return _change(connection, account_id, accounts.c.breaker == Breaker.OPEN, {"breaker": Breaker.HALF_OPEN})


def begin_trial(connection: sa.Connection, account_id: AccountId, until: datetime | None) -> None:
    """The one call of a half-open breaker is out until then; None: it is not, after all."""
    _change(connection, account_id, accounts.c.breaker == Breaker.HALF_OPEN, {"trial_until": until})


def close_breaker(connection: sa.Connection, account_id: AccountId) -> bool:
    """The provider answers; False if the breaker was not half open."""
    values = {"breaker": None, "breaker_at": None, "breaker_reason": None, "trial_until": None}
    return _change(connection, account_id, accounts.c.breaker == Breaker.HALF_OPEN, values)


def forget_probes(connection: sa.Connection, account_id: AccountId) -> None:
    """A call was accepted: whatever was wrong is over."""
    _change(connection, account_id, accounts.c.probes > 0, {"probes": 0})


def take_probe(connection: sa.Connection, account_id: AccountId, at: datetime, next_at: datetime) -> bool:
    """Whether it is for the caller to ask the free question that is due at `at`; the next one is due at `next_at`."""
    is_due = sa.or_(accounts.c.probe_at.is_(None), accounts.c.probe_at <= at)
    values = {"probe_at": next_at, "probes": accounts.c.probes + 1}
    return _change(connection, account_id, is_due, values)


def recent(connection: sa.Connection, account_id: AccountId, at: datetime) -> Recent:
    """How the provider answered lately. Reads no more than the last attempts of all accounts."""
    attempts = call_attempts
    in_doubt = sa.select(sa.func.count()).where(
        attempts.c.account_id == account_id,
        attempts.c.ended_at.is_(None),
        attempts.c.state == AttemptState.IN_DOUBT,
    )
    newest = sa.select(sa.func.max(attempts.c.id)).scalar_subquery()
    failed = sa.or_(
        attempts.c.state == AttemptState.IN_DOUBT,
        attempts.c.ending == Ending.UNKNOWN,
        attempts.c.error_class == ErrorClass.UNREACHABLE,
    )
    last = (
        sa.select(sa.case((failed, 1), else_=0).label("failed"))
        .where(
            attempts.c.id > newest - LOOKED_THROUGH,
            attempts.c.account_id == account_id,
            attempts.c.sent_at > at - COUNTED_FOR,
            attempts.c.state != AttemptState.DIALING,
        )
        .order_by(attempts.c.id.desc())
        .limit(ANSWERS_COUNTED)
        .subquery()
    )
    answers, failures = connection.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(last.c.failed), 0)).select_from(last)
    ).one()
    return Recent(doubts=connection.execute(in_doubt).scalar_one(), answers=answers, failures=int(failures))


def count_look_up_ends(connection: sa.Connection, account_id: AccountId, count: int) -> int:
    """So many calls more ended by a look-up and none by a webhook. Returns how many in a row."""
    statement = (
        sa.update(accounts)
        .where(accounts.c.id == account_id)
        .values(ended_by_look_up=accounts.c.ended_by_look_up + count)
        .returning(accounts.c.ended_by_look_up)
    )
    return int(connection.execute(statement).scalar_one())


def miss_webhooks(connection: sa.Connection, account_id: AccountId, at: datetime) -> bool:
    """False if they were missed already."""
    return _change(
        connection, account_id, accounts.c.webhooks_missing_at.is_(None), {"webhooks_missing_at": at}
    )


def hear_webhooks(connection: sa.Connection, account_id: AccountId) -> str | None:
    """Webhooks arrive. Returns the account's name if they were missing."""
    was_missing = _change(
        connection,
        account_id,
        accounts.c.webhooks_missing_at.is_not(None),
        {"webhooks_missing_at": None, "ended_by_look_up": 0},
    )
    if was_missing:
        name = connection.execute(sa.select(accounts.c.name).where(accounts.c.id == account_id))
        return str(name.scalar_one())
    _change(connection, account_id, accounts.c.ended_by_look_up > 0, {"ended_by_look_up": 0})
    return None


def accept_timeline(connection: sa.Connection, account_id: AccountId, timeline: str) -> None:
    """The account's calls agree with the provider's in this history of the database."""
    _change(connection, account_id, sa.true(), {"timeline": timeline})


def in_another_history(connection: sa.Connection, timeline: str | None) -> list[AccountId]:
    """The accounts whose calls were last compared with the provider's in another history than this."""
    if timeline is None:
        return []
    query = sa.select(accounts.c.id).where(accounts.c.timeline != timeline)
    return [AccountId(account_id) for account_id in connection.execute(query).scalars()]


def look_up_rate(
    connection: sa.Connection, account_id: AccountId
) -> tuple[datetime | None, datetime | None, int]:
    """The cursor of the rate of look-ups, until when there are none, and how many rounds in a row have failed. Locked."""
    query = (
        sa.select(accounts.c.look_up_cursor_at, accounts.c.look_ups_not_before, accounts.c.look_up_failures)
        .where(accounts.c.id == account_id)
        .with_for_update(key_share=True)
    )
    row = connection.execute(query).one()
    return row.look_up_cursor_at, row.look_ups_not_before, row.look_up_failures


def move_look_ups(connection: sa.Connection, account_id: AccountId, cursor_at: datetime) -> None:
    """Only under the lock of `look_up_rate`."""
    _change(connection, account_id, sa.true(), {"look_up_cursor_at": cursor_at})


def note_look_ups(
    connection: sa.Connection, account_id: AccountId, failures: int, at: datetime, wait: timedelta | None
) -> None:
    """How the last round went: `wait` None where it was answered."""
    not_before = None if wait is None else at + wait
    values = {"look_up_failures": failures, "look_ups_not_before": not_before}
    _change(connection, account_id, sa.true(), values)


def _change(
    connection: sa.Connection,
    account_id: AccountId,
    where: sa.ColumnElement[bool],
    values: Mapping[str, object],
) -> bool:
    statement = sa.update(accounts).where(accounts.c.id == account_id, where).values(**values)
    return connection.execute(statement).rowcount > 0
