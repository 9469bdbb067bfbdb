"""Time zones by name, and the calling zone of a number: where it rings, as far as windows care.

Where `phonenumbers` names a wrong zone, or not all, `outdial/rules/time_zones.toml` says which, and why.
Zone rules come from the `tzdata` package, never from the operating system, whose copy is often a year old and would
open windows that the law has closed. The package's files are read when a zone is first asked for and then kept: they
are data of this program, like its tables, and the only thing that this module reads.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final
from zoneinfo import ZoneInfo

from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX

from outdial.domain.phone_numbers import NumberPlan, plan_of

# Names that tzdata still knows but that say no place: abbreviations mean different clocks to different people (CST is
# Chicago, Havana and Shanghai), and "Factory" means that nobody has chosen.
NOT_A_PLACE: Final = frozenset(
    {"CET", "CST6CDT", "EET", "EST", "EST5EDT", "Factory", "HST", "MET", "MST", "MST7MDT", "PST8PDT", "WET"}
)

# Old names whose modern target, the zone that shares their clock, lies in another country.
_COUNTRY_OF_OLD_NAME: Final[Mapping[str, str]] = {
    "Africa/Asmera": "ER",
    "Africa/Timbuktu": "ML",
    "America/Coral_Harbour": "CA",
    "America/Virgin": "VI",
    "Antarctica/South_Pole": "AQ",
    "Atlantic/Jan_Mayen": "SJ",
    "Iceland": "IS",
    "Pacific/Johnston": "UM",
    "Pacific/Ponape": "FM",
    "Pacific/Truk": "FM",
    "Pacific/Yap": "FM",
}


class ZoneSource(StrEnum):
    """What told us the calling zone."""

    CONTACT = "contact"
    REGION = "region"
    NUMBER = "number"
    DEFAULT = "default"
    SCHEDULER = "scheduler"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallingZone:
    """Candidate time zones, sorted; none means that the zone is unknown, which is closed at all times.

    `country` (ISO 3166 alpha-2) and `subdivision` (the second half of ISO 3166-2, as the package `holidays` has it) say
    whose law holds: those of the contact's address, else the number's country, None where it belongs to no place.
    """

    time_zones: tuple[str, ...]
    country: str | None
    source: ZoneSource
    subdivision: str | None = None

    @property
    def key(self) -> str:
        """The same text for equal zones, in this and every later version: `number:IT:Europe/Rome,Europe/Vatican`,
        `region:US-FL:America/Chicago,America/New_York`.
        """
        law = self.country or "-"
        if self.subdivision is not None:
            law = f"{law}-{self.subdivision}"
        return f"{self.source}:{law}:{','.join(self.time_zones)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a contact's address tells. `country` None: nothing.

    `time_zones` None: no more than the country does; empty: nobody knows, as of forces abroad. `territories`: parts of
    the country by the country that their phone numbers have. `unknown_region`: what was written and tells nothing.
    """

    country: str | None
    subdivision: str | None = None
    time_zones: tuple[str, ...] | None = None
    territories: Mapping[str, str] = field(default_factory=dict, hash=False)
    unknown_region: str | None = None


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The rules of a zone. Raises ValueError for a name that is unknown, misspelt in case, or no place."""
    if name in NOT_A_PLACE:
        raise ValueError(
            f"{name!r} is an abbreviation, not a place: write a time zone such as 'America/New_York'"
        )
    if name not in _zone_names():
        raise ValueError(
            f"{name!r} is not a time zone: write a name from the IANA list, in its own upper and lower case, "
            "such as 'Europe/Rome' or 'America/New_York'"
        )
    with (_tzdata() / "zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneCorrection:
    """What is known better than `phonenumbers` knows it of numbers that begin with one of the prefixes (no +)."""

    prefixes: tuple[str, ...]
    zones: tuple[str, ...]
    adds: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneDataVersion:
    """The time zone data in use: its IANA version, and since when, at the latest, it may have been superseded."""

    version: str
    current_on: date

    def is_old(self, today: date) -> bool:
        """Older than half a year: governments change clocks at shorter notice than that."""
        return today - self.current_on > HALF_A_YEAR


HALF_A_YEAR: Final = timedelta(days=183)


@lru_cache(maxsize=1)
def zone_data_version() -> ZoneDataVersion:
    """Of the `tzdata` package, which keeps its version but no date."""
    # "# version 2026f"
    version = (_tzdata() / "zoneinfo" / "tzdata.zi").read_text("utf-8").split(maxsplit=3)[2]
    return ZoneDataVersion(version=version, current_on=current_since(version))


def current_since(version: str) -> date:
    """About when that version was the newest: known for the one that the rules were tested with, else estimated."""
    tested, tested_on = _known()["tzdata"]["checked"], _known()["tzdata"]["on"]
    # About one release in two months.
    months = 2 * (ord(version[4:5] or "a") - ord("a"))
    estimated = date(int(version[:4]), min(1 + months, 12), 1)
    if version == tested:
        found: date = tested_on
        return found
    return max(estimated, tested_on) if version > tested else estimated


@lru_cache(maxsize=1)
def zone_corrections() -> tuple[ZoneCorrection, ...]:
    return tuple(
        ZoneCorrection(
            prefixes=tuple(row["prefixes"]),
            zones=tuple(sorted(row["zones"])),
            adds=row.get("add", False),
            reason=row["reason"],
        )
        for row in _known()["correction"]
    )


def all_zone_names() -> list[str]:
    """Every name that is a place, in order."""
    return sorted(_zone_names() - NOT_A_PLACE)


def is_zone_name(name: str) -> bool:
    return name in _zone_names() and name not in NOT_A_PLACE


def country_of_zone(name: str) -> frozenset[str]:
    """The country in which the place that names the zone lies (ISO 3166 alpha-2); empty for UTC and the like.

    Not every country that shares the clock: Europe/Berlin also tells the time in Oslo, but it is Germany's zone.
    """
    if name in _COUNTRY_OF_OLD_NAME:
        return frozenset({_COUNTRY_OF_OLD_NAME[name]})
    countries = _country_by_zone()
    links = _links()
    while name not in countries and name in links:
        name = links[name]
    return frozenset({countries[name]}) if name in countries else frozenset()


def zones_of_country(country: str) -> tuple[str, ...]:
    """All time zones of places in a country, sorted; empty for what is none."""
    return _zones_by_country().get(country, _ZONES_BESIDE.get(country, ()))


@lru_cache(maxsize=1)
def country_names() -> Mapping[str, str]:
    """The countries of ISO 3166-1 by their two letters, as `tzdata` calls them."""
    lines = (_tzdata() / "zoneinfo" / "iso3166.tab").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {row[0]: row[1] for row in rows}


def calling_zone_of(
    number_e164: str,
    *,
    contact_time_zone: str | None = None,
    place: Place | None = None,
    default_time_zone: str | None = None,
) -> CallingZone:
    """Where a number rings: the contact's own zone, else that of its place, else the number's candidates, else the
    default, else unknown. Whose law holds: the place's, else that of the number's country.

    Several candidates stay several: callable only when all are open. The default serves only numbers of its own
    country. A number that rings anywhere (toll-free, personal, satellite) is unknown unless the contact says where.
    Raises ValueError for a zone name that is none.
    """
    plan = plan_of(number_e164)
    country = plan.country if plan is not None and plan.has_place else None
    at_home = place is not None and place.country is not None
    if contact_time_zone:
        own = _contacts_own(contact_time_zone, country)
        return _under_law_of(own, place) if place is not None and at_home else own
    if place is not None and at_home and not _is_for_the_number(place, country):
        return _placed(place)
    if plan is None or country is None:
        return _UNKNOWN
    prefix = _known_prefix(number_e164, plan)
    corrected = _corrected_prefix(number_e164)
    if prefix is None and corrected is None:
        return _placed(place) if place is not None and at_home else _by_default(default_time_zone, country)
    found = _numbers_own(prefix, corrected, country)
    return _under_law_of(found, place) if place is not None and at_home else found


def served_by(
    calling_zone: CallingZone,
    *,
    default_time_zone: str | None,
    use_default: bool,
    scheduler_time_zone: str | None = None,
) -> CallingZone:
    """The zone by whose clock such contacts are called: its own, where it has one.

    An unknown one is served by the campaign's default if the campaign says so (`use_default`), and by the scheduler's
    in a campaign that was written without any. Its law stays what it is.
    """
    if calling_zone.time_zones:
        return calling_zone
    if default_time_zone is None:
        return calling_zone if scheduler_time_zone is None else scheduler_zone(scheduler_time_zone)
    return _served_by_default(calling_zone, default_time_zone) if use_default else calling_zone


@lru_cache(maxsize=1024)
def scheduler_zone(time_zone: str) -> CallingZone:
    """The one zone of a campaign that was written without any: the scheduler's own."""
    return CallingZone(time_zones=(zone(time_zone).key,), country=None, source=ZoneSource.SCHEDULER)


