"""The stop button and the fences, on real processes, judged by the provider's own ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import sqlalchemy as sa

from outdial.domain.campaign import CallOptions
from outdial.domain.retries import RetryPolicy
from outdial.storage import deployment
from tests.support.stack import Stack
from tests.support.world import number

LINES = 20
CPS = 40
OPTIONS = CallOptions(result_timeout_seconds=2, ring_timeout_seconds=5, max_duration_seconds=10)


def add_work(stack: Stack, contacts: int) -> None:
    stack.world.set_account(max_concurrent_calls=LINES, calls_per_second=CPS)
    retry = RetryPolicy(max_attempts=3, default_delay=timedelta(seconds=1))
    stack.world.add_contacts(
        stack.world.add_campaign(retry=retry, call=OPTIONS), map(number, range(contacts))
    )


def starts(stack: Stack) -> list[float]:
    return [post.at for post in stack.ledger().posts]


def stopped_at(stack: Stack) -> float:
    with stack.world.database.begin() as connection:
        at = deployment.load(connection).stopped_at
        assert at is not None
        return at.timestamp()


def test_a_stop_of_everything_under_full_load_is_effective_and_true(stack: Stack) -> None:
    add_work(stack, 3000)
    provider = stack.start_provider(max_concurrent_calls=LINES, calls_per_second=CPS)
    stack.start_service()
    workers = stack.start_workers(4)
    provider.wait_for(lambda: len(starts(stack)) > 3 * LINES, "full load", 60)
    begun_at = time.time()
    stop = stack.processes.outdial(
        "stop", "--all", "--hangup", "--reason", "wrong list", env=stack.environment
    )
    stop.wait_for_line("No further call starts", 60)
    # Until it says what was hung up: that comes later than the stop itself.
    reported_at = stop.stdout_path.stat().st_mtime
    assert stop.wait(60) == 0, stop.stderr
    assert "Hung up: " in stop.stdout
    provider.wait_for(lambda: not stack.ledger().open_call_ids, "the end of all calls", 20)
    ended_at = time.time()
    time.sleep(max(0.0, reported_at + 2 - ended_at))
    last_start = max(starts(stack))
    assert begun_at - 1 < last_start, "the load was not full when the button was pressed"
    # The program's own start is not counted: it takes as long as the machine is slow.
    assert last_start - stopped_at(stack) < 2
    assert last_start <= reported_at
    assert stack.open_contacts() > 0
    assert all(worker.is_running for worker in workers)
    provider.wait_for(lambda: stack.unsettled() == 0, "every call's end in the database", 20)
    resume = stack.processes.outdial("resume", "--all", env=stack.environment)
    assert resume.wait(60) == 0
    provider.wait_for(lambda: max(starts(stack)) > last_start, "calls again", 30)


@contextmanager
def copy_of(url: str) -> Iterator[str]:
    """A copy of a Postgres database, as a restored backup is one."""
    whole = sa.make_url(url)
    name = f"{whole.database}_copy"
    admin = sa.create_engine(
        whole.set(drivername="postgresql+psycopg", database="postgres"), isolation_level="AUTOCOMMIT"
    )
    try:
        with admin.connect() as connection:
            connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE "{whole.database}"')
            try:
                yield whole.set(database=name).render_as_string(hide_password=False)
            finally:
                connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        admin.dispose()


def test_a_copy_of_a_named_database_dials_nobody(stack: Stack) -> None:
    add_work(stack, 40)
    provider = stack.start_provider(max_concurrent_calls=LINES, calls_per_second=CPS)
    named = stack.processes.outdial("init", "--deployment", "production", env=stack.environment)
    assert named.wait(60) == 0
    stack.world.engine.dispose()
    with copy_of(stack.world.url) as copy:
        environment = {**stack.environment, "DATABASE_URL": copy, "OUTDIAL_PUBLIC_URL": "http://127.0.0.1:1"}
        tried = [
            stack.processes.outdial(*command, env={**environment, **own})
            for command in (("run",), ("serve", "--port", "0", "--with-worker"))
            for own in ({}, {"OUTDIAL_DEPLOYMENT": "staging"})
        ]
        assert [one.wait(60) for one in tried] == [2] * 4
        for one in tried:
            (sentence,) = one.stderr.splitlines()
            assert "set OUTDIAL_DEPLOYMENT=production" in sentence
        assert not starts(stack)
    stack.environment["OUTDIAL_DEPLOYMENT"] = "production"
    stack.start_service()
    stack.start_workers(1)
    provider.wait_for(stack.is_done, "the end of the campaign, where it belongs", 60)
