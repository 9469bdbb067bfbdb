"""The audit of calls that were made: what each check asks, and the checks that look at one call by itself.

Facts in, findings out. Nothing here is used to decide whether somebody may be called, and nothing that decides it is
used here: what the one gets wrong the other is to find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from outdial.domain.attempt import AnsweredBy, ErrorClass, Source
from outdial.domain.campaign import CampaignDefinition, UnknownZone
from outdial.domain.ids import AccountId, AttemptId, CallId, CampaignId, ContactId
from outdial.domain.rules import Rule
from outdial.domain.settle import Outcome
from outdial.domain.zones import CallingZone, ZoneSource, zone


class Check(StrEnum):
    """What is asked of calls, in the order of the report."""

    WINDOW = "window"
    ZONE = "zone"
    CAP = "cap"
    EXCLUSION = "exclusion"
    NUMBER = "number"
    LIMIT = "limit"
    RATE = "rate"
    INTERVAL = "interval"
    ATTEMPTS = "attempts"
    ACCOUNT = "account"
    RECORD = "record"
    END = "end"


MEANINGS: Final[Mapping[Check, str]] = {
    Check.WINDOW: "left in the hours of its campaign and of its calling rules, wherever the phone may ring",
    Check.ZONE: "was permitted for the zone of its contact",
    Check.CAP: "left within the caps and cool-offs of its calling rules",
    Check.EXCLUSION: "went to no number or person that was excluded",
    Check.NUMBER: "was the only open call to its number",
    Check.LIMIT: "left within the limits of its account and its campaign on open calls",
    Check.RATE: "had a slot within the rate of its account",
    Check.INTERVAL: "left no sooner after the one before than the retry policy says",
    Check.ATTEMPTS: "was within its contact's budget of attempts",
    Check.ACCOUNT: "is known by one attempt and one id of the provider",
    Check.RECORD: "is written down as it can have been",
    Check.END: "has ended and is settled, or still may be open",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong with a call, as one clause; or, where it is no violation, why it cannot be said.

    `rule`: the calling rule for whose sake that is so, to be said once and not of each of its calls.
    """

    says: str
    is_violation: bool = True
    rule: str | None = None


