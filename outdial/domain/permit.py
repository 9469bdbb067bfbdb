"""May this contact be called now? The one place that says yes with the facts, or no with the reason and until when.

First for all contacts of a campaign in one calling zone (`zone_permit`), then for the contact itself (`refusal_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol

from outdial.domain.accepted_rules import RulesInForce
from outdial.domain.campaign import CampaignDefinition, UnknownZone
from outdial.domain.consent import satisfies
from outdial.domain.contact import ContactState
from outdial.domain.fences import Fence
from outdial.domain.frequency import PastCall, counts, held_by_frequency, longest_memory
from outdial.domain.holiday_calendar import PACKAGE_VERSION as HOLIDAYS_VERSION
from outdial.domain.lawful_hours import LawfulHours, lawful_hours
from outdial.domain.phone_numbers import plan_country
from outdial.domain.rules import NO_RULE, Choice, RuleBook, UnknownRule, joined, rule_digest
from outdial.domain.windows import explain, next_start, start_of_day, state_of
from outdial.domain.zones import CallingZone, served_by, zone, zone_data_version


class Reason(StrEnum):
    """Why a contact, or a whole bucket of them, is not called now."""

    WINDOW_CLOSED = "window_closed"
    CLOSING_SOON = "closing_soon"
    NO_RULE = "no_rule"
    UNKNOWN_ZONE = "unknown_zone"
    DESTINATION_BLOCKED = "destination_blocked"
    NO_CALLER_NUMBER = "no_caller_number"
    EXCLUDED = "excluded"
    NO_CONSENT = "no_consent"
    NUMBER_BUSY = "number_busy"
    CAPPED = "capped"
    DEADLINE = "deadline"
    NOT_WAITING = "not_waiting"
    NOT_DUE = "not_due"
    CAMPAIGN_LIMIT = "campaign_limit"
    NOT_RUNNING = "not_running"
    STOPPED = "stopped"
    OTHER_DEPLOYMENT = "other_deployment"
    DIAL_ONLY = "dial_only"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_BACKING_OFF = "account_backing_off"
    BREAKER_OPEN = "breaker_open"
    RATE = "rate"
    LINES_BUSY = "lines_busy"


# When to look again at a contact whose number has an open call. The end of that call makes it due at once: this is the
# net for the end that came while the claim was being made.
BUSY_NUMBER_DELAY: Final = timedelta(seconds=30)
# And at one that this worker must not call, though another may, or that its account may not call yet.
DIAL_ONLY_DELAY: Final = timedelta(minutes=1)


# What becomes of a contact that may never be called: its state and final reason.
FATES: Final[Mapping[Reason, tuple[ContactState, str]]] = {
    Reason.EXCLUDED: (ContactState.EXCLUDED, "exclusion_list"),
    Reason.NO_CONSENT: (ContactState.EXCLUDED, "no_consent"),
    Reason.DEADLINE: (ContactState.EXPIRED, "deadline"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Not now. `until` (aware UTC) is when to ask again; None: only a change of the facts helps.

    `says` is one clause for people. It is empty for hours that are closed, which take long to tell: `hours_in_words`.
    """

    reason: Reason
    until: datetime | None
    says: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a permit hangs on besides the campaign and the contact. `scheduler_time_zone` serves campaigns that were
    written without any zone; `blocked_countries`: where the account may not call, and why.
    """

    rules: RulesInForce
    scheduler_time_zone: str
    blocked_countries: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Contacts of this campaign may be called in this zone, by calls that leave before `until` (aware UTC; None: no end
    in sight). `closes_at` is when the hours end, a guard later. `memory`: how far back calls to a number count;
    `rules_change_at`: when other rules may hold.
    """

    until: datetime | None
    closes_at: datetime | None
    zone: CallingZone
    choice: Choice
    hours: LawfulHours
    guard: timedelta
    memory: timedelta
    rules_change_at: datetime | None

    def facts(self, at: datetime) -> dict[str, Any]:
        """What is stored with an attempt claimed at `at`, as far as the zone goes."""
        return {
            "rules": list(self.choice.names),
            "rules_why": self.choice.why,
            "rule_digests": {rule.name: rule_digest(rule) for rule in self.choice.rules},
            "calling_zone": list(self.zone.time_zones),
            "zone_source": str(self.zone.source),
            "country": self.zone.country,
            "subdivision": self.zone.subdivision,
            "local_time": {name: at.astimezone(zone(name)).isoformat() for name in self.zone.time_zones},
            "hours": {
                name: self.hours.shown(at.astimezone(zone(name)).date()) for name in self.zone.time_zones
            },
            "open_until": None if self.closes_at is None else self.closes_at.isoformat(),
            "guard_seconds": self.guard.total_seconds(),
            "zone_data": zone_data_version().version,
            "holidays": HOLIDAYS_VERSION,
        }


