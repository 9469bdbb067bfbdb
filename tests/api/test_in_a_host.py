"""A worker and the webhook intake inside a host's own FastAPI application."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from sqlalchemy.orm import Session, sessionmaker
from standardwebhooks import Webhook

from outdial import (
    ContactToAdd,
    SchedulerSettings,
    SchemaOutOfDate,
    SettledAttempt,
    Worker,
    embedding,
    webhook_router,
)
from outdial.domain.contact import ContactState
from outdial.storage.database import create_engine
from outdial.telephony.http_provider import HttpTelephonyProvider
from tests.support.stack import WEBHOOK_SECRET
from tests.support.world import RecordingProvider, World, number

SETTINGS = SchedulerSettings(callback_url="http://127.0.0.1:1/hooks/main", account="main")


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    made = World(database_url)
    yield made
    made.close()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not is_so():  # noqa: ASYNC110 - it happens in other threads
            await asyncio.sleep(0.02)


def host(worker: Worker | None, *routers: tuple[str, Any]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if worker is None:
            yield
        else:
            async with worker:
                yield

    app = FastAPI(lifespan=lifespan)
    for prefix, router in routers:
        app.include_router(router, prefix=prefix)
    return app


def live(app: FastAPI, body: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    """Run the application's lifespan around `body`."""

    async def run() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://host") as client,
        ):
            await body(client)

    asyncio.run(run())


def signed(body: dict[str, Any], secret: str = WEBHOOK_SECRET) -> dict[str, Any]:
    raw = json.dumps(body)
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "m1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("m1", now, raw),
    }
    return {"content": raw, "headers": headers}


def ended(call_id: str) -> dict[str, Any]:
    return {"event": "call.busy", "event_id": "e1", "call_id": call_id, "timestamp": "2026-11-23T09:00:00Z"}


def reader(**more: Any) -> HttpTelephonyProvider:
    return HttpTelephonyProvider("http://127.0.0.1:1", "key", webhook_secret=WEBHOOK_SECRET, **more)


def test_a_worker_lives_and_dies_with_the_hosts_lifespan(world: World) -> None:
    world.add_campaign(when_empty="wait")
    provider = RecordingProvider()
    worker = Worker(world.session_factory, provider, SETTINGS)

    async def body(_: httpx.AsyncClient) -> None:
        with world.session_factory.begin() as session:
            person = ContactToAdd(phone_number=number(1))
            embedding.add_contacts(session.connection(), "survey", [person], source="form")
        await until(lambda: bool(provider.requests))

    live(host(worker), body)
    (attempt,) = world.attempts()
    assert attempt["state"] == "accepted"
    with world.database.begin() as connection:
        assert (
            connection.execute(sa.text("SELECT count(*) FROM workers WHERE stopped_at IS NULL")).scalar_one()
            == 0
        )
    world.add_contacts(attempt["campaign_id"], [number(2)])
    assert len(provider.requests) == 1


def test_a_wrong_schema_keeps_the_host_from_starting_and_says_why(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    worker = Worker(sessionmaker[Session](engine), RecordingProvider(), SETTINGS)
    with pytest.raises(SchemaOutOfDate, match="outdial db upgrade"):
        live(host(worker), lambda _: asyncio.sleep(0))
    engine.dispose()


def test_an_account_that_is_not_there_keeps_the_host_from_starting(world: World) -> None:
    settings = SchedulerSettings(callback_url="http://127.0.0.1:1/x", account="none")
    with pytest.raises(embedding.UserError, match="none"):
        live(host(Worker(world.session_factory, RecordingProvider(), settings)), lambda _: asyncio.sleep(0))


def test_a_worker_that_fails_later_says_so_at_once_and_raises_at_the_end(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Worker):
        async def run(self) -> None:
            self._at_work.set()
            await asyncio.sleep(0.05)
            raise RuntimeError("the floor is gone")

    def critical() -> list[logging.LogRecord]:
        return [line for line in caplog.records if line.levelno == logging.CRITICAL]

    async def body(_: httpx.AsyncClient) -> None:
        await until(lambda: bool(critical()))

    with pytest.raises(RuntimeError, match="the floor is gone"):
        live(host(Failing(world.session_factory, RecordingProvider(), SETTINGS)), body)
    (line,) = critical()
    assert line.exc_info is not None


@pytest.mark.parametrize("prefix", ["", "/hooks", "/a/b/c"])
def test_webhooks_come_in_below_any_prefix(world: World, prefix: str) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    (call,) = world.run_pass(RecordingProvider()).scheduled
    told: list[SettledAttempt] = []
    router = webhook_router(
        world.session_factory, reader(), on_settled=lambda _, attempt: told.append(attempt)
    )

    async def body(client: httpx.AsyncClient) -> None:
        wrong = await client.post(f"{prefix}/main", **signed(ended(call.call_id), "whsec_" + "QUJD" * 10))
        assert wrong.status_code == 401
        assert (await client.post(f"{prefix}/none", **signed(ended(call.call_id)))).status_code == 404
        assert (await client.post(f"{prefix}/main", **signed(ended(call.call_id)))).status_code == 200

    live(host(None, (prefix, router)), body)
    assert [one.call_id for one in told] == [call.call_id]
    assert world.contacts_in(ContactState.IN_PROGRESS) == 0


def test_a_provider_of_one_account_reads_no_other_accounts_webhooks(world: World) -> None:
    world.add_account("other")
    router = webhook_router(world.session_factory, reader(), account="main")

    async def body(client: httpx.AsyncClient) -> None:
        assert (await client.post("/hooks/other", **signed(ended("c")))).status_code == 503
        assert (await client.post("/hooks/main", **signed(ended("c")))).status_code == 202

    live(host(None, ("/hooks", router)), body)


def test_an_event_whose_correction_the_host_does_not_take_is_asked_for_again(world: World) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1)])
    (call,) = world.run_pass(RecordingProvider()).scheduled
    taken: list[SettledAttempt] = []

    def takes_no_correction(_: sa.Connection, attempt: SettledAttempt) -> None:
        if attempt.is_correction and not taken:
            taken.append(attempt)
            raise ValueError("not now")

    router = webhook_router(world.session_factory, reader(), on_settled=takes_no_correction)
    result = {**ended(call.call_id), "event": "call.failed"}

    async def body(client: httpx.AsyncClient) -> None:
        given_up = {"answers": [], "error_code": "x"}
        assert (await client.post("/main", **signed({**result, **given_up}))).status_code == 200
        late = {**ended(call.call_id), "event": "call.completed", "event_id": "e2", "result": "completed"}
        answers = [(await client.post("/main", **signed(late))).status_code for _ in range(3)]
        assert answers == [200, 200, 200]

    live(host(None, ("", router)), body)
    assert world.attempts()[0]["outcome"] == "completed"
