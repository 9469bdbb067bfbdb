"""A settled attempt, its contact and its campaign, as a host is told of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from outdial.domain.attempt import AnsweredBy, Ending
from outdial.domain.contact import ContactState
from outdial.domain.ids import AttemptId, CallId, CampaignId, ContactId, ProviderCallId
from outdial.domain.settle import Outcome
from outdial.storage.tables import call_attempts, campaigns, contacts


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledAttempt:
    """An attempt whose outcome is final, and where that leaves its contact. Instants are aware UTC.

    `outcome` `not_placed`: nobody was called and no attempt of the contact's budget is spent. `next_attempt_at`: when
    the contact is due again; None once `contact_state` is final. `is_correction`: the attempt was told before, as
    `previous_outcome`, and what came to light since is told now. `answers` are as the provider gave them.
    """

    attempt_id: AttemptId
    call_id: CallId
    provider_call_id: ProviderCallId | None
    contact_id: ContactId
    external_contact_id: str | None
    campaign_id: CampaignId
    campaign: str
    phone_number: str
    attempt_number: int
    outcome: Outcome
    result: str | None
    ending: Ending | None
    answered_by: AnsweredBy | None
    answered_at: datetime | None
    ended_at: datetime | None
    settled_at: datetime
    duration_seconds: float | None
    error_code: str | None
    answers: Sequence[Mapping[str, Any]] | None
    attributes: Mapping[str, Any]
    contact_state: ContactState
    contact_final_reason: str | None
    next_attempt_at: datetime | None
    is_correction: bool = False
    previous_outcome: Outcome | None = None


def load(connection: sa.Connection, ids: Collection[AttemptId]) -> list[SettledAttempt]:
    """These attempts, in the order of their ids, as far as they are settled; those of test calls are left out."""
    attempt, contact = call_attempts.c, contacts.c
    query = (
        sa.select(
            attempt.id.label("attempt_id"),
            attempt.call_id,
            attempt.provider_call_id,
            attempt.contact_id,
            contact.external_contact_id,
            attempt.campaign_id,
            campaigns.c.name.label("campaign"),
            attempt.phone_number,
            attempt.attempt_number,
            attempt.outcome,
            attempt.result,
            attempt.ending,
            attempt.answered_by,
            attempt.answered_at,
            attempt.ended_at,
            attempt.settled_at,
            attempt.duration_seconds,
            attempt.error_code,
            attempt.answers,
            contact.attributes,
            contact.state.label("contact_state"),
            contact.final_reason.label("contact_final_reason"),
            contact.next_attempt_at,
            attempt.told_outcome,
        )
        .join(contacts, contact.id == attempt.contact_id)
        .join(campaigns, campaigns.c.id == attempt.campaign_id)
        .where(attempt.id.in_(tuple(ids)), attempt.settled_at.is_not(None), contact.is_test == sa.false())
        .order_by(attempt.id)
    )
    return [_settled(row) for row in connection.execute(query).mappings()]


def note_told(connection: sa.Connection, outcomes: Mapping[AttemptId, Outcome]) -> None:
    """The host has taken these attempts, with these outcomes."""
    for outcome in set(outcomes.values()):
        ids = [attempt_id for attempt_id, one in outcomes.items() if one is outcome]
        connection.execute(
            sa.update(call_attempts)
            .where(call_attempts.c.id.in_(ids))
            .values(told_outcome=str(outcome), tell_at=None)
        )


def tell_at(connection: sa.Connection, ids: Collection[AttemptId], at: datetime) -> None:
    """The host is told of these attempts again, then."""
    if ids:
        connection.execute(
            sa.update(call_attempts).where(call_attempts.c.id.in_(tuple(ids))).values(tell_at=at)
        )


def next_to_tell(connection: sa.Connection, at: datetime) -> AttemptId | None:
    """An attempt that the host has still to be told of, locked; others tell other ones."""
    query = (
        sa.select(call_attempts.c.id)
        .where(call_attempts.c.tell_at.is_not(None), call_attempts.c.tell_at <= at)
        .order_by(call_attempts.c.tell_at, call_attempts.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(query).scalar_one_or_none()
    return None if found is None else AttemptId(found)


def _settled(row: sa.RowMapping) -> SettledAttempt:
    ending, answered_by = row["ending"], row["answered_by"]
    columns = dict(row)
    told = columns.pop("told_outcome")
    known: dict[str, Any] = {
        **columns,
        "is_correction": told is not None,
        "previous_outcome": None if told is None else Outcome(told),
        "outcome": Outcome(row["outcome"]),
        "ending": None if ending is None else Ending(ending),
        "answered_by": None if answered_by is None else AnsweredBy(answered_by),
        "contact_state": ContactState(row["contact_state"]),
    }
    return SettledAttempt(**known)
