"""What an account's adapter wants to know beyond what all accounts have, and what it brings as defaults."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """`check` turns what was written into what is stored; it raises ValueError with the rest of a sentence."""

    check: Callable[[str], object]
    is_required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterKind:
    """An adapter as an operator meets it. None as `base_url`: each account has its own.

    `calls_per_second` is what a new account gets unless its operator says otherwise; `own_webhook_secret` False: what
    signs webhooks is the API key itself, unless a secret is given.
    """

    options: Mapping[str, Option] = field(default_factory=dict)
    base_url: str | None = None
    calls_per_second: str | None = None
    own_webhook_secret: bool = True


def yes_or_no(text: str) -> bool:
    if text.lower() in {"true", "yes"}:
        return True
    if text.lower() in {"false", "no"}:
        return False
    raise ValueError("must be true or false")


def seconds(text: str) -> float:
    return _number_or(text, "must be a number of seconds such as 5 or 0.5")


def _number_or(text: str, complaint: str) -> float:
    """A number of 0 or more. Raises ValueError with the complaint."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not math.isfinite(number) or number < 0:
        raise ValueError(complaint)
    return number


def rate(text: str) -> float:
    number = _number_or(text, "must be a number a second, from 0.01 to 1000")
    if not 0.01 <= number <= 1000:
        raise ValueError("must be from 0.01 to 1000 a second")
    return number


def share(text: str) -> float:
    number = _number_or(text, "must be a share such as 0.5")
    if not 0 < number <= 1:
        raise ValueError("must be above 0 and at most 1, which means never")
    return number


def margin(text: str) -> float:
    number = _number_or(text, "must be a share such as 0.02")
    if number > 0.5:
        raise ValueError("must be from 0 to 0.5")
    return number


def count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise ValueError("must be a whole number from 1 to 1,000,000")
    return int(text)


def one_of(words: Collection[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return text

    return check


COMMON: Final[Mapping[str, Option]] = {
    "look_ups_per_second": Option(check=rate),
    "webhooks_missing_after": Option(check=count),
    "breaker_doubt_share": Option(check=share),
    "breaker_failure_share": Option(check=share),
    "pacing_margin": Option(check=margin),
}
"""What every account may be told, whatever its adapter (docs/operating.md)."""
