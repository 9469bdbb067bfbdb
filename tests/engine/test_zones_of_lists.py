"""Lists that say where people live: their contacts get that place's clocks and law, and are called by them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from outdial.domain.campaign import UnknownZone
from outdial.domain.contact import OnDuplicate
from outdial.domain.zones import CallingZone, ZoneSource, calling_zone_of
from outdial.operations.contact_lists import add_contact
from outdial.operations.imports import Imported, ImportOptions, import_file
from outdial.storage import calling_zones
from outdial.storage.new_contacts import STAGED_FROM
from outdial.storage.tables import call_attempts, contacts
from tests.support.imported import bad_hints, everybody
from tests.support.world import RecordingProvider, World, number

MIAMI = "+13054441234"
TOLL_FREE = "+18002345678"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def bring(
    world: World, file: Path, header: str, rows: Sequence[str], options: ImportOptions | None = None
) -> Imported:
    file.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return import_file(world.database, file, "survey", options=options or ImportOptions())


def keys(world: World) -> dict[str, str]:
    """The key of each contact's zone, by its number."""
    with world.database.begin() as connection:
        rows = connection.execute(sa.select(contacts.c.phone_number, contacts.c.calling_zone_id)).all()
        zones = calling_zones.load(connection, {row.calling_zone_id for row in rows})
    return {row.phone_number: zones[row.calling_zone_id].key for row in rows}


def test_a_place_is_kept_as_it_was_told(world: World, file: Path) -> None:
    world.add_campaign()
    # Many enough that Postgres takes them by COPY.
    plain = [f"{number(index)},,,," for index in range(STAGED_FROM)]
    done = bring(
        world,
        file,
        "phone_number,country,state,zip,time_zone",
        [
            f"{MIAMI},US,Florida,,",
            "+12125551234,us,NY,10001,",
            "+13125551234,,TX,,America/Chicago",
            "+14155551234,Germany,,,",
            *plain,
        ],
    )
    assert done.counts.pending == STAGED_FROM + 4
    found = keys(world)
    assert found[MIAMI] == "region:US-FL:America/Chicago,America/New_York"
    assert found["+12125551234"] == "region:US-NY:America/New_York"
    assert found["+13125551234"] == "contact:US-TX:America/Chicago"
    assert found["+14155551234"] == "region:DE:Europe/Berlin,Europe/Busingen"
    assert found[number(0)] == calling_zone_of(number(0)).key
    assert done.zone_sources == {
        ZoneSource.CONTACT: 1,
        ZoneSource.REGION: 3,
        ZoneSource.NUMBER: STAGED_FROM,
    }
    assert bad_hints(world) == 0


def test_a_place_is_an_attribute_all_the_same(world: World, file: Path) -> None:
    world.add_campaign()
    bring(world, file, "phone_number,country,State", [f"{MIAMI},US,Florida"])
    (contact,) = everybody(world)
    assert contact["attributes"] == {"country": "US", "State": "Florida"}


def test_a_country_that_is_none_rejects_its_row(world: World, file: Path) -> None:
    world.add_campaign()
    done = bring(world, file, "phone_number,country", [f"{MIAMI},XX", "+12125551234,US"])
    assert (done.counts.rejected, done.counts.pending) == (1, 1)


def test_an_unknown_region_is_told_and_leaves_the_numbers_zones(world: World, file: Path) -> None:
    world.add_campaign()
    done = bring(world, file, "phone_number,state", [f"{MIAMI},pending"])
    assert keys(world)[MIAMI] == calling_zone_of(MIAMI).key
    assert any("'pending'" in note for note in done.notes)


def test_those_whom_nobody_can_call_are_told(world: World, file: Path) -> None:
    world.add_campaign(default_time_zone="America/New_York")
    done = bring(world, file, "phone_number", [TOLL_FREE])
    assert done.zone_sources == {ZoneSource.UNKNOWN: 1}
    assert any("unknown_zone" in note for note in done.notes)


def test_the_campaigns_default_calls_them_where_it_is_said(world: World, file: Path) -> None:
    world.add_campaign(default_time_zone="America/New_York", unknown_zone=UnknownZone.USE_DEFAULT)
    bring(world, file, "phone_number", [TOLL_FREE])
    result = world.run_pass(RecordingProvider())
    assert [one.phone_number for one in world.attempts()] == [TOLL_FREE]
    assert len(result.scheduled) == 1
    with world.database.begin() as connection:
        permit = connection.execute(sa.select(call_attempts.c.permit)).scalar_one()
    assert permit["zone_source"] == "default"
    assert permit["calling_zone"] == ["America/New_York"]


def test_local_times_of_an_unknown_zone_are_those_of_the_default_that_serves_it(
    world: World, file: Path
) -> None:
    world.add_campaign(default_time_zone="America/New_York", unknown_zone=UnknownZone.USE_DEFAULT)
    bring(world, file, "phone_number,call_after", [f"{TOLL_FREE},2027-03-01T09:00"])
    (contact,) = everybody(world)
    assert contact["call_after"].isoformat() == "2027-03-01T14:00:00+00:00"


def test_an_update_moves_a_contact_to_the_place_it_names(world: World, file: Path) -> None:
    world.add_campaign()
    bring(world, file, "phone_number", [MIAMI])
    update = ImportOptions(on_duplicate=OnDuplicate.UPDATE)
    done = bring(world, file, "phone_number,country,region", [f"{MIAMI},US,FL"], update)
    assert done.counts.updated == 1
    assert keys(world)[MIAMI] == "region:US-FL:America/Chicago,America/New_York"
    # What a list leaves empty stays as it was.
    assert bring(world, file, "phone_number,name", [f"{MIAMI},Ada"], update).counts.updated == 1
    assert keys(world)[MIAMI] == "region:US-FL:America/Chicago,America/New_York"
    assert bad_hints(world) == 0


def test_one_contact_may_say_where_it_lives(world: World) -> None:
    world.add_campaign()
    columns = {"phone_number": MIAMI, "country": "US", "region": "FL"}
    world.database.run(add_contact, "survey", columns, {}, source="by ada")
    assert keys(world)[MIAMI] == "region:US-FL:America/Chicago,America/New_York"
    assert everybody(world)[0]["attributes"] == {"country": "US", "region": "FL"}


def test_a_number_of_a_country_that_the_account_may_not_call_waits_wherever_its_owner_lives(
    world: World,
) -> None:
    campaign = world.add_campaign()
    world.set_account(blocked_countries={"US": "no permission"})
    rome = CallingZone(time_zones=("Europe/Rome",), country="IT", source=ZoneSource.REGION)
    world.add_contacts(campaign, [MIAMI, number(1)], zone=rome)
    provider = RecordingProvider()
    result = world.run_pass(provider)
    assert [one.phone_number for one in world.attempts()] == [number(1)]
    assert result.skipped == {"destination_blocked": 1}


def test_a_zone_comes_back_as_it_was_kept(world: World) -> None:
    kept = CallingZone(
        time_zones=("America/New_York",), country="US", subdivision="NY", source=ZoneSource.REGION
    )
    plain = CallingZone(time_zones=("America/New_York",), country="US", source=ZoneSource.REGION)
    with world.database.begin() as connection:
        ids = calling_zones.ensure(connection, [kept, plain])
        assert set(calling_zones.load(connection, ids.values()).values()) == {kept, plain}
