"""Operations in a host's own transaction: they commit with it, or never were."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from outdial import embedding
from outdial.clock import SystemClock
from outdial.domain.callability import Block, When
from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState
from outdial.domain.errors import NotFound, UserError
from outdial.embedding import ConsentKind, ContactToAdd
from outdial.engine.scheduler import SchedulerSettings
from outdial.engine.wakeups import Wakeups
from outdial.storage.database import Database
from outdial.storage.migrate import upgrade
from tests.support.world import RecordingProvider, World, number

SCHEMA = "outdial"
NOTES = sa.Table("notes", sa.MetaData(), sa.Column("text", sa.Text))


@pytest.fixture(params=["sqlite", "postgres", "postgres schema"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A host's database, with a table of its own; on Postgres once with Outdial in a schema of its own."""
    kind, _, schema = request.param.partition(" ")
    url = request.getfixturevalue(f"{'empty_' if schema else ''}{kind}_url")
    if schema:
        upgrade(url, schema=SCHEMA)
    made = World(url, schema=SCHEMA if schema else None)
    with made.engine.begin() as connection:
        NOTES.create(connection)
    yield made
    made.close()


def notes(world: World) -> list[str]:
    with world.engine.begin() as connection:
        return list(connection.execute(sa.select(NOTES.c.text)).scalars())


def test_what_the_host_commits_is_called(world: World) -> None:
    world.add_campaign()
    with world.session_factory.begin() as session:
        session.execute(sa.insert(NOTES).values(text="before"))
        added = embedding.add_contacts(
            session.connection(),
            "survey",
            [
                ContactToAdd(
                    phone_number=number(1), external_contact_id="A-1", attributes={"due": 3, "x": ["y"]}
                )
            ],
            source="order form",
        )
        session.execute(sa.insert(NOTES).values(text="after"))
    assert added.pending == 1
    provider = RecordingProvider()
    assert len(world.run_pass(provider).scheduled) == 1
    (request,) = provider.requests
    assert (request.metadata["due"], request.metadata["x"]) == (3, ["y"])
    assert notes(world) == ["before", "after"]


def test_a_host_previews_what_it_has_not_committed_yet(world: World) -> None:
    world.add_campaign()
    settings = SchedulerSettings(callback_url=None, dial_only=frozenset({number(1)}))
    people = [ContactToAdd(phone_number=number(index)) for index in range(3)]
    with world.engine.begin() as connection:
        embedding.add_contacts(connection, "survey", people, source="form")
        found = embedding.preview_campaign(connection, "survey", settings)
        assert connection.execute(sa.select(NOTES)).all() == []
    assert found.callable[When.NOW] == 1
    assert found.blocked == {Block.DIAL_ONLY: 2}


def test_what_the_host_rolls_back_never_was(world: World) -> None:
    campaign = world.add_campaign(status=CampaignStatus.PAUSED)
    world.add_contacts(campaign, [number(2)])
    with world.engine.connect() as connection:
        connection.execute(sa.insert(NOTES).values(text="gone"))
        embedding.add_contacts(connection, "survey", [ContactToAdd(phone_number=number(1))], source="form")
        embedding.exclude(connection, [number(2)], reason="asked", source="mail", person_keys=["ada"])
        embedding.resume_campaign(connection, "survey")
        connection.rollback()
    assert notes(world) == []
    assert world.contacts_in(ContactState.PENDING) == 1
    with world.engine.connect() as connection:
        assert embedding.campaign_progress(connection, "survey").campaign.status is CampaignStatus.PAUSED
        assert not embedding.check_exclusion(connection, number(2)).in_force
        assert not embedding.check_exclusion(connection, person_key="ada").in_force


def test_a_campaign_from_its_definition_to_its_end(world: World) -> None:
    definition = {
        "format": 1,
        "name": "reminders",
        "purpose": "informational",
        "default_time_zone": "Europe/Rome",
        "call": {"account": "shop"},
        "retry": {"max_attempts": 2, "retry_interval_minutes": 60},
    }
    with world.engine.begin() as connection:
        embedding.set_account(
            connection,
            "shop",
            max_concurrent_calls=3,
            outbound_number="+390612345678",
            base_url="http://127.0.0.1:1",
            api_key="env:SHOP_KEY",
        )
        embedding.apply_campaign(connection, definition)
        people = [
            ContactToAdd(
                phone_number=number(index),
                external_contact_id=f"P-{index}",
                person_key=f"person {index}",
                consent_kind=ConsentKind.EXPRESS,
                consent_at=datetime(2026, 1, 31, tzinfo=UTC),
            )
            for index in range(150)
        ]
        assert embedding.add_contacts(connection, "reminders", people, source="form").pending == 150
        embedding.start_campaign(connection, "reminders")
    with world.engine.begin() as connection:
        (found,) = embedding.find_contacts(connection, "reminders", "P-7")
        assert (found["phone_number"], found["state"]) == (number(7), ContactState.PENDING)
        assert (found["person_key"], found["consent_kind"]) == ("person 7", "express")
        assert (found["consent_at"], found["consent_source"]) == (datetime(2026, 1, 31, tzinfo=UTC), "form")
        assert embedding.find_contacts(connection, "reminders", number(7)) == [found]
        assert embedding.find_contacts(connection, "reminders", "nobody") == []
        embedding.withdraw_contact(connection, "reminders", "P-7", reason="cancelled the appointment")
        (found,) = embedding.find_contacts(connection, "reminders", "P-7")
        assert (found["state"], found["final_reason"]) == (
            ContactState.WITHDRAWN,
            "cancelled the appointment",
        )
    (call, *_) = world.run_pass(RecordingProvider(), account="shop").scheduled
    with world.engine.begin() as connection:
        assert embedding.show_call(connection, call.call_id).facts["campaign"] == "reminders"
        assert len(embedding.list_calls(connection, campaign="reminders")) == 3
        embedding.pause_campaign(connection, "reminders", paused_by="the shop", reason="sold out")
        embedding.cancel_campaign(connection, "reminders")


