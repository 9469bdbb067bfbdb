"""Where a person lives, from what a list says of it: country, region, postal code. Its clock and its law go by that.

What is known of countries with several clocks stands in `outdial/rules/regions.toml`; the parts of all others, which
matter for holidays and laws only, are those of the package `holidays`. Nothing is guessed: a region that is not known
tells neither clock nor law, and says so.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from outdial.domain.holiday_calendar import names_of_subdivisions, subdivisions_of
from outdial.domain.zones import Place, country_names, country_of_zone, zones_of_country

# One numbering plan for two countries, whose codes of states and provinces are all different.
_NEIGHBORS: Final[Mapping[str, str]] = {"US": "CA", "CA": "US"}
_PREFIX_OF_POSTAL_CODE: Final[Mapping[str, int]] = {"US": 3, "CA": 1}


class WrongPlace(ValueError):
    """A place that cannot be. `column`: `country` or `region`; the message goes on where the value's name ends."""

    def __init__(self, column: str, reason: str) -> None:
        self.column = column
        super().__init__(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a country. `zones` None: those of the country. `country`: its own code to a numbering plan, if any."""

    code: str
    zones: tuple[str, ...] | None = None
    country: str | None = None


def country_code(text: str) -> str:
    """The ISO 3166 code of a country by its two letters or its English name. Raises WrongPlace."""
    found = _country_by_name().get(folded(text))
    if found is None:
        raise WrongPlace(
            "country",
            "is no country: write its two letters of ISO 3166, such as US or IT, or its English name",
        )
    return found


def place_of(
    country: str, region: str, postal_code: str, *, number_country: str | None, default_time_zone: str | None
) -> Place:
    """What the three say, each possibly empty; None of what the place tells of zone or law is guessed.

    Without a country the region is one of the number's own country, else of the country of the campaign's default.
    Raises WrongPlace for a country that is none, and for a region that names another one.
    """
    return _place_of(country, region, postal_code, number_country, default_time_zone)


def parts_of(country: str) -> Mapping[str, Part]:
    """The parts of a country that are known, by code."""
    return {part.code: part for part in _part_by_name(country).values()}


def countries_with_parts() -> tuple[str, ...]:
    """Those of which the clocks of the parts are known."""
    return tuple(_data()["parts"])


def part_of_postal_code(country: str, postal_code: str) -> str | None:
    """The code of the part in which the postal code surely lies."""
    length = _PREFIX_OF_POSTAL_CODE.get(country)
    code = "".join(postal_code.upper().split())
    if length is None or (country == "US" and not (code[:5].isdecimal() and code[5:6] in {"", "-"})):
        return None
    # A spreadsheet takes the leading zero off: four digits are no ZIP code, and tell nothing.
    if (country == "US" and len(code) < 5) or code[:5] in _data()["postal"][country]["not_told"]:
        return None
    return _part_by_postal_prefix(country).get(code[:length])


@lru_cache(maxsize=65536)
def _place_of(
    country: str, region: str, postal_code: str, number_country: str | None, default_time_zone: str | None
) -> Place:
    named = country_code(country) if country else None
    prefix, text = _split(region)
    if prefix is not None and named is not None and prefix != named:
        own = {part.country for part in parts_of(named).values()}
        if prefix not in own:
            raise WrongPlace("region", f"lies in {prefix}, and the country is {named}: keep one of the two")
    home = named or prefix or number_country or _country_of_default(default_time_zone)
    if home is None:
        return Place(country=None, unknown_region=region or None)
    part = _part(home, text) if text else None
    if part is None and text and named is None and prefix is None and home in _NEIGHBORS:
        neighbor = _part(_NEIGHBORS[home], text)
        if neighbor is not None:
            if part_of_postal_code(home, postal_code) is not None:
                raise WrongPlace(
                    "region", f"lies in {_NEIGHBORS[home]}, and the postal code in {home}: write the country"
                )
            home, part = _NEIGHBORS[home], neighbor
    across = None if named is None else _NEIGHBORS.get(named)
    if part is None and text and across is not None and _part(across, text) is not None:
        raise WrongPlace("region", f"lies in {across}, and the country is {named}: keep one of the two")
    # A number's country is no address: only where the region is known there does it count as one.
    stated = named or prefix or (home if part is not None else None)
    return _whole(home, stated, part, region, postal_code)


def _whole(home: str, stated: str | None, part: Part | None, region: str, postal_code: str) -> Place:
    by_post = part_of_postal_code(stated, postal_code) if postal_code and stated is not None else None
    if part is None and by_post is not None:
        part = parts_of(home).get(by_post)
    # In a country with one clock it tells nothing about when to call, and its law is then that of all parts.
    unknown_region = region if region and part is None and home in countries_with_parts() else None
    if stated is None:
        return Place(country=None, unknown_region=unknown_region)
    territories = {one.country: one.code for one in parts_of(stated).values() if one.country is not None}
    if part is not None and by_post not in {None, part.code}:
        # One of the two is wrong, and nobody knows which: the clocks of both, the law of the strictest.
        other = parts_of(stated)[by_post or ""]
        zones = _zones(stated, part), _zones(stated, other)
        both = tuple(sorted({*zones[0], *zones[1]})) if all(zones) else ()
        return Place(country=stated, time_zones=both, territories=territories)
    return Place(
        country=stated,
        subdivision=None if part is None else part.code,
        time_zones=None if part is None else _zones(stated, part),
        territories=territories,
        unknown_region=unknown_region,
    )


def _zones(country: str, part: Part) -> tuple[str, ...]:
    return zones_of_country(country) if part.zones is None else part.zones


def _split(region: str) -> tuple[str | None, str]:
    """`US-FL` as US and FL; a name with a hyphen stays whole."""
    prefix, hyphen, code = region.strip().partition("-")
    country = prefix.strip().upper()
    if hyphen and len(country) == 2 and country in country_names() and _part(country, code) is not None:
        return country, code
    return None, region.strip()


def _part(country: str, text: str) -> Part | None:
    return _part_by_name(country).get(folded(text))


def _country_of_default(time_zone: str | None) -> str | None:
    return None if time_zone is None else next(iter(country_of_zone(time_zone)), None)


@lru_cache(maxsize=512)
def _part_by_name(country: str) -> Mapping[str, Part]:
    """By code and by name, folded. Where a code and a name are alike, the code counts."""
    own = _data()["parts"].get(country, {})
    parts = {
        code: Part(code=code, zones=tuple(row["zones"]), country=row.get("country"))
        for code, row in own.items()
        if code != "source"
    }
    # In a country with several clocks only what is known of each: a part that the file leaves out may have any.
    if len(zones_of_country(country)) == 1 or not own:
        parts = {code: Part(code=code) for code in subdivisions_of(country)} | parts
    names = [(name, code) for code in parts for name in own.get(code, {}).get("names", ())]
    names += [(name, code) for name, code in names_of_subdivisions(country).items() if code in parts]
    found: dict[str, Part] = {}
    for name, code in [*((code, code) for code in parts), *names]:
        found.setdefault(folded(name), parts[code])
    return found


@lru_cache(maxsize=8)
def _part_by_postal_prefix(country: str) -> Mapping[str, str]:
    rows = _data()["postal"][country].items()
    listed = [(code, ranges) for code, ranges in rows if code not in {"source", "not_told"}]
    return {prefix: code for code, ranges in listed for one in ranges for prefix in _each(one)}


def _each(prefixes: str) -> Iterator[str]:
    """`"320-322"` as 320, 321, 322."""
    first, dash, last = prefixes.partition("-")
    if not dash:
        yield first
        return
    for number in range(int(first), int(last) + 1):
        yield f"{number:0{len(first)}}"


def folded(text: str) -> str:
    """Without case, accents and punctuation: `Région de l'Est` as `region de l est`."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return " ".join("".join(one if one.isalnum() else " " for one in plain.casefold()).split())


@lru_cache(maxsize=1)
def _country_by_name() -> Mapping[str, str]:
    names = country_names()
    found = {folded(code): code for code in names}
    for code, more in _data()["names"].items():
        found.setdefault(folded(code), code)
        for name in more:
            found.setdefault(folded(name), code)
    for code, name in names.items():
        found.setdefault(folded(name), code)
    return found


@lru_cache(maxsize=1)
def _data() -> Mapping[str, Any]:
    return tomllib.loads((resources.files("outdial.rules") / "regions.toml").read_text("utf-8"))
