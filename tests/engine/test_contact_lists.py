"""Lists that come in again, that must be taken back, or that are only tried; and one contact at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings, strategies as st

from outdial.domain.campaign import CampaignDefinition, Purpose, WhenEmpty
from outdial.domain.contact import ContactState, OnDuplicate, UniqueBy
from outdial.domain.errors import NotFound, UserError
from outdial.operations import exclusions
from outdial.operations.campaigns import NotPossible, apply_campaign
from outdial.operations.contact_columns import parse_mapping
from outdial.operations.contact_lists import add_contact, list_contacts, list_imports
from outdial.operations.delimited_file import UnreadableFile
from outdial.operations.exclusions import Terms
from outdial.operations.import_listeners import Listeners, Progress
from outdial.operations.imports import Counts, Imported, ImportOptions, ImportStopped, import_file
from outdial.operations.withdrawals import Withdrawn, withdraw_contact, withdraw_import
from outdial.storage.tables import buckets, contacts, imports
from tests.support.imported import bad_hints, everybody
from tests.support.world import RecordingProvider, World, number


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def bring(
    world: World, file: Path, rows: Sequence[str], *, batch_rows: int = 4000, **options: Any
) -> Imported:
    file.write_text("\n".join([*rows, ""]))
    return import_file(
        world.database, file, "survey", options=ImportOptions(**options), batch_rows=batch_rows
    )


def everything(world: World) -> list[Any]:
    with world.database.begin() as connection:
        return [connection.execute(sa.select(table)).all() for table in (contacts, imports, buckets)]


# Real files


def test_a_list_of_national_numbers_comes_in_by_region_and_mapping(world: World, file: Path) -> None:
    world.add_campaign(countries=("IT",))
    rows = [
        "Nome;Cellulare",
        "Ada;347 0000001",
        "Bob;3,93E+11",
        "Eva;112",
        "Pia;899123456",
        "Zoe;+33142685300",
    ]
    done = bring(
        world, file, rows, region="it", columns=parse_mapping(["phone_number=Cellulare", "name=nome"])
    )
    assert done.counts == Counts(rows=5, pending=1, rejected=4)
    assert [(one["name"], one["phone_number"]) for one in everybody(world)] == [("Ada", number(1))]
    assert done.notes == (
        "The column 'Cellulare' was read as phone_number.",
        "The column 'Nome' was read as name.",
    )


def test_a_windows_list_comes_in_and_says_so(world: World, file: Path) -> None:
    world.add_campaign()
    file.write_bytes(f"phone,name\n{number(1)},Niccolò\n".encode("cp1252"))
    done = import_file(world.database, file, "survey")
    assert "Windows-1252" in done.notes[-1]
    assert everybody(world)[0]["name"] == "Niccolò"


def test_a_region_that_is_none_is_a_sentence(world: World, file: Path) -> None:
    world.add_campaign()
    with pytest.raises(UserError, match="'XX' is no country"):
        bring(world, file, ["phone", number(1)], region="XX")


@pytest.mark.parametrize("on_duplicate", [OnDuplicate.SKIP, OnDuplicate.UPDATE])
def test_a_dry_run_says_what_an_import_does_and_writes_nothing(
    world: World, file: Path, on_duplicate: OnDuplicate
) -> None:
    world.add_campaign()
    bring(world, file, ["phone,name", f"{number(1)},Ada", f"{number(2)},Bob"])
    with world.database.begin() as connection:
        exclusions.add(connection, [number(3)], Terms(reason="asked", source="test"))
    rows = ["phone,name,dnc,tz", f"{number(1)},Ada,,", f"{number(2)},Robert,,", "12,,,"]
    rows += [f"{number(index)},,,Asia/Tokyo" for index in (3, 4, 5, 4)] + [
        f"{number(6)},,x,",
        f"{number(2)},Bo,,",
    ]
    before = everything(world)
    tried = bring(world, file, rows, on_duplicate=on_duplicate, dry_run=True, batch_rows=2)
    assert everything(world) == before
    assert tried.import_id is None
    done = bring(world, file, rows, on_duplicate=on_duplicate, batch_rows=2)
    assert done.counts == tried.counts
    is_update = on_duplicate is OnDuplicate.UPDATE
    assert done.counts == Counts(
        rows=9, pending=2, excluded=2, updated=is_update, already_there=3 - 2 * is_update, repeated=1 + is_update, rejected=1
    )  # fmt: skip


def test_a_file_that_changes_while_it_is_read_is_not_trusted(world: World, file: Path) -> None:
    world.add_campaign()
    file.write_text("\n".join(["phone", *(number(index) for index in range(50))]))

    def change(_: Progress) -> None:
        with file.open("a") as more:
            more.write(f"\n{number(99)}")

    with pytest.raises(ImportStopped, match=r"was changed while.*withdraw --import"):
        import_file(world.database, file, "survey", listeners=Listeners(progress=change), batch_rows=50)
    [record] = world.database.run(list_imports)
    assert (record["state"], record["checksum"]) == ("stopped", None)
    assert "was changed" in record["problem"]
    assert {one["import_id"] for one in everybody(world)} == {record["id"]}
    again = import_file(world.database, file, "survey")
    assert again.counts.rows == again.counts.already_there + again.counts.pending


# Duplicates


def test_an_update_changes_what_the_list_says_and_nothing_else(world: World, file: Path) -> None:
    world.add_campaign()
    header = "id,phone,name,email,lang,priority,tz,city,team,call_before"
    bring(
        world,
        file,
        [header, f"a,{number(1)},Ada,a@x.it,it,5,,Rome,red,2099-01-01", f"b,{number(2)},Bob,,,,,,,"],
    )
    before = everybody(world)
    done = bring(
        world, file,
        [header, f"a,{number(7)},,,fr,,Asia/Tokyo,Milan,,", f"b,{number(2)},Bob,,,,,,,"],
        on_duplicate=OnDuplicate.UPDATE,
    )  # fmt: skip
    assert done.counts == Counts(rows=2, updated=1, already_there=1)
    (ada, bob), (old, _) = everybody(world), before
    assert bob == before[1]
    changed = {name for name in ada if ada[name] != old[name]}
    assert changed == {"phone_number", "language", "attributes", "calling_zone_id"}
    assert (ada["phone_number"], ada["attributes"]) == (number(7), {"city": "Milan", "team": "red"})
    assert bad_hints(world) == 0


def test_an_update_leaves_attempts_and_whoever_is_final_alone(world: World, file: Path) -> None:
    world.add_campaign()
    bring(world, file, ["id,phone,name", *(f"{index},{number(index)},old" for index in range(4))])
    at = datetime.now(UTC)
    states = {
        "0": {
            "state": "completed",
            "final_reason": "completed",
            "next_attempt_at": None,
            "attempts_count": 1,
        },
        "1": {"state": "in_progress", "next_attempt_at": None, "attempts_count": 1},
        "2": {
            "state": "pending",
            "stage": 2,
            "attempts_count": 2,
            "next_attempt_at": at + timedelta(hours=1),
        },
    }
    with world.database.begin() as connection:
        for external_id, values in states.items():
            of_id = contacts.c.external_contact_id == external_id
            connection.execute(sa.update(contacts).where(of_id).values(**values))
    before = {one["external_contact_id"]: one for one in everybody(world)}
    later = (at + timedelta(minutes=5)).isoformat()
    rows = ["id,phone,name,call_after", *(f"{index},{number(90 + index)},new,{later}" for index in range(4))]
    done = bring(world, file, rows, on_duplicate=OnDuplicate.UPDATE)
    assert done.counts == Counts(rows=4, updated=3, already_there=1)
    after = {one["external_contact_id"]: one for one in everybody(world)}
    assert after["0"] == before["0"]
    for external_id in ("1", "2", "3"):
        assert after[external_id]["name"] == "new"
        for kept in ("state", "attempts_count", "stage", "import_id", "final_reason"):
            assert after[external_id][kept] == before[external_id][kept]
    assert after["1"]["phone_number"] == number(1), "a call under way keeps its number"
    assert after["2"]["phone_number"] == number(92)
    assert after["2"]["next_attempt_at"] == before["2"]["next_attempt_at"]
    assert after["3"]["next_attempt_at"] == after["3"]["call_after"]
    assert bad_hints(world) == 0


def test_a_list_that_now_says_do_not_call_is_obeyed(world: World, file: Path) -> None:
    world.add_campaign()
    bring(world, file, ["phone", number(1)])
    bring(world, file, ["phone,dnc", f"{number(1)},x"], on_duplicate=OnDuplicate.UPDATE)
    [one] = everybody(world)
    assert (one["state"], one["final_reason"], one["next_attempt_at"]) == ("excluded", "do_not_call", None)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_duplicate_as_an_error_stops_with_its_line_and_nothing_of_its_batch(
    world: World, file: Path, dry_run: bool
) -> None:
    world.add_campaign()
    bring(world, file, ["phone", number(13)])
    rows = ["phone", *(number(index) for index in range(20))]
    with pytest.raises(
        ImportStopped, match="line 15: the campaign has a contact with the phone_number"
    ) as caught:
        bring(world, file, rows, on_duplicate=OnDuplicate.ERROR, batch_rows=10, dry_run=dry_run)
    assert caught.value.counts == Counts(rows=10, pending=10)
    assert len(everybody(world)) == (1 if dry_run else 11)
    twice = ["phone", number(50), number(51), number(50)]
    with pytest.raises(ImportStopped, match="line 4"):
        bring(world, file, twice, on_duplicate=OnDuplicate.ERROR, dry_run=dry_run)
    assert bring(world, file, twice[:3], on_duplicate=OnDuplicate.ERROR, dry_run=dry_run).counts.pending == 2


def test_what_makes_a_contact_unique_is_the_campaigns_choice(world: World, file: Path) -> None:
    world.add_campaign(unique_by=UniqueBy.PHONE_NUMBER)
    done = bring(world, file, ["id,phone", f"a,{number(1)}", f"b,{number(1)}", f"a,{number(2)}"])
    assert done.counts == Counts(rows=3, pending=2, repeated=1)


def test_what_makes_a_contact_unique_cannot_change_under_contacts(world: World, file: Path) -> None:
    def apply(unique_by: UniqueBy | None) -> object:
        definition = CampaignDefinition(
            name="survey",
            purpose=Purpose.SURVEY,
            account="main",
            default_time_zone="Europe/Rome",
            unique_by=unique_by,
        )
        return world.database.run(apply_campaign, definition)

    apply(None)
    apply(UniqueBy.PHONE_NUMBER)
    bring(world, file, ["phone", number(1)])
    apply(UniqueBy.PHONE_NUMBER)
    with pytest.raises(NotPossible, match="unique_by cannot be changed"):
        apply(None)


# Time per contact


def test_a_contact_is_first_due_at_its_own_time(world: World, file: Path) -> None:
    world.add_campaign()
    rows = [f"{number(1)},2099-01-01T09:00,", f"{number(2)},2020-01-01,", f"{number(3)},,2020-01-01"]
    done = bring(world, file, ["phone,call_after,call_before", *rows])
    assert done.counts == Counts(rows=3, pending=2, rejected=1)
    later, now = everybody(world)
    assert later["next_attempt_at"] == later["call_after"] == datetime(2099, 1, 1, 8, tzinfo=UTC)
    assert now["next_attempt_at"] == now["created_at"]
    provider = RecordingProvider()
    world.run_pass(provider)
    assert [request.to for request in provider.requests] == [number(2)]


# Taking back


def test_a_wrong_list_is_taken_back_and_only_that(world: World, file: Path) -> None:
    world.add_campaign()
    bring(world, file, ["phone", number(1), number(2)])
    wrong = bring(world, file, ["phone", *(number(index) for index in range(2, 30))])
    bring(world, file, ["phone", number(40)])
    ids = {one["phone_number"]: one["id"] for one in everybody(world)}
    with world.database.begin() as connection:
        for index, values in {
            3: {"state": "in_progress", "next_attempt_at": None},
            4: {"state": "completed", "next_attempt_at": None, "final_reason": "completed"},
            5: {"attempts_count": 1},
        }.items():
            connection.execute(
                sa.update(contacts).where(contacts.c.id == ids[number(index)]).values(**values)
            )
    assert wrong.import_id is not None
    done = withdraw_import(world.database, wrong.import_id, by="ada", reason="last year's list")
    assert done == Withdrawn(waiting=25, in_progress=1, final=1)
    found = {one["phone_number"]: one for one in everybody(world)}
    kept = {one for one, row in found.items() if row["state"] == "pending"}
    assert kept == {number(1), number(2), number(40)}
    assert found[number(3)]["state"] == "withdrawn"
    assert found[number(9)]["final_reason"] == "last year's list"
    assert found[number(4)]["state"] == "completed"
    [_, record, _] = world.database.run(list_imports)
    assert (record["state"], record["withdrawn_by"]) == ("withdrawn", "ada")
    again = withdraw_import(world.database, wrong.import_id, by="bob", reason="again")
    assert again == Withdrawn(final=27)
    # Who was never called can come with the right list; who was called is known.
    right = bring(world, file, ["phone", *(number(index) for index in (3, 4, 5, 6))])
    assert right.counts == Counts(rows=4, pending=1, already_there=3)


def test_a_call_about_to_leave_is_refused_and_nobody_is_called_again(world: World, file: Path) -> None:
    world.add_campaign()
    done = bring(world, file, ["phone", number(1)])
    assert done.import_id is not None
    provider = RecordingProvider()
    world.run_pass(provider)
    assert len(provider.requests) == 1
    withdrawn = withdraw_import(world.database, done.import_id, by="ada", reason="wrong")
    assert withdrawn == Withdrawn(in_progress=1)
    world.make_due()
    world.run_pass(provider)
    assert len(provider.requests) == 1
    assert world.contacts_in(ContactState.WITHDRAWN) == 1


def test_an_import_that_is_taken_back_while_it_runs_brings_nobody_more(world: World, file: Path) -> None:
    world.add_campaign()
    file.write_text("\n".join(["phone", *(number(index) for index in range(100))]))

    def take_back(_: Progress) -> None:
        [record] = world.database.run(list_imports)
        withdraw_import(world.database, record["id"], by="ada", reason="wrong")

    with pytest.raises(UserError, match="taken back while it ran"):
        import_file(world.database, file, "survey", listeners=Listeners(progress=take_back), batch_rows=10)
    assert world.contacts_in(ContactState.PENDING) == 0
    assert world.contacts_in(ContactState.WITHDRAWN) == 10


def test_one_person_is_taken_out_for_good(world: World, file: Path) -> None:
    world.add_campaign()
    bring(world, file, ["id,phone", f"a,{number(1)}", f"b,{number(1)}", f"c,{number(3)}"])
    by_number = world.database.run(withdraw_contact, "survey", "347 0000001", reason="asked", region="IT")
    assert by_number == Withdrawn(waiting=2)
    assert world.database.run(withdraw_contact, "survey", "c", reason="asked") == Withdrawn(waiting=1)
    assert world.database.run(withdraw_contact, "survey", "c", reason="asked") == Withdrawn(final=1)
    assert bring(world, file, ["id,phone", f"c,{number(3)}"]).counts.already_there == 1
    for nobody in ("d", number(9)):
        with pytest.raises(NotFound):
            world.database.run(withdraw_contact, "survey", nobody, reason="asked")


# One at a time


def test_one_contact_is_added_and_called_at_the_next_pass(world: World) -> None:
    world.add_campaign(when_empty=WhenEmpty.WAIT)
    woken: list[bool] = []
    world.database.on_wake(lambda: woken.append(True))
    columns = {"phone_number": "347 0000001", "name": "Ada", "external_contact_id": "7"}
    added = world.database.run(add_contact, "survey", columns, {"city": "Rome"}, source="test", region="IT")
    assert (added.pending, woken) == (1, [True])
    provider = RecordingProvider()
    world.run_pass(provider)
    [request] = provider.requests
    assert (request.to, request.metadata["city"]) == (number(1), "Rome")
    [shown] = world.database.run(list_contacts, "survey", state=ContactState.IN_PROGRESS)
    assert (shown["name"], shown["external_contact_id"], shown["import_line"]) == ("Ada", "7", None)
    assert world.database.run(list_contacts, "survey", state=ContactState.PENDING) == []
    with pytest.raises(UserError, match="phone_number '12'"):
        world.database.run(add_contact, "survey", {"phone_number": "12"}, {}, source="test")


def test_contacts_are_listed_by_import(world: World, file: Path) -> None:
    world.add_campaign()
    first = bring(world, file, ["phone", number(1), number(2)])
    bring(world, file, ["phone", number(3)])
    shown = world.database.run(list_contacts, "survey", import_id=first.import_id)
    assert [one["phone_number"] for one in shown] == [number(1), number(2)]
    assert world.database.run(list_contacts, "survey", import_id=99) == []


# Whatever is in a file

HEADERS = [
    "phone_number",
    "phone",
    "Mobile",
    "id",
    "name",
    "dnc",
    "tz",
    "call_after",
    "call_before",
    "priority",
    "città",
    "",
]
VALUES = st.one_of(
    st.sampled_from(
        [number(1), number(2), "347 0000003", "0039 347 0000004", "3.93E+11", "112", "899123456", "", "yes", "x", "Europe/Rome",
         "2027-03-01T09:00", "2099-01-01", "2020-01-01T00:00Z", "5", "Niccolò", '"', '"a', "a\nb", "\0", "\udc81"]
    ),
    st.text(max_size=10),
)  # fmt: skip
TEXTS = st.builds(
    lambda header, rows, delimiter, end, mark, quoted: (
        mark * ("sep=" + delimiter + end) + end.join(_line(row, delimiter, quoted) for row in [header, *rows])
    ),
    st.lists(st.sampled_from(HEADERS), min_size=1, max_size=5),
    st.lists(st.lists(VALUES, max_size=6), max_size=6),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.booleans(),
)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1"]
FILES = st.one_of(
    st.builds(
        lambda text, encoding, end: text.encode(encoding, "replace") + end,
        TEXTS,
        st.sampled_from(ENCODINGS),
        st.binary(max_size=3),
    ),
    st.builds(
        lambda parts: b"".join(text.encode(encoding, "replace") for text, encoding in parts),
        st.lists(st.tuples(TEXTS, st.sampled_from(ENCODINGS)), max_size=3),
    ),
    st.binary(max_size=80).map(lambda rest: b"phone_number,name\n" + rest),
    st.binary(max_size=80),
)


def _line(row: Sequence[str], delimiter: str, quoted: bool) -> str:
    if not quoted:
        return delimiter.join(row)
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="", quoting=csv.QUOTE_ALL).writerow(row)
    return text.getvalue()


FUZZED = {"sqlite": 700, "postgres": 500}


def test_whatever_is_in_a_file_every_row_is_accounted_for(world: World, file: Path) -> None:
    world.add_campaign()
    told = count()

    @settings(
        max_examples=FUZZED["sqlite" if world.url.startswith("sqlite") else "postgres"],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(data=FILES, on_duplicate=st.sampled_from(OnDuplicate), region=st.sampled_from([None, "IT"]))
    def bring_it(data: bytes, on_duplicate: OnDuplicate, region: str | None) -> None:
        file.write_bytes(data)
        options = {"on_duplicate": on_duplicate, "region": region}
        before = len(everybody(world))
        rejected: list[object] = []
        try:
            tried = import_file(
                world.database, file, "survey", options=ImportOptions(**options, dry_run=True)
            )
            done = import_file(
                world.database,
                file,
                "survey",
                options=ImportOptions(**options),
                listeners=Listeners(rejection=rejected.append),
                batch_rows=3,
            )
        except UserError as error:
            refused = (UnreadableFile, ImportStopped) if on_duplicate is OnDuplicate.ERROR else UnreadableFile
            if not isinstance(error, refused):
                raise
            return
        counts = done.counts
        assert tried.counts == counts
        assert counts.rows == (
            counts.accepted + counts.updated + counts.already_there + counts.repeated + counts.rejected
        )
        assert counts.rejected == len(rejected)
        assert len(everybody(world)) == before + counts.accepted
        next(told)

    bring_it()
    assert next(told) > 50, "the files are all refused"
    assert bad_hints(world) == 0


def test_an_update_brings_a_person_and_a_consent_and_weakens_none(world: World, file: Path) -> None:
    world.add_campaign()
    header = "phone,person,has_prior_consent,consent_kind,consent_at,consent_source"
    bring(
        world,
        file,
        [
            header,
            f"{number(1)},,,written,2026-01-31T00:00Z,form 7",
            f"{number(2)},,,,,",
            f"{number(3)},,yes,,,",
        ],
    )
    before = everybody(world)
    again = [f"{number(1)},ada,yes,,,", f"{number(2)},,x,,,", f"{number(3)},,yes,,,"]
    done = bring(world, file, [header, *again], on_duplicate=OnDuplicate.UPDATE)
    assert done.counts == Counts(rows=3, updated=2, already_there=1)
    ada, bob, eva = everybody(world)
    assert (ada["person_key"], ada["consent_kind"], ada["consent_source"]) == ("ada", "written", "form 7")
    assert ada["consent_at"] == datetime(2026, 1, 31, tzinfo=UTC)
    assert (bob["consent_kind"], bob["consent_source"]) == ("prior", "import")
    assert eva == before[2]
    # A kind that is named is what holds now, be it less.
    named = [header, f"{number(1)},,,express,,"]
    assert bring(world, file, named, on_duplicate=OnDuplicate.UPDATE).counts.updated == 1
    (ada, *_) = everybody(world)
    assert (ada["person_key"], ada["consent_kind"], ada["consent_source"]) == ("ada", "express", "import")
    assert bring(world, file, named, on_duplicate=OnDuplicate.UPDATE).counts.already_there == 1
