"""What a lost connection leaves behind: claims whose commit nobody knows of, answers that cannot be recorded."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from outdial.clock import SystemClock
from outdial.domain.attempt import EventKind, Origin, Source
from outdial.domain.errors import ProviderUnreachable
from outdial.domain.ids import CallId, ProviderCallId
from outdial.domain.patience import Patience
from outdial.engine.call_ids import call_id_factory
from outdial.engine.claim import ClaimSettings
from outdial.engine.lease import Lease
from outdial.engine.outage import Outage
from outdial.engine.reconcile import tidy
from outdial.engine.scheduler import Lane, SchedulerSettings
from outdial.engine.transactions import Transactions
from outdial.engine.worker import Worker
from outdial.storage import accounts, standing, workers
from outdial.storage.database import database_now
from outdial.telephony.caller import caller_for
from outdial.telephony.protocol import CallPage, ListedCall
from outdial.telephony.transport import AsyncTransport
from tests.support.world import RecordingProvider, World, event, number

log = logging.getLogger("outdial.test")


class CutOff(Transactions):
    """A connection that is lost when it is told to: after the commit of the named function, or before it."""

    lost: str = ""
    times: int = 0
    before: bool = False

    async def run(self, body: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        is_meant = self.times > 0 and getattr(body, "__name__", "") == self.lost
        if is_meant:
            self.times -= 1
            if self.before:
                raise self._gone()
        result = await super().run(body, *args, **kwargs)
        if is_meant:
            raise self._gone()
        return result

    def _gone(self) -> sa.exc.OperationalError:
        error = sa.exc.OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))
        assert self._outage is not None
        self._outage.failed(error)
        return error


class Scene:
    """One lane on a connection that may be lost."""

    def __init__(self, world: World, transport: AsyncTransport, provider: RecordingProvider) -> None:
        clock = SystemClock()
        self.outage = Outage(clock, log, "it is tried again")
        self.transactions = CutOff(world.database, ThreadPoolExecutor(2), self.outage)
        self.lease = Lease(clock, Patience())
        self.lease.renewed(clock.monotonic())
        account = world.database.run(accounts.by_id, world.account_id)
        assert account is not None
        self.lane = Lane(
            account=account,
            worker_id=world.database.run(lambda c: workers.start(c, "test", database_now(c))),
            caller=caller_for(provider, transport, None),
            callback_url="http://127.0.0.1:1/",
            claim_settings=ClaimSettings(
                batch_size=10, scheduler_time_zone="UTC", new_call_id=call_id_factory(clock)
            ),
            lease=self.lease,
            transactions=self.transactions,
            known=world.known,
            clock=clock,
        )

    def lose(self, name: str, times: int = 1, *, before: bool = False) -> None:
        self.transactions.lost, self.transactions.times, self.transactions.before = name, times, before


def play(world: World, provider: RecordingProvider, act: Callable[[Scene], Any]) -> None:
    async def scene() -> None:
        async with AsyncTransport() as transport:
            await act(Scene(world, transport, provider))

    asyncio.run(scene())


@pytest.fixture
def provider(world: World) -> RecordingProvider:
    world.add_contacts(world.add_campaign(), map(number, range(3)))
    return RecordingProvider()


def test_a_claim_whose_commit_was_cut_off_is_given_back_by_the_next(
    world: World, provider: RecordingProvider
) -> None:
    async def act(scene: Scene) -> None:
        scene.lose("claim")
        with pytest.raises(sa.exc.OperationalError):
            await scene.lane.claim()
        assert [row["state"] for row in world.attempts()] == ["dialing"] * 3
        await scene.lane.claim()

    play(world, provider, act)
    assert [row["error_code"] for row in world.attempts()[:3]] == ["claim_cut_off"] * 3
    assert {world.contact(row["contact_id"])["attempts_count"] for row in world.attempts()} == {0}
    assert not provider.requests


def test_answers_wait_for_the_database_and_are_recorded(
    world: World, provider: RecordingProvider, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(scene: Scene) -> None:
        claimed = await scene.lane.claim()
        scene.lose("record", 4, before=True)
        await asyncio.gather(*scene.lane.dial(claimed))

    with caplog.at_level(logging.WARNING):
        play(world, provider, act)
    assert [row["state"] for row in world.attempts()] == ["accepted"] * 3
    said = [record.message for record in caplog.records]
    assert sum("the database does not answer" in one for one in said) == 1
    assert sum("the database answers again" in one for one in said) == 1


def test_an_answer_that_was_recorded_before_the_connection_was_lost_is_recorded_once(
    world: World, provider: RecordingProvider
) -> None:
    async def act(scene: Scene) -> None:
        claimed = await scene.lane.claim()
        scene.lose("record", 1)
        await asyncio.gather(*scene.lane.dial(claimed))

    play(world, provider, act)
    assert [row["state"] for row in world.attempts()] == ["accepted"] * 3


def test_a_worker_that_was_told_to_stop_does_not_wait_for_a_database_that_is_away(
    world: World, provider: RecordingProvider
) -> None:
    async def act(scene: Scene) -> None:
        claimed = await scene.lane.claim()
        scene.lose("record", 1000, before=True)
        calls = scene.lane.dial(claimed)
        await asyncio.sleep(0.3)
        scene.lane.stop()
        begun_at = time.monotonic()
        await asyncio.wait(calls, timeout=10)
        assert time.monotonic() - begun_at < 5
        assert all(call.exception() is not None for call in calls)

    play(world, provider, act)
    assert [row["state"] for row in world.attempts()] == ["dialing"] * 3


def test_nothing_leaves_without_a_lease(world: World, provider: RecordingProvider) -> None:
    async def act(scene: Scene) -> None:
        claimed = await scene.lane.claim()
        scene.lease._renewed_at -= Patience().fence_seconds
        await asyncio.gather(*scene.lane.dial(claimed))

    play(world, provider, act)
    assert not provider.requests
    assert {row["error_code"] for row in world.attempts()} == {"lease_lost"}


class Lister(RecordingProvider):
    """A provider that also lists its calls, unless something is wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[ListedCall] = []
        self.asked_since: list[datetime] = []
        self.wrong: Exception | None = None

    def list_calls(self, since: datetime, page: str | None) -> CallPage:
        self.asked_since.append(since)
        if self.wrong is not None:
            raise self.wrong
        return CallPage(calls=[one for one in self.listed if (one.origin.started_at or since) >= since])


