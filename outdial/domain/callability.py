"""Who of a campaign may be called now, who later, and what blocks the others: one class for everybody who waits.

Nothing is decided here: the answers are those of `permit`, asked at the first instant at which the place is open. This
only says under which heading an answer is counted, and which of two counts where both hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from outdial.domain.campaign import CampaignDefinition
from outdial.domain.permit import (
    Case,
    Permit,
    Reason,
    Refusal,
    Terms,
    next_lawful_start,
    refusal_of,
    rules_change_at,
    serving_zone,
    zone_permit,
)
from outdial.domain.zones import CallingZone, zone


class When(StrEnum):
    """For those whom nothing blocks. `LATER_TODAY`: on the same local date, wherever the phone may ring."""

    NOW = "now"
    LATER_TODAY = "later_today"
    LATER = "later"


class Block(StrEnum):
    """Why somebody is not called, hours aside."""

    COUNTRY_BLOCKED = "country_blocked"
    UNKNOWN_ZONE = "unknown_zone"
    NO_RULE = "no_rule"
    NEVER_OPEN = "never_open"
    DIAL_ONLY = "dial_only"
    EXCLUDED = "excluded"
    NO_CONSENT = "no_consent"
    DEADLINE = "deadline"
    NUMBER_BUSY = "number_busy"
    CAPPED = "capped"
    NOT_DUE = "not_due"
    DUPLICATE = "duplicate"
    INVALID = "invalid"


# What ends by itself: whoever is held by it is to be called yet.
PASSING_BLOCKS: Final = frozenset({Block.NUMBER_BUSY, Block.CAPPED, Block.NOT_DUE, Block.DUPLICATE})

BLOCK_OF_PLACE: Final[Mapping[Reason, Block]] = {
    Reason.DESTINATION_BLOCKED: Block.COUNTRY_BLOCKED,
    Reason.UNKNOWN_ZONE: Block.UNKNOWN_ZONE,
    Reason.NO_RULE: Block.NO_RULE,
}
# A check that is added to those of a contact needs its line here, or the sums would not add up.
BLOCK_OF_CONTACT: Final[Mapping[Reason, Block]] = {
    Reason.DIAL_ONLY: Block.DIAL_ONLY,
    Reason.EXCLUDED: Block.EXCLUDED,
    Reason.NO_CONSENT: Block.NO_CONSENT,
    Reason.DESTINATION_BLOCKED: Block.COUNTRY_BLOCKED,
    Reason.DEADLINE: Block.DEADLINE,
    Reason.NUMBER_BUSY: Block.NUMBER_BUSY,
    Reason.CAPPED: Block.CAPPED,
}

# From one closing or change of rules to the next, at most so many times.
MOST_STEPS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The first instant (aware UTC) at which a place may be called, and the permit that holds then."""

    at: datetime
    permit: Permit


@dataclass(frozen=True, slots=True)
class Interval:
    """Calls may leave from `begin` to before `end` (aware UTC)."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`until` (aware UTC): when a cap lets go, as far as the calls so far go."""

    heading: When | Block
    until: datetime | None = None


def first_opening(
    definition: CampaignDefinition, calling_zone: CallingZone, at: datetime, terms: Terms
) -> Opening | Block:
    """When contacts in this calling zone may be called from `at` on, or why they never may."""
    if definition.ends_at is not None and definition.ends_at <= at:
        return Block.NEVER_OPEN
    answer = zone_permit(definition, calling_zone, at, terms)
    if isinstance(answer, Permit):
        return Opening(at=at, permit=answer)
    never = BLOCK_OF_PLACE.get(answer.reason, Block.NEVER_OPEN)
    # A rule that may not be applied yet may be later.
    if never is not Block.NEVER_OPEN and answer.until is None:
        return never
    instant = at
    served = serving_zone(definition, calling_zone, terms.scheduler_time_zone)
    for _ in range(MOST_STEPS):
        start = next_lawful_start(definition, calling_zone, instant, terms)
        changes_at = rules_change_at(definition, served, instant, terms.rules.book)
        # By the rules of the instant; others may open earlier, or no more.
        if changes_at is not None and (start is None or changes_at <= start):
            start = changes_at
        if start is None or (definition.ends_at is not None and start >= definition.ends_at):
            return never
        answer = zone_permit(definition, calling_zone, start, terms)
        if isinstance(answer, Permit):
            return Opening(at=start, permit=answer)
        if answer.until is None:
            return never
        instant = answer.until
    return never


def openings(
    definition: CampaignDefinition, calling_zone: CallingZone, begin: datetime, end: datetime, terms: Terms
) -> tuple[Interval, ...]:
    """Every stretch between two instants in which calls may leave, oldest first; touching ones are one."""
    found: list[Interval] = []
    instant = begin
    while instant < end:
        opening = first_opening(definition, calling_zone, instant, terms)
        if isinstance(opening, Block) or opening.at >= end:
            break
        closes_at = min(opening.permit.until or end, end)
        if found and found[-1].end == opening.at:
            found[-1] = Interval(found[-1].begin, closes_at)
        else:
            found.append(Interval(opening.at, closes_at))
        instant = closes_at
    return tuple(found)


def when(opening: Opening, at: datetime) -> When:
    """Under which heading those are counted whom nothing but the hours holds."""
    if opening.at <= at:
        return When.NOW
    zones = [zone(name) for name in opening.permit.zone.time_zones]
    is_today = all(opening.at.astimezone(one).date() == at.astimezone(one).date() for one in zones)
    return When.LATER_TODAY if is_today else When.LATER


def answer_for(case: Case, at: datetime, *, due_at: datetime, waits_elsewhere: bool) -> Answer:
    """The heading of one who waits, asked about at `case.at`, the opening of the place; now is `at`.

    The checks of the claim come first, in their order. Of a cap and a wait for the next attempt the one counts that ends
    later. `waits_elsewhere`: somebody else with the same number comes first.
    """
    refusal = refusal_of(case)
    is_due = due_at <= case.at
    if refusal is not None and (refusal.reason is not Reason.CAPPED or is_due or _until(refusal) >= due_at):
        return Answer(heading=BLOCK_OF_CONTACT[refusal.reason], until=refusal.until)
    if not is_due:
        return Answer(heading=Block.NOT_DUE, until=due_at)
    if waits_elsewhere:
        return Answer(heading=Block.DUPLICATE)
    return Answer(heading=when(Opening(at=case.at, permit=case.permit), at))


def _until(refusal: Refusal) -> datetime:
    assert refusal.until is not None, "a cap always says until when it holds"
    return refusal.until
