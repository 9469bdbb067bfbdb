"""A file of contacts comes into a campaign whole, once, and ready to be called."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings, strategies as st

from outdial.domain.campaign import CampaignStatus
from outdial.domain.errors import NotFound
from outdial.domain.zones import calling_zone_of
from outdial.operations import exclusions
from outdial.operations.adding_contacts import CampaignClosed, add_contacts
from outdial.operations.delimited_file import UnreadableFile
from outdial.operations.exclusions import Terms
from outdial.operations.import_listeners import Listeners, Progress
from outdial.operations.imports import Counts, import_file
from outdial.operations.rejections import Rejection
from outdial.storage import campaign_upkeep, campaigns
from outdial.storage.new_contacts import STAGED_FROM, NewContact, Origin
from outdial.storage.tables import buckets, imports
from tests.support.imported import bad_hints, everybody
from tests.support.world import World, number

COUNT = 3 * STAGED_FROM


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def write(file: Path, header: str, rows: Sequence[str]) -> None:
    file.write_text("\n".join([header, *rows, ""]), encoding="utf-8")


def numbers(count: int, first: int = 0) -> list[str]:
    return [number(first + index) for index in range(count)]


def test_a_row_becomes_a_contact_with_all_that_it_says(world: World, file: Path) -> None:
    campaign = world.add_campaign()
    header = "external_contact_id,phone_number,email,name,language,time_zone,priority,has_prior_consent,do_not_call,city"
    plain = [f"id-{index},{one},,,,,,,," for index, one in enumerate(numbers(COUNT))]
    write(file, header, [f'a,{number(9999)},a@b.it,"Zoë, née ""X""",it,,5,yes,,Forlì\\n\t', *plain])
    import_file(world.database, file, "survey", imported_by="ada")
    first, second, *_ = everybody(world)
    expected = {
        "campaign_id": campaign,
        "import_line": 2,
        "external_contact_id": "a",
        "identity_key": "id:a",
        "phone_number": number(9999),
        "email": "a@b.it",
        "name": 'Zoë, née "X"',
        "language": "it",
        "attributes": {"city": "Forlì\\n"},
        "consent_kind": "prior",
        "consent_source": "import",
        "priority": 5,
        "stage": 1,
        "state": "pending",
        "final_reason": None,
        "attempts_count": 0,
    }
    assert {name: first[name] for name in expected} == expected
    assert first["next_attempt_at"] == first["created_at"]
    assert first["consent_at"] <= first["created_at"]
    assert (second["consent_at"], second["email"], second["attributes"]) == (None, None, {})
    assert [row["import_line"] for row in everybody(world)] == list(range(2, COUNT + 3))


def test_importing_again_changes_nothing(world: World, file: Path) -> None:
    world.add_campaign()
    write(file, "phone_number,name,external_contact_id", [f"{one},a,{one[-1:]}" for one in numbers(5)])
    file.write_text(file.read_text() + "\n".join(f"{one},b," for one in numbers(COUNT)))
    import_file(world.database, file, "survey")
    before = everybody(world)
    again = import_file(world.database, file, "survey")
    assert again.counts == Counts(rows=COUNT + 5, already_there=COUNT + 5)
    assert everybody(world) == before


@pytest.mark.parametrize("batch_rows", [7, 4000])
def test_of_two_rows_for_one_contact_the_first_wins(world: World, file: Path, batch_rows: int) -> None:
    world.add_campaign()
    rows = [f"{number(index % 20)},name {index}" for index in range(COUNT)]
    write(file, "phone_number,name", rows)
    done = import_file(world.database, file, "survey", batch_rows=batch_rows)
    assert done.counts == Counts(rows=COUNT, pending=20, repeated=COUNT - 20)
    assert [row["name"] for row in everybody(world)] == [f"name {index}" for index in range(20)]


def test_every_pending_contact_is_found_through_its_bucket(world: World, file: Path) -> None:
    world.add_campaign()
    zones = ("", "Europe/Rome", "America/New_York", "Asia/Tokyo")
    rows = [f"{one},{zones[index % 4]},{index % 3}" for index, one in enumerate(numbers(COUNT))]
    write(file, "phone_number,time_zone,priority", rows)
    import_file(world.database, file, "survey", batch_rows=50)
    with world.database.begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(buckets)).scalar_one() == 12
    assert bad_hints(world) == 0


def test_excluded_people_come_in_as_excluded(world: World, file: Path) -> None:
    world.add_campaign()
    world.add_campaign("other")
    listed = Terms(reason="asked", source="test")
    with world.database.begin() as connection:
        exclusions.add(connection, [number(0)], listed)
        exclusions.add(connection, [number(1)], Terms(reason="asked", source="test", campaign="survey"))
        exclusions.add(connection, [number(2)], Terms(reason="asked", source="test", campaign="other"))
        exclusions.add(connection, [number(3)], listed)
        exclusions.remove(connection, number(3), by="ada", why="consented")
    write(file, "phone_number,do_not_call", [f"{one},{'x' * (one == number(4))}" for one in numbers(COUNT)])
    done = import_file(world.database, file, "survey")
    assert done.counts == Counts(rows=COUNT, pending=COUNT - 3, excluded=3)
    found = {row["phone_number"]: row for row in everybody(world) if row["state"] != "pending"}
    assert {one: (row["state"], row["final_reason"]) for one, row in found.items()} == {
        number(0): ("excluded", "exclusion_list"),
        number(1): ("excluded", "exclusion_list"),
        number(4): ("excluded", "do_not_call"),
    }
    assert all(row["next_attempt_at"] is None for row in found.values())