def zone_permit(
    definition: CampaignDefinition, calling_zone: CallingZone, at: datetime, terms: Terms
) -> Permit | Refusal:
    """Whether contacts of this campaign in this calling zone may be called at `at`.

    An unknown zone is served as `zones.served_by` says.
    """
    blocked = country_refusal(calling_zone, terms.blocked_countries)
    if blocked is not None:
        return blocked
    served = serving_zone(definition, calling_zone, terms.scheduler_time_zone)
    if not served.time_zones:
        return Refusal(
            reason=Reason.UNKNOWN_ZONE, until=None, says="it is not known in which time zone the phone rings"
        )
    choice = choose_rules(definition, served, at, terms.rules)
    changes_at = rules_change_at(definition, served, at, terms.rules.book)
    if choice.refusal is not None:
        return Refusal(reason=Reason.NO_RULE, until=changes_at, says=choice.refusal)
    hours = lawful_hours(definition.window, choice.rules, served.country, served.subdivision)
    state = state_of(hours, served.time_zones, at)
    if not state.is_open:
        return Refusal(reason=Reason.WINDOW_CLOSED, until=_earliest(state.until, changes_at))
    # Other rules may close where these go on.
    are_others = changes_at is not None and (
        choose_rules(definition, served, changes_at, terms.rules).names != choice.names
    )
    ends_at = _earliest(state.until, changes_at if are_others else None)
    last_start = None if ends_at is None else ends_at - definition.guard
    if last_start is not None and last_start <= at:
        return Refusal(reason=Reason.CLOSING_SOON, until=_earliest(ends_at, changes_at))
    return Permit(
        until=_earliest(last_start, changes_at, definition.ends_at),
        closes_at=state.until,
        zone=served,
        choice=choice,
        hours=hours,
        guard=definition.guard,
        memory=longest_memory(choice.rules),
        rules_change_at=changes_at,
    )


def country_refusal(calling_zone: CallingZone, blocked_countries: Mapping[str, str]) -> Refusal | None:
    """Where the account may not call at all."""
    if calling_zone.country is None or calling_zone.country not in blocked_countries:
        return None
    says = f"the account may not call {calling_zone.country}: {blocked_countries[calling_zone.country]}"
    return Refusal(reason=Reason.DESTINATION_BLOCKED, until=None, says=says)


def serving_zone(
    definition: CampaignDefinition, calling_zone: CallingZone, scheduler_time_zone: str
) -> CallingZone:
    """By whose clocks the contact is called."""
    return served_by(
        calling_zone,
        default_time_zone=definition.default_time_zone,
        use_default=definition.unknown_zone is UnknownZone.USE_DEFAULT,
        scheduler_time_zone=scheduler_time_zone,
    )


def choose_rules(
    definition: CampaignDefinition, served: CallingZone, at: datetime, rules: RulesInForce
) -> Choice:
    """The calling rules that hold at `at`, on the local date of every zone where the phone may ring."""
    name = definition.calling_rule
    if name is None or name == NO_RULE:
        return _NO_RULES
    dates = {at.astimezone(zone(one)).date() for one in served.time_zones}
    try:
        choices = [
            rules.choose(
                name,
                purpose=definition.purpose,
                country=served.country,
                subdivision=served.subdivision,
                on=on,
            )
            for on in sorted(dates)
        ]
    except UnknownRule as error:
        return Choice(rules=(), why=f"the campaign names {name}", refusal=str(error))
    return joined(choices)


