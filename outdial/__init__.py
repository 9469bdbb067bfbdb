"""Outdial runs outbound call campaigns: never a wrong call, never an idle line, never a riddle.

The names below are the public API. They are loaded when first used, so that a command that needs little starts fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from outdial import embedding as embedding
    from outdial.api.app import webhook_router as webhook_router
    from outdial.bootstrap import AccountProviders as AccountProviders
    from outdial.domain.errors import (
        AccountRejected as AccountRejected,
        CallerRejected as CallerRejected,
        CallRejected as CallRejected,
        DestinationRejected as DestinationRejected,
        InDoubt as InDoubt,
        NotFound as NotFound,
        NotPlaced as NotPlaced,
        NumberRejected as NumberRejected,
        OutdialError as OutdialError,
        ProviderUnreachable as ProviderUnreachable,
        RateLimited as RateLimited,
        SchemaOutOfDate as SchemaOutOfDate,
        SettingsError as SettingsError,
        TelephonyProviderError as TelephonyProviderError,
        UserError as UserError,
    )
    from outdial.domain.veto import Allow as Allow, CallToMake as CallToMake, Refuse as Refuse
    from outdial.embedding import ContactToAdd as ContactToAdd
    from outdial.engine.scheduler import (
        SchedulerRunResult as SchedulerRunResult,
        SchedulerService as SchedulerService,
        SchedulerSettings as SchedulerSettings,
    )
    from outdial.engine.worker import Worker as Worker
    from outdial.settings import Settings as Settings, load_settings as load_settings
    from outdial.storage.settled import SettledAttempt as SettledAttempt
    from outdial.telephony.http_provider import HttpTelephonyProvider as HttpTelephonyProvider
    from outdial.telephony.protocol import (
        OutboundCallRequest as OutboundCallRequest,
        OutboundCallResponse as OutboundCallResponse,
        TelephonyProvider as TelephonyProvider,
    )

__version__ = "0.1.0"

_MODULES: Final = {
    "outdial.api.app": ("webhook_router",),
    "outdial.bootstrap": ("AccountProviders",),
    "outdial.domain.errors": (
        "AccountRejected",
        "CallRejected",
        "CallerRejected",
        "DestinationRejected",
        "InDoubt",
        "NotFound",
        "NotPlaced",
        "NumberRejected",
        "OutdialError",
        "ProviderUnreachable",
        "RateLimited",
        "SchemaOutOfDate",
        "SettingsError",
        "TelephonyProviderError",
        "UserError",
    ),
    "outdial.domain.veto": ("Allow", "CallToMake", "Refuse"),
    "outdial.embedding": ("ContactToAdd",),
    "outdial.engine.scheduler": ("SchedulerRunResult", "SchedulerService", "SchedulerSettings"),
    "outdial.engine.worker": ("Worker",),
    "outdial.settings": ("Settings", "load_settings"),
    "outdial.storage.settled": ("SettledAttempt",),
    "outdial.telephony.http_provider": ("HttpTelephonyProvider",),
    "outdial.telephony.protocol": ("OutboundCallRequest", "OutboundCallResponse", "TelephonyProvider"),
}
_MODULE_OF: Final = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - a list of the names above


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
