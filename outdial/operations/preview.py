"""What a campaign is about to do: who may be called now and later, what blocks the others, and whether the lines suffice.

Every answer comes from the functions that the claim decides with. Asked is as of now, as if the campaign ran; what holds
it as a whole is told apart from that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.callability import (
    BLOCK_OF_CONTACT,
    PASSING_BLOCKS,
    Answer,
    Block,
    Interval,
    Opening,
    When,
    answer_for,
    first_opening,
    openings,
)
from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState, UniqueBy
from outdial.domain.errors import NotFound
from outdial.domain.frequency import PastCall, fewest_calls
from outdial.domain.ids import CallingZoneId, CampaignId
from outdial.domain.permit import FATES, Case, Permit, Reason, Refusal, Terms, serving_zone, zone_permit
from outdial.domain.phone_numbers import calling_code
from outdial.domain.sufficiency import Capacity, Forecast, Load, forecast
from outdial.domain.whole_checks import (
    campaign_refusal,
    numbers_refusal,
    provider_refusal,
    stop_refusal,
    usable_numbers,
)
from outdial.domain.zones import CallingZone
from outdial.operations.hindrances import hindrances
from outdial.operations.why import Asked
from outdial.storage import accounts, buckets, calling_zones, campaigns, deployment, past_calls, waiting
from outdial.storage.campaigns import Campaign
from outdial.storage.database import database_now
from outdial.storage.waiting import Question, Waiting

SHOWN_AHEAD: Final = timedelta(hours=24)
# So far ahead a campaign without an end is looked at.
WITHOUT_END: Final = timedelta(days=14)
# From so many ended calls on their length is believed.
ENOUGH_CALLS: Final = 20
# Where nothing was measured: between a call that nobody answers and a short conversation.
ASSUMED_SECONDS: Final = 60.0


class MeasuredOn(StrEnum):
    """What tells for how long a call keeps its line."""

    CAMPAIGN = "campaign"
    ACCOUNT = "account"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What holds the campaign as a whole. `until` (aware UTC): when that is over by itself."""

    reason: Reason
    says: str
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CappedUntil:
    """So many are capped until some instant within the hour before `until` (aware UTC)."""

    until: datetime
    contacts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneOutlook:
    """The `waiting` contacts of one calling zone. `opens_at` (aware UTC) may be now; None: it never opens, because of
    `blocked_by`. `openings` are those of the next `SHOWN_AHEAD`.
    """

    time_zones: tuple[str, ...]
    country: str | None
    waiting: int
    opens_at: datetime | None
    blocked_by: Block | None
    openings: tuple[Interval, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sufficiency:
    """Whether everybody who waits can be called until `until`: `once`, and with every attempt that they have (`at_most`).

    `has_end`: the campaign itself ends then.
    """

    capacity: Capacity
    measured_on: MeasuredOn
    until: datetime
    has_end: bool
    once: Forecast
    at_most: Forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """As of `at` (aware UTC). Each of `total` contacts is counted in exactly one of the other counts.

    `blocked` also has those who are final because of it. `rejected_rows` of imported files are no contacts.
    """

    campaign: str
    status: CampaignStatus
    at: datetime
    total: int
    callable: Mapping[When, int]
    blocked: Mapping[Block, int]
    calling: int
    done: Mapping[ContactState, int]
    capped_until: tuple[CappedUntil, ...]
    rejected_rows: int
    holds: tuple[Hold, ...]
    hindrances: tuple[str, ...]
    zones: tuple[ZoneOutlook, ...]
    sufficiency: Sufficiency


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that was read, for `tell` to work out what follows from it."""

    campaign: Campaign
    account: Account
    at: datetime
    begin: datetime
    terms: Terms
    zones: Mapping[CallingZoneId, CallingZone]
    opening: Mapping[CallingZoneId, Opening | Block]
    standing: Mapping[tuple[ContactState, str | None], int]
    counted: _Counted
    held_seconds: tuple[Sequence[float], Sequence[float]]
    rejected_rows: int
    holds: tuple[Hold, ...]
    hindrances: tuple[str, ...]


def preview(connection: sa.Connection, name: str, asked: Asked) -> Preview:
    """The campaign as it stands. Raises `NotFound`."""
    return tell(look(connection, name, asked))


def look(connection: sa.Connection, name: str, asked: Asked) -> Seen:
    """The reading half of `preview`, for who would rather not keep a transaction open while the rest is worked out."""
    campaign = campaigns.by_name(connection, name)
    if campaign is None:
        raise NotFound("campaign", name, "`outdial campaign list` shows all there are.")
    account = accounts.by_id(connection, campaign.account_id)
    assert account is not None, "accounts are never deleted"
    around = deployment.load(connection)
    at = database_now(connection)
    definition = campaign.definition
    begin = max(at, definition.starts_at or at)
    terms = asked.terms(account, around.accepted_rules)
    ids = buckets.zones_of(connection, campaign.id)
    zones = calling_zones.load(connection, ids) if ids else {}
    opening = {one: first_opening(definition, zone, begin, terms) for one, zone in zones.items()}
    stopped = stop_refusal(
        account,
        not_here=asked.fence.why_not_here(around.name),
        everything_stopped_at=around.stopped_at,
    )
    numbers = usable_numbers(definition, account, accounts.resting_numbers(connection, account.id))
    refusals = (
        campaign_refusal(campaign.status, definition, at),
        stopped,
        provider_refusal(account, at),
        numbers_refusal(numbers),
    )
    question = _question(connection, campaign, asked, opening, at, account.blocked_countries)
    with waiting.room_for_large_reads(connection):
        standing = waiting.standing(connection, campaign.id)
        counted = _count(connection, campaign, asked, opening, question, account.blocked_countries)
    return Seen(
        campaign=campaign,
        account=account,
        at=at,
        begin=begin,
        terms=terms,
        zones=zones,
        opening=opening,
        standing=standing,
        counted=counted,
        held_seconds=waiting.held_seconds(connection, campaign.id, account.id),
        rejected_rows=waiting.rejected_rows(connection, campaign.id),
        holds=tuple(_hold(refusal) for refusal in refusals if refusal is not None),
        hindrances=tuple(hindrances(connection, name)),
    )


def tell(seen: Seen) -> Preview:
    """What follows from what was read."""
    campaign, counted = seen.campaign, seen.counted
    blocked = Counter({one: count for one, count in counted.headings.items() if isinstance(one, Block)})
    done: dict[ContactState, int] = {}
    for (state, reason), count in seen.standing.items():
        block = _final_block(state, reason)
        if block is not None:
            blocked[block] += count
        elif state not in {ContactState.PENDING, ContactState.IN_PROGRESS}:
            done[state] = done.get(state, 0) + count
    calling = sum(n for (state, _), n in seen.standing.items() if state is ContactState.IN_PROGRESS)
    return Preview(
        campaign=campaign.definition.name,
        status=campaign.status,
        at=seen.at,
        # Counted by what was found, so that the sums hold also where somebody moved between two statements.
        total=sum(counted.headings.values())
        + calling
        + sum(done.values())
        + blocked.total()
        - counted.blocked,
        callable={one: counted.headings[one] for one in When},
        blocked={one: blocked[one] for one in Block if blocked[one]},
        calling=calling,
        done=done,
        capped_until=tuple(
            CappedUntil(until=until, contacts=count) for until, count in sorted(counted.capped_until.items())
        ),
        rejected_rows=seen.rejected_rows,
        holds=seen.holds,
        hindrances=seen.hindrances,
        zones=tuple(sorted(_zones(seen), key=lambda one: (-one.waiting, one.time_zones, one.country or ""))),
        sufficiency=_sufficiency(seen),
    )


@dataclass(slots=True)
class _Counted:
    """Those who wait: by heading; by zone, those to be called yet, and how often."""

    headings: Counter[When | Block] = field(default_factory=Counter)
    capped_until: Counter[datetime] = field(default_factory=Counter)
    waiting: Counter[CallingZoneId] = field(default_factory=Counter)
    first_calls: Counter[CallingZoneId] = field(default_factory=Counter)
    calls_left: Counter[CallingZoneId] = field(default_factory=Counter)

    @property
    def blocked(self) -> int:
        return sum(count for one, count in self.headings.items() if isinstance(one, Block))

    def add(self, group: Waiting, answer: Answer) -> None:
        self.headings[answer.heading] += group.count
        self.waiting[group.calling_zone_id] += group.count
        if answer.heading is Block.CAPPED and answer.until is not None:
            self.capped_until[_next_hour(answer.until)] += group.count
        if isinstance(answer.heading, When) or answer.heading in PASSING_BLOCKS:
            self.first_calls[group.calling_zone_id] += group.count if group.is_first else 0
            self.calls_left[group.calling_zone_id] += group.calls_left


def _question(
    connection: sa.Connection,
    campaign: Campaign,
    asked: Asked,
    opening: Mapping[CallingZoneId, Opening | Block],
    at: datetime,
    blocked_countries: Collection[str],
) -> Question:
    memory = max(
        (one.permit.memory for one in opening.values() if isinstance(one, Opening)), default=timedelta()
    )
    return Question(
        campaign_id=campaign.id,
        at=at,
        asked_at={one: found.at if isinstance(found, Opening) else at for one, found in opening.items()},
        calls_since=at - memory if memory else None,
        open_zones=frozenset(zone_id for zone_id, one in opening.items() if isinstance(one, Opening)),
        fewest_calls={
            zone_id: fewest
            for zone_id, one in opening.items()
            if isinstance(one, Opening) and (fewest := fewest_calls(one.permit.choice.rules)) is not None
        },
        open_elsewhere=_open_elsewhere(connection, campaign.id, asked, at),
        blocked_prefixes=[prefix for one in blocked_countries if (prefix := calling_code(one)) is not None],
        max_attempts=campaign.definition.retry.max_attempts,
        has_unique_numbers=campaign.definition.unique_by is UniqueBy.PHONE_NUMBER,
        dial_only=asked.fence.dial_only,
    )


def _open_elsewhere(
    connection: sa.Connection, campaign_id: CampaignId, asked: Asked, at: datetime
) -> list[tuple[CampaignId, CallingZoneId]]:
    """Where the campaigns that come first may call now: who is due there is called there first."""
    firsts = campaigns.load(connection, _first_campaigns(waiting.running(connection, at), campaign_id))
    accepted = deployment.load(connection).accepted_rules
    found: list[tuple[CampaignId, CallingZoneId]] = []
    for other in firsts.values():
        account = accounts.by_id(connection, other.account_id)
        assert account is not None, "accounts are never deleted"
        terms = asked.terms(account, accepted)
        ids = buckets.zones_of(connection, other.id)
        zones = calling_zones.load(connection, ids) if ids else {}
        found += [
            (other.id, zone_id)
            for zone_id, zone in zones.items()
            if isinstance(zone_permit(other.definition, zone, at, terms), Permit)
        ]
    return found


def _first_campaigns(running: Mapping[CampaignId, int], campaign_id: CampaignId) -> list[CampaignId]:
    """Those whose contacts count with a number that stands in several campaigns.

    Of running ones that of the higher priority, and then the older; one that does not run comes after all that do. So a
    number that waits in several is a duplicate in all but one.
    """
    own = running.get(campaign_id)
    if own is None:
        return sorted(running)
    return sorted(other for other, priority in running.items() if (-priority, other) < (-own, campaign_id))


def _count(
    connection: sa.Connection,
    campaign: Campaign,
    asked: Asked,
    opening: Mapping[CallingZoneId, Opening | Block],
    question: Question,
    blocked_countries: Mapping[str, str],
) -> _Counted:
    counted = _Counted()
    if not opening:
        return counted

    def answer(group: Waiting, calls: Sequence[PastCall]) -> Answer:
        place = opening[group.calling_zone_id]
        if isinstance(place, Block):
            return Answer(heading=place)
        case = Case(
            callee=group,
            definition=campaign.definition,
            permit=place.permit,
            fence=asked.fence,
            # A group's number stands for all of them: those that may be blocked are asked about alone.
            blocked_countries=blocked_countries if group.is_alone else {},
            calls=calls,
            at=place.at,
        )
        return answer_for(case, question.at, due_at=group.due_at, waits_elsewhere=group.waits_elsewhere)

    has_alone = False
    for group in waiting.groups(connection, question):
        if group.is_alone:
            has_alone = True
        else:
            counted.add(group, answer(group, ()))
    if has_alone:
        _count_alone(connection, question, counted, answer)
    return counted


def _count_alone(
    connection: sa.Connection,
    question: Question,
    counted: _Counted,
    answer: Callable[[Waiting, Sequence[PastCall]], Answer],
) -> None:
    """One by one. Of those who share a number the first to be called counts as callable, the others as duplicates."""
    first: dict[str, tuple[int, datetime, Waiting, Answer]] = {}
    for batch in waiting.alone(connection, question):
        calls = _calls_to(connection, batch, question.calls_since)
        for one in batch:
            found = answer(one, calls.get(one.phone_number, ()))
            if isinstance(found.heading, Block) or not one.shares_number:
                counted.add(one, found)
                continue
            this = (ORDER[found.heading], one.due_at, one, found)
            before = first.setdefault(one.phone_number, this)
            if before is not this:
                first[one.phone_number], other = (this, before) if this[:2] < before[:2] else (before, this)
                counted.add(other[2], Answer(heading=Block.DUPLICATE))
    for _, _, one, found in first.values():
        counted.add(one, found)


ORDER: Final = {one: place for place, one in enumerate(When)}


def _calls_to(
    connection: sa.Connection, batch: Sequence[Waiting], since: datetime | None
) -> Mapping[str, tuple[PastCall, ...]]:
    called = [one.phone_number for one in batch if one.may_be_capped]
    return past_calls.of_numbers(connection, called, since) if called and since is not None else {}


def _hold(refusal: Refusal) -> Hold:
    return Hold(reason=refusal.reason, says=refusal.says, until=refusal.until)


def _final_block(state: ContactState, reason: str | None) -> Block | None:
    """Under which heading those are counted whom a block has made final."""
    if state is ContactState.UNREACHABLE:
        return Block.INVALID
    blocks = {fate: BLOCK_OF_CONTACT[refused] for refused, fate in FATES.items()}
    # Whatever it says as the reason, such as that the list came with it.
    by_state = {fate[0]: block for fate, block in reversed(blocks.items())}
    return blocks.get((state, reason or ""), by_state.get(state))


def _zones(seen: Seen) -> Iterator[ZoneOutlook]:
    definition = seen.campaign.definition
    for zone_id, zone in seen.zones.items():
        count = seen.counted.waiting[zone_id]
        if not count:
            continue
        opening = seen.opening[zone_id]
        yield ZoneOutlook(
            time_zones=serving_zone(definition, zone, seen.terms.scheduler_time_zone).time_zones,
            country=zone.country,
            waiting=count,
            opens_at=None if isinstance(opening, Block) else opening.at,
            blocked_by=opening if isinstance(opening, Block) else None,
            openings=openings(definition, zone, seen.begin, seen.at + SHOWN_AHEAD, seen.terms),
        )


def _sufficiency(seen: Seen) -> Sufficiency:
    definition, account = seen.campaign.definition, seen.account
    until = definition.ends_at or seen.begin + WITHOUT_END
    lines = account.max_concurrent_calls
    if definition.max_concurrent_calls is not None:
        lines = min(lines, definition.max_concurrent_calls)
    interval = account.rate.interval()
    held, measured_on = _measured(*seen.held_seconds)
    capacity = Capacity(
        lines=lines,
        calls_per_second=1 / interval.total_seconds() if interval else None,
        held_seconds=held,
    )
    hours = {
        zone_id: openings(definition, seen.zones[zone_id], seen.begin, until, seen.terms)
        for zone_id, calls in seen.counted.calls_left.items()
        if calls
    }
    return Sufficiency(
        capacity=capacity,
        measured_on=measured_on,
        until=until,
        has_end=definition.ends_at is not None,
        once=forecast(_loads(hours, seen.counted.first_calls), capacity, seen.begin, until),
        at_most=forecast(_loads(hours, seen.counted.calls_left), capacity, seen.begin, until),
    )


def _measured(of_campaign: Sequence[float], of_account: Sequence[float]) -> tuple[float, MeasuredOn]:
    for seconds, whose in ((of_campaign, MeasuredOn.CAMPAIGN), (of_account, MeasuredOn.ACCOUNT)):
        if len(seconds) >= ENOUGH_CALLS:
            return max(sum(seconds) / len(seconds), 1.0), whose
    return ASSUMED_SECONDS, MeasuredOn.ASSUMED


def _loads(
    hours: Mapping[CallingZoneId, tuple[Interval, ...]], calls: Mapping[CallingZoneId, int]
) -> list[Load]:
    """Zones with the same hours are one load: hundreds of zones are a few dozen."""
    together: Counter[tuple[Interval, ...]] = Counter()
    for zone_id, listed in hours.items():
        together[listed] += calls[zone_id]
    return [Load(calls=count, openings=listed) for listed, count in together.items()]


def _next_hour(instant: datetime) -> datetime:
    whole = instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return whole if whole == instant else whole + timedelta(hours=1)