_UNKNOWN: Final = CallingZone(time_zones=(), country=None, source=ZoneSource.UNKNOWN)


def _known_prefix(number_e164: str, plan: NumberPlan) -> str | None:
    # As `phonenumbers.timezone` does, without its second parse: landlines go by their longest known prefix, most
    # mobiles and internet numbers by the country's code alone.
    digits = number_e164[1 : 1 + TIMEZONE_LONGEST_PREFIX] if plan.is_geographic else plan.calling_code
    for length in range(len(digits), 0, -1):
        if digits[:length] in TIMEZONE_DATA:
            return digits[:length]
    return None


def _corrected_prefix(number_e164: str) -> str | None:
    known = _correction_by_prefix()
    for length in _correction_lengths():
        if number_e164[1 : 1 + length] in known:
            return number_e164[1 : 1 + length]
    return None


@lru_cache(maxsize=1)
def _correction_by_prefix() -> Mapping[str, ZoneCorrection]:
    return {prefix: correction for correction in zone_corrections() for prefix in correction.prefixes}


@lru_cache(maxsize=1)
def _correction_lengths() -> tuple[int, ...]:
    return tuple(sorted({len(prefix) for prefix in _correction_by_prefix()}, reverse=True))


@lru_cache(maxsize=1)
def _known() -> Mapping[str, Any]:
    return tomllib.loads((resources.files("outdial.rules") / "time_zones.toml").read_text("utf-8"))