def test_one_wrong_contact_keeps_all_out_and_the_transaction_usable(world: World) -> None:
    world.add_campaign()
    people = [ContactToAdd(phone_number=number(1)), ContactToAdd(phone_number="123")]
    with world.engine.begin() as connection:
        with pytest.raises(UserError, match="Contact 2 of 2"):
            embedding.add_contacts(connection, "survey", people, source="form")
        with pytest.raises(NotFound):
            embedding.add_contacts(connection, "none", people, source="form")
        connection.execute(sa.insert(NOTES).values(text="still here"))
    assert notes(world) == ["still here"]
    assert world.contacts_in(ContactState.PENDING) == 0


@pytest.mark.parametrize(
    ("contact", "said"),
    [
        (ContactToAdd(phone_number=number(1), call_after=datetime(2027, 1, 1)), "time zone"),  # noqa: DTZ001
        (ContactToAdd(phone_number=number(1), attributes={"x": object()}), "no JSON"),
        (ContactToAdd(phone_number=number(1), attributes={"x": "y" * 9000}), "8 KiB"),
    ],
)
def test_what_cannot_be_kept_is_said(world: World, contact: ContactToAdd, said: str) -> None:
    world.add_campaign()
    with world.engine.begin() as connection, pytest.raises(UserError, match=said):
        embedding.add_contacts(connection, "survey", [contact], source="form")


def test_a_contact_is_not_called_before_its_instant(world: World) -> None:
    world.add_campaign()
    later = datetime.now(UTC) + timedelta(hours=1)
    with world.engine.begin() as connection:
        person = ContactToAdd(phone_number=number(1), call_after=later)
        embedding.add_contacts(connection, "survey", [person], source="form")
    assert not world.run_pass(RecordingProvider()).scheduled
    with world.engine.begin() as connection:
        (found,) = embedding.find_contacts(connection, "survey", number(1))
    assert found["next_attempt_at"] == later


def test_schedulers_hear_of_it_when_the_host_commits_and_not_before(world: World) -> None:
    world.add_campaign()

    def add(connection: sa.Connection, index: int) -> None:
        embedding.add_contacts(
            connection, "survey", [ContactToAdd(phone_number=number(index))], source="form"
        )

    async def watch() -> tuple[bool, bool, bool]:
        async with Wakeups(Database(world.engine, SystemClock())) as wakeups:
            woken = wakeups.subscribe()
            # The listening connection begins with a wake-up of its own.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), 1)
            woken.clear()
            with world.engine.connect() as connection:
                add(connection, 1)
                await asyncio.sleep(0.2)
                too_early = woken.is_set()
                connection.rollback()
                await asyncio.sleep(0.2)
                for_nothing = woken.is_set()
            with world.session_factory() as session:
                add(session.connection(), 2)
                session.commit()
            await asyncio.wait_for(woken.wait(), 5)
            return too_early, for_nothing, woken.is_set()

    assert asyncio.run(watch()) == (False, False, True)


def test_what_is_given_may_be_read_from_the_hosts_own_tables_on_the_way(world: World) -> None:
    world.add_campaign()
    with world.session_factory.begin() as session:
        session.execute(sa.insert(NOTES), [{"text": number(1)}, {"text": number(2)}])
        connection = session.connection()

        def read() -> Iterator[str]:
            for at in (number(1), number(2)):
                yield from connection.execute(sa.select(NOTES.c.text).where(NOTES.c.text == at)).scalars()

        people = (ContactToAdd(phone_number=one) for one in read())
        assert embedding.add_contacts(connection, "survey", people, source="notes").pending == 2
        assert embedding.exclude(connection, read(), reason="asked", source="notes").contacts == 2
