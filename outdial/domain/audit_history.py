"""The audit of calls by those before them: to the same number, to the same contact, and by exclusions.

As `audit`, it decides nothing and uses nothing that decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from outdial.domain.audit import UNREADABLE_PERMIT, Attempt, Call, Finding, Findings, RuleOf, locally, utc
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.ids import CampaignId
from outdial.domain.retries import LONGEST_CALLBACK, RetryPolicy
from outdial.domain.rules import Cap, CapCounts, CoolOff, Rule
from outdial.domain.settle import Outcome
from outdial.domain.zones import zone

# An entry carries the instant of its statement, and its command reports success after the commit: a call that left
# within so long may have been within its rights.
COMMIT_TIME: Final = timedelta(seconds=1)
# How far back a call that is still open may have begun.
LONGEST_CALL: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """An entry of the exclusion list. Instants aware UTC.

    `since`: from when on the person wants no call; `created_at`: when we learned of it, None for old ones. `is_readable`:
    whether all of these are instants; what stands in the place of one that is none is of no worth.
    """

    phone_number: str | None
    person_key: str | None
    scope: str
    workspace_id: int
    campaign_id: CampaignId | None
    reason: str
    since: datetime | None
    created_at: datetime | None
    expires_at: datetime | None
    removed_at: datetime | None
    is_readable: bool

    @property
    def known_since(self) -> datetime | None:
        """From when on it could be heeded."""
        return max((at for at in (self.since, self.created_at) if at is not None), default=None)


def memory_of(rules: Sequence[Rule]) -> timedelta:
    """How far back the calls to a number must be known to judge one by these rules."""
    days = [LONGEST_CALL.days]
    for rule in rules:
        days += [(cap.days or 0) + (cap.hours or 0) // 24 + 3 for cap in rule.caps]
        days += [one.days + 3 for one in rule.cool_offs]
    return timedelta(days=max(days))


def judge_caps(call: Call, earlier: Sequence[Attempt], rule_of: RuleOf) -> Findings | None:
    """`earlier`: the calls to its number before it, by whatever campaign and account. None: no rule counts them."""
    if call.is_test:
        return None
    if call.stored_permit is None:
        return [UNREADABLE_PERMIT]
    findings: list[Finding] = []
    is_asked = False
    for name in call.rule_names:
        rule = rule_of(call, name)
        if isinstance(rule, Finding):
            is_asked = True
            findings.append(rule)
            continue
        is_asked = is_asked or bool(rule.caps or rule.cool_offs)
        for cap in rule.caps:
            findings += _over_cap(call, earlier, name, cap)
        for cool_off in rule.cool_offs:
            findings += _within_cool_off(call, earlier, name, cool_off)
    return findings if is_asked else None


def judge_number(call: Call, earlier: Sequence[Attempt]) -> Findings:
    """Whether another call to the number was open when it left."""
    left_at = call.attempt.left_at
    return [
        Finding(
            says=f"left {locally(call, left_at)}, while call {other.call_id} to the same number was open "
            f"{'still' if other.ended_at is None else 'until ' + utc(other.ended_at)}{_late_life(other, call)}",
            is_violation=not _late_life(other, call),
        )
        for other in earlier
        if other.ended_at is None or other.ended_at > left_at
    ]


def judge_exclusions(call: Call, exclusions: Sequence[Exclusion], settle: timedelta) -> Findings:
    """`exclusions`: those of its number and its person. `settle`: what the command waits until it reports success."""
    left_at = call.attempt.left_at
    findings: list[Finding] = []
    for one in exclusions:
        if not _binds(one, call):
            continue
        is_of_number = one.phone_number == call.attempt.phone_number
        whom = "the number" if is_of_number else "the person"
        known_since = one.known_since
        if not one.is_readable or known_since is None:
            says = f"{whom} was excluded ({one.reason}), and since when or until when cannot be read"
            findings.append(Finding(says=says, is_violation=False))
            continue
        is_over = any(end is not None and end <= left_at for end in (one.expires_at, one.removed_at))
        if is_over or known_since + settle >= left_at:
            continue
        is_in_time = known_since + settle + COMMIT_TIME < left_at
        findings.append(
            Finding(
                says=f"left {locally(call, left_at)}, and {whom} was excluded since {utc(known_since)} ({one.reason})",
                # Whose the number was then, nobody knows where an import may have said otherwise since.
                is_violation=is_in_time and (is_of_number or not call.contact_may_differ),
            )
        )
    return findings


def judge_interval(
    call: Call, earlier: Sequence[Attempt], policies: Sequence[RetryPolicy] | None
) -> Findings | None:
    """`earlier`: the calls to its contact before it, oldest first. `policies`: all that held from the last of them to
    this one; None: not known. None: it is the first call, or a test.
    """
    if call.is_test or not earlier:
        return None
    last = earlier[-1]
    left_at = call.attempt.left_at
    if policies is None:
        return [
            Finding(
                says="what its campaign's retry policy said was not kept, or cannot be read",
                is_violation=False,
            )
        ]
    if last.ended_at is None:
        late = _late_life(last, call)
        says = f"left {locally(call, left_at)}, while call {last.call_id} was open still{late}"
        return [Finding(says=says, is_violation=not late)]
    due_at = min(_due_at(call, earlier, last.ended_at, policy) for policy in policies)
    if left_at >= due_at:
        return []
    passed, wait = left_at - last.ended_at, due_at - last.ended_at
    return [
        Finding(
            says=f"left {locally(call, left_at)}, {_seconds(passed)} after the end of call {last.call_id} "
            f"({last.outcome}), and the wait is {_seconds(wait)}{_late_life(last, call)}",
            is_violation=not _was_heard_of_after(last, call),
        )
    ]


def judge_attempts(
    call: Call, earlier: Sequence[Attempt], policies: Sequence[RetryPolicy] | None
) -> Findings | None:
    """Whether the contact's budget, or its last answer, left room for the call. Arguments as `judge_interval`."""
    if call.is_test:
        return None
    if not earlier:
        return []
    if policies is None:
        return [
            Finding(
                says="what its campaign's retry policy said was not kept, or cannot be read",
                is_violation=False,
            )
        ]
    renewed_at = call.budget_renewed_at
    is_renewed = renewed_at is not None and renewed_at <= call.attempt.left_at
    recent = [
        one
        for one in earlier
        if not is_renewed or one.ended_at is None or renewed_at is None or one.ended_at > renewed_at
    ]
    # Only the last renewal is known: calls before it may have spent of a budget that was renewed before.
    may_be_renewed = renewed_at is not None and not is_renewed
    findings = [
        Finding(
            says=f"left although call {one.call_id} had settled it: {one.outcome}",
            is_violation=not _was_heard_of_after(one, call),
        )
        for one in recent
        if one.outcome in {Outcome.COMPLETED, Outcome.REFUSED}
    ]
    over = [_over_budget(recent, policy) for policy in policies]
    if all(over):
        is_certain = not may_be_renewed and not any(_was_heard_of_after(one, call) for one in recent)
        findings.append(Finding(says=str(over[-1]), is_violation=is_certain))
    return findings


