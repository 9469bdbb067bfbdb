"""Writes the provider's answers to our POSTs: what each one means for its attempt."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from outdial.domain.answers import meaning_of
from outdial.domain.attempt import (
    AttemptState,
    CallEvent,
    Ending,
    ErrorClass,
    EventKind,
    Origin,
    Progress,
    Source,
    advance,
    release,
)
from outdial.domain.errors import TelephonyProviderError
from outdial.domain.ids import AccountId, AttemptId, CallId, CampaignId
from outdial.domain.look_ups import Pace
from outdial.domain.phone_numbers import plan_of
from outdial.engine.before_call import HostAnswer
from outdial.engine.definitions import Definitions
from outdial.engine.events import NOBODY, Step, apply, hear
from outdial.engine.restored import Lost, restore
from outdial.storage import attempts, call_events, campaigns
from outdial.storage.attempts import ClaimedRow, StoredAttempt
from outdial.telephony.protocol import OutboundCallResponse

log = logging.getLogger("outdial.record")

# When the host is asked again that did not answer.
ASK_HOST_AGAIN: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The attempt was never sent; `why` is kept as its error code. `host`: what the host's `before_call` said."""

    why: str
    host: HostAnswer | None = None


Answer = OutboundCallResponse | TelephonyProviderError | Released


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialed:
    """An attempt and what came of it. `row`: as the claim inserted it. `is_tried`: the one call of a
    half-open breaker.
    """

    attempt_id: AttemptId
    account_id: AccountId
    campaign_id: CampaignId
    to: str
    from_number: str
    row: ClaimedRow
    answer: Answer
    is_tried: bool = False

    @property
    def call_id(self) -> CallId:
        return self.row.new.call_id


def record(
    connection: sa.Connection,
    dialed: Sequence[Dialed],
    known: Definitions,
    paces: Mapping[AccountId, Pace] = NOBODY,
) -> None:
    """Write the answers, never over what a faster webhook said; the id in a 2xx is kept whatever the state.

    A row that a failover has lost is written again.
    """
    dialed = _with_rows(connection, dialed)
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
    apply(connection, steps, known, paces)
    attempts.note_before_call(
        connection,
        {
            one.call_id: one.answer.host.facts
            for one in dialed
            if isinstance(one.answer, Released) and one.answer.host is not None
        },
    )
    attempts.forget_sent(connection, [one.attempt_id for one in dialed if isinstance(one.answer, Released)])
    accepted = {one.campaign_id for one in dialed if isinstance(one.answer, OutboundCallResponse)}
    if accepted:
        campaigns.forget_rejections(connection, accepted)


def _with_rows(connection: sa.Connection, dialed: Sequence[Dialed]) -> list[Dialed]:
    """By our own ids: a server that has lost rows in a failover gives theirs out again."""
    found: list[Dialed] = []
    for account_id in sorted({one.account_id for one in dialed}):
        mine = [one for one in dialed if one.account_id == account_id]
        ids = attempts.ids_by_call_id(connection, account_id, [one.call_id for one in mine])
        # What was surely not placed leaves nothing to write down.
        missing = [one for one in mine if one.call_id not in ids and _may_be_placed(one.answer)]
        if missing:
            ids |= _write_again(connection, account_id, missing)
        found += [replace(one, attempt_id=ids[one.call_id]) for one in mine if one.call_id in ids]
    return found


def _may_be_placed(answer: Answer) -> bool:
    if isinstance(answer, TelephonyProviderError):
        return meaning_of(answer).ending is None
    return isinstance(answer, OutboundCallResponse)


def _write_again(
    connection: sa.Connection, account_id: AccountId, missing: Sequence[Dialed]
) -> dict[str, AttemptId]:
    restored = restore(connection, account_id, [_lost(one.row) for one in missing])
    for place, one in enumerate(missing):
        if place in restored.strangers:
            log.error(
                "the answer to a call has no row any more, and no contact", extra={"call_id": one.call_id}
            )
        else:
            log.warning(
                "a call that the database had lost is on record again", extra={"call_id": one.call_id}
            )
    # One that a webhook wrote meanwhile is in neither list.
    return attempts.ids_by_call_id(connection, account_id, [one.call_id for one in missing])


def _lost(row: ClaimedRow) -> Lost:
    new = row.new
    origin = Origin(
        to=new.phone_number,
        from_number=new.from_number,
        contact_id=str(new.contact_id),
        campaign_id=str(new.campaign_id),
        started_at=new.dial_at,
    )
    return Lost(origin=origin, because="answer", call_id=new.call_id, row=row)


def _step(answer: Answer) -> Step:
    if isinstance(answer, OutboundCallResponse):
        return lambda attempt, at: _accepted(attempt, answer, at)
    if isinstance(answer, Released):
        return lambda attempt, at: _unless_answered(attempt, _released(attempt.progress, answer, at))
    meaning = meaning_of(answer)
    if meaning.ending is None:
        return lambda attempt, _: _in_doubt(attempt)
    return lambda attempt, at: _refused(attempt, answer, at)


def released_unsent(why: str) -> Step:
    """Gives an attempt back if it was never sent."""
    return lambda attempt, at: (
        release(attempt.progress, ErrorClass.RELEASED, at, why)
        if attempt.progress.state is AttemptState.DIALING and attempt.sent_at is None
        else attempt.progress
    )


def _released(progress: Progress, answer: Released, at: datetime) -> Progress:
    if answer.host is None:
        return release(progress, ErrorClass.RELEASED, at, answer.why)
    until = answer.host.until if answer.host.answer is not None else at + ASK_HOST_AGAIN
    return replace(release(progress, ErrorClass.HOST, at, answer.why), refused_until=until)


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
        error_class=_class_for(attempt, meaning.error_class),
        error_code=error.error_code or (None if error.http_status is None else f"http_{error.http_status}"),
    )
    return _unless_answered(attempt, ended)


def _class_for(attempt: StoredAttempt, error_class: ErrorClass | None) -> ErrorClass | None:
    """A number of no country (+800…) cannot be held back with its country: to call it is a wrong request."""
    plan = plan_of(attempt.phone_number)
    is_of_no_country = plan is None or plan.country is None
    return ErrorClass.REQUEST if error_class is ErrorClass.DESTINATION and is_of_no_country else error_class


def _in_doubt(attempt: StoredAttempt) -> Progress:
    return _unless_known(attempt, replace(attempt.progress, state=AttemptState.IN_DOUBT))


def _unless_answered(attempt: StoredAttempt, progress: Progress) -> Progress:
    """What is certain also ends a doubt that another worker had meanwhile."""
    is_open_question = attempt.progress.state in {AttemptState.DIALING, AttemptState.IN_DOUBT}
    return progress if is_open_question else attempt.progress


def _unless_known(attempt: StoredAttempt, progress: Progress) -> Progress:
    """A webhook that was faster than our answer knows better."""
    return progress if attempt.progress.state is AttemptState.DIALING else attempt.progress
