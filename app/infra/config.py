"""Reads the environment for the earlier scheduler's how-to: nothing here but names for what `outdial` has.

`DATABASE_URL`, `TELEPHONY_BASE_URL`, `TELEPHONY_API_KEY` and `TELEPHONY_WEBHOOK_SECRET` are read when first used.
"""

from __future__ import annotations

from sqlalchemy.orm import Session, sessionmaker

from outdial.domain.errors import SettingsError
from outdial.engine.scheduler import SchedulerRunResult, SchedulerService, SchedulerSettings
from outdial.settings import Settings, load_settings
from outdial.storage.database import create_engine
from outdial.telephony.http_provider import HttpTelephonyProvider

__all__ = [
    "SchedulerRunResult",
    "SchedulerService",
    "SchedulerSettings",
    "get_settings",
    "provider",
    "session_factory",
]


def get_settings() -> Settings:
    """The environment. Raises `SettingsError` that names every wrong variable."""
    return load_settings()


def session_factory() -> sessionmaker[Session]:
    """`SessionLocal`: sessions on `DATABASE_URL`."""
    settings = get_settings()
    return sessionmaker(create_engine(settings.database_url, settings.db_schema))


def provider() -> HttpTelephonyProvider:
    """`telephony_provider`: the generic HTTP contract at `TELEPHONY_BASE_URL`."""
    settings = get_settings()
    if settings.telephony_base_url is None or settings.telephony_api_key is None:
        raise SettingsError(
            "TELEPHONY_BASE_URL and TELEPHONY_API_KEY must be set: the provider's URL and its API key."
        )
    secret = settings.telephony_webhook_secret
    return HttpTelephonyProvider(
        settings.telephony_base_url,
        settings.telephony_api_key.get_secret_value(),
        webhook_secret=None if secret is None else secret.get_secret_value(),
    )


def __getattr__(name: str) -> object:
    """`SessionLocal` and `telephony_provider`, made when first asked for: importing this module does no work."""
    makers = {"SessionLocal": session_factory, "telephony_provider": provider}
    if name not in makers:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()[name] = makers[name]()
    return made
