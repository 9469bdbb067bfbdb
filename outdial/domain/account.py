"""An account at a provider, as far as dialing cares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from outdial.domain.breaker import Breaker
from outdial.domain.ids import AccountId
from outdial.domain.pacing import Rate, Throttle


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One row of `provider_configurations`. `blocked_countries` maps a country to the provider's reason; suspended is
    what the provider's answers did, stopped what a person did. `probe_at`: when it is asked a free question that only an
    account in good standing answers, `probes` how often that was in vain. Instants are aware UTC.
    """

    id: AccountId
    name: str
    adapter: str
    base_url: str | None = None
    api_key_ref: str | None = None
    webhook_secret_ref: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    outbound_number: str | None = None
    max_concurrent_calls: int
    rate: Rate
    throttle: Throttle = field(default_factory=Throttle)
    rate_cursor_at: datetime | None = None
    suspended_at: datetime | None = None
    suspended_reason: str | None = None
    breaker: Breaker | None = None
    breaker_at: datetime | None = None
    breaker_reason: str | None = None
    trial_until: datetime | None = None
    probe_at: datetime | None = None
    probes: int = 0
    webhooks_missing_at: datetime | None = None
    timeline: str | None = None
    blocked_countries: Mapping[str, str] = field(default_factory=dict)
    stopped_at: datetime | None = None
    stopped_by: str | None = None
    stopped_reason: str | None = None


def limits_facts(account: Account, campaign_calls: int | None) -> dict[str, Any]:
    """The limits under which a call is claimed, as its permit keeps them: an audit holds it to these, and no later ones."""
    cps = account.rate.calls_per_second
    return {
        "limits": {
            "account_calls": account.max_concurrent_calls,
            "account_calls_per_second": None if cps is None else float(cps),
            "account_burst": account.rate.burst,
            "campaign_calls": campaign_calls,
        }
    }
