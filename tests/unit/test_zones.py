"""Zones come from the tzdata package; a calling zone is the contact's, the number's, the default's or unknown."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from importlib import resources
from zoneinfo import ZoneInfo

import phonenumbers
import pytest
from hypothesis import given, strategies as st
from phonenumbers.timezone import UNKNOWN_TIMEZONE, time_zones_for_number
from phonenumbers.tzdata import TIMEZONE_DATA

from outdial.domain import zones
from outdial.domain.phone_numbers import PLACED_KINDS, NumberKind, plan_of
from outdial.domain.zones import (
    NOT_A_PLACE,
    CallingZone,
    ZoneSource,
    calling_zone_of,
    country_of_zone,
    current_since,
    is_zone_name,
    scheduler_zone,
    zone,
    zone_corrections,
    zone_data_version,
)

ALL_NAMES = (resources.files("tzdata") / "zones").read_text("utf-8").split()

# Zone names


@pytest.mark.parametrize(
    "name", ["Europe/Rome", "Asia/Calcutta", "UTC", "Etc/GMT+5", "America/Argentina/Salta"]
)
def test_zone_of_the_package_is_loaded(name: str) -> None:
    assert is_zone_name(name)
    assert zone(name).key == name


def test_every_zone_of_the_package_is_loaded_or_refused_as_no_place() -> None:
    for name in ALL_NAMES:
        assert is_zone_name(name) is (name not in NOT_A_PLACE)
        if is_zone_name(name):
            assert isinstance(zone(name), ZoneInfo)


def test_zone_follows_the_package_and_not_the_operating_system() -> None:
    with (resources.files("tzdata") / "zoneinfo" / "America" / "Vancouver").open("rb") as file:
        packaged = ZoneInfo.from_file(file)
    first = datetime(2024, 1, 1, tzinfo=UTC)
    for day in range(5 * 365):
        at = first + timedelta(days=day)
        assert at.astimezone(zone("America/Vancouver")).utcoffset() == at.astimezone(packaged).utcoffset()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Rome",
        "europe/rome",
        "Europe/Roma",
        "+02:00",
        "IST",
        "../etc/passwd",
        "/etc/localtime",
        "Europe",
        "zone.tab",
    ],
)
def test_unknown_zone_is_refused_by_name(name: str) -> None:
    assert not is_zone_name(name)
    with pytest.raises(ValueError, match="is not a time zone") as refusal:
        zone(name)
    assert repr(name) in str(refusal.value)


@pytest.mark.parametrize("name", sorted(NOT_A_PLACE))
def test_abbreviation_is_refused(name: str) -> None:
    assert not is_zone_name(name)
    with pytest.raises(ValueError, match="abbreviation, not a place"):
        zone(name)


# Countries of zones


@pytest.mark.parametrize(
    ("name", "country"),
    [
        ("Europe/Rome", "IT"),
        ("Europe/Vatican", "VA"),
        ("Europe/Berlin", "DE"),
        ("America/Phoenix", "US"),
        ("Asia/Calcutta", "IN"),
        ("America/Montreal", "CA"),
        ("US/Eastern", "US"),
        ("Singapore", "SG"),
        ("Iceland", "IS"),
        ("America/Coral_Harbour", "CA"),
        ("Pacific/Truk", "FM"),
    ],
)
def test_zone_belongs_to_the_country_of_its_place(name: str, country: str) -> None:
    assert country_of_zone(name) == {country}


@pytest.mark.parametrize("name", ["UTC", "Etc/GMT+5", "GMT", "nowhere"])
def test_zone_without_a_place_has_no_country(name: str) -> None:
    assert country_of_zone(name) == frozenset()


def test_every_zone_named_after_a_place_has_a_country() -> None:
    places = [name for name in ALL_NAMES if "/" in name and not name.startswith("Etc/")]
    assert [name for name in places if len(country_of_zone(name)) != 1] == []


# Calling zones


def test_contacts_own_zone_wins() -> None:
    found = calling_zone_of(
        "+393471234567", contact_time_zone="America/Lima", default_time_zone="Europe/Rome"
    )
    assert found == CallingZone(time_zones=("America/Lima",), country="IT", source=ZoneSource.CONTACT)


def test_contacts_own_zone_serves_a_toll_free_number() -> None:
    found = calling_zone_of("+18002345678", contact_time_zone="America/Chicago")
    assert found == CallingZone(time_zones=("America/Chicago",), country=None, source=ZoneSource.CONTACT)


@pytest.mark.parametrize(
    ("number", "time_zones", "country"),
    [
        ("+390612345678", ("Europe/Rome",), "IT"),
        ("+393471234567", ("Europe/Rome", "Europe/Vatican"), "IT"),
        ("+12122345678", ("America/New_York",), "US"),
        ("+16133633500", ("America/Toronto",), "CA"),
        ("+33912345678", ("Europe/Paris",), "FR"),
        ("+33123456789", ("Europe/Paris",), "FR"),
    ],
)
def test_number_tells_its_zones(number: str, time_zones: tuple[str, ...], country: str) -> None:
    found = calling_zone_of(number, default_time_zone="Europe/Rome")
    assert found == CallingZone(time_zones=time_zones, country=country, source=ZoneSource.NUMBER)


def test_many_candidates_stay_many_though_the_default_is_one_of_them() -> None:
    found = calling_zone_of("+61412345678", default_time_zone="Australia/Sydney")
    assert found.source is ZoneSource.NUMBER
    assert {"Australia/Sydney", "Australia/Perth", "Indian/Cocos"} < set(found.time_zones)


@pytest.mark.parametrize(
    "number", ["+18002345678", "+39800123456", "+80012345678", "+447012345678", "+8835100123456"]
)
def test_number_that_rings_anywhere_is_unknown_whatever_the_default(number: str) -> None:
    for default in (None, "America/New_York", "Europe/Rome", "Europe/London"):
        found = calling_zone_of(number, default_time_zone=default)
        assert found == CallingZone(time_zones=(), country=None, source=ZoneSource.UNKNOWN)


@pytest.mark.parametrize(
    ("default", "time_zones"),
    [
        ("Europe/Rome", ("Europe/Rome",)),
        ("Europe/Vatican", ()),
        ("Europe/Berlin", ()),
        ("UTC", ()),
        (None, ()),
    ],
)
def test_default_serves_numbers_of_its_own_country_only(
    default: str | None, time_zones: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library's table now has every country; releases before and after need not.
    without_italy = {prefix: names for prefix, names in TIMEZONE_DATA.items() if not prefix.startswith("39")}
    monkeypatch.setattr(zones, "TIMEZONE_DATA", without_italy)
    found = calling_zone_of("+393471234567", default_time_zone=default)
    source = ZoneSource.DEFAULT if time_zones else ZoneSource.UNKNOWN
    assert found == CallingZone(time_zones=time_zones, country="IT", source=source)


def test_what_is_no_number_is_unknown() -> None:
    for text in ("", "x", "+", "393471234567", "+999123456", "+3934"):
        assert calling_zone_of(text, default_time_zone="Europe/Rome").source is ZoneSource.UNKNOWN


def test_wrong_zone_name_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a time zone"):
        calling_zone_of("+393471234567", contact_time_zone="Europe/Roma")


@given(data=st.data(), region=st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)))
def test_candidates_are_those_of_the_library_but_where_it_is_corrected(
    data: st.DataObject, region: str
) -> None:
    example = phonenumbers.example_number_for_type(region, data.draw(st.sampled_from([0, 1, 2, 6])))
    if example is None:
        return
    text = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
    ending = data.draw(st.integers(1, 5))
    changed = text[:-ending] + data.draw(st.text("0123456789", min_size=ending, max_size=ending))
    try:
        number = phonenumbers.parse(changed)
    except phonenumbers.NumberParseException:
        return
    text = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    plan = plan_of(text)
    if plan is None or plan.kind not in PLACED_KINDS:
        return
    expected = tuple(sorted(time_zones_for_number(number)))
    fitting = [
        (prefix, one) for one in zone_corrections() for prefix in one.prefixes if text[1:].startswith(prefix)
    ]
    if fitting:
        _, correction = max(fitting, key=lambda found: len(found[0]))
        expected = tuple(sorted({*correction.zones, *(expected if correction.adds else ())}))
    assert calling_zone_of(text).time_zones == (() if expected == (UNKNOWN_TIMEZONE,) else expected)


def test_every_candidate_zone_of_the_library_can_be_loaded() -> None:
    assert [name for names in TIMEZONE_DATA.values() for name in names if not is_zone_name(name)] == []


def test_internet_numbers_ring_in_their_country() -> None:
    assert NumberKind.VOIP in PLACED_KINDS


def test_scheduler_zone_is_the_given_one() -> None:
    found = scheduler_zone("Europe/Rome")
    assert found == CallingZone(time_zones=("Europe/Rome",), country=None, source=ZoneSource.SCHEDULER)


def test_keys_are_stable_and_differ_where_zones_do() -> None:
    found = calling_zone_of("+393471234567")
    assert found.key == "number:IT:Europe/Rome,Europe/Vatican"
    assert calling_zone_of("+80012345678").key == "unknown:-:"
    assert scheduler_zone("UTC").key == "scheduler:-:UTC"
    assert calling_zone_of("+393471234567", contact_time_zone="Europe/Rome").key == "contact:IT:Europe/Rome"


# What is known better than the library


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+212522123456", {"Africa/Casablanca", "Africa/El_Aaiun"}),
        ("+213551234567", {"Africa/Algiers"}),
        ("+5581987654321", {"America/Recife"}),
        ("+74012345678", {"Europe/Kaliningrad"}),
        ("+18762345678", {"America/Jamaica"}),
        # Tallahassee, and the overlay; both also ring in Pensacola, an hour behind.
        ("+18506562345", {"America/Chicago", "America/New_York"}),
        ("+14482345678", {"America/Chicago", "America/New_York"}),
        # The Navajo Nation keeps summer time, the rest of Arizona does not.
        ("+19282342345", {"America/Denver", "America/Phoenix"}),
        ("+6281234567890", {"Asia/Jakarta", "Asia/Makassar", "Asia/Jayapura"}),
    ],
)
def test_wrong_zones_of_the_library_are_corrected(number: str, expected: set[str]) -> None:
    assert set(calling_zone_of(number).time_zones) == expected


def test_missing_zones_are_added_to_those_of_the_library() -> None:
    mobile = calling_zone_of("+79161234567").time_zones
    assert {"Europe/Kaliningrad", "Europe/Moscow", "Asia/Kamchatka"} <= set(mobile)
    assert "Australia/Darwin" in calling_zone_of("+61412345678").time_zones


def test_every_correction_has_zones_that_exist_and_a_reason() -> None:
    prefixes = [prefix for one in zone_corrections() for prefix in one.prefixes]
    assert len(prefixes) == len(set(prefixes))
    for correction in zone_corrections():
        assert correction.reason
        assert all(is_zone_name(name) for name in correction.zones)


# How old the zones' rules are


def test_zone_data_says_its_version() -> None:
    found = zone_data_version()
    assert len(found.version) == 5
    assert found.version[:4].isdigit()
    assert not found.is_old(found.current_on + timedelta(days=183))
    assert found.is_old(found.current_on + timedelta(days=184))


@pytest.mark.parametrize(
    ("version", "at_the_earliest", "at_the_latest"),
    [
        ("2025b", date(2025, 1, 1), date(2025, 6, 1)),
        ("2026f", date(2026, 11, 23), date(2026, 11, 23)),
        ("2026g", date(2026, 11, 23), date(2027, 1, 1)),
        ("2028a", date(2028, 1, 1), date(2028, 1, 1)),
    ],
)
def test_age_of_zone_data_is_told_from_its_version(
    version: str, at_the_earliest: date, at_the_latest: date
) -> None:
    assert at_the_earliest <= current_since(version) <= at_the_latest