def test_bad_rows_are_handed_back_and_the_good_ones_come_in(world: World, file: Path) -> None:
    world.add_campaign(countries=("IT",))
    write(file, "phone_number,name", [number(1), "12,short", number(2), "+33142685300,Paris", number(1)])
    rejected: list[Rejection] = []
    heard: list[Progress] = []
    done = import_file(
        world.database, file, "survey", listeners=Listeners(rejection=rejected.append, progress=heard.append)
    )
    assert done.counts == Counts(rows=5, pending=2, repeated=1, rejected=2)
    assert [(one.line, one.column, one.value) for one in rejected] == [
        (3, "phone_number", "12"),
        (5, "phone_number", "+33142685300"),
    ]
    assert (heard[-1].bytes_read, heard[-1].total_bytes, heard[-1].rows) == (
        file.stat().st_size,
        file.stat().st_size,
        5,
    )


def test_an_import_leaves_a_record_of_itself(world: World, file: Path) -> None:
    campaign = world.add_campaign()
    write(file, "phone_number", [*numbers(3), "nonsense"])
    done = import_file(world.database, file, "survey", imported_by="ada")
    with world.database.begin() as connection:
        row = connection.execute(sa.select(imports)).mappings().one()
    assert (row["campaign_id"], row["file_name"], row["imported_by"]) == (campaign, "list.csv", "ada")
    assert row["checksum"] == hashlib.sha256(file.read_bytes()).hexdigest() == done.checksum
    assert row["counts"] == {
        "rows": 4, "pending": 3, "excluded": 0, "updated": 0, "already_there": 0, "repeated": 0, "rejected": 1
    }  # fmt: skip
    assert row["finished_at"] >= row["created_at"]
    assert {one["import_id"] for one in everybody(world)} == {done.import_id}


def test_an_interrupted_import_can_be_run_again(world: World, file: Path) -> None:
    world.add_campaign()
    write(file, "phone_number", numbers(COUNT))

    def break_off(now: Progress) -> None:
        if now.rows >= COUNT // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_file(world.database, file, "survey", listeners=Listeners(progress=break_off), batch_rows=50)
    with world.database.begin() as connection:
        row = connection.execute(sa.select(imports)).mappings().one()
    assert row["finished_at"] is None
    assert row["counts"]["pending"] == len(everybody(world)) == COUNT // 2
    done = import_file(world.database, file, "survey")
    assert done.counts == Counts(rows=COUNT, pending=COUNT // 2, already_there=COUNT // 2)
    assert bad_hints(world) == 0


@pytest.mark.parametrize("status", [CampaignStatus.COMPLETED, CampaignStatus.CANCELED])
def test_a_campaign_that_is_over_takes_nobody(world: World, file: Path, status: CampaignStatus) -> None:
    campaign = world.add_campaign(status=status)
    write(file, "phone_number", numbers(3))
    with pytest.raises(CampaignClosed, match="campaign apply"):
        import_file(world.database, file, "survey")
    with pytest.raises(CampaignClosed), world.database.begin() as connection:
        add_contacts(connection, campaign, [new(1)], origin(world))
    assert everybody(world) == []


def test_a_campaign_that_ends_during_an_import_takes_nobody_more(world: World, file: Path) -> None:
    campaign = world.add_campaign()
    write(file, "phone_number", numbers(COUNT))

    def end(_: Progress) -> None:
        world.set_status(campaign, CampaignStatus.CANCELED)

    with pytest.raises(CampaignClosed):
        import_file(world.database, file, "survey", listeners=Listeners(progress=end), batch_rows=50)
    assert len(everybody(world)) == 50


def test_a_file_or_campaign_that_is_none_leaves_no_trace(world: World, file: Path) -> None:
    world.add_campaign()
    write(file, "who", numbers(3))
    with pytest.raises(UnreadableFile):
        import_file(world.database, file, "survey")
    write(file, "phone_number", numbers(3))
    with pytest.raises(NotFound):
        import_file(world.database, file, "no-such-campaign")
    with world.database.begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(imports)).scalar_one() == 0


def test_schedulers_wake_for_a_running_campaign_only(world: World, file: Path) -> None:
    world.add_campaign()
    world.add_campaign("draft", status=CampaignStatus.DRAFT)
    woken: list[bool] = []
    world.database.on_wake(lambda: woken.append(True))
    write(file, "phone_number", numbers(100))
    import_file(world.database, file, "draft", batch_rows=50)
    assert not woken
    import_file(world.database, file, "survey", batch_rows=50)
    assert len(woken) == 2
    import_file(world.database, file, "survey")
    assert len(woken) == 2


