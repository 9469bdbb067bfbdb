"""Accounts at a provider, as an operator sets and lists them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.errors import UserError
from outdial.domain.http_url import check_http_url
from outdial.domain.phone_numbers import InvalidPhoneNumber, normalize
from outdial.domain.secret_reference import parse_reference
from outdial.storage import accounts
from outdial.storage.database import database_now, wake_schedulers
from outdial.telephony.options import Option

UNLIMITED: Final = "unlimited"
MOST_CALLS: Final = 1_000_000
# Four decimals are what the database keeps.
LEAST_CALLS_PER_SECOND: Final = Decimal("0.0001")
ACCOUNT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


class InvalidAccount(UserError):
    """Values that no account can have; `problems` has a sentence for each."""

    def __init__(self, name: str, problems: list[str]) -> None:
        self.name = name
        self.problems = problems
        super().__init__("\n".join(f"account {name}: {problem}" for problem in problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSet:
    """What setting an account did: `changes` is empty where nothing was to change."""

    name: str
    is_new: bool
    changes: tuple[str, ...]


def set_account(
    connection: sa.Connection,
    name: str,
    *,
    known_adapters: Collection[str],
    adapter: str | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    webhook_secret: str | None = None,
    max_concurrent_calls: int | None = None,
    calls_per_second: str | float | Decimal | None = None,
    outbound_number: str | None = None,
    options: Mapping[str, str] | None = None,
    known_options: Mapping[str, Mapping[str, Option]] | None = None,
) -> AccountSet:
    """Create the account or change it; None leaves a value as it is, on a new account as the default.

    `api_key` and `webhook_secret` are references (`env:NAME`, `file:PATH`). `calls_per_second` may be "unlimited",
    which is the default. Also lifts whatever the provider's answers had brought upon the account: suspension, back-off,
    blocked countries, resting caller numbers. Raises `InvalidAccount`.

    `options` are the adapter's own, as they were written: those not named stay as they are, an empty one is taken away.
    `known_options` are those of each adapter.
    """
    given = {
        "adapter": adapter,
        "base_url": base_url,
        "api_key_ref": api_key,
        "webhook_secret_ref": webhook_secret,
        "max_concurrent_calls": max_concurrent_calls,
        "calls_per_second": calls_per_second,
        "outbound_number": outbound_number,
    }
    known = accounts.by_name(connection, name)
    values, problems = _checked(
        name, {key: value for key, value in given.items() if value is not None}, known_adapters
    )
    values |= _options(known, values, options or {}, known_options or {}, problems)
    if problems:
        raise InvalidAccount(name, problems)
    if known is None:
        return _create(connection, name, values)
    locked = accounts.lock(connection, known.id)
    assert locked is not None, "accounts are never deleted"
    return _change(connection, locked, values)


def list_accounts(connection: sa.Connection) -> list[Account]:
    return accounts.all_accounts(connection)


def _checked(
    name: str, given: Mapping[str, Any], known_adapters: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """The values as they are stored, and all that is wrong with them."""
    problems: list[str] = []
    if not ACCOUNT_NAME.fullmatch(name):
        problems.append(
            "the name must be 1 to 100 letters, digits, dots, dashes and underscores, beginning with a letter or digit: "
            "it becomes part of the webhooks' URL"
        )
    if given.get("adapter", next(iter(known_adapters))) not in known_adapters:
        problems.append(
            f"--adapter is {given['adapter']!r}: must be one of {', '.join(sorted(known_adapters))}"
        )
    values = dict(given)
    for key, (option, check) in CHECKS.items():
        if key in given:
            try:
                values[key] = check(given[key])
            except ValueError as error:
                problems.append(f"{option} {error}")
    return values, problems


def _options(
    known: Account | None,
    values: Mapping[str, Any],
    given: Mapping[str, str],
    known_options: Mapping[str, Mapping[str, Option]],
    problems: list[str],
) -> dict[str, Any]:
    """The adapter's options as they are stored, where that changes them."""
    adapter = values.get("adapter") or (None if known is None else known.adapter)
    mine = known_options.get(adapter or "")
    if mine is None:
        problems.extend(f"--option {key}: the adapter {adapter} knows no options" for key in given)
        return {}
    old = {} if known is None else dict(known.options)
    is_other_adapter = known is not None and adapter != known.adapter
    stored = {key: value for key, value in old.items() if key in mine or not is_other_adapter}
    for key, text in given.items():
        if key not in mine:
            allowed = f"known are {', '.join(sorted(mine))}" if mine else "it has none"
            problems.append(f"--option {key} is no option of the adapter {adapter}: {allowed}")
            continue
        stored.pop(key, None)
        if text:
            try:
                stored[key] = mine[key].check(text)
            except ValueError as error:
                problems.append(f"--option {key}={text!r} {error}")
    wrong = {key for key, text in given.items() if text and key not in stored}
    problems.extend(
        f"the adapter {adapter} needs --option {key}=…"
        for key, option in mine.items()
        if option.is_required and key not in stored and key not in wrong
    )
    return {} if stored == old else {"options": stored}