def next_lawful_start(
    definition: CampaignDefinition, calling_zone: CallingZone, at: datetime, terms: Terms
) -> datetime | None:
    """The first instant from `at` on at which `zone_permit` says yes, by the rules of `at`; None: none in sight."""
    served = serving_zone(definition, calling_zone, terms.scheduler_time_zone)
    hours = hours_of(definition, served, at, terms)
    if hours is None or country_refusal(served, terms.blocked_countries):
        return None
    start = next_start(hours, served.time_zones, at, definition.guard)
    return None if start is None or (definition.ends_at and start >= definition.ends_at) else start


def hours_of(
    definition: CampaignDefinition, served: CallingZone, at: datetime, terms: Terms
) -> LawfulHours | None:
    """The hours that hold there by the rules of `at`; None where the zone is unknown or no rule may be applied."""
    choice = choose_rules(definition, served, at, terms.rules) if served.time_zones else None
    if choice is None or choice.refusal is not None:
        return None
    return lawful_hours(definition.window, choice.rules, served.country, served.subdivision)


def hours_in_words(
    definition: CampaignDefinition, calling_zone: CallingZone, at: datetime, terms: Terms
) -> str:
    """One clause on why the hours are open or closed at `at`, and until when."""
    served = serving_zone(definition, calling_zone, terms.scheduler_time_zone)
    hours = hours_of(definition, served, at, terms)
    if hours is None:
        return "closed: there is no saying which hours hold"
    said = explain(hours, served.time_zones, at)
    state = state_of(hours, served.time_zones, at)
    if not state.is_open or state.until is None:
        return said
    return f"{said}; calls leave until {definition.guard.total_seconds():g} s before that"


_NO_RULES: Final = Choice(rules=(), why="the campaign names no rule")


def rules_change_at(
    definition: CampaignDefinition, served: CallingZone, at: datetime, book: RuleBook
) -> datetime | None:
    """When another choice of rules may have to be made: as the day begins in the first of the zones. None: never."""
    if definition.calling_rule is None or definition.calling_rule == NO_RULE:
        return None
    first = min(at.astimezone(zone(name)).date() for name in served.time_zones)
    changes_on = book.next_change(first)
    if changes_on is None:
        return None
    days = [start_of_day(changes_on, name) for name in served.time_zones]
    return min((day for day in days if day > at), default=None)


def _earliest(*instants: datetime | None) -> datetime | None:
    return min((instant for instant in instants if instant is not None), default=None)