def _over_cap(call: Call, earlier: Sequence[Attempt], name: str, cap: Cap) -> Iterator[Finding]:
    counted = [one for one in earlier if cap.counts is CapCounts.ATTEMPTS or one.had_conversation]
    left_at = call.attempt.left_at
    if cap.hours is not None:
        hours = cap.hours
        within = [one for one in counted if left_at - one.left_at < timedelta(hours=hours)]
        places = [("", within)]
    else:
        first = timedelta(days=(cap.days or 1) - 1)
        places = []
        for where in call.zones:
            today = left_at.astimezone(zone(where)).date()
            within = [one for one in counted if one.left_at.astimezone(zone(where)).date() >= today - first]
            places.append((f" by the calendar of {where}", within))
    for where, within in places:
        if len(within) >= cap.max_calls:
            is_late_truth = cap.counts is CapCounts.CONNECTED and any(
                _was_heard_of_after(one, call) for one in within
            )
            yield Finding(
                says=f"left {locally(call, left_at)} as number {len(within) + 1}{where}, by {name}: {cap}",
                is_violation=not is_late_truth,
            )
            return


def _within_cool_off(
    call: Call, earlier: Sequence[Attempt], name: str, cool_off: CoolOff
) -> Iterator[Finding]:
    left_at = call.attempt.left_at
    for one in earlier:
        if one.outcome != cool_off.after:
            continue
        passed = [
            (left_at.astimezone(zone(where)).date() - one.left_at.astimezone(zone(where)).date()).days
            for where in call.zones
        ]
        if any(days <= cool_off.days for days in passed):
            yield Finding(
                says=f"left {locally(call, left_at)}, after call {one.call_id} of {utc(one.left_at)}, by {name}: {cool_off}",
                is_violation=not _was_heard_of_after(one, call),
            )
            return


