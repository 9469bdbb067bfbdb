"""Why somebody is called, or is not, and from when on: the checks of the claim, asked one by one and told in words.

Every answer here comes from the functions that the claim decides with: nothing is decided a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.accepted_rules import RulesInForce
from outdial.domain.account import Account
from outdial.domain.callability import MOST_STEPS, Block, first_opening
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.contact import FINAL_STATES, ContactState
from outdial.domain.errors import NotFound
from outdial.domain.fences import Fence
from outdial.domain.ids import ContactId
from outdial.domain.permit import (
    CONTACT_CHECKS,
    Case,
    Permit,
    Reason,
    Refusal,
    Terms,
    country_refusal,
    hours_in_words,
    serving_zone,
    zone_permit,
)
from outdial.domain.rules import RuleBook
from outdial.domain.whole_checks import (
    campaign_refusal,
    free_lines,
    limit_refusal,
    lines_refusal,
    numbers_refusal,
    provider_refusal,
    rate_refusal,
    stop_refusal,
    usable_numbers,
)
from outdial.domain.zones import CallingZone
from outdial.operations.contact_lists import number_in
from outdial.storage import (
    accounts,
    attempts,
    calling_zones,
    campaigns,
    deployment,
    due_contacts,
    past_calls,
    reports,
)
from outdial.storage.attempts import OpenCalls
from outdial.storage.campaigns import Campaign
from outdial.storage.database import database_now
from outdial.storage.deployment import Deployment
from outdial.storage.due_contacts import LookedAt


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How the question is asked: with which rules, from which fence, and by whose clock without any zone."""

    book: RuleBook
    fence: Fence = Fence()
    scheduler_time_zone: str = "UTC"

    def terms(self, account: Account, accepted_rules: Mapping[str, int] | None) -> Terms:
        """What permits of that account's campaigns hang on."""
        return Terms(
            rules=RulesInForce(self.book, accepted_rules),
            scheduler_time_zone=self.scheduler_time_zone,
            blocked_countries=account.blocked_countries,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDone:
    """`until` (aware UTC): when it is over by itself, as far as it says."""

    name: str
    passed: bool
    says: str
    reason: str | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """One contact's answer. `next_at` (aware UTC): when it may be called at the earliest, now included; None: not by itself.

    `calls` are its attempts, oldest first, each with the permit that made it lawful.
    """

    contact_id: ContactId
    campaign: str
    phone_number: str
    external_contact_id: str | None
    state: ContactState
    final_reason: str | None
    sentence: str
    may_be_called: bool
    next_at: datetime | None
    held_by: str | None
    zones: tuple[str, ...]
    checks: tuple[CheckDone, ...]
    calls: Sequence[sa.RowMapping]


def why(
    connection: sa.Connection,
    contact: str,
    asked: Asked,
    *,
    campaign: str | None = None,
    region: str | None = None,
) -> list[Why]:
    """Of every contact that the number or external id means, in one campaign or all. Raises `NotFound`, `UnknownRegion`."""
    at = database_now(connection)
    chosen = None
    if campaign is not None:
        chosen = campaigns.by_name(connection, campaign)
        if chosen is None:
            raise NotFound("campaign", campaign, "`outdial campaign list` shows all there are.")
    found = due_contacts.look_at(
        connection,
        at,
        phone_number=number_in(contact, region),
        external_contact_id=contact,
        campaign_id=None if chosen is None else chosen.id,
    )
    if not found:
        where = "any campaign" if campaign is None else f"the campaign {campaign!r}"
        raise NotFound(
            "contact",
            contact,
            f"No phone number and no external_contact_id of {where} is that; write a number with + and its country code.",
        )
    around = deployment.load(connection)
    return [_why(connection, one, around, asked, at) for one in found]


def _why(connection: sa.Connection, found: LookedAt, around: Deployment, asked: Asked, at: datetime) -> Why:
    facts = _facts(connection, found, around, asked, at)
    checks = tuple(_checks(facts, at))
    failed = [check for check in checks if not check.passed]
    next_at, held_by = (at, None) if not failed else _next(facts, failed, at)
    contact = found.contact
    return Why(
        contact_id=contact.id,
        campaign=found.campaign,
        phone_number=contact.phone_number,
        external_contact_id=contact.external_contact_id,
        state=found.state,
        final_reason=found.final_reason,
        sentence=_sentence(facts, failed, next_at, held_by),
        may_be_called=not failed,
        next_at=next_at,
        held_by=held_by,
        zones=facts.served.time_zones,
        checks=checks,
        calls=reports.attempts_of(connection, [contact.id]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """All that the checks ask about one contact."""

    found: LookedAt
    campaign: Campaign
    account: Account
    around: Deployment
    zone: CallingZone
    served: CallingZone
    terms: Terms
    fence: Fence
    open_calls: OpenCalls
    numbers: Sequence[str]
    calls: tuple[Any, ...]

    @property
    def definition(self) -> CampaignDefinition:
        return self.campaign.definition

    def permit(self, at: datetime) -> Permit | Refusal:
        return zone_permit(self.definition, self.zone, at, self.terms)

    def case(self, permit: Permit, at: datetime) -> Case:
        return Case(
            callee=self.found.contact,
            definition=self.definition,
            permit=permit,
            fence=self.fence,
            blocked_countries=self.terms.blocked_countries,
            calls=tuple(call for call in self.calls if call.at > at - permit.memory),
            at=at,
        )


def _facts(
    connection: sa.Connection, found: LookedAt, around: Deployment, asked: Asked, at: datetime
) -> _Facts:
    contact = found.contact
    campaign = campaigns.load(connection, [contact.campaign_id])[contact.campaign_id]
    account = accounts.by_id(connection, campaign.account_id)
    assert account is not None, "accounts are never deleted"
    zone = calling_zones.load(connection, [contact.calling_zone_id])[contact.calling_zone_id]
    terms = asked.terms(account, around.accepted_rules)
    calls = past_calls.of_numbers(connection, [contact.phone_number], at - _LONG_AGO)
    return _Facts(
        found=found,
        campaign=campaign,
        account=account,
        around=around,
        zone=zone,
        served=serving_zone(campaign.definition, zone, asked.scheduler_time_zone),
        terms=terms,
        fence=asked.fence,
        open_calls=attempts.count_open(connection, account.id),
        numbers=usable_numbers(
            campaign.definition, account, accounts.resting_numbers(connection, account.id)
        ),
        calls=calls[contact.phone_number],
    )


# No cap remembers longer; a rule of one's own that does is asked as far back as this.
_LONG_AGO: Final = timedelta(days=5 * 366)


def _checks(facts: _Facts, at: datetime) -> Iterator[CheckDone]:
    """In the order in which the claim comes to them."""
    yield _done("contact", _standing_refusal(facts.found), "it waits")
    yield _done("due", _due_refusal(facts.found, at), _due_since(facts.found))
    yield _done("campaign", campaign_refusal(facts.campaign.status, facts.definition, at), "it runs")
    stopped = stop_refusal(
        facts.account,
        not_here=facts.fence.why_not_here(facts.around.name),
        everything_stopped_at=facts.around.stopped_at,
    )
    yield _done("stops", stopped, "nothing is stopped")
    yield _done("account", provider_refusal(facts.account, at), f"{facts.account.name} dials")
    yield from _place_checks(facts, at)
    yield _done("caller number", numbers_refusal(facts.numbers), ", ".join(facts.numbers))
    open_here = facts.open_calls.by_campaign.get(facts.campaign.id, 0)
    yield _done("campaign limit", limit_refusal(facts.definition, open_here), f"{open_here} calls open")
    free = free_lines(facts.account, facts.open_calls.total, facts.open_calls.tests_waiting)
    yield _done("lines", lines_refusal(facts.account, free), f"{free} free")
    yield _done("rate", rate_refusal(facts.account, at), "a slot is free")


def _place_checks(facts: _Facts, at: datetime) -> Iterator[CheckDone]:
    """The hours of the place, and what hangs on the rules that hold there."""
    answer = facts.permit(at)
    yield _done(
        "country",
        country_refusal(facts.zone, facts.terms.blocked_countries),
        facts.zone.country or "unknown, and so not blocked",
    )
    refused = answer.reason if isinstance(answer, Refusal) else None
    if refused is Reason.DESTINATION_BLOCKED:
        return
    names = f"{', '.join(facts.served.time_zones)} (from the {facts.served.source})"
    yield _done("zone", answer if refused is Reason.UNKNOWN_ZONE else None, names)
    if refused is Reason.UNKNOWN_ZONE:
        return
    rules = "" if isinstance(answer, Refusal) else ", ".join(answer.choice.names) or answer.choice.why
    yield _done("rules", answer if refused is Reason.NO_RULE else None, rules or "they may be applied")
    if refused is Reason.NO_RULE:
        return
    said = hours_in_words(facts.definition, facts.zone, at, facts.terms)
    yield _done("hours", answer, said)
    if isinstance(answer, Permit):
        case = facts.case(answer, at)
        for check in CONTACT_CHECKS:
            refusal = check.refuses(case)
            yield _done(check.name, refusal, "" if refusal is not None else check.passes_as(case))


def _done(name: str, answer: Permit | Refusal | None, words: str) -> CheckDone:
    if isinstance(answer, Refusal):
        return CheckDone(
            name=name, passed=False, says=answer.says or words, reason=answer.reason, until=answer.until
        )
    return CheckDone(name=name, passed=True, says=words)


def _standing_refusal(found: LookedAt) -> Refusal | None:
    if found.state is ContactState.PENDING:
        return None
    if found.state is ContactState.IN_PROGRESS:
        return Refusal(reason=Reason.NOT_WAITING, until=None, says="a call is under way, or not settled yet")
    because = f" ({found.final_reason})" if found.final_reason else ""
    return Refusal(
        reason=Reason.NOT_WAITING, until=None, says=f"it is {found.state}{because}, and that is final"
    )


def _due_refusal(found: LookedAt, at: datetime) -> Refusal | None:
    if found.next_attempt_at is None or found.next_attempt_at <= at:
        return None
    is_first = found.contact.attempts_count == 0
    after = "its first call is not due before" if is_first else "its next call is not due before"
    return Refusal(
        reason=Reason.NOT_DUE,
        until=found.next_attempt_at,
        says=f"{after} {found.next_attempt_at:%Y-%m-%d %H:%M:%S} UTC",
    )


def _due_since(found: LookedAt) -> str:
    if found.next_attempt_at is None:
        return "it waits for nothing"
    return f"since {found.next_attempt_at:%Y-%m-%d %H:%M:%S} UTC"


# What ends as soon as a call does, or within a second: who is held by nothing else is next in turn.
PASSING: Final = frozenset({Reason.LINES_BUSY, Reason.RATE, Reason.CAMPAIGN_LIMIT, Reason.NUMBER_BUSY})
# What the search for the next instant asks again at each.
ASKED_AGAIN: Final = frozenset({Reason.NOT_DUE, Reason.WINDOW_CLOSED, Reason.CLOSING_SOON, Reason.CAPPED})


def _next(facts: _Facts, failed: Sequence[CheckDone], at: datetime) -> tuple[datetime | None, str | None]:
    """When nothing holds it any more by itself, and what holds it until then. None: not without somebody's doing."""
    for check in failed:
        if check.until is None and check.reason not in PASSING | ASKED_AGAIN:
            return None, check.says
    instant, held_by = at, failed[0].says
    waits = [
        check for check in failed if check.until is not None and check.reason not in PASSING | ASKED_AGAIN
    ]
    for check in waits:
        assert check.until is not None
        if check.until > instant:
            instant, held_by = check.until, check.says
    due_at = facts.found.next_attempt_at
    if due_at is not None and due_at > instant:
        instant, held_by = due_at, next(check.says for check in failed if check.reason is Reason.NOT_DUE)
    for _ in range(MOST_STEPS):
        opening = first_opening(facts.definition, facts.zone, instant, facts.terms)
        if isinstance(opening, Block):
            return None, _place_in_words(facts, instant)
        if opening.at > instant:
            held_by = _place_in_words(facts, instant)
            instant = opening.at
        case = facts.case(opening.permit, instant)
        refusals = [refusal for check in CONTACT_CHECKS if (refusal := check.refuses(case)) is not None]
        refusal = next((one for one in refusals if one.reason not in PASSING), None)
        if refusal is None:
            return instant, held_by
        # Whom this process or account must not dial, it will not in a minute either.
        if refusal.until is None or refusal.reason in {Reason.DIAL_ONLY, Reason.DESTINATION_BLOCKED}:
            return None, refusal.says
        instant, held_by = refusal.until, refusal.says
    return None, held_by


def _place_in_words(facts: _Facts, at: datetime) -> str:
    """What holds everybody there at `at`."""
    answer = facts.permit(at)
    says = answer.says if isinstance(answer, Refusal) else ""
    return says.rstrip(".") or hours_in_words(facts.definition, facts.zone, at, facts.terms)


def _sentence(
    facts: _Facts, failed: Sequence[CheckDone], next_at: datetime | None, held_by: str | None
) -> str:
    whom = f"{facts.found.contact.phone_number} of {facts.found.campaign}"
    if not failed:
        return f"{whom} may be called now, and is when its turn comes."
    if facts.found.state in FINAL_STATES:
        because = f" ({facts.found.final_reason})" if facts.found.final_reason else ""
        return f"{whom} is not called again: it is {facts.found.state}{because}."
    if facts.found.awaits_confirmation:
        return (
            f"{whom} was called, and what came of it may be lost with the restored database: nobody calls the number "
            "before `outdial db recover --confirm`."
        )
    if facts.found.state is ContactState.IN_PROGRESS:
        return f"{whom} is being called, or its last call is not settled yet."
    if all(check.reason in PASSING for check in failed):
        return f"{whom} is called as soon as this is over: {failed[0].says}."
    if next_at is None:
        return f"{whom} is not called: {held_by}."
    return f"{whom} is not called before {next_at:%Y-%m-%d %H:%M:%S} UTC: {held_by}."