class Callee(Protocol):
    """What must be known of a contact to let it be called."""

    @property
    def phone_number(self) -> str: ...
    @property
    def is_excluded(self) -> bool: ...
    @property
    def is_busy(self) -> bool:
        """Whether its number has an open call, or one that is not settled."""
        ...

    @property
    def call_before(self) -> datetime | None: ...
    @property
    def consent_kind(self) -> str | None: ...
    @property
    def consent_at(self) -> datetime | None: ...
    @property
    def consent_source(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One contact, asked about at `at`. `calls`: those that were placed to its number, as far back as `permit.memory`."""

    callee: Callee
    definition: CampaignDefinition
    permit: Permit
    fence: Fence
    blocked_countries: Mapping[str, str]
    calls: Sequence[PastCall]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactCheck:
    """One thing that must hold. `passes_as` says in words what was found where it does."""

    name: str
    refuses: Callable[[Case], Refusal | None]
    passes_as: Callable[[Case], str]


def refusal_of(case: Case) -> Refusal | None:
    """What forbids this call; None: nothing does."""
    for check in CONTACT_CHECKS:
        refusal = check.refuses(case)
        if refusal is not None:
            return refusal
    return None


def contact_facts(case: Case) -> dict[str, Any]:
    """What is stored with the attempt, as far as the contact goes."""
    facts: dict[str, Any] = {"checked": _CHECKED}
    given = case.callee
    if given.consent_kind is not None:
        facts["consent"] = {
            "kind": given.consent_kind,
            "at": None if given.consent_at is None else given.consent_at.isoformat(),
            "source": given.consent_source,
        }
    required = _required_consent(case)
    if required:
        facts["consent_required"] = required
    if case.permit.memory:
        facts["calls_counted"] = counts(
            case.permit.choice.rules, case.calls, case.permit.zone.time_zones, case.at
        )
    return facts


def _beyond_fence(case: Case) -> Refusal | None:
    if case.fence.allows(case.callee.phone_number):
        return None
    return Refusal(
        reason=Reason.DIAL_ONLY,
        until=case.at + DIAL_ONLY_DELAY,
        says="the number is not among those of OUTDIAL_DIAL_ONLY",
    )


def _blocked(case: Case) -> Refusal | None:
    # The zone goes by where the person lives, what an account may not call by the number.
    country = plan_country(case.callee.phone_number)
    if country is None or country not in case.blocked_countries:
        return None
    says = f"the account may not call {country}: {case.blocked_countries[country]}"
    return Refusal(reason=Reason.DESTINATION_BLOCKED, until=case.at + DIAL_ONLY_DELAY, says=says)


def _excluded(case: Case) -> Refusal | None:
    if not case.callee.is_excluded:
        return None
    return Refusal(reason=Reason.EXCLUDED, until=None, says="an exclusion is in force")


def _required_consent(case: Case) -> list[str]:
    """By the campaign and by the rules."""
    by_rules = (rule.requires_consent for rule in case.permit.choice.rules)
    return sorted({str(kind) for kind in (case.definition.required_consent, *by_rules) if kind is not None})


def _without_consent(case: Case) -> Refusal | None:
    lacking = [kind for kind in _required_consent(case) if not satisfies(case.callee.consent_kind, kind)]
    if not lacking:
        return None
    given = case.callee.consent_kind or "none"
    return Refusal(
        reason=Reason.NO_CONSENT,
        until=None,
        says=f"consent ({', '.join(lacking)}) is asked for; on record is {given}",
    )


def _consented(case: Case) -> str:
    given = case.callee.consent_kind or "none"
    return f"on record: {given}; asked for: {', '.join(_required_consent(case)) or 'none'}"


def _overdue(case: Case) -> Refusal | None:
    before = case.callee.call_before
    if before is None or before > case.at:
        return None
    return Refusal(reason=Reason.DEADLINE, until=None, says=f"it was to be called before {_utc(before)}")


def _busy(case: Case) -> Refusal | None:
    if not case.callee.is_busy:
        return None
    return Refusal(
        reason=Reason.NUMBER_BUSY,
        until=case.at + BUSY_NUMBER_DELAY,
        says="a call to the number is open, or not settled yet",
    )


def _capped(case: Case) -> Refusal | None:
    if not case.permit.memory:
        return None
    held = held_by_frequency(case.permit.choice.rules, case.calls, case.permit.zone.time_zones, case.at)
    if held is None:
        return None
    # Other rules may count otherwise.
    until = _earliest(held.until, case.permit.rules_change_at)
    return Refusal(reason=Reason.CAPPED, until=until, says=held.by)


def _counted(case: Case) -> str:
    found = counts(case.permit.choice.rules, case.calls, case.permit.zone.time_zones, case.at)
    return "; ".join(f"{cap}: {count} so far" for cap, count in found.items()) or "no rule caps them"


def _utc(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"


# In this order. The first one is, for who must not be called from here may well be called from elsewhere, and the next
# three are final.
CONTACT_CHECKS: Final = (
    ContactCheck(
        name="fence", refuses=_beyond_fence, passes_as=lambda _: "the number may be dialed from here"
    ),
    ContactCheck(name="exclusions", refuses=_excluded, passes_as=lambda _: "no exclusion is in force"),
    ContactCheck(name="consent", refuses=_without_consent, passes_as=_consented),
    ContactCheck(
        name="deadline",
        refuses=_overdue,
        passes_as=lambda case: (
            "none" if case.callee.call_before is None else f"before {_utc(case.callee.call_before)}"
        ),
    ),
    ContactCheck(
        name="destination", refuses=_blocked, passes_as=lambda _: "the account may call the number's country"
    ),
    ContactCheck(name="number", refuses=_busy, passes_as=lambda _: "no other call to it is open"),
    ContactCheck(name="caps", refuses=_capped, passes_as=_counted),
)
_CHECKED: Final = [
    "campaign",
    "account",
    "country",
    "zone",
    "rules",
    "hours",
    *(check.name for check in CONTACT_CHECKS),
]
