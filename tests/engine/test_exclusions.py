"""Who is on the exclusion list waits in no queue, and the list forgets nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from outdial.domain.contact import ContactState
from outdial.domain.errors import NotFound, UserError
from outdial.domain.phone_numbers import InvalidPhoneNumber
from outdial.operations import exclusions
from outdial.operations.delimited_file import UnreadableFile
from outdial.operations.exclusion_imports import Counts, import_file
from outdial.operations.exclusions import Excluded, Terms
from outdial.operations.import_listeners import Listeners
from outdial.operations.rejections import Rejection
from outdial.storage.tables import contacts, exclusion_list_entries
from tests.support.world import World, number

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
