"""The audit of calls that were made: what each check asks, and the checks that look at one call by itself.

Facts in, findings out. Nothing here is used to decide whether somebody may be called, and nothing that decides it is
used here: what the one gets wrong the other is to find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final

from outdial.domain.attempt import AnsweredBy, ErrorClass, Source
from outdial.domain.audit_hours import rule_allows, window_allows
from outdial.domain.campaign import CampaignDefinition, UnknownZone
from outdial.domain.ids import AccountId, AttemptId, CallId, CampaignId, ContactId
from outdial.domain.rules import AUTO, NO_RULE, Rule
from outdial.domain.settle import Outcome
from outdial.domain.zones import CallingZone, ZoneSource, zone, zone_data_version


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
    Check.END: "has ended and is settled, or still may be open",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong with a call, as one clause; or, where it is no violation, why it cannot be said."""

    says: str
    is_violation: bool = True


Findings = Sequence[Finding]
"""Of one check on one call: empty where all is well. None in its place: the check does not ask about such a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt as it is stored, as far as others are judged by it. Instants are aware UTC.

    `heard_at`: when the provider last told something of it, after which it may have been known as something else.
    """

    id: AttemptId
    call_id: CallId
    contact_id: ContactId
    campaign_id: CampaignId
    campaign_revision: int
    account_id: AccountId
    phone_number: str
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
    heard_at: datetime | None

    @property
    def is_call(self) -> bool:
        """Whether a phone may have rung."""
        return self.sent_at is not None and self.outcome != Outcome.NOT_PLACED

    @property
    def left_at(self) -> datetime:
        assert self.sent_at is not None, "only asked of what was sent"
        return self.sent_at

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

    `contact_may_differ`: an import may have brought the contact another zone or other times after the call.
    """

    attempt: Attempt
    campaign: str
    workspace_id: int
    dial_at: datetime
    not_after: datetime
    settle_at: datetime | None
    provider_call_id: str | None
    permit: Mapping[str, Any]
    is_test: bool
    person_key: str | None
    call_after: datetime | None
    call_before: datetime | None
    budget_renewed_at: datetime | None
    zone: CallingZone
    contact_may_differ: bool

    @property
    def zones(self) -> Sequence[str]:
        found: Sequence[str] = self.permit.get("calling_zone", ())
        return found

    @property
    def rule_names(self) -> Sequence[str]:
        found: Sequence[str] = self.permit.get("rules", ())
        return found


RuleOf = Callable[[str], Rule | None]
"""The rule of a name such as `it-survey@1`; None: the rule book has it no more."""

# What the instant of a claim and the permit's own may differ by.
_SAME_INSTANT: Final = timedelta(seconds=1)
# What nobody has looked at for so long is left lying.
NEGLECTED: Final = timedelta(minutes=2)
_LINE_MARGIN: Final = timedelta(seconds=30)


def judge_window(call: Call, definition: CampaignDefinition | None, rule_of: RuleOf) -> Findings | None:
    """Whether it left in lawful hours. A test call's are a person's own choice."""
    if call.is_test:
        return None
    return [*_hours(call, definition, rule_of), *_own_clock(call), *_times(call, definition)]


def judge_zone(call: Call, definition: CampaignDefinition | None) -> Findings | None:
    """Whether the zones of its permit are those of its contact."""
    if call.is_test:
        return None
    if "calling_zone" not in call.permit:
        return [Finding(says="its permit names no zone", is_violation=False)]
    permitted, stored = tuple(call.zones), tuple(call.zone.time_zones)
    if permitted == stored and call.permit.get("zone_source") == call.zone.source:
        return []
    if not stored:
        if definition is None:
            return [_unknown_revision(call)]
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
    if attempt.ended_at is not None:
        until = call.settle_at or attempt.ended_at
        what = "ended, and should have been settled by"
    elif attempt.sent_at is None:
        until, what = call.not_after, "was never sent, and should have been given back by"
    elif definition is None:
        return [_unknown_revision(call)]
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


def _hours(call: Call, definition: CampaignDefinition | None, rule_of: RuleOf) -> Iterator[Finding]:
    if "calling_zone" not in call.permit:
        yield Finding(says="its permit names no zone", is_violation=False)
        return
    if not call.zones:
        yield Finding(says="it was permitted although nobody knows in which zone the phone rings")
    if definition is None:
        yield _unknown_revision(call)
    else:
        revision = call.attempt.campaign_revision
        yield from _closed(
            call,
            definition.guard,
            call.zones,
            f"the campaign's window of revision {revision}",
            partial(window_allows, definition.window),
        )
        yield from _wrong_rules(call, definition)
    country, subdivision = call.permit.get("country"), call.permit.get("subdivision")
    for name in call.rule_names:
        rule = rule_of(name)
        if rule is None:
            yield Finding(says=f"the rule book has no {name} any more", is_violation=False)
            continue
        guard = timedelta() if definition is None else definition.guard
        yield from _closed(
            call,
            guard,
            (*call.zones, *rule.fixed_zones),
            f"the hours of {name}",
            partial(rule_allows, rule, country, subdivision),
        )


def _closed(
    call: Call, guard: timedelta, names: Sequence[str], what: str, allows: Callable[[datetime], bool]
) -> Iterator[Finding]:
    left_at = call.attempt.left_at
    for name in names:
        if not allows(left_at.astimezone(zone(name))):
            yield Finding(says=f"left {in_words(left_at, name)}, outside {what}{_by_other_data(call)}")
        elif any(not allows(one.astimezone(zone(name))) for one in _within(left_at, guard)):
            yield Finding(
                says=f"left {in_words(left_at, name)}, less than {guard.total_seconds():g} s "
                f"before the end of {what}{_by_other_data(call)}"
            )


def _within(begin: datetime, length: timedelta) -> Iterator[datetime]:
    """Minute by minute, since hours begin and end at minutes, and the end itself."""
    for passed in range(60, int(length.total_seconds()), 60):
        yield begin + timedelta(seconds=passed)
    yield begin + length


def _wrong_rules(call: Call, definition: CampaignDefinition) -> Iterator[Finding]:
    """Whether the permit's rules can be those that the campaign names."""
    named = definition.calling_rule
    if named is None or named == NO_RULE:
        return
    ids = {name.partition("@")[0] for name in call.rule_names}
    if (named == AUTO and not ids) or (named != AUTO and named.partition("@")[0] not in ids):
        found = ", ".join(call.rule_names) or "none"
        yield Finding(says=f"its campaign follows the rule {named}, and its permit was given by {found}")


