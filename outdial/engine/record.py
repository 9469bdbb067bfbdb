"""Writes the provider's answers to our POSTs: what each means for its attempt, and then for its account and campaign."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from outdial.domain.answers import REJECTIONS_THAT_PAUSE, Effect, meaning_of
from outdial.domain.attempt import (
    AttemptState,
    CallEvent,
    EventKind,
    Ending,
    ErrorClass,
    Progress,
    Source,
    advance,
    release,
)
from outdial.domain.campaign import CampaignStatus
from outdial.domain.errors import RateLimited, TelephonyProviderError
from outdial.domain.ids import AccountId, AttemptId, CampaignId
from outdial.domain.pacing import after_rate_limited, after_reached, after_unreachable
from outdial.domain.phone_numbers import plan_of
from outdial.engine.definitions import Definitions
from outdial.engine.events import Step, apply, hear
from outdial.storage import accounts, attempts, call_events, campaigns
from outdial.storage.attempts import StoredAttempt
from outdial.storage.database import database_now, wake_schedulers
from outdial.telephony.protocol import OutboundCallResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The attempt was never sent."""

    error_class: ErrorClass = ErrorClass.RELEASED


Answer = OutboundCallResponse | TelephonyProviderError | Released


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialed:
    """An attempt and what came of it."""

    attempt_id: AttemptId
    account_id: AccountId
    campaign_id: CampaignId
    to: str
    from_number: str
    answer: Answer


def record(connection: sa.Connection, dialed: Sequence[Dialed], known: Definitions) -> None:
    """Write the answers, never over what a faster webhook said; the id in a 2xx is kept whatever the state."""
    steps: dict[AttemptId, list[Step]] = {one.attempt_id: [_step(one.answer)] for one in dialed}
    for account_id in sorted({one.account_id for one in dialed}):
        ids = {
            str(one.answer.provider_call_id): one.attempt_id
            for one in dialed
            if one.account_id == account_id and isinstance(one.answer, OutboundCallResponse)
        }
        if ids:
            for attempt_id, event in call_events.adopt(connection, account_id, ids):
                steps[attempt_id].append(hear(event))
    apply(connection, steps, known)
    accepted = {one.campaign_id for one in dialed if isinstance(one.answer, OutboundCallResponse)}
    if accepted:
        campaigns.forget_rejections(connection, accepted)


def apply_effects(connection: sa.Connection, account_id: AccountId, dialed: Sequence[Dialed]) -> list[str]:
    """What the answers mean beyond their attempts: back-off, suspension, rested numbers, paused campaigns.

    A transaction of its own, since it locks the account. Returns sentences for the log.
    """
    errors = [(one, one.answer) for one in dialed if isinstance(one.answer, TelephonyProviderError)]
    account = accounts.lock(connection, account_id)
    if account is None:
        return []
    at = database_now(connection)
    said: list[str] = []
    throttle = account.throttle
    if any(isinstance(one.answer, OutboundCallResponse) for one in dialed):
        throttle = after_reached(throttle)
    rejected: Counter[CampaignId] = Counter()
    blocked = dict(account.blocked_countries)
    for one, error in errors:
        match meaning_of(error).effect:
            case Effect.BACK_OFF_RATE:
                retry_after = error.retry_after if isinstance(error, RateLimited) else None
                throttle = after_rate_limited(throttle, at, retry_after)
            case Effect.BACK_OFF_UNREACHABLE:
                throttle = after_unreachable(throttle, at)
            case Effect.REST_CALLER_NUMBER:
                accounts.rest_number(connection, account_id, one.from_number, str(error), at)
                said.append(f"account {account.name}: a caller number was rested: {error}")
            case Effect.BLOCK_DESTINATION:
                plan = plan_of(one.to)
                if plan is not None and plan.country is not None and plan.country not in blocked:
                    blocked[plan.country] = str(error)
                    said.append(f"account {account.name} may not call {plan.country}: {error}")
            case Effect.SUSPEND_ACCOUNT:
                if accounts.suspend(connection, account_id, str(error), at):
                    said.append(f"account {account.name} is suspended: {error}")
            case Effect.COUNT_REJECTION:
                rejected[one.campaign_id] += 1
            case Effect.NONE:
                pass
    if throttle != account.throttle:
        accounts.set_throttle(connection, account_id, throttle)
    if blocked != account.blocked_countries:
        accounts.update(connection, account_id, {"blocked_countries": blocked})
    for campaign_id in campaigns.count_rejections(connection, rejected, REJECTIONS_THAT_PAUSE):
        reason = next(str(error) for one, error in errors if one.campaign_id == campaign_id)
        campaigns.move_to(
            connection,
            campaign_id,
            CampaignStatus.PAUSED,
            at,
            paused_by="outdial",
            paused_reason=f"the provider found {REJECTIONS_THAT_PAUSE} requests in a row wrong: {reason}",
        )
        said.append(
            f"campaign {campaign_id} is paused: {REJECTIONS_THAT_PAUSE} requests in a row were wrong: {reason}"
        )
    return said


def has_effects(dialed: Dialed) -> bool:
    """Whether the answer means something for the account or the campaign."""
    return (
        isinstance(dialed.answer, TelephonyProviderError)
        and meaning_of(dialed.answer).effect is not Effect.NONE
    )


def _step(answer: Answer) -> Step:
    if isinstance(answer, OutboundCallResponse):
        return lambda attempt, at: _accepted(attempt, answer, at)
    if isinstance(answer, Released):
        return lambda attempt, at: _unless_known(attempt, release(attempt.progress, answer.error_class, at))
    meaning = meaning_of(answer)
    if meaning.ending is None:
        return lambda attempt, at: _in_doubt(attempt)
    return lambda attempt, at: _refused(attempt, answer, at)


def _accepted(attempt: StoredAttempt, answer: OutboundCallResponse, at: datetime) -> Progress:
    event = CallEvent(
        kind=EventKind.INITIATED,
        event_id="",
        at=at,
        provider_call_id=answer.provider_call_id,
        raw_status=attempt.progress.provider_raw_status or answer.status,
    )
    return advance(attempt.progress, event, at)


def _refused(attempt: StoredAttempt, error: TelephonyProviderError, at: datetime) -> Progress:
    meaning = meaning_of(error)
    ended = replace(
        attempt.progress,
        state=AttemptState.ENDED,
        ended_at=at,
        ending=meaning.ending,
        ending_source=Source.GUESS if meaning.ending is Ending.NOT_PLACED else Source.LOOKUP,
        error_class=meaning.error_class,
        error_code=error.error_code or (None if error.http_status is None else f"http_{error.http_status}"),
    )
    # A refusal is certain, so it also ends a doubt that another worker had meanwhile.
    is_open_question = attempt.progress.state in {AttemptState.DIALING, AttemptState.IN_DOUBT}
    return ended if is_open_question else attempt.progress


def _in_doubt(attempt: StoredAttempt) -> Progress:
    return _unless_known(attempt, replace(attempt.progress, state=AttemptState.IN_DOUBT))


def _unless_known(attempt: StoredAttempt, progress: Progress) -> Progress:
    """A webhook that was faster than our answer knows better."""
    return progress if attempt.progress.state is AttemptState.DIALING else attempt.progress
