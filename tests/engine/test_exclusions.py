"""Who is on the exclusion list waits in no queue, and the list forgets nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings, strategies as st

from outdial.clock import SystemClock
from outdial.domain.attempt import EventKind
from outdial.domain.contact import ContactState
from outdial.domain.errors import NotFound, UserError
from outdial.domain.exclusions import EVERYWHERE
from outdial.domain.fences import Fence
from outdial.domain.ids import CallId
from outdial.domain.phone_numbers import InvalidPhoneNumber
from outdial.domain.settle import Ending
from outdial.engine.claim import ClaimSettings, claim
from outdial.operations import exclusions
from outdial.operations.delimited_file import UnreadableFile
from outdial.operations.exclusion_imports import Counts, Imported, Options, import_file
from outdial.operations.exclusions import Excluded, Terms
from outdial.operations.import_listeners import Listeners
from outdial.operations.imports import ImportOptions, import_file as import_contacts
from outdial.operations.rejections import Rejection
from outdial.storage import (
    attempts,
    campaigns as campaigns_storage,
    excluded_contacts,
    exclusions as exclusion_entries,
    workers,
)
from outdial.storage.database import database_now
from outdial.storage.excluded_contacts import Whom
from outdial.storage.exclusions import NUMBER, PERSON
from outdial.storage.tables import campaigns, contacts, exclusion_list_entries
from tests.support.world import RecordingProvider, World, event, number

TERMS = Terms(reason="asked", source="test")


def states(world: World) -> dict[tuple[int, str], str]:
    query = sa.select(contacts.c.campaign_id, contacts.c.phone_number, contacts.c.state)
    with world.database.begin() as connection:
        return {(row.campaign_id, row.phone_number): row.state for row in connection.execute(query)}


def test_a_number_is_normalized_and_excluded(world: World) -> None:
    with world.database.begin() as connection:
        assert exclusions.add(connection, ["+39 347 000-0001"], TERMS) == Excluded(entries=1, contacts=0)
        assert exclusions.check(connection, "+39 347 0000001").in_force
        assert not exclusions.check(connection, number(2)).in_force


def test_excluding_again_changes_nothing(world: World) -> None:
    with world.database.begin() as connection:
        exclusions.add(connection, [number(1)], TERMS)
        assert exclusions.add(connection, [number(1), number(1)], TERMS) == Excluded(entries=0, contacts=0)
        assert len(exclusions.check(connection, number(1)).entries) == 1


def test_pending_contacts_leave_the_queue_in_the_same_transaction(world: World) -> None:
    one, two = world.add_campaign("one"), world.add_campaign("two")
    for campaign in (one, two):
        world.add_contacts(campaign, [number(1), number(2)])
    called = world.add_contacts(one, [number(3)], state=ContactState.COMPLETED, next_attempt_at=None)
    assert called
    with world.database.begin() as connection:
        done = exclusions.add(connection, [number(1), number(3)], TERMS)
    assert done == Excluded(entries=2, contacts=2)
    assert states(world) == {
        (one, number(1)): "excluded",
        (two, number(1)): "excluded",
        (one, number(2)): "pending",
        (two, number(2)): "pending",
        (one, number(3)): "completed",
    }
    with world.database.begin() as connection:
        query = sa.select(contacts.c.final_reason, contacts.c.next_attempt_at).where(
            contacts.c.state == "excluded"
        )
        assert connection.execute(query).all() == [("exclusion_list", None)] * 2


def test_an_exclusion_for_one_campaign_leaves_the_others(world: World) -> None:
    one, two = world.add_campaign("one"), world.add_campaign("two")
    for campaign in (one, two):
        world.add_contacts(campaign, [number(1)])
    with world.database.begin() as connection:
        exclusions.add(connection, [number(1)], Terms(reason="asked", source="test", campaign="one"))
        assert [entry["campaign"] for entry in exclusions.check(connection, number(1)).in_force] == ["one"]
    assert states(world) == {(one, number(1)): "excluded", (two, number(1)): "pending"}


def test_a_removed_entry_stays_as_evidence(world: World) -> None:
    with world.database.begin() as connection:
        exclusions.add(connection, [number(1)], TERMS)
        standing = exclusions.remove(connection, number(1), by="ada", why="consented")
        again = exclusions.remove(connection, number(1), by="ada", why="consented")
    assert not standing.in_force
    assert [(entry["removed_by"], entry["removed_why"]) for entry in again.entries] == [("ada", "consented")]


def test_an_exclusion_ends_when_it_was_said_to(world: World) -> None:
    now = world.database.clock.now()
    for end in (now + timedelta(seconds=2), now + timedelta(days=1)):
        with world.database.begin() as connection:
            terms = Terms(reason="asked", source="test", expires_at=end)
            exclusions.add(connection, [number(1)], terms)
    with world.database.begin() as connection:
        standing = exclusions.check(connection, number(1))
        assert [entry["expires_at"] for entry in standing.in_force] == [now + timedelta(days=1)]
        connection.execute(sa.update(exclusion_list_entries).values(expires_at=now - timedelta(seconds=1)))
        assert not exclusions.check(connection, number(1)).in_force


def test_what_makes_no_sense_is_refused(world: World) -> None:
    yesterday = world.database.clock.now() - timedelta(days=1)
    with world.database.begin() as connection:
        with pytest.raises(InvalidPhoneNumber):
            exclusions.add(connection, [number(1), "12"], TERMS)
        with pytest.raises(NotFound):
            exclusions.add(connection, [number(1)], Terms(reason="asked", source="test", campaign="none"))
        with pytest.raises(UserError, match="later end"):
            exclusions.add(
                connection, [number(1)], Terms(reason="asked", source="test", expires_at=yesterday)
            )
        assert not exclusions.check(connection, number(1)).entries


@pytest.mark.parametrize(
    "text",
    [
        "{numbers}",
        "phone_number\n{numbers}",
        "\ufeffPhone_Number;since\n{numbers}",
    ],
)
def test_a_file_is_a_table_or_one_number_a_line(world: World, tmp_path: Path, text: str) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(0), number(500)])
    file = tmp_path / "register.txt"
    listed = [number(index) for index in range(300)]
    file.write_text(text.format(numbers="\r\n".join([*listed, "nonsense", listed[0]])), encoding="utf-8")
    rejected: list[Rejection] = []
    done = import_file(
        world.database, file, TERMS, listeners=Listeners(rejection=rejected.append), batch_rows=100
    )
    assert done.counts == Counts(rows=302, added=300, already_there=1, rejected=1, contacts=1)
    assert [one.value for one in rejected] == ["nonsense"]
    assert states(world) == {(campaign, number(0)): "excluded", (campaign, number(500)): "pending"}
    again = import_file(world.database, file, TERMS)
    assert again.counts == Counts(rows=302, already_there=301, rejected=1)


def test_a_table_without_a_column_of_numbers_is_refused(world: World, tmp_path: Path) -> None:
    file = tmp_path / "register.csv"
    file.write_text(f"name,registered\nAda,{number(1)}\n")
    with pytest.raises(UnreadableFile, match="phone_number"):
        import_file(world.database, file, TERMS)


# Persons and scopes


def entries(world: World) -> list[dict[str, Any]]:
    with world.database.begin() as connection:
        query = sa.select(exclusion_list_entries).order_by(exclusion_list_entries.c.id)
        return [dict(row) for row in connection.execute(query).mappings()]


def exclude(world: World, *numbers: str, persons: Sequence[str] = (), **terms: Any) -> Excluded:
    given = Terms(**{"reason": "asked", "source": "test", **terms})
    return world.database.run(lambda c: exclusions.add(c, numbers, given, person_keys=persons))


def calls_of(world: World) -> set[str]:
    """Whom a pass calls."""
    provider = RecordingProvider()
    world.run_pass(provider)
    return {request.to for request in provider.requests}


def test_one_opt_out_stops_calls_to_every_number_of_the_person(world: World) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1)], person_key="ada")
    (call,) = world.run_pass(RecordingProvider()).scheduled
    other = world.add_campaign("other")
    world.add_contacts(campaign, [number(2)], person_key="ada")
    world.add_contacts(other, [number(3)], person_key="ada")
    world.add_contacts(other, [number(4)], person_key="bob")
    world.add_contacts(other, [number(5)])
    world.hear(event(EventKind.ENDED, call.call_id, ending=Ending.ANSWERED, result="refused", opt_out=True))
    assert calls_of(world) == {number(4), number(5)}
    states_now = states(world)
    assert (states_now[campaign, number(2)], states_now[other, number(3)]) == ("excluded", "excluded")
    told = {(one["phone_number"], one["person_key"], one["reason"], one["source"]) for one in entries(world)}
    source = f"call {call.call_id}"
    assert told == {(number(1), None, "opted_out", source), (None, "ada", "opted_out", source)}


def test_an_excluded_person_leaves_the_queue_with_all_numbers(world: World) -> None:
    one, two = world.add_campaign("one"), world.add_campaign("two")
    world.add_contacts(one, [number(1), number(2)], person_key="ada")
    world.add_contacts(two, [number(1)])
    world.add_contacts(two, [number(3)], person_key="ada")
    done = exclude(world, number(1), persons=["ada"])
    # Number 1 is both the number and a number of the person.
    assert done == Excluded(entries=2, contacts=4)
    assert set(states(world).values()) == {"excluded"}
    assert exclude(world, number(1), persons=["ada"]) == Excluded(entries=0, contacts=0)


def test_a_person_excluded_between_the_claim_and_the_post_is_not_called(world: World) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1)], person_key="ada")
    world.add_contacts(campaign, [number(2)], person_key="bob")
    worker = world.database.run(lambda c: workers.start(c, "test", database_now(c)))
    claiming = ClaimSettings(
        batch_size=25, scheduler_time_zone="UTC", new_call_id=lambda: CallId(str(uuid4()))
    )
    claimed = world.database.run(
        claim, world.account_id, worker, "claim", claiming, world.known, SystemClock()
    )
    assert len(claimed.calls) == 2
    exclude(world, persons=["ada"])
    ids = {call.attempt_id: call.call_id for call in claimed.calls}
    numbers = {call.attempt_id: call.contact.phone_number for call in claimed.calls}
    for already_sent in (False, True):
        may = world.database.run(attempts.last_check, ids, worker, Fence(), already_sent=already_sent)
        assert {numbers[one] for one in may} == {number(2)}


def test_a_contact_of_an_excluded_person_comes_in_as_excluded(world: World, tmp_path: Path) -> None:
    campaign = world.add_campaign()
    exclude(world, persons=["ada"])
    file = tmp_path / "list.csv"
    rows = [f"{number(index)},{'ada' if index == 7 else ''}" for index in range(150)]
    file.write_text("\n".join(["phone_number,person", *rows]))
    tried = import_contacts(world.database, file, "survey", options=ImportOptions(dry_run=True))
    done = import_contacts(world.database, file, "survey")
    assert tried.counts == done.counts
    assert (done.counts.pending, done.counts.excluded) == (149, 1)
    assert states(world)[campaign, number(7)] == "excluded"


def test_entries_of_other_scopes_live_side_by_side_and_end_for_themselves(world: World) -> None:
    world.add_campaign("one")
    for terms in ({}, {"workspace": True}, {"campaign": "one"}):
        for again in (1, 0):
            assert exclude(world, number(1), persons=["ada"], **terms).entries == 2 * again
    with world.database.begin() as connection:
        standing = exclusions.remove(connection, number(1), by="ada", why="consented")
        assert standing.removed == 1
        assert [entry["scope"] for entry in standing.in_force] == ["workspace", "campaign"]
        assert "may not be called by any campaign of this workspace" in standing.summary
        standing = exclusions.remove(connection, number(1), by="ada", why="consented", workspace=True)
        assert "may not be called by the campaign one; by others it may" in standing.summary
        standing = exclusions.remove(connection, number(1), by="ada", why="consented", campaign="one")
        assert standing.summary == f"{number(1)} may be called: no exclusion is in force any more."
        # What was said of the person stands.
        standing = exclusions.check(connection, person_key="ada")
        assert "The person ada may not be called by anybody" in standing.summary
        assert len(standing.in_force) == 3


def test_an_exclusion_of_the_workspace_stops_its_campaigns_only(world: World) -> None:
    own, foreign = world.add_campaign("own"), world.add_campaign("foreign")
    for campaign in (own, foreign):
        world.add_contacts(campaign, [number(campaign)])
    with world.database.begin() as connection:
        of_foreign = campaigns.c.id == foreign
        connection.execute(sa.update(campaigns).where(of_foreign).values(workspace_id=2))
    exclude(world, number(own), number(foreign), workspace=True)
    assert states(world) == {(own, number(own)): "excluded", (foreign, number(foreign)): "pending"}
    assert calls_of(world) == {number(foreign)}


def test_a_number_is_told_to_be_of_an_excluded_person(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)], person_key="ada")
    exclude(world, persons=["ada"], reason="wrote to us")
    with world.database.begin() as connection:
        standing = exclusions.check(connection, number(1))
    assert standing.person_keys == ["ada"]
    assert standing.summary == (
        f"{number(1)} may not be called by anybody, for the person ada is excluded (wrote to us, test)."
    )


def test_nobody_and_a_key_that_none_can_have_are_refused(world: World) -> None:
    with pytest.raises(UserError, match="Nobody is named"):
        exclude(world)
    for key in ("", " ", "x" * 201, "a\x00b"):
        with pytest.raises(UserError, match="no person's key"):
            exclude(world, persons=[key])
    with pytest.raises(UserError, match="--campaign or --workspace"):
        exclude(world, number(1), campaign="one", workspace=True)


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["number", "person"]),
        st.sampled_from([None, 1, 5, 9]),
        st.sampled_from(["add", "add", "remove"]),
    ),
    max_size=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTS)
def test_who_is_excluded_is_whose_longest_entry_since_the_last_removal_lasts(
    world: World, acts: list[tuple[str, int | None, str]]
) -> None:
    at = datetime(2027, 1, 1, tzinfo=UTC)
    ends: dict[str, datetime] = {}
    with world.database.begin() as connection:
        connection.execute(sa.delete(exclusion_list_entries))
        campaign = campaigns_storage.by_name(connection, "survey")
        campaign_id = campaign.id if campaign else None
    if campaign_id is None:
        campaign_id = world.add_campaign()
    with world.database.begin() as connection:
        for of, days, act in acts:
            key, column = (number(1), NUMBER) if of == "number" else ("ada", PERSON)
            if act == "remove":
                exclusion_entries.remove(connection, **{column: key}, by="ada", why="test", at=at)
                ends.pop(of, None)
                continue
            until = None if days is None else at + timedelta(days=days)
            terms = exclusion_entries.Terms("asked", "test", at, until)
            exclusion_entries.add_each(connection, column, {key: terms}, reach=EVERYWHERE, at=at)
            ends[of] = max(ends.get(of, at), until or datetime.max.replace(tzinfo=UTC))
        for days in (0, 1, 3, 5, 8, 9, 99):
            then = at + timedelta(days=days)
            both, alone = Whom(number(1), "ada"), Whom(number(1))
            found = excluded_contacts.among(connection, [both, alone], campaign_id, then)
            of_number, of_person = (ends.get(of, at) > then for of in ("number", "person"))
            assert found == {
                whom for whom, is_in in ((both, of_number or of_person), (alone, of_number)) if is_in
            }


# Files


def import_text(world: World, file: Path, text: str, **options: Any) -> Imported:
    file.write_text(text, encoding=options.pop("encoding", "utf-8"))
    return import_file(world.database, file, TERMS, options=Options(**options))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def test_a_file_says_of_each_row_who_why_since_when_and_until_when(world: World, file: Path) -> None:
    text = f"Mobile;person;reason;since;valid until\n{number(1)};ada;mail;2026-01-31;2099-12-31\n;bob;;;\n"
    done = import_text(world, file, text)
    assert done.counts == Counts(rows=2, added=2)
    found = [(one["phone_number"], one["person_key"], one["reason"]) for one in entries(world)]
    assert found == [(number(1), None, "mail"), (None, "ada", "mail"), (None, "bob", "asked")]
    first = entries(world)[0]
    assert first["since"] == datetime(2026, 1, 31, tzinfo=UTC)
    assert first["expires_at"] == datetime(2100, 1, 1, 12, tzinfo=UTC)
    assert import_text(world, file, text).counts == Counts(rows=2, already_there=2)


def test_of_two_rows_for_one_number_the_longer_exclusion_holds(world: World, file: Path) -> None:
    done = import_text(
        world, file, f"phone_number,expires\n{number(1)},2090-01-01\n{number(1)},\n{number(1)},2095-01-01\n"
    )
    assert done.counts == Counts(rows=3, added=1, already_there=2)
    assert [one["expires_at"] for one in entries(world)] == [None]


def test_a_date_that_cannot_be_read_excludes_for_good_and_is_told(world: World, file: Path) -> None:
    text = f"phone_number,since,expires\n{number(1)},,31/12/2099\n{number(2)},31/1/2026,2099-12-31\n"
    done = import_text(world, file, text)
    assert (done.counts.added, done.counts.unread_dates) == (2, 2)
    assert any("31/12/2099" in note for note in done.notes)
    assert [one["expires_at"] is None for one in entries(world)] == [True, False]


def test_rows_that_exclude_nobody_are_handed_back(world: World, file: Path) -> None:
    file.write_text(
        f"phone_number,person,expires\n12,,\n ,,\n{number(1)},,2020-01-01\n{number(2)},,,x\n,{'x' * 201},\n"
        f"{number(3)},,\n"
    )
    rejected: list[Rejection] = []
    done = import_file(world.database, file, TERMS, listeners=Listeners(rejection=rejected.append))
    assert done.counts == Counts(rows=6, added=1, rejected=5)
    assert [one.line for one in rejected] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_a_file_is_read_with_the_columns_and_the_country_that_a_person_names(
    world: World, file: Path, encoding: str
) -> None:
    text = "Téléphone\tNummer\n02 1234 5678\t1\n"
    done = import_text(
        world, file, text, encoding=encoding, region="IT", columns={"phone_number": "Téléphone"}
    )
    assert done.counts.added == 1
    assert "The column 'Téléphone' was read as phone_number." in done.notes
    assert "Not read: Nummer." in done.notes


def test_a_dry_run_says_what_an_import_of_exclusions_does_and_writes_nothing(
    world: World, file: Path
) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1), number(2)], person_key="ada")
    world.add_contacts(campaign, [number(3)])
    exclude(world, number(9))
    before = entries(world)
    file.write_text(f"phone_number,person\n{number(1)},ada\n{number(9)},\n{number(3)},\n{number(3)},\n12,\n")
    tried = import_file(world.database, file, TERMS, options=Options(dry_run=True), batch_rows=1)
    assert entries(world) == before
    assert set(states(world).values()) == {"pending"}
    done = import_file(world.database, file, TERMS)
    assert done.counts == Counts(rows=5, added=2, already_there=2, rejected=1, contacts=3)
    assert tried.counts == done.counts
