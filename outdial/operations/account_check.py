"""Whether an account would work, found out without placing a call, and said in one sentence."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from urllib.parse import urlsplit

from outdial.clock import Clock
from outdial.domain.account import Account
from outdial.domain.errors import (
    AccountRejected,
    InDoubt,
    ProviderUnreachable,
    RateLimited,
    TelephonyProviderError,
)
from outdial.telephony.http_provider import Checked

# Webhooks and `not_after` compare our clocks: beyond this, signed events look replayed and calls too late.
CLOCK_SKEW_LIMIT: Final = timedelta(seconds=30)


class ChecksAccount(Protocol):
    def check(self) -> Checked:
        """Raises a `TelephonyProviderError` when something is wrong."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    is_well: bool
    says: str


def check_account(account: Account, provider: ChecksAccount, clock: Clock) -> Diagnosis:
    """Ask the provider a free question, and put what comes of it in one sentence."""
    asked_at = clock.now()
    try:
        checked = provider.check()
    except TelephonyProviderError as error:
        return Diagnosis(is_well=False, says=_trouble(account, error))
    skew = None if checked.at is None else _skew(checked.at, asked_at, clock.now())
    if skew is not None and abs(skew) > CLOCK_SKEW_LIMIT:
        direction = "ahead of" if skew > timedelta() else "behind"
        return Diagnosis(
            is_well=False,
            says=f"{_reached(account, checked)}, but this machine's clock is {abs(skew).total_seconds():.0f} s {direction} "
            "the provider's: set it by NTP, else signed webhooks are refused and calls come too late.",
        )
    return Diagnosis(is_well=True, says=f"{_reached(account, checked)}.")


def _reached(account: Account, checked: Checked) -> str:
    return f"Account {account.name}: {checked.says}"


def _skew(theirs: datetime, before: datetime, after: datetime) -> timedelta:
    """By how much our clock is ahead, at least: their header names whole seconds, and the way takes time."""
    if theirs < before - timedelta(seconds=1):
        return before - theirs
    return after - theirs if theirs > after else timedelta()


def _trouble(account: Account, error: TelephonyProviderError) -> str:
    place = urlsplit(account.base_url or "")
    host = place.netloc or "the provider"
    fix = f"`outdial account set {account.name} --base-url …`"
    match error:
        case ProviderUnreachable():
            return f"Account {account.name}: {_unreachable(error, host, fix)}"
        case AccountRejected():
            return (
                f"Account {account.name}: {host} refuses us ({error}): check the API key in {account.api_key_ref} and the "
                "standing of the account with the provider."
            )
        case RateLimited():
            return f"Account {account.name}: {host} finds us too fast ({error}): try again in a moment."
        case InDoubt() if error.http_status is None:
            return f"Account {account.name}: {host} gave no readable answer ({error}): is it a telephony gateway? If not, {fix}."
    return f"Account {account.name}: {host} does not answer as its contract says ({error}): is the base URL right? If not, {fix}."


def _unreachable(error: ProviderUnreachable, host: str, fix: str) -> str:
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return f"the name {host} is not known to the DNS: mend it with {fix}, or this machine's DNS."
        if isinstance(cause, ConnectionRefusedError):
            return f"nobody listens at {host} (connection refused): start the gateway, or {fix}."
        if isinstance(cause, ssl.SSLError):
            # Only what OpenSSL itself raises has these.
            why = getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or cause
            return f"TLS with {host} fails ({why}): does it speak TLS there, with a certificate that is valid for this name?"
        if isinstance(cause, TimeoutError):
            return f"{host} does not answer in time: a firewall may be in between."
    return f"{host} cannot be reached ({error}): check {fix} and the network."


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
