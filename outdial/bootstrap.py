"""Wires the objects of a process, and is the only place that names an adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from fastapi import FastAPI

from outdial.api.app import create_app
from outdial.clock import Clock
from outdial.domain.account import Account
from outdial.domain.doubt import Capabilities
from outdial.domain.errors import SettingsError
from outdial.domain.fences import Fence
from outdial.domain.ids import AccountId
from outdial.engine.scheduler import SchedulerSettings, check_deployment
from outdial.engine.worker import Worker
from outdial.settings import Settings, own_rules_file, resolve_secret
from outdial.storage import accounts
from outdial.storage.database import Database
from outdial.telephony.adapters import http, twilio
from outdial.telephony.http_provider import AdapterProvider
from outdial.telephony.options import AdapterKind
from outdial.telephony.protocol import HttpAdapter, WebhookReader


class WholeAdapter(HttpAdapter, WebhookReader, Protocol):
    """All that a named adapter must do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """`make` raises `SettingsError` for an account that is not complete."""

    make: Callable[[Account, Settings], WholeAdapter]
    kind: AdapterKind
    capabilities_of: Callable[[Mapping[str, Any]], Capabilities]


def _http(account: Account, _: Settings) -> WholeAdapter:
    missing = [
        name
        for name, value in (("--base-url", account.base_url), ("--api-key", account.api_key_ref))
        if value is None
    ]
    if account.base_url is None or account.api_key_ref is None:
        raise SettingsError(
            f"Account {account.name} is not complete: give {' and '.join(missing)} to `outdial account set {account.name}`."
        )
    api_key = resolve_secret(account.api_key_ref)
    secret = None if account.webhook_secret_ref is None else resolve_secret(account.webhook_secret_ref)
    try:
        return http.GenericHttpAdapter(
            base_url=account.base_url,
            api_key=api_key,
            webhook_secret=secret,
            capabilities=http.capabilities_of(account.options),
            can_list=http.can_list(account.options),
        )
    except ValueError as error:
        raise SettingsError(
            f"The webhook secret of account {account.name} ({account.webhook_secret_ref}) is no Standard Webhooks secret: "
            "it is whsec_ and then base64."
        ) from error


def _twilio(account: Account, settings: Settings) -> WholeAdapter:
    sid, key_sid = account.options.get("account_sid"), account.options.get("key_sid")
    if sid is None or account.api_key_ref is None:
        raise SettingsError(
            f"Account {account.name} is not complete: give --option account_sid=AC… and --api-key to "
            f"`outdial account set {account.name}`."
        )
    key = resolve_secret(account.api_key_ref)
    signs_with_key = account.webhook_secret_ref is None and key_sid is None
    token = None if account.webhook_secret_ref is None else resolve_secret(account.webhook_secret_ref)
    return twilio.TwilioAdapter(
        account_sid=sid,
        user=key_sid or sid,
        password=key,
        auth_token=key if signs_with_key else token,
        base_url=account.base_url or "https://api.twilio.com",
        voice_url=voice_url(settings, account),
        answer_url=account.options.get("answer_url"),
        capabilities=twilio.capabilities_of(account.options),
    )


ADAPTERS: Final[Mapping[str, Adapter]] = {
    "http": Adapter(make=_http, kind=http.KIND, capabilities_of=http.capabilities_of),
    "twilio": Adapter(make=_twilio, kind=twilio.KIND, capabilities_of=twilio.capabilities_of),
}


def queue_limits(database: Database) -> dict[AccountId, timedelta]:
    """How long each account's provider may keep a call before it rings. Needs no secrets."""
    found = database.run(accounts.all_accounts)
    return {
        account.id: timedelta(
            seconds=ADAPTERS[account.adapter].capabilities_of(account.options).queue_limit_seconds
        )
        for account in found
        if account.adapter in ADAPTERS
    }


def voice_url(settings: Settings, account: Account) -> str | None:
    """Below which an account's calls fetch what to say; None: we cannot be reached."""
    return None if settings.public_url is None else f"{settings.public_url.rstrip('/')}/voice/{account.name}"