def listed(to: str, contact_id: int, ago: timedelta) -> ListedCall:
    """A call that only the provider knows, and that is answered."""
    theirs = ProviderCallId("P-lost")
    return ListedCall(
        origin=Origin(to=to, started_at=datetime.now(UTC) - ago, contact_id=str(contact_id)),
        event=event(EventKind.ANSWERED, "lost", source=Source.LOOKUP, provider_call_id=theirs),
    )


async def claim_in_another_history(scene: Scene, world: World) -> int:
    """As a lane does, until it has compared, or may not yet. Returns how many were claimed."""
    world.database.run(standing.accept_timeline, world.account_id, "000000FF")
    assert not (await scene.lane.claim()).calls
    if scene.lane._comparison.since is not None:
        # What was on its way has arrived.
        scene.lane._comparison.since -= 60
        await scene.lane.claim()
    return len((await scene.lane.claim()).calls)


@pytest.fixture
def forgetful(world: World) -> World:
    if world.database.dialect == "sqlite":
        pytest.skip("SQLite has one history")
    return world


def test_in_another_history_of_the_database_nobody_is_claimed_before_it_is_compared(
    forgetful: World, provider: RecordingProvider, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(scene: Scene) -> None:
        assert await claim_in_another_history(scene, forgetful) == 3

    with caplog.at_level(logging.WARNING):
        play(forgetful, provider, act)
    assert sum("another history" in record.message for record in caplog.records) == 1


def test_a_call_that_only_the_provider_knows_is_not_made_again_however_late_that_is_noticed(
    forgetful: World,
) -> None:
    (contact,) = forgetful.add_contacts(forgetful.add_campaign(), [number(1)])
    provider = Lister()
    provider.listed = [listed(number(1), contact, timedelta(hours=2))]

    async def act(scene: Scene) -> None:
        assert await claim_in_another_history(scene, forgetful) == 0

    play(forgetful, provider, act)
    (attempt,) = forgetful.attempts()
    assert (attempt["call_id"], attempt["state"]) == ("lost", "answered")


def test_nobody_is_claimed_while_the_provider_cannot_list_its_calls(forgetful: World) -> None:
    forgetful.add_contacts(forgetful.add_campaign(), [number(1)])
    provider = Lister()
    provider.wrong = ProviderUnreachable("connection refused")

    async def act(scene: Scene) -> None:
        assert await claim_in_another_history(scene, forgetful) == 0
        provider.wrong = None
        await scene.lane.claim()
        assert len((await scene.lane.claim()).calls) == 1

    play(forgetful, provider, act)


def test_a_request_that_may_be_on_its_way_is_waited_for(forgetful: World) -> None:
    forgetful.add_contacts(forgetful.add_campaign(), [number(1)])
    provider = Lister()
    forgetful.database.run(standing.accept_timeline, forgetful.account_id, "000000FF")

    async def act(scene: Scene) -> None:
        for _ in range(3):
            assert not (await scene.lane.claim()).calls
        assert not provider.asked_since

    play(forgetful, provider, act)


def test_passes_that_are_shorter_than_the_comparison_come_to_its_end(forgetful: World) -> None:
    forgetful.add_contacts(forgetful.add_campaign(), [number(1)])
    forgetful.database.run(standing.accept_timeline, forgetful.account_id, "000000FF")
    service = forgetful.service(Lister())
    assert not service.run().scheduled
    assert service._comparison.since is not None
    service._comparison.since -= 60
    service.run()
    assert len(service.run().scheduled) == 1


def test_a_row_that_looks_unsent_after_a_failover_is_in_doubt_and_not_given_back(forgetful: World) -> None:
    """That it was sent is what the database may have forgotten."""
    forgetful.add_contacts(forgetful.add_campaign(), [number(1)])

    async def act(scene: Scene) -> None:
        assert len((await scene.lane.claim()).calls) == 1
        forgetful.database.run(standing.accept_timeline, forgetful.account_id, "000000FF")
        forgetful.shift_attempts(30)
        await tidy(scene.transactions, forgetful.known)
        assert forgetful.attempts()[0]["state"] == "dialing"
        forgetful.add_contacts(forgetful.add_campaign("other"), [number(2)])
        await scene.lane.claim()
        assert forgetful.attempts()[0]["state"] == "in_doubt"

    play(forgetful, Lister(), act)


def test_a_claim_id_names_one_claim(world: World, provider: RecordingProvider) -> None:
    """What is given back are the calls of the claim that was cut off, and no other's."""

    async def act(scene: Scene) -> None:
        claimed = await scene.lane.claim()
        assert len(claimed.calls) == 3
        world.add_contacts(world.add_campaign("other"), [number(9)])
        scene.lose("claim")
        with pytest.raises(sa.exc.OperationalError):
            await scene.lane.claim()
        await scene.lane.claim()
        await asyncio.gather(*scene.lane.dial(claimed))

    play(world, provider, act)
    assert len(provider.requests) == 3
    assert {CallId(one.call_id) for one in provider.requests} == {
        row["call_id"] for row in world.attempts() if row["state"] == "accepted"
    }


def test_a_worker_whose_row_a_failover_has_lost_begins_anew(
    world: World, provider: RecordingProvider, caplog: pytest.LogCaptureFixture
) -> None:
    world.set_account(stopped_at=world.database.clock.now(), stopped_by="test", stopped_reason="not yet")
    settings = SchedulerSettings(callback_url="http://127.0.0.1:1/", account="main")

    async def act() -> None:
        async with Worker(world.session_factory, provider, settings):
            with world.engine.begin() as connection:
                connection.execute(sa.delete(workers.workers))
            world.set_account(stopped_at=None)
            for _ in range(200):
                if len(provider.requests) == 3:
                    return
                await asyncio.sleep(0.1)

    with caplog.at_level(logging.WARNING):
        asyncio.run(act())
    assert len(provider.requests) == 3
    assert any("begins anew" in record.message for record in caplog.records)