Findings = Sequence[Finding]
"""Of one check on one call: empty where all is well. None in its place: the check does not ask about such a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt as it is stored, as far as others are judged by it. Instants are aware UTC.

    `heard_at`: when the provider last told something of it, after which it may have been known as something else;
    `is_heard_of`: it told something at all. `read_at`: when it was read. `malformed`: instants that are not written as
    all are, as they are; those in `unreadable` are none at all, and what stands in their place is of no worth.
    """

    id: AttemptId
    call_id: CallId
    contact_id: ContactId
    campaign_id: CampaignId
    campaign_revision: int
    account_id: AccountId
    phone_number: str
    attempt_number: int
    claimed_at: datetime
    sent_at: datetime | None
    ringing_at: datetime | None
    answered_at: datetime | None
    ended_at: datetime | None
    settled_at: datetime | None
    ending_source: int | None
    answered_by: str | None
    outcome: str | None
    result: str | None
    error_class: str | None
    callback_at: datetime | None
    provider_call_id: str | None
    heard_at: datetime | None
    is_heard_of: bool
    read_at: datetime
    malformed: Mapping[str, object]
    unreadable: frozenset[str]

    @property
    def is_call(self) -> bool:
        """Whether a phone may have rung, by any sign of it."""
        was_sent = self.sent_at is not None or "sent_at" in self.malformed
        return (was_sent and self.outcome != Outcome.NOT_PLACED) or self.sign_of_a_call is not None

    @property
    def sign_of_a_call(self) -> str | None:
        """What proves that the provider knows of it, as a clause."""
        if self.answered_at is not None or "answered_at" in self.malformed:
            return "it was answered"
        if self.is_heard_of:
            return "the provider told of it"
        if self.provider_call_id is not None:
            return "the provider has an id for it"
        if self.outcome not in {None, Outcome.NOT_PLACED}:
            return f"its outcome is {self.outcome}"
        return None

    @property
    def has_rung(self) -> bool:
        return self.answered_at is not None or self.ringing_at is not None

    @property
    def is_counted(self) -> bool:
        """Whether others are judged by it: not by one that is not readable, nor by one that no phone rang for."""
        is_made = self.outcome != Outcome.NOT_PLACED or self.has_rung
        return self.is_call and is_made and not self.unreadable

    @property
    def left_at(self) -> datetime:
        """When it was sent; where its record of that cannot be true, when it was claimed, which was shortly before."""
        sent_at = self.sent_at
        if sent_at is None or sent_at > self.read_at + _AHEAD or sent_at < self.claimed_at - _AHEAD:
            return self.claimed_at
        ends = [end for end in (self.answered_at, self.ended_at) if end is not None]
        return self.claimed_at if any(sent_at > end + _AHEAD for end in ends) else sent_at

    @property
    def given_up_at(self) -> datetime | None:
        """When it was settled by a guess, if it came to life again: what is settled before it ends was settled twice,
        and only the first time is kept.
        """
        if self.settled_at is None or (self.ended_at is not None and self.ended_at <= self.settled_at):
            return None
        return self.settled_at

    @property
    def lies_open(self) -> bool:
        return self.settled_at is None or self.ended_at is None

    @property
    def had_conversation(self) -> bool:
        return self.answered_at is not None and self.answered_by not in {AnsweredBy.MACHINE, AnsweredBy.FAX}

    @property
    def was_kept_by_network(self) -> bool:
        """Whether it surely ended before any phone rang, by no fault of the number."""
        return (
            self.outcome in {Outcome.FAILED, Outcome.CANCELED}
            and self.ringing_at is None
            and self.answered_at is None
            and self.ending_source != Source.GUESS
            and self.result is None
            and self.error_class != ErrorClass.NUMBER
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An attempt that is judged, with its permit, and with its contact as that stands now.

    `awaits_confirmation`: it is settled when a person says so, after a restore. `contact_may_differ`: an import may have brought the contact another zone, number or times after the call.
    `contact_number` None: there is no contact, or no campaign, any more. `permit` None and `zone` None: what is stored
    there cannot be read. `malformed`: instants of the contact that are not written as all are.
    """

    attempt: Attempt
    campaign: str
    workspace_id: int
    dial_at: datetime
    not_after: datetime
    settle_at: datetime | None
    stored_permit: Mapping[str, Any] | None
    is_test: bool
    person_key: str | None
    call_after: datetime | None
    call_before: datetime | None
    budget_renewed_at: datetime | None
    contact_number: str | None
    zone: CallingZone | None
    contact_may_differ: bool
    malformed: Mapping[str, object]
    awaits_confirmation: bool = False

    @property
    def is_restored(self) -> bool:
        """Whether it was written down after it was made, as what the provider told of: its permit is lost."""
        return "restored" in self.permit

    @property
    def permit(self) -> Mapping[str, Any]:
        return {} if self.stored_permit is None else self.stored_permit

    @property
    def zones(self) -> Sequence[str]:
        found: Sequence[str] = self.permit.get("calling_zone", ())
        return found

    @property
    def rule_names(self) -> Sequence[str]:
        found: Sequence[str] = self.permit.get("rules", ())
        return found


RuleOf = Callable[[Call, str], Rule | Finding]
"""The rule of a name such as `it-survey@1` as it was for that call; or why nobody knows what it said."""

# What clocks that should be one may differ by.
_AHEAD: Final = timedelta(seconds=2)
UNREADABLE_PERMIT: Final = Finding(says="its permit cannot be read", is_violation=False)
# What nobody has looked at for so long is left lying.
NEGLECTED: Final = timedelta(minutes=2)
_LINE_MARGIN: Final = timedelta(seconds=30)


def judge_zone(call: Call, definition: CampaignDefinition | None) -> Findings | None:
    """Whether the zones of its permit are those of its contact."""
    if call.is_test:
        return None
    if call.stored_permit is None:
        return [UNREADABLE_PERMIT]
    if "calling_zone" not in call.permit:
        return [Finding(says="its permit names no zone", is_violation=False)]
    if call.zone is None:
        return [Finding(says="its contact's zone cannot be read", is_violation=False)]
    permitted, stored = tuple(call.zones), tuple(call.zone.time_zones)
    if permitted == stored and call.permit.get("zone_source") == call.zone.source:
        return []
    if not stored:
        if definition is None:
            return [unknown_revision(call)]
        if _may_stand_in(call, definition):
            return []
    says = (
        f"its permit is for {_listed(permitted)} ({call.permit.get('zone_source')}), "
        f"its contact's zone is {_listed(stored)} ({call.zone.source})"
    )
    # Of a zone that an import has changed, nobody knows any more what it was.
    return [Finding(says=says, is_violation=not call.contact_may_differ)]


def judge_end(
    call: Call, definition: CampaignDefinition | None, queue_limit: timedelta, at: datetime
) -> Findings:
    """Whether its line, and then its contact, is held longer than it can be. `queue_limit`: the provider's."""
    attempt = call.attempt
    if attempt.settled_at is not None and attempt.ended_at is not None:
        return []
    if attempt.ended_at is not None and call.awaits_confirmation:
        says = "awaits `outdial db recover --confirm`: what came of it may be lost with a restored database"
        return [Finding(says=says, is_violation=False)]
    if attempt.ended_at is not None:
        until = call.settle_at or attempt.ended_at
        what = "ended, and should have been settled by"
    elif attempt.sent_at is None:
        until, what = call.not_after, "was never sent, and should have been given back by"
    elif definition is None:
        return [unknown_revision(call)]
    else:
        seconds = definition.call.ring_timeout_seconds + definition.call.max_duration_seconds
        until = attempt.sent_at + queue_limit + timedelta(seconds=seconds) + _LINE_MARGIN
        what = "is open, and should have ended by"
    return [Finding(says=f"{what} {utc(until)}")] if at > until + NEGLECTED else []


def in_words(at: datetime, name: str) -> str:
    """`Sat 2026-03-07 23:10:04 in Europe/Rome`."""
    return f"{at.astimezone(zone(name)):%a %Y-%m-%d %H:%M:%S} in {name}"


def utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def locally(call: Call, at: datetime) -> str:
    """The instant by the clock of the first zone in which the phone may ring."""
    return in_words(at, call.zones[0]) if call.zones else utc(at)


def _may_stand_in(call: Call, definition: CampaignDefinition) -> bool:
    """Whether another zone may serve a contact of whom none is known."""
    source = call.permit.get("zone_source")
    if source == ZoneSource.SCHEDULER:
        return definition.default_time_zone is None and len(call.zones) == 1
    is_default = list(call.zones) == [definition.default_time_zone]
    return is_default and definition.unknown_zone is UnknownZone.USE_DEFAULT


def unknown_revision(call: Call) -> Finding:
    return Finding(
        says=f"what revision {call.attempt.campaign_revision} of its campaign said was not kept, or cannot be read",
        is_violation=False,
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "unknown"
