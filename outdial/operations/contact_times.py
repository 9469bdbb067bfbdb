"""When a contact may be called first and last, as a cell says it: an instant, or local time where the phone rings.

Local time in more than one candidate zone, or at a change of the clock, means several instants: the latest start and
the earliest end hold in all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from outdial.domain.zones import zone

EXAMPLE: Final = "2027-03-01T09:00, 2027-03-01T09:00+01:00 or 2027-03-01"
YEARS: Final = range(2000, 2200)

# RFC 3339, with a space for its T, seconds and the offset left out at will; or a day.
_WRITTEN: Final = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?) ?(?P<offset>[Zz]|[+-][0-9]{2}:?[0-9]{2})?)?"
)


@lru_cache(maxsize=4096)
def first_instant(text: str, time_zones: tuple[str, ...]) -> datetime:
    """From when on (aware UTC); a day means its beginning. Raises ValueError with what is wrong with the text."""
    return max(_instants(text, time_zones, days=0))


@lru_cache(maxsize=4096)
def last_instant(text: str, time_zones: tuple[str, ...]) -> datetime:
    """Until when (aware UTC); a day means its end. Raises ValueError with what is wrong with the text."""
    return min(_instants(text, time_zones, days=1))


def _instants(text: str, time_zones: tuple[str, ...], *, days: int) -> Iterator[datetime]:
    """All that the text may mean. `days` is added to a day without a time."""
    written = _WRITTEN.fullmatch(text)
    if written is None:
        raise ValueError(f"is no date and time: write one such as {EXAMPLE}")
    day, time, offset = written["day"], written["time"], written["offset"]
    try:
        local = datetime.fromisoformat(f"{day}T{time or '00:00'}")
        whole = datetime.fromisoformat(f"{day}T{time}{offset.upper()}") if offset else None
    except ValueError:
        raise ValueError(f"is no date and time that exists: write one such as {EXAMPLE}") from None
    if local.year not in YEARS:
        raise ValueError(f"is not in the years {YEARS[0]} to {YEARS[-1]}")
    if whole is not None:
        yield whole.astimezone(UTC)
        return
    if not time_zones:
        raise ValueError(
            "is local time, and the contact's time zone is not known: write its offset, such as +01:00"
        )
    if time is None:
        local += timedelta(days=days)
    for name in time_zones:
        # Where the clock goes back the hour comes twice, where it goes forward never: fold names both readings.
        for fold in (0, 1):
            yield local.replace(tzinfo=zone(name), fold=fold).astimezone(UTC)
