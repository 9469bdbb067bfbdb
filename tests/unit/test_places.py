"""Where people live, by what a list says of it; and that nothing of that ever opens a window too early."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import available_timezones

import pytest
from hypothesis import given, strategies as st

from outdial.domain.holiday_calendar import subdivisions_of
from outdial.domain.places import (
    WrongPlace,
    countries_with_parts,
    country_code,
    part_of_postal_code,
    parts_of,
    place_of,
)
from outdial.domain.windows import CallingWindow, WeeklyWindow, is_open
from outdial.domain.zones import (
    CallingZone,
    Place,
    ZoneSource,
    calling_zone_of,
    country_names,
    served_by,
    zone,
    zones_of_country,
)

MIAMI = "+13054441234"
PARIS = "+33612345678"
REUNION = "+262262123456"

# The capital of each state, and the zone of tzdata in which it lies.
CAPITALS = {
    "New_York": "CT DE DC FL GA ME MD MA NH NJ NY NC OH PA RI SC VT VA WV",
    "Chicago": "AL AR IL IA KS LA MN MS MO NE ND OK SD TN TX WI",
    "Denver": "CO MT NM UT WY",
    "Los_Angeles": "CA NV OR WA",
    "Phoenix": "AZ",
    "Boise": "ID",
    "Detroit": "MI",
    "Juneau": "AK",
    "Indiana/Indianapolis": "IN",
    "Kentucky/Louisville": "KY",
}
CAPITAL_ZONE = {state: f"America/{name}" for name, states in CAPITALS.items() for state in states.split()}
CAPITAL_ZONE["HI"] = "Pacific/Honolulu"

ALL_PARTS = [(country, part) for country in countries_with_parts() for part in parts_of(country).values()]


def found(number: str = MIAMI, *, time_zone: str | None = None, **said: Any) -> CallingZone:
    place = where(**said)
    return calling_zone_of(number, contact_time_zone=time_zone, place=place)


def where(
    country: str = "",
    region: str = "",
    postal_code: str = "",
    number_country: str | None = "US",
    default_time_zone: str | None = None,
) -> Place:
    return place_of(
        country, region, postal_code, number_country=number_country, default_time_zone=default_time_zone
    )


# The data


@pytest.mark.parametrize(("state", "capital"), sorted(CAPITAL_ZONE.items()))
def test_a_states_zones_include_that_of_its_capital(state: str, capital: str) -> None:
    assert capital in (parts_of("US")[state].zones or ())


def test_every_state_and_the_district_are_known() -> None:
    assert len(CAPITAL_ZONE) == 51
    assert set(CAPITAL_ZONE) < set(parts_of("US"))


@pytest.mark.parametrize(("country", "part"), ALL_PARTS, ids=lambda one: getattr(one, "code", one))
def test_a_parts_zones_load_and_are_those_of_its_country(country: str, part: Any) -> None:
    zones = part.zones if part.zones is not None else zones_of_country(country)
    for name in zones:
        assert zone(name).key == name
    assert set(zones) <= set(zones_of_country(part.country or country))


@pytest.mark.parametrize("country", countries_with_parts())
def test_every_zone_of_a_country_belongs_to_a_part_of_it(country: str) -> None:
    zones = {name for part in parts_of(country).values() for name in part.zones or zones_of_country(country)}
    assert set(zones_of_country(country)) <= zones


@pytest.mark.parametrize("country", ["US", "CA", "AU", "BR", "CL", "ES", "PT", "NZ"])
def test_parts_are_called_as_the_holidays_of_them_are(country: str) -> None:
    codes = {code for code in subdivisions_of(country) if " " not in code and code != "Barcelona"}
    assert codes <= set(parts_of(country))


def test_states_and_provinces_share_no_code_and_no_name() -> None:
    assert not {*parts_of("US")} & {*parts_of("CA")}


def test_every_country_has_a_clock() -> None:
    without = {code for code in country_names() if not zones_of_country(code)}
    assert without == {"BV", "HM"}  # islands where nobody lives


# Countries


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("US", "US"),
        ("us", "US"),
        ("United States of America", "US"),
        ("United Kingdom", "GB"),
        ("germany", "DE"),
        ("Cote d'Ivoire", "CI"),
        ("XK", "XK"),
    ],
)
def test_a_country_by_its_letters_or_its_name(text: str, code: str) -> None:
    assert country_code(text) == code


@pytest.mark.parametrize("text", ["XX", "39", "+1", "Korea", "Congo", "Deutschland", "USA/CA"])
def test_what_is_no_country_is_refused_with_the_cure(text: str) -> None:
    with pytest.raises(WrongPlace, match="two letters") as refused:
        country_code(text)
    assert refused.value.column == "country"


# Regions


@pytest.mark.parametrize("region", ["FL", "fl", "US-FL", "us-fl", "Florida", " FLORIDA "])
def test_a_region_tells_clock_and_law(region: str) -> None:
    assert found(region=region) == CallingZone(
        time_zones=("America/Chicago", "America/New_York"),
        country="US",
        subdivision="FL",
        source=ZoneSource.REGION,
    )


def test_a_region_tells_the_law_though_the_contacts_own_zone_tells_the_clock() -> None:
    both = found(region="FL", time_zone="America/Chicago")
    assert both.key == "contact:US-FL:America/Chicago"


def test_a_region_of_a_country_with_one_clock_tells_the_law() -> None:
    assert found("+447912345678", region="Scotland", number_country="GB").key == "region:GB-SCT:Europe/London"


def test_accents_make_no_difference() -> None:
    assert found("+15145551234", country="CA", region="Québec") == found("+15145551234", region="quebec")


def test_a_neighbors_region_is_known_by_its_code() -> None:
    assert found(region="Ontario").country == "CA"


def test_an_unknown_region_leaves_the_numbers_candidates_and_is_told() -> None:
    place = where(region="pending")
    assert place.unknown_region == "pending"
    assert calling_zone_of(MIAMI, place=place) == calling_zone_of(MIAMI)


def test_an_unknown_region_of_another_country_leaves_all_its_zones() -> None:
    place = where(country="AU", region="Outback")
    assert place.unknown_region == "Outback"
    assert calling_zone_of(MIAMI, place=place).time_zones == zones_of_country("AU")


def test_an_unknown_region_of_a_country_with_one_clock_is_nothing_to_tell() -> None:
    assert where(country="IE", region="Cork", number_country="IE").unknown_region is None


def test_a_region_of_another_country_than_the_one_named_is_refused() -> None:
    with pytest.raises(WrongPlace, match="lies in US") as refused:
        where(country="DE", region="US-FL")
    assert refused.value.column == "region"


def test_forces_abroad_have_a_law_and_no_clock() -> None:
    assert found(country="US", region="AE").time_zones == ()


# Countries and numbers


def test_the_address_wins_over_the_number() -> None:
    assert found(country="DE").key == "region:DE:Europe/Berlin,Europe/Busingen"


def test_a_country_of_several_clocks_and_another_countrys_number_make_all_of_them() -> None:
    assert found(country="AU").time_zones == zones_of_country("AU")


def test_a_number_of_the_country_itself_knows_better_than_the_country() -> None:
    assert found(country="US") == calling_zone_of(MIAMI)


def test_a_number_of_a_territory_is_one_of_its_country() -> None:
    assert found(REUNION, country="FR", number_country="RE").key == "number:FR-974:Indian/Reunion"
    assert found(PARIS, country="FR", region="La Réunion", number_country="FR").key == (
        "region:FR-974:Indian/Reunion"
    )


def test_a_country_serves_a_number_that_rings_anywhere() -> None:
    assert found("+18002345678", country="GB").key == "region:GB:Europe/London"


def test_a_region_serves_a_number_of_no_country_by_the_campaigns_own() -> None:
    place = where(region="FL", number_country=None, default_time_zone="America/New_York")
    assert place.subdivision == "FL"
    assert where(region="FL", number_country=None).country is None


# Postal codes


@pytest.mark.parametrize(
    ("country", "postal_code", "part"),
    [
        ("US", "33101", "FL"),
        ("US", "33101-1234", "FL"),
        ("US", "10001", "NY"),
        ("US", "00501", "NY"),
        ("US", "99950", "AK"),
        ("US", "96913", None),
        ("US", "59221", None),
        ("US", "2108", None),
        ("US", "x", None),
        ("CA", "H2X 1Y4", "QC"),
        ("CA", "x0a 0h0", None),
        ("DE", "10115", None),
    ],
)
def test_a_postal_code_tells_its_state_where_it_surely_does(
    country: str, postal_code: str, part: str | None
) -> None:
    assert part_of_postal_code(country, postal_code) == part


def test_a_postal_code_alone_tells_nothing() -> None:
    # Of a person with a number of the US it may be Berlin's.
    assert where(postal_code="10115") == Place(country=None)


def test_a_state_and_a_postal_code_of_another_one_keep_the_clocks_of_both_and_the_law_of_neither() -> None:
    both = found(country="US", region="NY", postal_code="90210")
    assert both.time_zones == ("America/Los_Angeles", "America/New_York")
    assert both.subdivision is None


def test_a_postal_code_says_what_a_misspelt_state_does_not() -> None:
    place = where(country="US", region="Flordia", postal_code="33101")
    assert (place.subdivision, place.unknown_region) == ("FL", None)


# What serves an unknown zone

UNKNOWN = CallingZone(time_zones=(), country="US", source=ZoneSource.UNKNOWN)


def test_an_unknown_zone_stays_closed_where_the_campaign_says_nothing() -> None:
    assert served_by(UNKNOWN, default_time_zone="Europe/Rome", use_default=False) == UNKNOWN


def test_the_default_serves_an_unknown_zone_and_leaves_its_law() -> None:
    served = served_by(UNKNOWN, default_time_zone="Europe/Rome", use_default=True)
    assert served == CallingZone(time_zones=("Europe/Rome",), country="US", source=ZoneSource.DEFAULT)


def test_a_known_zone_serves_itself() -> None:
    known = calling_zone_of(MIAMI)
    assert served_by(known, default_time_zone="Europe/Rome", use_default=True) is known


def test_the_scheduler_serves_a_campaign_without_any_zone() -> None:
    served = served_by(UNKNOWN, default_time_zone=None, use_default=False, scheduler_time_zone="UTC")
    assert (served.time_zones, served.source) == (("UTC",), ZoneSource.SCHEDULER)


# Properties

MORNINGS = CallingWindow(
    weekly=(WeeklyWindow(days=frozenset(range(7)), start_minute=9 * 60, end_minute=20 * 60),)
)
INSTANTS = st.integers(0, 365 * 24 * 4).map(
    lambda quarters: datetime(2027, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * quarters)
)
NAMES = st.sampled_from(sorted(name for name in available_timezones() if "/" in name and "Etc" not in name))


@given(zones=st.sets(NAMES, min_size=1, max_size=5), more=NAMES, at=INSTANTS)
def test_a_further_candidate_never_opens_a_zone(zones: set[str], more: str, at: datetime) -> None:
    known = tuple(sorted(name for name in zones if zones_loadable(name)))
    if known and zones_loadable(more) and is_open(MORNINGS, tuple(sorted({*known, more})), at):
        assert is_open(MORNINGS, known, at)


@given(one=st.sampled_from(ALL_PARTS), at=INSTANTS)
def test_a_country_is_never_open_while_a_part_of_it_is_closed(one: Any, at: datetime) -> None:
    country, part = one
    whole = calling_zone_of("+80012345678", place=where(country=country, number_country=None))
    own = calling_zone_of("+80012345678", place=where(country=country, region=part.code, number_country=None))
    if part.country is None and own.time_zones and is_open(MORNINGS, whole.time_zones, at):
        assert is_open(MORNINGS, own.time_zones, at)


@given(
    country=st.sampled_from(["US", "CA", ""]), region=st.text(max_size=12), postal_code=st.text(max_size=8)
)
def test_whatever_is_written_the_place_is_one_of_the_country_or_refused(
    country: str, region: str, postal_code: str
) -> None:
    try:
        place = where(country=country, region=region, postal_code=postal_code)
    except WrongPlace:
        return
    if country:
        assert place.country == country
    if place.subdivision is not None:
        assert place.subdivision in parts_of(place.country or "")


@given(
    time_zones=st.lists(NAMES, max_size=4).map(tuple),
    country=st.sampled_from([None, "US", "IT"]),
    source=st.sampled_from(ZoneSource),
)
def test_a_key_without_a_subdivision_is_as_it_always_was(
    time_zones: tuple[str, ...], country: str | None, source: ZoneSource
) -> None:
    made = CallingZone(time_zones=time_zones, country=country, source=source)
    assert made.key == f"{source}:{country or '-'}:{','.join(time_zones)}"


def zones_loadable(name: str) -> bool:
    try:
        zone(name)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("country", "region", "postal_code"),
    [("", "Ontario", "90210"), ("US", "Ontario", ""), ("CA", "Florida", "")],
)
def test_what_contradicts_itself_across_a_border_is_refused(
    country: str, region: str, postal_code: str
) -> None:
    with pytest.raises(WrongPlace, match="lies in"):
        place_of(country, region, postal_code, number_country="US", default_time_zone=None)
