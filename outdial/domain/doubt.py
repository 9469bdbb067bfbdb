"""What follows when an open call gives no sign: was it placed, is it over, must it wait? Pure; the engine asks and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from outdial.domain.attempt import (
    AttemptState,
    CallEvent,
    Ending,
    ErrorClass,
    EventKind,
    Progress,
    Source,
    advance,
    release,
)
from outdial.domain.campaign import CallOptions
from outdial.domain.ids import AttemptId
from outdial.domain.look_ups import NOT_RINGING, Pace, Timing
from outdial.domain.patience import Patience

MARGIN: Final = timedelta(seconds=30)
# How long a provider that took on to end a call may go on to list it as open.
HUNG_UP_MARGIN: Final = timedelta(seconds=60)
WITHDRAWN: Final = "withdrawn before it rang"
QUEUED_TOO_LONG: Final = "still queued when its time was over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider's API guarantees, as far as an attempt in doubt and a line's end depend on it. In seconds.

    `honours_not_after`: a POST read later than `not_after` places no call. `listing_lag_seconds`: how long a placed
    call may be missing from look-ups. `queue_limit_seconds`: how long an accepted call may wait before it rings.
    `look_up_seconds`: how often an open call is asked about where no events come; None: only when one is overdue.
    """

    honours_not_after: bool = False
    listing_lag_seconds: float = 5.0
    queue_limit_seconds: float = 0.0
    look_up_seconds: float | None = None

    @property
    def pace(self) -> Pace | None:
        return None if self.look_up_seconds is None else Pace(every=timedelta(seconds=self.look_up_seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the provider said of a call. `at` is before the question (aware UTC).

    `was_answered` False: it could not be asked this time. `can_be_asked` False: it never can. `is_ambiguous`: it named
    several calls that may be this one, or none of them.
    """

    at: datetime
    can_be_asked: bool = True
    was_answered: bool = False
    events: Sequence[CallEvent] = ()
    is_ambiguous: bool = False
    capabilities: Capabilities = Capabilities()


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """An open call that is overdue, with what the provider's answer made of it already. Instants are aware UTC."""

    progress: Progress
    timing: Timing
    options: CallOptions
    hung_up_at: datetime | None = None

    @property
    def sent_at(self) -> datetime | None:
        return self.timing.sent_at


def exact(asked: Asked, attempt_id: AttemptId, owners: Mapping[str, AttemptId]) -> Asked:
    """The answer without calls that only look like the one in question, unless a single one is left that can be it.

    `owners`: whose the provider's ids are, as far as we know. A guess between two calls would be no answer at all.
    """
    proven = [event for event in asked.events if event.call_id is not None]
    if len(proven) == len(asked.events):
        return asked
    alike = {
        event.provider_call_id: event
        for event in asked.events
        if event.call_id is None and owners.get(str(event.provider_call_id), attempt_id) == attempt_id
    }
    if not proven and len(alike) == 1:
        return replace(asked, events=tuple(alike.values()))
    return replace(asked, events=tuple(proven), is_ambiguous=not proven and bool(alike))


def conclude_unasked(silence: Silence, at: datetime, patience: Patience = Patience()) -> Progress:
    """What time alone says at `at`: what nobody sent is given back, what was sent and has no answer is in doubt.

    Though its owner may live: the last check lets nobody send what was given back, since it asks for the state too.
    """
    progress = silence.progress
    if progress.state is not AttemptState.DIALING:
        return progress
    if silence.sent_at is None:
        is_left = at > silence.timing.dial_at + patience.unsent
        return release(progress, ErrorClass.RELEASED, at, "left_behind") if is_left else progress
    is_over = at > silence.sent_at + patience.post_is_over
    return replace(progress, state=AttemptState.IN_DOUBT) if is_over else progress


def conclude(silence: Silence, asked: Asked, at: datetime) -> Progress:
    """What follows at `at` for a call that was sent, when the provider was asked, or cannot be."""
    progress = silence.progress
    if progress.has_ended or silence.sent_at is None or progress.state is AttemptState.DIALING:
        return progress
    if progress.state is AttemptState.IN_DOUBT and was_surely_not_placed(silence, asked):
        return release(progress, ErrorClass.EXPIRED, at)
    longest = longest_possible(asked.capabilities, silence.options)
    # A provider that could not be asked this time may still know the end; one that shows the call says it is open.
    may_give_up = not asked.can_be_asked or (asked.was_answered and not asked.events)
    if silence.hung_up_at is not None and asked.was_answered:
        may_give_up |= at > silence.hung_up_at + HUNG_UP_MARGIN
    # Nor does a line stay lost for good to a call that a provider lists for ever and cannot end, or never tells of.
    may_give_up |= at > silence.sent_at + 2 * longest
    if may_give_up and at > silence.sent_at + longest:
        given_up = CallEvent(
            kind=EventKind.ENDED, event_id="", at=at, ending=Ending.UNKNOWN, source=Source.GUESS
        )
        return advance(progress, given_up, at)
    return progress


def was_surely_not_placed(silence: Silence, asked: Asked) -> bool:
    """An empty look-up proves it only where a late POST is refused, and when it was asked after that time.

    Bytes that timed out at our end may still be read at the other.
    """
    capabilities = asked.capabilities
    if not asked.was_answered or asked.events or asked.is_ambiguous or not capabilities.honours_not_after:
        return False
    return asked.at > silence.timing.not_after + timedelta(seconds=capabilities.listing_lag_seconds)


def why_hang_up(silence: Silence, asked: Asked, at: datetime) -> str | None:
    """Why the provider shall end this call now, in the words of its record; None: it shall go on.

    A call that somebody wants withdrawn is only ended while nobody's phone rings; one past its longest time always.
    """
    progress = silence.progress
    if progress.has_ended or silence.sent_at is None or progress.state is AttemptState.DIALING:
        return None
    # It was ended before, and may just not be listed so yet.
    if silence.hung_up_at is not None and at <= silence.hung_up_at + HUNG_UP_MARGIN / 4:
        return None
    if silence.timing.wants_end and progress.state in NOT_RINGING:
        return WITHDRAWN
    is_shown = asked.was_answered and bool(asked.events)
    # A provider that queues may let it ring when nobody may be called any more.
    its_time = silence.timing.not_after + timedelta(seconds=asked.capabilities.listing_lag_seconds)
    if (
        is_shown
        and asked.capabilities.queue_limit_seconds
        and progress.state in NOT_RINGING
        and at > its_time
    ):
        return QUEUED_TOO_LONG
    if is_shown and at > silence.sent_at + longest_possible(asked.capabilities, silence.options):
        return "past its longest possible duration"
    return None


def longest_possible(capabilities: Capabilities, options: CallOptions) -> timedelta:
    """How long after its POST a call may still be open: queued, ringing, talking, and a margin."""
    seconds = capabilities.queue_limit_seconds + options.ring_timeout_seconds + options.max_duration_seconds
    return timedelta(seconds=seconds) + MARGIN
