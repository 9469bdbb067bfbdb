"""The host's `on_settled`: called in the very transaction that settles an attempt, so that its own tables agree.

Every way to settle, a webhook, an answer, a look-up, a time-out, ends in `events.apply`, which calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sa

from outdial.domain.errors import OnSettledFailed
from outdial.domain.ids import AttemptId
from outdial.domain.settle import Outcome
from outdial.storage import settled
from outdial.storage.database import hosts_tables
from outdial.storage.settled import SettledAttempt

OnSettled = Callable[[sa.Connection, SettledAttempt], None]
"""Called with the open transaction, in any thread of the process. It must not commit, and must be quick: row locks are
held meanwhile, and on Postgres the session is closed after two seconds without a statement."""


def tell(
    connection: sa.Connection, on_settled: OnSettled, before: Mapping[AttemptId, Outcome | None]
) -> None:
    """Call `on_settled` with each of these attempts, as they stand in this transaction, in the order of their ids.

    `before`: the outcome that each was settled with before, None where it was not. Raises OnSettledFailed from what
    `on_settled` raised.
    """
    for attempt in settled.load(connection, before):
        previous = before[attempt.attempt_id]
        told = attempt if previous is None else attempt.corrected(previous)
        try:
            with hosts_tables(connection):
                on_settled(connection, told)
        except Exception as error:
            if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
                # With the session the whole transaction is gone, and is tried again as such.
                raise
            raise OnSettledFailed(attempt.attempt_id) from error