def _lines(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= MOST_CALLS:
        raise ValueError(f"is {value}: must be a whole number from 0 to {MOST_CALLS:,}")
    return value


def _calls_per_second(value: Any) -> Decimal | None:
    if value == UNLIMITED:
        return None
    try:
        rate = Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError(f"is {value!r}: must be a number such as 5 or 0.2, or {UNLIMITED}") from error
    if not rate.is_finite() or not LEAST_CALLS_PER_SECOND <= rate <= MOST_CALLS:
        raise ValueError(
            f"is {value}: must be from {LEAST_CALLS_PER_SECOND} to {MOST_CALLS:,}, or {UNLIMITED}"
        )
    return rate.quantize(LEAST_CALLS_PER_SECOND).normalize()


def _number(value: Any) -> str:
    try:
        return normalize(value).e164
    except InvalidPhoneNumber as error:
        raise ValueError(f"is {value!r}, which {error.reason}") from error


def _reference(value: Any) -> str:
    parse_reference(value)
    return str(value)


CHECKS: Final = {
    "base_url": ("--base-url", check_http_url),
    "api_key_ref": ("--api-key", _reference),
    "webhook_secret_ref": ("--webhook-secret", _reference),
    "max_concurrent_calls": ("--max-concurrent-calls", _lines),
    "calls_per_second": ("--calls-per-second", _calls_per_second),
    "outbound_number": ("--from", _number),
}
NEEDED: Final = ("base_url", "api_key_ref", "max_concurrent_calls")
OPTIONS: Final = {"adapter": "--adapter", **{key: option for key, (option, _) in CHECKS.items()}}
# What a person is told of a change, in the words of the options.
SHOWN: Final = {
    "adapter": "adapter",
    "base_url": "base_url",
    "api_key_ref": "api_key",
    "webhook_secret_ref": "webhook_secret",
    "max_concurrent_calls": "max_concurrent_calls",
    "calls_per_second": "calls_per_second",
    "outbound_number": "from",
    "options": "options",
}
UNBURDENED: Final[Mapping[str, Any]] = {
    "suspended_at": None,
    "suspended_reason": None,
    "not_before": None,
    "unreachable_count": 0,
    "rate_factor": 1.0,
    "rate_factor_at": None,
    "blocked_countries": {},
    "breaker": None,
    "breaker_at": None,
    "breaker_reason": None,
    "trial_until": None,
    "probe_at": None,
    "probes": 0,
}


def _create(connection: sa.Connection, name: str, values: Mapping[str, Any]) -> AccountSet:
    missing = [OPTIONS[key] for key in NEEDED if key not in values]
    if missing:
        raise InvalidAccount(name, [f"is new, and needs {' and '.join(missing)} too"])
    try:
        account_id = accounts.insert(connection, {"name": name, **values})
    except sa.exc.IntegrityError as error:
        raise InvalidAccount(
            name, ["was created by somebody else at this very moment: set it again"]
        ) from error
    _add_own_number(connection, account_id, values)
    wake_schedulers(connection)
    changes = tuple(f"{SHOWN[key]}: {_shown(key, value)}" for key, value in values.items())
    return AccountSet(name=name, is_new=True, changes=changes)


def _change(connection: sa.Connection, account: Account, values: Mapping[str, Any]) -> AccountSet:
    old = _columns(account)
    changed = {key: value for key, value in values.items() if value != old[key]}
    at = database_now(connection)
    accounts.update(connection, account.id, {**changed, **UNBURDENED})
    in_use_again = accounts.use_numbers(connection, account.id, at)
    _add_own_number(connection, account.id, changed)
    wake_schedulers(connection)
    lines = [
        f"{SHOWN[key]}: {_shown(key, old[key])} → {_shown(key, value)}" for key, value in changed.items()
    ]
    return AccountSet(name=account.name, is_new=False, changes=(*lines, *_lifted(account, in_use_again)))


def _add_own_number(connection: sa.Connection, account_id: Any, values: Mapping[str, Any]) -> None:
    if "outbound_number" in values:
        number = normalize(values["outbound_number"])
        accounts.add_numbers(connection, account_id, {number.e164: number.country}, database_now(connection))


def _columns(account: Account) -> dict[str, Any]:
    rate = account.rate.calls_per_second
    return {
        "adapter": account.adapter,
        "base_url": account.base_url,
        "api_key_ref": account.api_key_ref,
        "webhook_secret_ref": account.webhook_secret_ref,
        "max_concurrent_calls": account.max_concurrent_calls,
        "calls_per_second": None if rate is None else _calls_per_second(rate),
        "outbound_number": account.outbound_number,
        "options": dict(account.options),
    }


def _lifted(account: Account, in_use_again: Collection[str]) -> Iterator[str]:
    if account.suspended_at is not None:
        yield f"suspension lifted (it was: {account.suspended_reason or 'no reason given'})"
    if account.breaker is not None:
        yield f"breaker closed (it was open: {account.breaker_reason or 'no reason given'})"
    if account.throttle.factor < 1 or account.throttle.not_before is not None:
        yield "back-off ended"
    if account.blocked_countries:
        yield f"countries open again: {', '.join(sorted(account.blocked_countries))}"
    if in_use_again:
        yield f"caller numbers in use again: {', '.join(in_use_again)}"


def _shown(key: str, value: object) -> str:
    if key == "calls_per_second":
        return UNLIMITED if value is None else f"{value:f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={one}" for name, one in sorted(value.items())) or "none"
    return "not set" if value is None else str(value)
