"""The host's `on_settled`: called in the very transaction that settles an attempt, so that its own tables agree.

Every way to settle, a webhook, an answer, a look-up, a time-out, ends in `events.apply`, which calls `tell`. A host that
stumbles takes nothing with it: the settling stands, lines are free and opt-outs are kept, and it is told again later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from outdial.domain.errors import TransactionLost
from outdial.domain.ids import AttemptId
from outdial.domain.settle import Outcome
from outdial.storage import settled
from outdial.storage.database import hosts_tables
from outdial.storage.settled import SettledAttempt

log = logging.getLogger("outdial.on_settled")

TELL_AGAIN: Final = timedelta(seconds=15)

OnSettled = Callable[[sa.Connection, SettledAttempt], None]
"""Called with the open transaction, in any thread of the process. It must not commit, and must be quick: row locks are
held meanwhile, and on Postgres the session is closed after two seconds without a statement."""


class Host:
    """The host's function, and the attempts over which it lost a whole transaction: they are told in one of their own."""

    def __init__(self, on_settled: OnSettled) -> None:
        self.on_settled = on_settled
        self.set_aside: set[AttemptId] = set()


def tell(connection: sa.Connection, host: Host, ids: Collection[AttemptId], at: datetime) -> None:
    """Call `on_settled` with each of these attempts, as they stand in this transaction, in the order of their ids.

    What it does not take is undone, and told again after `TELL_AGAIN`. Raises TransactionLost when it broke the
    transaction as a whole; in the next one, that attempt is left for later.
    """
    # First, so that nobody is forgotten if the host commits what is not its own.
    settled.tell_at(connection, ids, at)
    told: dict[AttemptId, Outcome] = {}
    later: list[AttemptId] = []
    for attempt in settled.load(connection, ids):
        if attempt.attempt_id in host.set_aside:
            later.append(attempt.attempt_id)
            continue
        try:
            with connection.begin_nested(), hosts_tables(connection):
                host.on_settled(connection, attempt)
                # Fails here, where it can be undone, if the host kept silent about an error that broke the transaction.
                connection.execute(sa.select(1))
        except Exception:
            log.exception(
                "on_settled raised; the attempt is settled, and told again in %d s",
                TELL_AGAIN.total_seconds(),
                extra={"call_id": attempt.call_id, "attempt_id": attempt.attempt_id},
            )
            later.append(attempt.attempt_id)
        else:
            told[attempt.attempt_id] = attempt.outcome
        if connection.invalidated or not connection.in_transaction():
            host.set_aside.add(attempt.attempt_id)
            raise TransactionLost("on_settled ended the transaction, or was silent until the database did")
    settled.note_told(connection, told)
    settled.tell_at(connection, later, at + TELL_AGAIN)


def tell_again(connection: sa.Connection, host: Host, at: datetime) -> bool:
    """Tell the attempt whose time it is, in a transaction of its own. Returns whether there was one."""
    attempt_id = settled.next_to_tell(connection, at)
    if attempt_id is not None:
        tell(connection, host, [attempt_id], at)
        # Told or put off in this transaction: the next time it is tried for real again.
        host.set_aside.discard(attempt_id)
    return attempt_id is not None