def _binds(exclusion: Exclusion, call: Call) -> bool:
    is_meant = exclusion.phone_number == call.attempt.phone_number or (
        exclusion.person_key is not None and exclusion.person_key == call.person_key
    )
    if exclusion.scope == "campaign":
        return is_meant and exclusion.campaign_id == call.attempt.campaign_id
    return is_meant and (exclusion.scope == "all" or exclusion.workspace_id == call.workspace_id)


def _due_at(call: Call, earlier: Sequence[Attempt], ended_at: datetime, policy: RetryPolicy) -> datetime:
    """The soonest that a call after these may leave."""
    last = earlier[-1]
    if last.outcome == Outcome.CALLBACK and last.callback_at is not None:
        wished_at = max(last.callback_at, ended_at)
        if wished_at - ended_at <= LONGEST_CALLBACK:
            return wished_at
    if last.was_kept_by_network and policy.network_delays:
        delays = policy.network_delays
        alike = [one for one in earlier if one.was_kept_by_network]
    else:
        delays = {str(outcome): waits for outcome, waits in policy.delays.items()}.get(str(last.outcome), ())
        alike = [one for one in earlier if one.outcome == last.outcome]
    if not delays:
        return ended_at + policy.default_delay
    if call.budget_renewed_at is not None:
        # Which of the waits it was hangs on renewals of which only the last is known.
        return ended_at + min(delays)
    return ended_at + delays[min(len(alike), len(delays)) - 1]


def _over_budget(recent: Sequence[Attempt], policy: RetryPolicy) -> str | None:
    """Why there was none left after these calls."""
    kept_by_network = sum(1 for one in recent if one.was_kept_by_network)
    free = min(kept_by_network, policy.max_network_retries)
    callbacks = min(sum(1 for one in recent if one.outcome == Outcome.CALLBACK), policy.max_callbacks)
    allowed = policy.max_attempts + callbacks + free
    if len(recent) >= allowed:
        return (
            f"is call {len(recent) + 1} to its contact, which may have {allowed}: {policy.max_attempts} attempts, "
            f"{callbacks} callbacks, {free} for the network"
        )
    last = recent[-1].outcome if recent else None
    for outcome, limit in policy.limits.items():
        met = sum(1 for one in _spending(recent, policy) if one.outcome == outcome)
        if last == outcome and met >= limit:
            return f"left after {met} calls with the outcome {outcome}, and {limit} are the limit"
    return None


def _spending(recent: Sequence[Attempt], policy: RetryPolicy) -> Iterator[Attempt]:
    free = policy.max_network_retries
    for one in recent:
        if one.was_kept_by_network and free > 0:
            free -= 1
        else:
            yield one


def _was_heard_of_after(earlier: Attempt, call: Call) -> bool:
    """Whether the provider told something of the earlier call after this one was claimed: late truth, then unknown."""
    return earlier.heard_at is not None and earlier.heard_at > call.attempt.claimed_at


def _late_life(earlier: Attempt, call: Call) -> str:
    """Why nobody could know that the earlier call was open: it had been given up before this one was claimed, and the
    provider told of it afterwards. Empty where that is not so.
    """
    given_up_at = earlier.given_up_at
    if given_up_at is None or given_up_at > call.attempt.claimed_at or not _was_heard_of_after(earlier, call):
        return ""
    return f"; it had been given up at {utc(given_up_at)} and came to life again, which nobody could know"


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():,.0f} s"


def policies_of(definitions: Sequence[CampaignDefinition | None]) -> Sequence[RetryPolicy] | None:
    """None where one of them is not known."""
    known = [definition.retry for definition in definitions if definition is not None]
    return known if len(known) == len(definitions) else None
