"""What `domain/permit` says of each campaign in each calling zone, kept for as long as the answer stands.

So a pass over hundreds of zones evaluates only those whose hours have just opened or closed. An answer falls with the
campaign's revision, with the rule book (which is read again when its file has changed), and with what was accepted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from outdial.domain.accepted_rules import RulesInForce
from outdial.domain.account import Account
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.holiday_calendar import PACKAGE_VERSION as HOLIDAYS_VERSION
from outdial.domain.ids import CallingZoneId, CampaignId
from outdial.domain.permit import Permit, Refusal, Terms, country_refusal, zone_permit
from outdial.domain.rules import NO_RULE, RuleBook, rule_digest
from outdial.domain.zones import CallingZone, zone_data_version
from outdial.files.rule_books import KeptRuleBook, RuleBooks
from outdial.storage.deployment import Deployment

_NO_BOOK = RulesInForce(RuleBook(()))
_Kept = dict[CallingZoneId, Permit | Refusal]


# Campaigns that are over are never asked about again.
MOST_CAMPAIGNS_KEPT: Final = 1000


class _Answers:
    """What was said by one set of rules. Another set has others, so that none of these is ever taken for one of those."""

    def __init__(self, rules: RulesInForce) -> None:
        self.rules = rules
        self._kept: dict[tuple[CampaignId, str], tuple[CampaignDefinition, _Kept]] = {}

    def of(self, campaign_id: CampaignId, definition: CampaignDefinition, scheduler_time_zone: str) -> _Kept:
        key = (campaign_id, scheduler_time_zone)
        known = self._kept.get(key)
        if known is None or known[0] is not definition:
            if len(self._kept) >= MOST_CAMPAIGNS_KEPT:
                self._kept = {}
            known = self._kept[key] = (definition, {})
        return known[1]


class Permits:
    """Safe to share by the threads of one process: rules and what was said by them are only replaced together."""

    def __init__(self, rule_books: RuleBooks | None = None) -> None:
        self._books = rule_books or KeptRuleBook()
        self._without_rules = _Answers(_NO_BOOK)
        self._answers = self._without_rules

    def _by_rules(self, around: Deployment) -> _Answers:
        """By the rules as they are now. Reads the package's when first asked."""
        book = self._books()
        answers = self._answers
        if book is not answers.rules.book or around.accepted_rules != answers.rules.accepted:
            answers = self._answers = _Answers(RulesInForce(book, around.accepted_rules))
        return answers

    def asked_by(
        self,
        account: Account,
        around: Deployment,
        definitions: Mapping[CampaignId, CampaignDefinition],
        scheduler_time_zone: str,
    ) -> Asking:
        """The permits of one account's campaigns."""
        named = (definition.calling_rule for definition in definitions.values())
        needs_rules = any(name not in {None, NO_RULE} for name in named)
        answers = self._by_rules(around) if needs_rules else self._without_rules
        terms = Terms(
            rules=answers.rules,
            scheduler_time_zone=scheduler_time_zone,
            # Asked anew each time: it may change with any answer of the provider.
            blocked_countries={},
        )
        kept = {
            campaign_id: answers.of(campaign_id, definition, scheduler_time_zone)
            for campaign_id, definition in definitions.items()
        }
        return Asking(account=account, definitions=definitions, terms=terms, kept=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The permits of one account's campaigns, as they are to be judged now."""

    account: Account
    definitions: Mapping[CampaignId, CampaignDefinition]
    terms: Terms
    kept: Mapping[CampaignId, _Kept]

    def permit(
        self, campaign_id: CampaignId, zone_id: CallingZoneId, zone: CallingZone, at: datetime
    ) -> Permit | Refusal:
        blocked = country_refusal(zone, self.account.blocked_countries)
        if blocked is not None:
            return blocked
        answers = self.kept[campaign_id]
        answer = answers.get(zone_id)
        if answer is None or (answer.until is not None and answer.until <= at):
            answer = answers[zone_id] = zone_permit(self.definitions[campaign_id], zone, at, self.terms)
        return answer

    def facts(self, revisions: Mapping[CampaignId, int]) -> dict[CampaignId, str]:
        """What every answer for a campaign hangs on, as a short text that is another where any of it is."""
        shared = _digest(
            _rules_digest(self.terms.rules.book),
            sorted((self.terms.rules.accepted or {}).items()),
            sorted(self.account.blocked_countries.items()),
            self.terms.scheduler_time_zone,
            zone_data_version().version,
            HOLIDAYS_VERSION,
        )
        return {campaign_id: f"{revision}:{shared}" for campaign_id, revision in revisions.items()}


@lru_cache(maxsize=8)
def _rules_digest(book: RuleBook) -> str:
    return _digest(*sorted(rule_digest(rule) for rule in book.rules))


def _digest(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