def _own_clock(call: Call) -> Iterator[Finding]:
    """Whether the permit's local times are those of the claim."""
    shown: Mapping[str, str] = call.permit.get("local_time", {})
    for name in call.zones:
        claimed_at = call.attempt.claimed_at.astimezone(zone(name))
        if name not in shown:
            yield Finding(says=f"its permit does not say what time it was in {name}")
            continue
        told = datetime.fromisoformat(shown[name])
        if told.tzinfo is None or abs(told - claimed_at) > _SAME_INSTANT:
            yield Finding(says=f"its permit says {shown[name]}, and it was claimed {claimed_at.isoformat()}")
        elif told.utcoffset() != claimed_at.utcoffset():
            yield Finding(
                says=f"its permit says {shown[name]}, when it was {claimed_at.isoformat()}{_by_other_data(call)}"
            )


def _times(call: Call, definition: CampaignDefinition | None) -> Iterator[Finding]:
    left_at = call.attempt.left_at
    if left_at >= call.not_after:
        yield Finding(says=f"left {locally(call, left_at)}, not before {locally(call, call.not_after)}")
    if definition is not None and definition.starts_at is not None and left_at < definition.starts_at:
        yield Finding(
            says=f"left {locally(call, left_at)}, before its campaign began {utc(definition.starts_at)}"
        )
    if definition is not None and definition.ends_at is not None and left_at >= definition.ends_at:
        yield Finding(
            says=f"left {locally(call, left_at)}, after its campaign's end {utc(definition.ends_at)}"
        )
    is_certain = not call.contact_may_differ
    if call.call_after is not None and left_at < call.call_after:
        yield Finding(
            says=f"left {locally(call, left_at)}, and its contact is to be called after {utc(call.call_after)}",
            is_violation=is_certain,
        )
    if call.call_before is not None and left_at >= call.call_before:
        yield Finding(
            says=f"left {locally(call, left_at)}, and its contact is to be called before {utc(call.call_before)}",
            is_violation=is_certain,
        )


def _may_stand_in(call: Call, definition: CampaignDefinition) -> bool:
    """Whether another zone may serve a contact of whom none is known."""
    source = call.permit.get("zone_source")
    if source == ZoneSource.SCHEDULER:
        return definition.default_time_zone is None and len(call.zones) == 1
    is_default = list(call.zones) == [definition.default_time_zone]
    return is_default and definition.unknown_zone is UnknownZone.USE_DEFAULT


def _unknown_revision(call: Call) -> Finding:
    return Finding(
        says=f"nobody kept what revision {call.attempt.campaign_revision} of its campaign said",
        is_violation=False,
    )


def _by_other_data(call: Call) -> str:
    data = call.permit.get("zone_data")
    if data in {None, zone_data_version().version}:
        return ""
    return f" (permitted with tzdata {data}, judged with {zone_data_version().version})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "unknown"
