"""Events of one call, and of one contact's calls, that come at the same moment over two connections. Postgres only:
SQLite lets one writer in at a time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from outdial.domain.attempt import AnsweredBy, CallEvent, Ending, EventKind
from outdial.domain.campaign import CallOptions
from outdial.domain.contact import ContactState
from outdial.domain.retries import RetryPolicy
from outdial.engine.events import receive
from outdial.storage.call_events import ReceivedEvent
from tests.support.world import RecordingProvider, World, event, number

# Asked over the first one's own connection, so that its transaction never counts as idle however slow the other is.
IS_WAITED_FOR = sa.text(
    "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
)


@pytest.fixture
def world(postgres_url: str) -> Iterator[World]:
    made = World(postgres_url)
    yield made
    made.close()


def hear_at_once(world: World, first: CallEvent, second: CallEvent) -> None:
    """The second is taken in while the first one's transaction, which has done all its work, is not committed yet."""
    received = [ReceivedEvent(account_id=world.account_id, event=first, payload={})]
    with ThreadPoolExecutor(1) as other:
        with world.database.begin() as connection:
            receive(connection, received, world.known)
            heard = other.submit(world.hear, second)
            wait_until_it_waits_for(connection)
        heard.result()


def wait_until_it_waits_for(connection: sa.Connection) -> None:
    give_up_at = time.monotonic() + 20
    while not connection.execute(IS_WAITED_FOR).scalar_one():
        assert time.monotonic() < give_up_at, "the second event did not wait for the first"
        time.sleep(0.01)


def call(world: World) -> str:
    (scheduled,) = world.run_pass(RecordingProvider()).scheduled
    return scheduled.call_id


def test_neither_of_two_events_of_a_call_undoes_the_other(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    call_id = call(world)
    hear_at_once(
        world,
        event(EventKind.ANSWERED, call_id, answered_by=AnsweredBy.MACHINE),
        event(EventKind.ENDED, call_id, ending=Ending.ANSWERED, duration_seconds=7.0),
    )
    (attempt,) = world.attempts()
    assert attempt["answered_at"] is not None
    assert (attempt["state"], attempt["answered_by"], attempt["duration_seconds"]) == (
        "ended",
        "machine",
        7.0,
    )


def test_the_same_end_heard_twice_at_once_is_counted_once(world: World) -> None:
    (contact,) = world.add_contacts(world.add_campaign(retry=RetryPolicy(max_attempts=2)), [number(1)])
    call_id = call(world)
    ends = [event(EventKind.ENDED, call_id, ending=Ending.BUSY, event_id=name) for name in ("a", "b")]
    hear_at_once(world, *ends)
    assert world.contact(contact)["attempts_count"] == 1


def test_the_end_of_a_call_does_not_overlook_what_is_just_learned_of_the_one_before(world: World) -> None:
    """Else somebody who has said everything would be called again."""
    retry = RetryPolicy(max_attempts=3, default_delay=timedelta(seconds=0))
    campaign = world.add_campaign(retry=retry, call=CallOptions(result_timeout_seconds=0))
    (contact,) = world.add_contacts(campaign, [number(1)])
    first = call(world)
    world.hear(event(EventKind.ENDED, first, ending=Ending.ANSWERED))
    second = call(world)
    hear_at_once(
        world,
        event(EventKind.RESULT, first, result="completed"),
        event(EventKind.ENDED, second, ending=Ending.NO_ANSWER),
    )
    row = world.contact(contact)
    assert (row["state"], row["attempts_count"]) == (ContactState.COMPLETED, 2)
