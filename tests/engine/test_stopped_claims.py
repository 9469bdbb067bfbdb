"""A process that is stopped inside a claim keeps the others from claiming for some seconds, and then no more."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa

from outdial.storage import accounts
from outdial.storage.database import IDLE_IN_TRANSACTION_SECONDS
from tests.support.world import RecordingProvider, World, number


def test_a_claim_that_was_stopped_frees_the_account_and_leaves_nothing(world: World) -> None:
    if world.database.dialect == "sqlite":
        pytest.skip("SQLite has one writer, and no sessions that time out")
    world.add_contacts(world.add_campaign(), [number(1)])
    stopped = world.database.begin()
    connection = stopped.__enter__()
    assert accounts.lock(connection, world.account_id) is not None
    begun_at = time.monotonic()
    result = world.run_pass(RecordingProvider())
    assert len(result.scheduled) == 1
    assert time.monotonic() - begun_at < IDLE_IN_TRANSACTION_SECONDS + 4
    # Resumed, it finds that its transaction is gone.
    late = sa.text("UPDATE provider_configurations SET max_concurrent_calls = 0")
    with pytest.raises(sa.exc.DBAPIError) as gone:
        connection.execute(late)
    stopped.__exit__(gone.type, gone.value, gone.tb)
    found = world.database.run(accounts.by_id, world.account_id)
    assert found is not None
    assert found.max_concurrent_calls == world.max_concurrent_calls
