"""Picks up what was left behind and needs no provider: rows nobody sent, requests without an answer, results that never
came, events that came early. Any worker does it for all; what follows is decided in `domain/doubt.py`.

What only a provider can tell is asked in `look_ups.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from outdial.domain.campaign import CallOptions, CampaignDefinition
from outdial.domain.doubt import Silence, conclude_unasked
from outdial.domain.ids import AccountId, AttemptId
from outdial.domain.look_ups import Pace
from outdial.engine.definitions import Definitions
from outdial.engine.events import NOBODY, Step, adopt_late, apply, settle_overdue
from outdial.engine.on_settled import Host, tell_again
from outdial.engine.transactions import Transactions
from outdial.storage import attempts, lines, standing
from outdial.storage.attempts import StoredAttempt
from outdial.storage.database import database_now
from outdial.storage.lines import OpenCall
from outdial.storage.timeline import timeline_of

log = logging.getLogger("outdial.reconcile")

SETTLED_AT_ONCE: Final = 500
TOLD_AGAIN_AT_ONCE: Final = 50
UNSENT_AT_ONCE: Final = 200
UNSENT_AGAIN: Final = timedelta(seconds=5)

Conclusion = Callable[[CampaignDefinition], Sequence[Step]]
"""The steps that follow for an attempt of a campaign with this definition."""


async def tidy(transactions: Transactions, known: Definitions) -> None:
    """What needs no provider: overdue results, rows nobody sent, requests without an answer, events that came early."""
    await transactions.run(settle_overdue, known, SETTLED_AT_ONCE)
    suspects = await transactions.run(_take_dialing)

    def unasked(definition: CampaignDefinition) -> Sequence[Step]:
        return [
            lambda attempt, at: conclude_unasked(silence_of(attempt, definition.call), at, known.patience)
        ]

    await apply_each(transactions, {one.id: unasked for one in suspects}, known)
    await transactions.run(adopt_late, known)
    if known.host is not None:
        for _ in range(TOLD_AGAIN_AT_ONCE):
            if not await transactions.run(_tell_again, known.host):
                break


def silence_of(attempt: StoredAttempt, options: CallOptions) -> Silence:
    return Silence(
        progress=attempt.progress, timing=attempt.timing, options=options, hung_up_at=attempt.hung_up_at
    )


async def apply_each(
    transactions: Transactions,
    conclusions: Mapping[AttemptId, Conclusion],
    known: Definitions,
    paces: Mapping[AccountId, Pace] = NOBODY,
) -> None:
    """All in one transaction; if that fails, one by one, so that no single attempt stands in the way of all."""
    if not conclusions:
        return
    try:
        await transactions.run(_apply, conclusions, known, paces)
    except (sa.exc.IntegrityError, sa.exc.DataError, ValueError, KeyError):
        for attempt_id, conclusion in conclusions.items():
            try:
                await transactions.run(_apply, {attempt_id: conclusion}, known, paces)
            except (sa.exc.IntegrityError, sa.exc.DataError, ValueError, KeyError):
                log.exception("attempt %s cannot be reconciled", attempt_id, extra={"attempt_id": attempt_id})


def _tell_again(connection: sa.Connection, host: Host) -> bool:
    return tell_again(connection, host, database_now(connection))


def _take_dialing(connection: sa.Connection) -> list[OpenCall]:
    at = database_now(connection)
    # After a failover a call may have been sent though its row does not say so: those are `after_failover`'s.
    forgetful = standing.in_another_history(connection, timeline_of(connection))
    return lines.take_dialing(connection, at, at + UNSENT_AGAIN, UNSENT_AT_ONCE, forgetful)


def _apply(
    connection: sa.Connection,
    conclusions: Mapping[AttemptId, Conclusion],
    known: Definitions,
    paces: Mapping[AccountId, Pace],
) -> None:
    campaign_of = attempts.campaigns_of(connection, list(conclusions))
    definitions = known.current(connection, set(campaign_of.values()))
    steps = {
        attempt_id: conclusions[attempt_id](definitions[campaign_id])
        for attempt_id, campaign_id in campaign_of.items()
    }
    apply(connection, steps, known, paces)