class AccountProviders:
    """The provider object and the callback URL of each account, from its row and the environment."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[int, tuple[Account, WholeAdapter]] = {}

    def provider_for(self, account: Account) -> AdapterProvider:
        """Raises `SettingsError` when a secret is missing or the adapter is unknown."""
        return AdapterProvider(self.adapter_for(account))

    def adapter_for(self, account: Account) -> WholeAdapter:
        """Raises `SettingsError` as `provider_for` does."""
        known = self._made.get(account.id)
        if known is not None and _connection_of(known[0]) == _connection_of(account):
            return known[1]
        adapter = ADAPTERS.get(account.adapter)
        if adapter is None:
            allowed = ", ".join(sorted(ADAPTERS))
            raise SettingsError(
                f"Account {account.name} has the adapter {account.adapter!r}: known are {allowed}."
            )
        made = adapter.make(account, self._settings)
        self._made[account.id] = (account, made)
        return made

    def callback_url_for(self, account: Account) -> str | None:
        """Below `OUTDIAL_PUBLIC_URL`, or `TELEPHONY_CALLBACK_URL` as it stands; None where the account polls."""
        if twilio.polls(account.options):
            return None
        if self._settings.public_url is not None:
            return f"{self._settings.public_url.rstrip('/')}/webhooks/telephony/{account.name}"
        if self._settings.telephony_callback_url is not None:
            return self._settings.telephony_callback_url
        raise SettingsError(NO_CALLBACK_URL)

    def voice_url_for(self, account: Account) -> str | None:
        return voice_url(self._settings, account)


def fence_of(settings: Settings) -> Fence:
    """Where this process may dial, and whom."""
    return Fence(deployment=settings.deployment, dial_only=settings.dial_only)


def make_worker(settings: Settings, database: Database, clock: Clock) -> Worker:
    """A worker for all accounts in the database.

    Raises `SettingsError` when a callback URL is missing, or when the database belongs to another deployment.
    """
    providers = AccountProviders(settings)
    scheduler = SchedulerSettings(
        callback_url=_callback_url(settings, database),
        batch_size=settings.scheduler_batch,
        timezone=ZoneInfo(settings.scheduler_time_zone),
        deployment=settings.deployment,
        dial_only=settings.dial_only,
        own_rules=own_rules_file(),
        patience=settings.patience,
    )
    check_deployment(database, scheduler)
    return Worker(database, providers, scheduler, clock=clock, listen_url=settings.listen_url)


def make_app(settings: Settings, database: Database, clock: Clock, worker: Worker | None = None) -> FastAPI:
    """The web application, with a worker in the same process if given."""
    providers = AccountProviders(settings)

    def known_as(account: Account) -> str | None:
        # Also what comes late of an account that polls by now must be checked against the URL that was given.
        whole = settings.telephony_callback_url
        return f"{below}/{account.name}" if below is not None else whole

    below = None if settings.public_url is None else f"{settings.public_url.rstrip('/')}/webhooks/telephony"
    return create_app(
        database,
        providers.adapter_for,
        clock,
        worker,
        callback_url_for=known_as,
        voice_url_for=providers.voice_url_for,
    )


def _callback_url(settings: Settings, database: Database) -> str | None:
    """Missing only where every account polls."""
    url = settings.public_url or settings.telephony_callback_url
    if url is None:
        found = database.run(accounts.all_accounts)
        if not found or not all(twilio.polls(account.options) for account in found):
            raise SettingsError(NO_CALLBACK_URL)
    return url


NO_CALLBACK_URL: Final = (
    "The provider must know where to send its events: set OUTDIAL_PUBLIC_URL to the URL at which `outdial serve` is "
    "reached (or TELEPHONY_CALLBACK_URL to the whole callback URL)."
)


def _connection_of(account: Account) -> tuple[object, ...]:
    return (
        account.adapter,
        account.base_url,
        account.api_key_ref,
        account.webhook_secret_ref,
        account.options,
    )
