"""What an account's adapter wants to know beyond what all accounts have, and what it brings as defaults."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field


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
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not math.isfinite(number) or number < 0:
        raise ValueError("must be a number of seconds such as 5 or 0.5")
    return number


def one_of(words: Collection[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return text

    return check