LINES = st.lists(
    st.one_of(st.sampled_from([number(1), number(2), "yes", "", "Europe/Rome"]), st.text(max_size=12)),
    max_size=5,
).map(",".join)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.one_of(LINES, st.text(max_size=30)), max_size=10), end=st.binary(max_size=20))
def test_whatever_is_in_a_file_each_row_is_accounted_for(
    world: World, file: Path, rows: list[str], end: bytes
) -> None:
    with world.database.begin() as connection:
        known = campaigns.by_name(connection, "survey")
    if known is None:
        world.add_campaign()
    text = "\n".join(["phone_number,name,do_not_call,time_zone,city", *rows])
    file.write_bytes(text.encode(errors="replace") + b"\n" + end)
    rejected: list[Rejection] = []
    before = len(everybody(world))
    try:
        counts = import_file(
            world.database, file, "survey", listeners=Listeners(rejection=rejected.append)
        ).counts
    except UnreadableFile:
        # So many control characters that it is no text: refused as a whole.
        assert len(everybody(world)) == before
        return
    there = counts.already_there + counts.repeated
    assert counts.rows == counts.accepted + there + counts.rejected
    assert counts.rejected == len(rejected)
    assert counts.accepted == len(everybody(world)) - before


def new(index: int, **changes: Any) -> NewContact:
    one = number(index)
    return NewContact(
        import_line=None,
        external_contact_id=None,
        identity_key=f"tel:{one}",
        phone_number=one,
        person_key=None,
        email=None,
        name=None,
        language=None,
        attributes_json=json.dumps({"index": str(index)}),
        has_prior_consent=False,
        consent_kind=None,
        consent_at=None,
        consent_source=None,
        priority=0,
        call_after=None,
        call_before=None,
        do_not_call=False,
        calling_zone=calling_zone_of(one),
    )._replace(**changes)


def origin(world: World) -> Origin:
    return Origin(consent_at=world.database.clock.now(), consent_source="api")


@pytest.mark.parametrize("count", [1, STAGED_FROM - 1, STAGED_FROM, COUNT])
def test_contacts_join_the_callers_transaction(world: World, count: int) -> None:
    campaign = world.add_campaign()
    batch = [new(index) for index in range(count)]

    def break_off(connection: sa.Connection) -> None:
        add_contacts(connection, campaign, batch, origin(world))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        world.database.run(break_off)
    assert everybody(world) == []
    with world.database.begin() as connection:
        first = add_contacts(connection, campaign, batch, origin(world))
        second = add_contacts(connection, campaign, batch, origin(world))
    assert (first.pending, second.pending, second.already_there) == (count, 0, count)
    assert [row["attributes"] for row in everybody(world)] == [
        {"index": str(index)} for index in range(count)
    ]
    assert bad_hints(world) == 0


def at_once(*bodies: Callable[[], object]) -> None:
    """Run them all at once; raises what any of them raised."""
    ready = threading.Barrier(len(bodies))
    failed: list[BaseException] = []

    def run(body: Callable[[], object]) -> None:
        try:
            ready.wait()
            body()
        except BaseException as error:  # noqa: BLE001 - raised below, in the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=run, args=[body]) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_two_imports_of_one_file_at_once_bring_each_contact_once(postgres_url: str, file: Path) -> None:
    world = World(postgres_url)
    world.add_campaign()
    write(file, "phone_number", numbers(20 * COUNT))
    done: list[Counts] = []

    def bring() -> None:
        done.append(import_file(world.database, file, "survey", batch_rows=500).counts)

    at_once(bring, bring, bring)
    assert sum(counts.pending for counts in done) == 20 * COUNT == len(everybody(world))
    assert all(counts.pending + counts.already_there == 20 * COUNT for counts in done)
    assert bad_hints(world) == 0
    world.close()


def test_lists_that_overlap_in_opposite_order_both_come_in(postgres_url: str, tmp_path: Path) -> None:
    world = World(postgres_url)
    world.add_campaign()
    there, back = tmp_path / "there.csv", tmp_path / "back.csv"
    write(there, "phone_number", numbers(3000))
    write(back, "phone_number", numbers(3000)[::-1])
    at_once(
        lambda: import_file(world.database, there, "survey", batch_rows=1000),
        lambda: import_file(world.database, back, "survey", batch_rows=1000),
    )
    assert len(everybody(world)) == 3000
    world.close()


def test_a_campaign_is_not_completed_under_an_import(postgres_url: str) -> None:
    world = World(postgres_url)
    campaign = world.add_campaign()
    with world.database.begin() as importing:
        add_contacts(importing, campaign, [new(1)], origin(world))
        with world.database.begin() as finishing:
            done = campaign_upkeep.complete_empty(finishing, world.account_id, world.database.clock.now())
        assert done == []
    world.close()
