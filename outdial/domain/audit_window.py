"""The audit of hours: did the call leave in those of its campaign and of its rules, and could these rules be its own?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import Final

from outdial.domain.audit import (
    UNREADABLE_PERMIT,
    Call,
    Finding,
    Findings,
    RuleOf,
    in_words,
    locally,
    unknown_revision,
    utc,
)
from outdial.domain.audit_hours import rule_allows, window_allows
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.rules import AUTO, NO_RULE, Rule
from outdial.domain.zones import zone, zone_data_version

# What the instant of a claim and the permit's own may differ by.
_SAME_INSTANT: Final = timedelta(seconds=1)


def judge_window(call: Call, definition: CampaignDefinition | None, rule_of: RuleOf) -> Findings | None:
    """Whether it left in lawful hours. A test call's are a person's own choice."""
    if call.is_test:
        return None
    if call.stored_permit is None:
        return [UNREADABLE_PERMIT, *_times(call, definition)]
    return [*_hours(call, definition, rule_of), *_own_clock(call), *_times(call, definition)]


def _hours(call: Call, definition: CampaignDefinition | None, rule_of: RuleOf) -> Iterator[Finding]:
    if "calling_zone" not in call.permit:
        yield Finding(says="its permit names no zone", is_violation=False)
        return
    if not call.zones:
        yield Finding(says="it was permitted although nobody knows in which zone the phone rings")
    if definition is None:
        yield unknown_revision(call)
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
        rule = rule_of(call, name)
        if isinstance(rule, Finding):
            yield rule
            continue
        if definition is not None:
            yield from _strange_rule(call, definition, rule)
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


def _strange_rule(call: Call, definition: CampaignDefinition, rule: Rule) -> Iterator[Finding]:
    """Whether a rule of the permit can have held for such a call at all, whichever others did."""
    country, subdivision = call.permit.get("country"), call.permit.get("subdivision")
    if definition.purpose not in rule.purposes:
        meant = ", ".join(sorted(rule.purposes))
        yield Finding(
            says=f"was permitted by {rule.name}, which is for {meant}, and not for {definition.purpose}"
        )
    is_elsewhere = rule.country is not None and rule.country != country
    # A campaign may name a rule for people of whom no country is known.
    if is_elsewhere and (country is not None or definition.calling_rule == AUTO):
        yield Finding(
            says=f"was permitted by {rule.name}, which is for {rule.country}, and rings in {country or 'no known country'}"
        )
    elif rule.subdivisions and subdivision is not None and subdivision not in rule.subdivisions:
        meant = ", ".join(sorted(rule.subdivisions))
        yield Finding(says=f"was permitted by {rule.name}, which is for {meant}, and rings in {subdivision}")
    # Whoever names a rule with its version takes it in whatever year.
    if call.zones and definition.calling_rule != rule.name and not any(map(rule.is_in_force, _dates(call))):
        yield Finding(
            says=f"left {locally(call, call.attempt.left_at)}, when {rule.name} was not in force "
            f"({rule.valid_from or 'always'} to {rule.valid_to or 'now'})"
        )


def _dates(call: Call) -> set[date]:
    """The local dates of its claim and of its leaving, in all zones where the phone may ring."""
    instants = (call.attempt.claimed_at, call.attempt.left_at)
    return {at.astimezone(zone(name)).date() for at in instants for name in call.zones}


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


def _by_other_data(call: Call) -> str:
    data = call.permit.get("zone_data")
    if data in {None, zone_data_version().version}:
        return ""
    return f" (permitted with tzdata {data}, judged with {zone_data_version().version})"
