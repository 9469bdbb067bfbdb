"""Ends an attempt on a person's word, where neither an event nor a look-up will: the last resort for a line."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from outdial.domain.attempt import (
    CallEvent,
    Ending,
    ErrorClass,
    EventKind,
    Progress,
    Source,
    advance,
    release,
)
from outdial.domain.ids import AttemptId
from outdial.engine.definitions import Definitions
from outdial.engine.events import apply
from outdial.storage import lines
from outdial.storage.attempts import StoredAttempt


def end_by_hand(
    connection: sa.Connection,
    attempt_id: AttemptId,
    *,
    ending: Ending,
    by: str,
    reason: str,
    known: Definitions,
) -> bool:
    """End the attempt as `canceled` or `unknown`, or, where it was never sent, as not placed. False: it had ended.

    A guess: what the provider says later corrects it, and a live event opens one that ended as `unknown` again.
    """
    if not lines.open_calls(connection, attempt_id=attempt_id):
        return False

    def step(attempt: StoredAttempt, at: datetime) -> Progress:
        if attempt.progress.has_ended:
            return attempt.progress
        if attempt.sent_at is None:
            return release(attempt.progress, ErrorClass.RELEASED, at)
        over = CallEvent(kind=EventKind.ENDED, event_id="", at=at, ending=ending, source=Source.GUESS)
        return advance(attempt.progress, over, at)

    apply(connection, {attempt_id: [step]}, known)
    lines.note_end(connection, [attempt_id], by=by, reason=reason)
    return True
