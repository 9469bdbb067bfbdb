"""Public holidays by local date, from the `holidays` package, for a country and as many of its subdivisions as needed.

Like the zones' rules they are data of this program: worked out when a year is first asked for, and then kept. A day
that was decreed later than the package's release is not in it; a rule's blackouts are for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

import holidays
import holidays.version

PACKAGE_VERSION: Final = holidays.version.__version__
_NAMES_IN: Final = "en_US"


def holiday_on(country: str | None, subdivisions: tuple[str, ...], day: date) -> str | None:
    """The holiday's name, None on any other day; see `holidays_of`. Without a country there are no holidays."""
    return None if country is None else holidays_of(country, subdivisions, day.year).get(day)


@lru_cache(maxsize=4096)
def holidays_of(country: str, subdivisions: tuple[str, ...], year: int) -> Mapping[date, str]:
    """The holidays of the whole country and of each of those subdivisions, substitutes for a weekend's included.

    Empty for a country that the package does not know. Raises ValueError for a subdivision that it does not.
    """
    if country not in _subdivisions_by_country():
        return {}
    found = _of_one(country, None, year)
    for subdivision in subdivisions:
        if subdivision not in _subdivisions_by_country()[country]:
            raise ValueError(f"{subdivision!r} is no subdivision of {country} that has holidays of its own")
        for day, name in _of_one(country, subdivision, year).items():
            found.setdefault(day, name if len(subdivisions) == 1 else f"{name} in part of {country}")
    return found


def subdivisions_of(country: str) -> tuple[str, ...]:
    """The codes, mostly those of ISO 3166-2, of parts of a country with holidays of their own."""
    return _subdivisions_by_country().get(country, ())


@lru_cache(maxsize=256)
def names_of_subdivisions(country: str) -> Mapping[str, str]:
    """The codes of those parts by the names that the package knows, mostly in the country's own language."""
    if country not in _subdivisions_by_country():
        return {}
    return dict(holidays.country_holidays(country).subdivisions_aliases)


def easter_sunday(year: int) -> date:
    """Easter of the western churches (the anonymous Gregorian algorithm; Meeus, Astronomical Algorithms, chapter 8)."""
    century, year_of_century = divmod(year, 100)
    golden = year % 19
    skipped, fourth = divmod(century, 4)
    moon_correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - skipped - moon_correction + 15) % 30
    leaps, rest = divmod(year_of_century, 4)
    to_sunday = (32 + 2 * fourth + 2 * leaps - epact - rest) % 7
    late = (golden + 11 * epact + 22 * to_sunday) // 451
    return date(year, 3, 22) + timedelta(days=epact + to_sunday - 7 * late)


def _of_one(country: str, subdivision: str | None, year: int) -> dict[date, str]:
    return dict(holidays.country_holidays(country, subdiv=subdivision, years=year, language=_NAMES_IN))


@lru_cache(maxsize=1)
def _subdivisions_by_country() -> Mapping[str, tuple[str, ...]]:
    return {country: tuple(codes) for country, codes in holidays.list_supported_countries().items()}
