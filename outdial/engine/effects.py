"""What answers mean beyond their attempts: for the account's rate and standing, its caller numbers, the campaign.

In a transaction of its own, since it locks the account, which comes before attempts in the order of locks.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.answers import REJECTIONS_THAT_PAUSE, Effect, meaning_of
from outdial.domain.breaker import Breaker, Thresholds, probe_wait, why_open
from outdial.domain.campaign import CampaignStatus
from outdial.domain.errors import InDoubt, ProviderUnreachable, RateLimited, TelephonyProviderError
from outdial.domain.ids import AccountId, CampaignId
from outdial.domain.pacing import Throttle, after_rate_limited, after_reached, after_unreachable
from outdial.domain.phone_numbers import plan_of
from outdial.engine.record import Answer, Dialed, Released
from outdial.storage import accounts, campaign_contacts, campaigns, standing
from outdial.storage.campaigns import Campaign
from outdial.storage.database import database_now
from outdial.telephony.protocol import OutboundCallResponse


def has_effects(dialed: Dialed) -> bool:
    """Whether the answer means something for the account or the campaign."""
    return (
        isinstance(dialed.answer, TelephonyProviderError)
        and meaning_of(dialed.answer).effect is not Effect.NONE
    )


def apply_effects(connection: sa.Connection, account_id: AccountId, dialed: Sequence[Dialed]) -> list[str]:
    """Write what the answers mean for the account and its campaigns. Returns sentences for the log."""
    account = accounts.lock(connection, account_id)
    if account is None:
        return []
    found = _Found(
        connection=connection,
        account=account,
        at=database_now(connection),
        throttle=account.throttle,
        blocked=dict(account.blocked_countries),
    )
    found.tried = next((one.answer for one in dialed if one.is_tried), None)
    found.is_accepted = any(isinstance(one.answer, OutboundCallResponse) for one in dialed)
    if found.is_accepted:
        found.throttle = after_reached(found.throttle)
    for one in dialed:
        if isinstance(one.answer, TelephonyProviderError):
            handle = HANDLERS.get(meaning_of(one.answer).effect)
            if handle is not None:
                handle(found, one, one.answer)
    found.write()
    return found.said


@dataclass(slots=True, kw_only=True)
class _Found:
    """What the answers of one batch add up to."""

    connection: sa.Connection
    account: Account
    at: datetime
    throttle: Throttle
    blocked: dict[str, str]
    rejected: Counter[CampaignId] = field(default_factory=Counter)
    rejections: dict[CampaignId, str] = field(default_factory=dict)
    # Why a campaign that has no caller number or no country left can call nobody.
    rested: str | None = None
    closed: str | None = None
    said: list[str] = field(default_factory=list)
    # What came of the one call of a half-open breaker, if it is among them: only that decides.
    tried: Answer | None = None
    is_accepted: bool = False
    # A call was not answered, or the provider could not be reached.
    is_failure: bool = False

    def write(self) -> None:
        self._write_breaker()
        if self.throttle != self.account.throttle:
            accounts.set_throttle(self.connection, self.account.id, self.throttle)
        if self.blocked != self.account.blocked_countries:
            accounts.update(self.connection, self.account.id, {"blocked_countries": self.blocked})
        for campaign_id in campaigns.count_rejections(self.connection, self.rejected, REJECTIONS_THAT_PAUSE):
            campaign = campaigns.load(self.connection, [campaign_id])[campaign_id]
            self._pause(
                campaign,
                f"the provider found {REJECTIONS_THAT_PAUSE} requests in a row wrong: {self.rejections[campaign_id]}",
                "When that is mended:",
            )
        if self.rested is not None or self.closed is not None:
            self._pause_stranded()

    def _write_breaker(self) -> None:
        account, name = self.account, self.account.name
        if self.is_accepted and account.probes:
            standing.forget_probes(self.connection, account.id)
        if account.breaker is Breaker.HALF_OPEN:
            if isinstance(self.tried, InDoubt | ProviderUnreachable):
                self._open_breaker(account.breaker_reason or "the call that was tried was not answered")
            elif isinstance(self.tried, Released):
                standing.begin_trial(self.connection, account.id, None)
            elif self.tried is not None:
                standing.close_breaker(self.connection, account.id)
                self.said.append(f"account {name}: the provider answers calls again, the breaker is closed")
        elif account.breaker is None and self.is_failure:
            recent = standing.recent(self.connection, account.id, self.at)
            why = why_open(recent, account.max_concurrent_calls, Thresholds.of(account.options))
            if why is not None and self._open_breaker(why):
                self.said.append(f"account {name}: the breaker is open and nothing is dialed: {why}")

    def _open_breaker(self, why: str) -> bool:
        wait = probe_wait(self.account.probes, is_suspended=False)
        return standing.open_breaker(self.connection, self.account.id, why, self.at, self.at + wait)

    def _pause_stranded(self) -> None:
        """A campaign that can call nobody any more says so, instead of standing still and looking as if it ran."""
        running = [one.id for one in campaigns.running(self.connection, self.account.id, self.at)]
        resting = accounts.resting_numbers(self.connection, self.account.id)
        default = (self.account.outbound_number,) if self.account.outbound_number else ()
        name = shlex.quote(self.account.name)
        for campaign_id, campaign in campaigns.load(self.connection, running).items():
            numbers = campaign.definition.caller_numbers or default
            if self.rested is not None and numbers and resting.issuperset(numbers):
                self._pause(
                    campaign,
                    f"no caller number may be shown: {self.rested}",
                    f"When the provider accepts it: `outdial numbers use {numbers[0]} --account {name}`, then",
                )
            elif self.closed is not None and self._is_closed_out(campaign_id):
                self._pause(
                    campaign,
                    f"the account may call none of its contacts: {self.closed}",
                    f"When the provider allows it: `outdial account set {name}`, then",
                )

    def _is_closed_out(self, campaign_id: CampaignId) -> bool:
        """Whether somebody waits, and all who wait or are being called are in countries that the account may not call."""
        countries = campaign_contacts.open_countries(self.connection, campaign_id)
        return bool(countries) and countries <= self.blocked.keys()

    def _pause(self, campaign: Campaign, why: str, cure: str) -> None:
        """With a reason that says what to do, in the end to resume the campaign."""
        name = campaign.definition.name
        reason = f"{why}. {cure} `outdial campaign resume {shlex.quote(name)}`"
        if campaigns.move_to(
            self.connection,
            campaign.id,
            CampaignStatus.PAUSED,
            self.at,
            paused_by="outdial",
            paused_reason=reason,
        ):
            self.said.append(f"campaign {name} is paused: {reason}")


def _back_off_rate(found: _Found, _: Dialed, error: TelephonyProviderError) -> None:
    retry_after = error.retry_after if isinstance(error, RateLimited) else None
    found.throttle = after_rate_limited(found.throttle, found.at, retry_after)


def _back_off_unreachable(found: _Found, _: Dialed, __: TelephonyProviderError) -> None:
    found.throttle = after_unreachable(found.throttle, found.at)
    found.is_failure = True


def _rest_caller_number(found: _Found, dialed: Dialed, error: TelephonyProviderError) -> None:
    accounts.rest_number(found.connection, found.account.id, dialed.from_number, str(error), found.at)
    found.rested = f"{dialed.from_number} was refused ({error})"
    found.said.append(f"account {found.account.name}: a caller number was rested: {error}")


def _block_destination(found: _Found, dialed: Dialed, error: TelephonyProviderError) -> None:
    plan = plan_of(dialed.to)
    if plan is not None and plan.country is not None and plan.country not in found.blocked:
        found.blocked[plan.country] = str(error)
        found.closed = f"{plan.country} was refused ({error})"
        found.said.append(f"account {found.account.name} may not call {plan.country}: {error}")


def _suspend_account(found: _Found, _: Dialed, error: TelephonyProviderError) -> None:
    probe_at = found.at + probe_wait(found.account.probes, is_suspended=True)
    if standing.suspend(found.connection, found.account.id, str(error), found.at, probe_at):
        found.said.append(
            f"account {found.account.name} is suspended and nothing is dialed, until the provider takes it again: {error}"
        )


def _count_doubt(found: _Found, _: Dialed, __: TelephonyProviderError) -> None:
    found.is_failure = True


def _count_rejection(found: _Found, dialed: Dialed, error: TelephonyProviderError) -> None:
    found.rejected[dialed.campaign_id] += 1
    found.rejections.setdefault(dialed.campaign_id, str(error))


HANDLERS: Final[Mapping[Effect, Callable[[_Found, Dialed, TelephonyProviderError], None]]] = {
    Effect.BACK_OFF_RATE: _back_off_rate,
    Effect.BACK_OFF_UNREACHABLE: _back_off_unreachable,
    Effect.REST_CALLER_NUMBER: _rest_caller_number,
    Effect.BLOCK_DESTINATION: _block_destination,
    Effect.SUSPEND_ACCOUNT: _suspend_account,
    Effect.COUNT_REJECTION: _count_rejection,
    Effect.COUNT_DOUBT: _count_doubt,
}
