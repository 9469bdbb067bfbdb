"""Checks of single values in a campaign file: from what TOML gives to what the domain wants.

Each raises ValueError with what is allowed, to be read after "KEY = VALUE: ".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar

import phonenumbers

from outdial.domain.phone_numbers import InvalidPhoneNumber, normalize
from outdial.domain.zones import zone
from outdial.files.checked_table import WrongValue

E = TypeVar("E", bound=StrEnum)

LONGEST_DELAY: Final = timedelta(days=365)
SECONDS_PER_UNIT: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def text_up_to(length: int) -> Callable[[Any], str]:
    """Text with something in it."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > length:
            raise WrongValue(f"must be text in quotes, of 1 to {length} characters")
        # Postgres has no place for it.
        if "\x00" in value:
            raise WrongValue("must not hold the character NUL")
        return value

    return check


def name_of(what: str) -> Callable[[Any], str]:
    """A name that can be typed at a command."""

    def check(value: Any) -> str:
        if (
            not isinstance(value, str)
            or not 1 <= len(value) <= LONGEST_NAME
            or not value.isprintable()
            or value != value.strip()
            or value.startswith("-")
        ):
            raise WrongValue(
                f"must be the name of {what} in quotes, of 1 to {LONGEST_NAME} printable characters, "
                "with no space around it and no dash before it"
            )
        return value

    return check


def one_of(kind: type[E]) -> Callable[[Any], E]:
    def check(value: Any) -> E:
        if not isinstance(value, str) or value not in list(kind):
            raise WrongValue(f"must be {any_of(kind)}")
        return kind(value)

    return check


def any_of(kind: type[StrEnum]) -> str:
    """`"complete" or "wait"`."""
    *most, last = (f'"{one}"' for one in kind)
    return f"{', '.join(most)} or {last}"


def whole_number(least: int, most: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise WrongValue(f"must be a whole number from {least:,} to {most:,}")
        return value

    return check


def number(*, above: float | None = None, least: float | None = None, most: float) -> Callable[[Any], float]:
    """A number of at least `least`, or above `above`, and at most `most`."""
    low = f"above {above:,g}" if above is not None else f"from {least:,g}"

    def check(value: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # Written so that a NaN, which compares as false, is out.
        in_bounds = (
            is_number
            and value <= most
            and (above is None or value > above)
            and (least is None or value >= least)
        )
        if not in_bounds:
            raise WrongValue(f"must be a number {low} to {most:,.12g}")
        return float(value)

    return check


def yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise WrongValue("must be true or false, without quotes")
    return value


def minutes(value: Any) -> timedelta:
    most = LONGEST_DELAY / timedelta(minutes=1)
    return timedelta(minutes=number(above=0, most=most)(value))


def delays(value: Any) -> tuple[timedelta, ...]:
    """`["10m", "1h"]`: the wait before the first retry, the second, and so on."""
    listed = list_of(_delay, least=1, most=50, what='waits such as ["10m", "1h"]')(value)
    return tuple(listed)


def instant(value: Any) -> datetime:
    """An instant with its offset, as aware UTC."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise WrongValue(
            "must be a date and time with its offset, without quotes, such as 2027-03-01T08:00:00+01:00"
        )
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise WrongValue(f"must be in the years {FIRST_YEAR} to {LAST_YEAR}")
    return value.astimezone(UTC)


def dates(value: Any) -> frozenset[date]:
    return frozenset(list_of(_date, least=0, most=1000, what="dates such as [2027-04-05]")(value))


def time_zone(value: Any) -> str:
    if not isinstance(value, str):
        raise WrongValue("must be a time zone in quotes, such as 'Europe/Rome'")
    return zone(value).key


def language(value: Any) -> str:
    """A language tag (BCP 47), checked for its form only."""
    if not isinstance(value, str) or not _LANGUAGE.fullmatch(value):
        raise WrongValue('must be a language tag in quotes, such as "en" or "it-IT"')
    return value


def countries(value: Any) -> tuple[str, ...]:
    """ISO 3166 alpha-2 codes, in the order given, each once."""
    listed = list_of(_country, least=0, most=300, what='countries such as ["IT", "CH"]')(value)
    return tuple(dict.fromkeys(listed))


def phone_numbers(value: Any) -> tuple[str, ...]:
    """Numbers in E.164 form, in the order given, each once."""
    listed = list_of(_phone_number, least=1, most=10_000, what='numbers such as ["+390212345678"]')(value)
    return tuple(dict.fromkeys(listed))


def list_of(check: Callable[[Any], Any], *, least: int, most: int, what: str) -> Callable[[Any], list[Any]]:
    def check_list(value: Any) -> list[Any]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            count = f"of up to {most}" if least == 0 else f"of {least} to {most}"
            raise WrongValue(f"must be a list {count} {what}")
        return [check(one) for one in value]

    return check_list


def texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise WrongValue('must be a list of texts in quotes, such as ["mon-fri"]')
    return list(value)


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise WrongValue('must be text in quotes, such as "09:00"')
    return value


LONGEST_NAME: Final = 100
FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2199
_DELAY: Final = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}", re.ASCII)
# What people write for a country, where its code is another.
_MEANT: Final = {"UK": "GB", "EL": "GR"}


def _delay(value: Any) -> timedelta:
    found = _DELAY.fullmatch(value) if isinstance(value, str) else None
    wait = timedelta(seconds=int(found[1]) * SECONDS_PER_UNIT[found[2]]) if found else timedelta()
    if not timedelta() < wait <= LONGEST_DELAY:
        raise WrongValue(
            f'{value!r} is no wait: write a number and s, m, h or d, such as "90s", "10m", "1h" or "2d", up to 365 days'
        )
    return wait


def _date(value: Any) -> date:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise WrongValue(f"{value!r} is no date: write it without quotes, such as 2027-04-05")
    return value


def _country(value: Any) -> str:
    if not isinstance(value, str) or value not in phonenumbers.SUPPORTED_REGIONS:
        upper = value.upper() if isinstance(value, str) else ""
        meant = _MEANT.get(upper, upper)
        hint = f"; did you mean {meant!r}?" if meant in phonenumbers.SUPPORTED_REGIONS else ""
        raise WrongValue(f"{value!r} is no country: write its two letters of ISO 3166, such as 'IT'{hint}")
    return value


def _phone_number(value: Any) -> str:
    if not isinstance(value, str):
        raise WrongValue(f"{value!r} is no phone number: write it in quotes, such as '+390212345678'")
    try:
        return normalize(value).e164
    except InvalidPhoneNumber as error:
        raise WrongValue(f"{value!r} {error.reason}") from error
