"""Slots to dial at, on two clocks: the database's, in which they are reserved, and the worker's own, by which it waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from outdial.clock import Clock
from outdial.domain.ids import AccountId, AttemptId
from outdial.domain.pacing import reserve
from outdial.storage import accounts, attempts
from outdial.storage.database import database_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One instant on two clocks: the database's, and our monotonic one."""

    at: datetime
    read_at: float

    def monotonic(self, instant: datetime) -> float:
        return self.read_at + (instant - self.at).total_seconds()


def reserve_again(
    connection: sa.Connection, account_id: AccountId, ids: Sequence[AttemptId], clock: Clock
) -> tuple[Moment, Sequence[datetime]]:
    """Slots for attempts that missed theirs, under the account's lock; there may be fewer than asked for."""
    account = accounts.lock(connection, account_id)
    read_at = clock.monotonic()
    moment = Moment(at=database_now(connection), read_at=read_at)
    if account is None:
        return moment, ()
    slots = reserve(account.rate, account.throttle, account.rate_cursor_at, moment.at, len(ids))
    cursor = slots.cursor_after(len(slots.instants))
    if cursor is not None and slots.interval:
        accounts.move_cursor(connection, account_id, cursor)
    attempts.move_slots(connection, list(zip(ids, slots.instants, strict=False)))
    return moment, slots.instants
