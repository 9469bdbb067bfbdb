"""The host's `on_settled`: in the transaction that settles, by whatever way, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from outdial import SchedulerService, SchedulerSettings, SettledAttempt
from outdial.domain.attempt import Ending, EventKind, Source
from outdial.domain.campaign import CallOptions
from outdial.domain.contact import ContactState
from outdial.domain.errors import NumberRejected
from outdial.domain.retries import RetryPolicy
from outdial.domain.settle import Outcome
from outdial.engine import on_settled
from outdial.engine.definitions import Definitions
from outdial.engine.events import apply, settle_overdue
from outdial.storage.database import database_now
from outdial.storage.tables import call_attempts, exclusion_list_entries
from tests.support.world import RecordingProvider, World, event, number, refusing

BOOK = sa.Table(
    "book",
    sa.MetaData(),
    sa.Column("call_id", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("corrected", sa.Boolean, nullable=False),
)


class Host:
    """Writes a row for each settled attempt into a table of its own, and raises for the numbers it cannot stand."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.told: list[SettledAttempt] = []
        self.stumbles_over: set[str] = set()
        with world.engine.begin() as connection:
            BOOK.create(connection)
        world.known = Definitions(self)

    def __call__(self, connection: sa.Connection, attempt: SettledAttempt) -> None:
        row = {"call_id": attempt.call_id, "outcome": attempt.outcome, "corrected": attempt.is_correction}
        connection.execute(sa.insert(BOOK).values(row))
        if attempt.phone_number in self.stumbles_over:
            # As a mistake in SQL would: on Postgres the transaction is broken from here on.
            connection.execute(sa.insert(BOOK).values(call_id="x", outcome="y", corrected=None))
        self.told.append(attempt)

    def book(self) -> list[tuple[str, str, bool]]:
        with self.world.engine.begin() as connection:
            rows = connection.execute(sa.select(BOOK)).all()
        return [(row.call_id, row.outcome, row.corrected) for row in rows]


@pytest.fixture
def host(world: World) -> Host:
    return Host(world)


def call(world: World, count: int = 1, **definition: object) -> list[str]:
    campaign = world.add_campaign(**{"retry": RetryPolicy(max_attempts=2), **definition})
    world.add_contacts(campaign, map(number, range(count)))
    ids = {one.contact_id: one.call_id for one in world.run_pass(RecordingProvider()).scheduled}
    return [ids[contact_id] for contact_id in sorted(ids)]


def test_it_hears_of_a_call_that_a_webhook_settles(world: World, host: Host) -> None:
    (call_id,) = call(world)
    world.hear(event(EventKind.ANSWERED, call_id))
    assert not host.told
    world.hear(event(EventKind.RESULT, call_id, result="completed"))
    world.hear(event(EventKind.ENDED, call_id, ending=Ending.ANSWERED, duration_seconds=12.5))
    (told,) = host.told
    assert (told.outcome, told.campaign, told.phone_number) == (Outcome.COMPLETED, "survey", number(0))
    assert (told.contact_state, told.next_attempt_at) == (ContactState.COMPLETED, None)
    assert host.book() == [(call_id, "completed", False)]


def test_it_hears_when_the_contact_is_due_again(world: World, host: Host) -> None:
    (call_id,) = call(world)
    world.hear(event(EventKind.ENDED, call_id, ending=Ending.BUSY))
    (told,) = host.told
    assert told.contact_state is ContactState.PENDING
    assert told.next_attempt_at == told.ended_at + timedelta(hours=1)


def test_it_hears_of_what_the_answer_to_the_request_settles(world: World, host: Host) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    settings = SchedulerSettings(callback_url="http://127.0.0.1:1/main", account="main")
    provider = RecordingProvider(refusing(NumberRejected("no such number", error_code="bad")))
    SchedulerService(world.session_factory, provider, settings, on_settled=host).run()
    (told,) = host.told
    assert (told.outcome, told.error_code) == (Outcome.FAILED, "bad")


def test_it_hears_of_a_result_that_never_came(world: World, host: Host) -> None:
    (call_id,) = call(world, call=CallOptions(result_timeout_seconds=30))
    world.hear(event(EventKind.ENDED, call_id, ending=Ending.ANSWERED))
    assert not host.told
    world.shift_attempts(60)
    world.database.run(settle_overdue, world.known, 10)
    assert [told.outcome for told in host.told] == [Outcome.NO_RESULT]


def test_late_truth_is_told_again_and_marked(world: World, host: Host) -> None:
    (call_id,) = call(world, call=CallOptions(result_timeout_seconds=0))
    world.hear(event(EventKind.ENDED, call_id, ending=Ending.ANSWERED))
    world.hear(event(EventKind.RESULT, call_id, result="completed"))
    world.hear(event(EventKind.RESULT, call_id, event_id="again", result="completed"))
    first, second = host.told
    assert (first.outcome, first.is_correction) == (Outcome.NO_RESULT, False)
    assert (second.outcome, second.previous_outcome) == (Outcome.COMPLETED, Outcome.NO_RESULT)
    assert second.is_correction
    assert host.book() == [(call_id, "no_result", False), (call_id, "completed", True)]


def tell_again(world: World) -> bool:
    host = world.known.host
    assert host is not None
    return world.database.run(
        lambda connection: on_settled.tell_again(connection, host, database_now(connection))
    )


