"""A new budget of attempts for contacts who were not reached. History and caps stay, and so does the wait between calls."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from outdial.domain.campaign import CampaignStatus
from outdial.domain.errors import UserError
from outdial.domain.ids import ContactId
from outdial.domain.retries import delay_after
from outdial.domain.settle import Outcome
from outdial.operations.stops import find_campaign
from outdial.storage import renewals
from outdial.storage.database import Database, database_now, wake_schedulers

AT_ONCE: Final = 5000
OVER: Final = frozenset({CampaignStatus.COMPLETED, CampaignStatus.CANCELED})
# Those with which a contact can run out of attempts.
RETRIED: Final = (
    Outcome.NO_ANSWER,
    Outcome.BUSY,
    Outcome.VOICEMAIL,
    Outcome.REJECTED,
    Outcome.NO_RESULT,
    Outcome.FAILED,
    Outcome.CANCELED,
    Outcome.CALLBACK,
    Outcome.UNKNOWN,
)


def outcomes_of(text: str) -> frozenset[Outcome]:
    """The outcomes of a list with commas. Raises `UserError`."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    wrong = [word for word in words if word not in set(RETRIED)]
    if wrong or not words:
        found = ", ".join(map(repr, wrong)) or "empty"
        raise UserError(
            f"--outcome is {found}: write some of {', '.join(RETRIED)}, with commas between them."
        )
    return frozenset(map(Outcome, words))


def renew_budgets(database: Database, campaign: str, outcomes: Collection[Outcome]) -> int:
    """Contacts that are `not_reached` with one of these last outcomes wait again. Returns how many.

    In batches, each a transaction of its own: interrupted, it can be run again. Raises `NotFound`, and `UserError` where
    the campaign is over.
    """
    count = 0
    place: ContactId | None = ContactId(0)
    while place is not None:
        done, place = database.run(_renew, campaign, outcomes, place)
        count += done
    return count


def _renew(
    connection: sa.Connection, campaign: str, outcomes: Collection[Outcome], after: ContactId
) -> tuple[int, ContactId | None]:
    # The campaign's lock keeps it from being completed meanwhile.
    found = find_campaign(connection, campaign)
    if found.status in OVER:
        raise UserError(
            f"The campaign {campaign!r} is {found.status}, and that is final: export its results, and import those that were "
            "not reached into a new one."
        )
    policy = found.definition.retry
    at = database_now(connection)

    def due_at(outcome: Outcome, last_attempt_at: datetime) -> datetime:
        return last_attempt_at + delay_after(outcome, policy)

    done = renewals.renew(connection, found.id, outcomes, at, due_at, after=after, limit=AT_ONCE)
    wake_schedulers(connection)
    return done
