"""The life of a call attempt: its states, what events do to it, and nothing of where it is stored.

Promise: an attempt only moves forward. Events may come late, twice or in any order; none takes back what is known.
The one step back is listed in `advance`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Final, TypeVar

from outdial.domain.ids import CallId, ProviderCallId


class AttemptState(StrEnum):
    DIALING = "dialing"
    IN_DOUBT = "in_doubt"
    ACCEPTED = "accepted"
    RINGING = "ringing"
    ANSWERED = "answered"
    ENDED = "ended"


class Ending(StrEnum):
    """What the line did."""

    ANSWERED = "answered"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    REJECTED = "rejected"
    BLOCKED = "blocked"
    FAILED = "failed"
    CANCELED = "canceled"
    NOT_PLACED = "not_placed"
    UNKNOWN = "unknown"


class AnsweredBy(StrEnum):
    HUMAN = "human"
    MACHINE = "machine"
    FAX = "fax"
    UNKNOWN = "unknown"


class ErrorClass(StrEnum):
    """Why an attempt was not placed or failed, as far as it matters for what to do next."""

    RELEASED = "released"
    EXPIRED = "expired"
    UNREACHABLE = "unreachable"
    RATE = "rate"
    NUMBER = "number"
    CALLER = "caller"
    DESTINATION = "destination"
    ACCOUNT = "account"
    REQUEST = "request"
    HOST = "host"


class Source(IntEnum):
    """Who says that a call ended, the more trusted the higher."""

    GUESS = 0
    LOOKUP = 1
    EVENT = 2


class EventKind(StrEnum):
    INITIATED = "initiated"
    RINGING = "ringing"
    ANSWERED = "answered"
    VOICEMAIL = "voicemail"
    ENDED = "ended"
    RESULT = "result"


T = TypeVar("T")

ORDER: Final[Mapping[AttemptState, int]] = {
    AttemptState.DIALING: 0,
    AttemptState.IN_DOUBT: 1,
    AttemptState.ACCEPTED: 2,
    AttemptState.RINGING: 3,
    AttemptState.ANSWERED: 4,
    AttemptState.ENDED: 5,
}

LIVE_STATE: Final[Mapping[EventKind, AttemptState]] = {
    EventKind.INITIATED: AttemptState.ACCEPTED,
    EventKind.RINGING: AttemptState.RINGING,
    EventKind.ANSWERED: AttemptState.ANSWERED,
    EventKind.VOICEMAIL: AttemptState.ANSWERED,
}

# What we ended by ourselves, without a word of the provider's: a sign of life proves us wrong.
GIVEN_UP: Final = frozenset({Ending.UNKNOWN, Ending.NOT_PLACED})

# A machine that was detected late outweighs the first impression of a person.
ANSWERED_BY_WEIGHT: Final[Mapping[AnsweredBy | None, int]] = {
    None: 0,
    AnsweredBy.UNKNOWN: 1,
    AnsweredBy.HUMAN: 2,
    AnsweredBy.FAX: 3,
    AnsweredBy.MACHINE: 4,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose call it is, as far as the provider tells: by this a call is found again of which we have lost the row.

    `to` and `from_number` are E.164; `contact_id` and `campaign_id` are what we gave along, as text. `started_at`: when
    the provider took the call, by its clock, aware.
    """

    to: str | None = None
    from_number: str | None = None
    contact_id: str | None = None
    campaign_id: str | None = None
    started_at: datetime | None = None

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, Any] | None, **facts: Any) -> Origin:
        """By the metadata that we gave along with the call, as it came back."""
        ids = {name: (metadata or {}).get(name) for name in ("contact_id", "campaign_id")}
        told: dict[str, Any] = {name: str(one) for name, one in ids.items() if isinstance(one, str | int)}
        return cls(**facts, **told)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEvent:
    """One thing that a provider told about a call, in our words. `at` is the provider's clock, aware."""

    kind: EventKind
    event_id: str
    at: datetime
    call_id: CallId | None = None
    provider_call_id: ProviderCallId | None = None
    source: Source = Source.EVENT
    ending: Ending | None = None
    answered_by: AnsweredBy | None = None
    result: str | None = None
    duration_seconds: float | None = None
    callback_at: datetime | None = None
    opt_out: bool = False
    sip_code: int | None = None
    error_code: str | None = None
    error_class: ErrorClass | None = None
    raw_status: str | None = None
    cost: str | None = None
    answers: Sequence[Mapping[str, Any]] | None = None
    artifacts: Sequence[Mapping[str, Any]] | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is known of an attempt. Instants are ours (the database's clock), aware UTC."""

    state: AttemptState = AttemptState.DIALING
    provider_call_id: ProviderCallId | None = None
    started_at: datetime | None = None
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    ending: Ending | None = None
    ending_source: Source | None = None
    answered_by: AnsweredBy | None = None
    result: str | None = None
    duration_seconds: float | None = None
    callback_at: datetime | None = None
    opt_out: bool = False
    sip_code: int | None = None
    error_code: str | None = None
    error_class: ErrorClass | None = None
    provider_raw_status: str | None = None
    cost: str | None = None
    answers: Sequence[Mapping[str, Any]] | None = None
    artifacts: Sequence[Mapping[str, Any]] | None = None
    # What the host's `before_call` said, where it said no (`ErrorClass.HOST`); None there: for good.
    refused_until: datetime | None = None

    @property
    def has_ended(self) -> bool:
        return self.state is AttemptState.ENDED


def advance(progress: Progress, event: CallEvent, at: datetime) -> Progress:
    """What is known after `event`, which we learned of at `at` (our clock).

    A live event reopens an attempt that we had ended by a guess of ours (`unknown`, `not_placed`): that is the one
    step back.
    """
    known = _keep_facts(progress, event)
    if event.kind is EventKind.ENDED:
        return _end(known, event, at)
    if event.kind is EventKind.RESULT:
        return known
    return _go_on(known, event, at)


def release(
    progress: Progress, error_class: ErrorClass, at: datetime, error_code: str | None = None
) -> Progress:
    """The attempt was surely not placed."""
    return replace(
        progress,
        state=AttemptState.ENDED,
        ended_at=at,
        ending=Ending.NOT_PLACED,
        ending_source=Source.GUESS,
        error_class=error_class,
        error_code=error_code,
    )


def _go_on(progress: Progress, event: CallEvent, at: datetime) -> Progress:
    given_up = progress.ending in GIVEN_UP and progress.ending_source is Source.GUESS
    if progress.has_ended and not given_up:
        state = AttemptState.ENDED
    else:
        floor = AttemptState.ACCEPTED if progress.has_ended else progress.state
        state = max(floor, LIVE_STATE[event.kind], key=ORDER.__getitem__)
        if progress.has_ended:
            progress = replace(
                progress, ended_at=None, ending=None, ending_source=None, error_class=None, error_code=None
            )
    ringing = event.kind is EventKind.RINGING
    answered = event.kind in {EventKind.ANSWERED, EventKind.VOICEMAIL}
    return replace(
        progress,
        state=state,
        started_at=progress.started_at or at,
        ringing_at=progress.ringing_at or (at if ringing else None),
        answered_at=progress.answered_at or (at if answered else None),
    )


def _end(progress: Progress, event: CallEvent, at: datetime) -> Progress:
    if event.ending is None:
        raise ValueError("an event that ends a call names its ending")
    if progress.ending_source is not None and progress.ending_source >= event.source:
        return progress
    return replace(
        progress,
        state=AttemptState.ENDED,
        ended_at=progress.ended_at or at,
        ending=event.ending,
        ending_source=event.source,
        error_class=event.error_class,
        error_code=event.error_code,
    )


def _keep_facts(progress: Progress, event: CallEvent) -> Progress:
    by = max(progress.answered_by, event.answered_by, key=ANSWERED_BY_WEIGHT.__getitem__)
    if event.kind is EventKind.VOICEMAIL:
        by = AnsweredBy.MACHINE
    refines = event.kind is EventKind.RESULT
    return replace(
        progress,
        provider_call_id=progress.provider_call_id or event.provider_call_id,
        answered_by=by,
        result=_pick(progress.result, event.result, refines),
        answers=_pick(progress.answers, event.answers, refines),
        artifacts=_pick(progress.artifacts, event.artifacts, refines),
        callback_at=_pick(progress.callback_at, event.callback_at, refines),
        cost=_pick(progress.cost, event.cost, refines),
        opt_out=progress.opt_out or event.opt_out,
        duration_seconds=_pick(progress.duration_seconds, event.duration_seconds, False),
        sip_code=_pick(progress.sip_code, event.sip_code, False),
        provider_raw_status=event.raw_status or progress.provider_raw_status,
    )


def _pick(known: T | None, told: T | None, refines: bool) -> T | None:
    if refines:
        return known if told is None else told
    return told if known is None else known