def pass_time(world: World) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    with world.engine.begin() as connection:
        connection.execute(
            sa.update(call_attempts).where(call_attempts.c.tell_at.is_not(None)).values(tell_at=past)
        )


def test_where_it_raises_all_is_settled_and_only_that_call_is_still_to_be_told(
    world: World, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    one, other, third = call(world, 3)
    host.stumbles_over = {number(1)}
    world.hear(*(event(EventKind.ENDED, call_id, ending=Ending.BUSY) for call_id in (one, other, third)))
    rows = {row["call_id"]: row for row in world.attempts()}
    assert all(row["settled_at"] is not None for row in rows.values())
    assert [rows[call_id]["tell_at"] is not None for call_id in (one, other, third)] == [False, True, False]
    assert sorted(call_id for call_id, _, _ in host.book()) == sorted([one, third])
    assert world.contacts_in(ContactState.PENDING) == 3
    assert len([line for line in caplog.records if "on_settled raised" in line.getMessage()]) == 1


def test_what_it_did_not_take_is_told_again_until_it_does(world: World, host: Host) -> None:
    (call_id,) = call(world)
    host.stumbles_over = {number(0)}
    world.hear(event(EventKind.ENDED, call_id, ending=Ending.BUSY))
    assert not tell_again(world), "not at once"
    for _ in range(2):
        pass_time(world)
        assert tell_again(world)
        assert host.book() == []
    host.stumbles_over = set()
    pass_time(world)
    assert tell_again(world)
    assert host.book() == [(call_id, "busy", False)]
    pass_time(world)
    assert not tell_again(world)


def test_a_correction_that_it_does_not_take_stands_and_is_told_later(world: World, host: Host) -> None:
    (call_id,) = call(world, call=CallOptions(result_timeout_seconds=0))
    world.hear(event(EventKind.ENDED, call_id, ending=Ending.ANSWERED))
    host.stumbles_over = {number(0)}
    world.hear(event(EventKind.RESULT, call_id, result="refused", opt_out=True))
    assert world.attempts()[0]["outcome"] == Outcome.REFUSED
    with world.engine.begin() as connection:
        (excluded,) = connection.execute(sa.select(exclusion_list_entries.c.phone_number)).scalars()
    assert excluded == number(0), "an opt-out is kept, whatever the host makes of it"
    host.stumbles_over = set()
    pass_time(world)
    assert tell_again(world)
    assert host.book() == [(call_id, "no_result", False), (call_id, "refused", True)]


class Careless:
    """A host that does to the transaction what it must not, for one number."""

    def __init__(self, world: World, misdeed: Callable[[sa.Connection], None]) -> None:
        self.misdeed = misdeed
        self.told: list[str] = []
        world.known = Definitions(self)

    def __call__(self, connection: sa.Connection, attempt: SettledAttempt) -> None:
        if attempt.phone_number == number(1):
            self.misdeed(connection)
        self.told.append(attempt.phone_number)


def swallow(connection: sa.Connection) -> None:
    with suppress(sa.exc.SQLAlchemyError):
        connection.exec_driver_sql("SELECT * FROM nowhere_at_all")


def roll_back(connection: sa.Connection) -> None:
    connection.rollback()


def commit(connection: sa.Connection) -> None:
    connection.commit()


def lose_the_session(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        with suppress(sa.exc.SQLAlchemyError):
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
    else:
        connection.rollback()


@pytest.mark.parametrize("misdeed", [swallow, roll_back, commit, lose_the_session])
def test_whatever_it_does_to_the_transaction_all_calls_are_settled(
    world: World, misdeed: Callable[[sa.Connection], None]
) -> None:
    host = Careless(world, misdeed)
    calls = call(world, 3)
    world.hear(*(event(EventKind.ENDED, call_id, ending=Ending.BUSY) for call_id in calls))
    assert all(row["settled_at"] is not None for row in world.attempts())
    while tell_again(world):
        pass
    assert {number(0), number(2)} <= set(host.told)
    assert world.contacts_in(ContactState.PENDING) == 3
    assert world.database.run(settle_overdue, world.known, 10) == 0


def test_it_finds_its_own_rows_as_they_will_be(world: World) -> None:
    seen: list[tuple[str, str]] = []

    def look(connection: sa.Connection, attempt: SettledAttempt) -> None:
        query = sa.select(call_attempts.c.outcome).where(call_attempts.c.id == attempt.attempt_id)
        seen.append((attempt.call_id, connection.execute(query).scalar_one()))

    (call_id,) = call(world)
    world.known = Definitions(look)
    world.hear(event(EventKind.ENDED, call_id, ending=Ending.BUSY, source=Source.EVENT))
    assert seen == [(call_id, "busy")]


def test_a_life_sign_of_a_call_given_up_is_told(world: World, host: Host) -> None:
    (call_id,) = call(world)
    world.hear(event(EventKind.ENDED, call_id, ending=Ending.UNKNOWN, source=Source.GUESS))
    world.hear(event(EventKind.ANSWERED, call_id))
    world.hear(event(EventKind.RESULT, call_id, result="completed"))
    world.hear(event(EventKind.ENDED, call_id, event_id="end", ending=Ending.ANSWERED))
    assert [told.outcome for told in host.told] == [Outcome.UNKNOWN, Outcome.COMPLETED]


def test_nothing_to_do_tells_nothing(world: World, host: Host) -> None:
    call(world)
    (attempt,) = world.attempts()
    world.database.run(apply, {attempt["id"]: []}, world.known)
    assert not host.told
