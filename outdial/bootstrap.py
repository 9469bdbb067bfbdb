"""Wires the objects of a process, and is the only place that names an adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from zoneinfo import ZoneInfo

from fastapi import FastAPI

from outdial.api.app import create_app
from outdial.clock import Clock
from outdial.domain.account import Account
from outdial.domain.errors import SettingsError
from outdial.domain.fences import Fence
from outdial.engine.scheduler import SchedulerSettings, check_deployment
from outdial.engine.worker import Worker
from outdial.settings import Settings, resolve_secret
from outdial.storage.database import Database
from outdial.telephony.http_provider import HttpTelephonyProvider


def _http(account: Account) -> HttpTelephonyProvider:
    missing = [
        name
        for name, value in (("--base-url", account.base_url), ("--api-key", account.api_key_ref))
        if value is None
    ]
    if account.base_url is None or account.api_key_ref is None:
        raise SettingsError(
            f"Account {account.name} is not complete: give {' and '.join(missing)} to `outdial account set {account.name}`."
        )
    secret = None if account.webhook_secret_ref is None else resolve_secret(account.webhook_secret_ref)
    options = account.options
    try:
        return HttpTelephonyProvider(
            account.base_url,
            resolve_secret(account.api_key_ref),
            webhook_secret=secret,
            honours_not_after=bool(options.get("honours_not_after", True)),
            listing_lag_seconds=float(options.get("listing_lag_seconds", 5.0)),
            queue_limit_seconds=float(options.get("queue_limit_seconds", 0.0)),
        )
    except ValueError as error:
        raise SettingsError(
            f"The webhook secret of account {account.name} ({account.webhook_secret_ref}) is no Standard Webhooks secret: "
            "it is whsec_ and then base64."
        ) from error


NO_CALLBACK_URL: Final = (
    "The provider must know where to send its events: set OUTDIAL_PUBLIC_URL to the URL at which `outdial serve` is "
    "reached (or TELEPHONY_CALLBACK_URL to the whole callback URL)."
)
ADAPTERS: Final[Mapping[str, Callable[[Account], HttpTelephonyProvider]]] = {"http": _http}


class AccountProviders:
    """The provider object and the callback URL of each account, from its row and the environment."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[int, tuple[Account, HttpTelephonyProvider]] = {}

    def provider_for(self, account: Account) -> HttpTelephonyProvider:
        """Raises `SettingsError` when a secret is missing or the adapter is unknown."""
        known = self._made.get(account.id)
        if known is not None and _connection_of(known[0]) == _connection_of(account):
            return known[1]
        make = ADAPTERS.get(account.adapter)
        if make is None:
            allowed = ", ".join(sorted(ADAPTERS))
            raise SettingsError(
                f"Account {account.name} has the adapter {account.adapter!r}: known are {allowed}."
            )
        provider = make(account)
        self._made[account.id] = (account, provider)
        return provider

    def callback_url_for(self, account: Account) -> str:
        """Below `OUTDIAL_PUBLIC_URL`, or `TELEPHONY_CALLBACK_URL` as it stands."""
        if self._settings.public_url is not None:
            return f"{self._settings.public_url.rstrip('/')}/webhooks/telephony/{account.name}"
        if self._settings.telephony_callback_url is not None:
            return self._settings.telephony_callback_url
        raise SettingsError(NO_CALLBACK_URL)


def fence_of(settings: Settings) -> Fence:
    """Where this process may dial, and whom."""
    return Fence(deployment=settings.deployment, dial_only=settings.dial_only)


def make_worker(settings: Settings, database: Database, clock: Clock) -> Worker:
    """A worker for all accounts in the database.

    Raises `SettingsError` when no callback URL is set, or when the database belongs to another deployment.
    """
    providers = AccountProviders(settings)
    callback_url = settings.public_url or settings.telephony_callback_url
    if callback_url is None:
        raise SettingsError(NO_CALLBACK_URL)
    scheduler = SchedulerSettings(
        callback_url=callback_url,
        batch_size=settings.scheduler_batch,
        timezone=ZoneInfo(settings.scheduler_time_zone),
        deployment=settings.deployment,
        dial_only=settings.dial_only,
    )
    check_deployment(database, scheduler)
    return Worker(database, providers, scheduler, clock=clock, listen_url=settings.listen_url)


def make_app(settings: Settings, database: Database, clock: Clock, worker: Worker | None = None) -> FastAPI:
    """The web application, with a worker in the same process if given."""
    return create_app(database, AccountProviders(settings).provider_for, clock, worker)


def _connection_of(account: Account) -> tuple[object, ...]:
    return (
        account.adapter,
        account.base_url,
        account.api_key_ref,
        account.webhook_secret_ref,
        account.options,
    )