# Of places with numbers that have no row of their own in `zone.tab`.
_ZONES_BESIDE: Final[Mapping[str, tuple[str, ...]]] = {
    "AC": ("Atlantic/St_Helena",),
    "TA": ("Atlantic/St_Helena",),
    "XK": ("Europe/Belgrade",),
}


def _is_for_the_number(place: Place, country: str | None) -> bool:
    """Whether the place says no more than the country, and the number is one of it: then it knows better."""
    return place.time_zones is None and country is not None and country in (place.country, *place.territories)


@lru_cache(maxsize=8192)
def _placed(place: Place) -> CallingZone:
    zones = zones_of_country(place.country or "") if place.time_zones is None else place.time_zones
    return CallingZone(
        time_zones=tuple(sorted(zones)),
        country=place.country,
        subdivision=place.subdivision,
        source=ZoneSource.REGION if zones else ZoneSource.UNKNOWN,
    )


@lru_cache(maxsize=8192)
def _under_law_of(found: CallingZone, place: Place) -> CallingZone:
    # A number of Réunion, in a row that says France, is one of that part.
    own = place.territories.get(found.country or "") if found.country != place.country else None
    return replace(found, country=place.country, subdivision=place.subdivision or own)


@lru_cache(maxsize=1024)
def _served_by_default(calling_zone: CallingZone, time_zone: str) -> CallingZone:
    return replace(calling_zone, time_zones=(zone(time_zone).key,), source=ZoneSource.DEFAULT)


@lru_cache(maxsize=8192)
def _contacts_own(time_zone: str, country: str | None) -> CallingZone:
    return CallingZone(time_zones=(zone(time_zone).key,), country=country, source=ZoneSource.CONTACT)


@lru_cache(maxsize=8192)
def _numbers_own(prefix: str | None, corrected: str | None, country: str) -> CallingZone:
    zones = set(TIMEZONE_DATA[prefix]) if prefix is not None else set()
    if corrected is not None:
        correction = _correction_by_prefix()[corrected]
        zones = zones | set(correction.zones) if correction.adds else set(correction.zones)
    return CallingZone(time_zones=tuple(sorted(zones)), country=country, source=ZoneSource.NUMBER)


@lru_cache(maxsize=8192)
def _by_default(time_zone: str | None, country: str) -> CallingZone:
    if time_zone is not None and country in country_of_zone(zone(time_zone).key):
        return CallingZone(time_zones=(time_zone,), country=country, source=ZoneSource.DEFAULT)
    return CallingZone(time_zones=(), country=country, source=ZoneSource.UNKNOWN)


def _tzdata() -> Traversable:
    return resources.files("tzdata")


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset((_tzdata() / "zones").read_text("utf-8").split())


@lru_cache(maxsize=1)
def _country_by_zone() -> Mapping[str, str]:
    """`zone.tab`: one country a zone. `zone1970.tab` lists all that share a clock, which is another question."""
    lines = (_tzdata() / "zoneinfo" / "zone.tab").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {row[2]: row[0] for row in rows}


@lru_cache(maxsize=1)
def _zones_by_country() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name, country in sorted(_country_by_zone().items()):
        found.setdefault(country, []).append(name)
    return {country: tuple(names) for country, names in found.items()}


@lru_cache(maxsize=1)
def _links() -> Mapping[str, str]:
    """Old name to modern name, from the `L TARGET NAME` lines of `tzdata.zi`."""
    lines = (_tzdata() / "zoneinfo" / "tzdata.zi").read_text("utf-8").splitlines()
    rows = [line.split() for line in lines if line.startswith("L ")]
    return {row[2]: row[1] for row in rows}
