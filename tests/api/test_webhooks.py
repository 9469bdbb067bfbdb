"""The webhook endpoint over real HTTP, on SQLite and on Postgres."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook

from outdial.api.app import create_app
from outdial.clock import SystemClock
from outdial.domain.account import Account
from outdial.domain.settle import Outcome
from outdial.storage.tables import call_events, provider_configurations
from outdial.telephony.adapters.http import GenericHttpAdapter
from tests.support.served import served
from tests.support.stack import WEBHOOK_SECRET
from tests.support.world import RecordingProvider, World, number


@dataclass
class Endpoint:
    url: str

    def send(
        self, body: dict[str, Any] | bytes, *, account: str = "main", secret: str = WEBHOOK_SECRET
    ) -> httpx.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        now = datetime.now(UTC)
        headers = {
            "webhook-id": "m1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign("m1", now, raw.decode("utf-8", "replace")),
        }
        return httpx.post(
            f"{self.url}/webhooks/telephony/{account}", content=raw, headers=headers, timeout=20
        )


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    made = World(database_url)
    yield made
    made.close()


@pytest.fixture
def endpoint(world: World) -> Iterator[Endpoint]:
    def reader_for(account: Account) -> GenericHttpAdapter:
        return GenericHttpAdapter(base_url="http://unused", api_key="k", webhook_secret=WEBHOOK_SECRET)

    app = create_app(world.database, reader_for, SystemClock())
    with served(app) as url:
        yield Endpoint(url)


@pytest.fixture
def call_id(world: World) -> str:
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(1)])
    (scheduled,) = world.run_pass(RecordingProvider()).scheduled
    return scheduled.call_id


def webhook(name: str, call_id: str, event_id: str = "e1", **facts: Any) -> dict[str, Any]:
    return {
        "event": name,
        "event_id": event_id,
        "call_id": call_id,
        "timestamp": "2026-11-23T09:00:00Z",
        **facts,
    }


def test_an_event_is_durable_when_it_is_answered(world: World, endpoint: Endpoint, call_id: str) -> None:
    answered = endpoint.send(webhook("call.completed", call_id, result="completed"))
    assert answered.status_code == 200
    (attempt,) = world.attempts()
    assert attempt["outcome"] == Outcome.COMPLETED


def test_the_same_event_counts_once(world: World, endpoint: Endpoint, call_id: str) -> None:
    for _ in range(3):
        assert endpoint.send(webhook("call.busy", call_id)).status_code == 200
    with world.database.begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(call_events)).scalar_one() == 1


def test_a_wrong_signature_is_401_and_changes_nothing(world: World, endpoint: Endpoint, call_id: str) -> None:
    other = "whsec_" + "QUJD" * 10
    assert endpoint.send(webhook("call.busy", call_id), secret=other).status_code == 401
    assert world.attempts()[0]["ended_at"] is None


@pytest.mark.parametrize("body", [b"{", b"[]", {"event": "call.unheard_of"}])
def test_a_malformed_event_is_422_and_says_what_is_wrong(endpoint: Endpoint, body: Any) -> None:
    answered = endpoint.send(body)
    assert answered.status_code == 422
    assert answered.json()["error"]


def test_an_unknown_call_is_202_and_kept(world: World, endpoint: Endpoint) -> None:
    assert endpoint.send(webhook("call.busy", "0198c0de-0000-7000-8000-00000000dead")).status_code == 202
    with world.database.begin() as connection:
        assert connection.execute(sa.select(call_events.c.attempt_id)).scalar_one() is None


def test_an_unknown_account_is_404(endpoint: Endpoint, call_id: str) -> None:
    assert endpoint.send(webhook("call.busy", call_id), account="nobody").status_code == 404


def test_a_body_without_end_is_413(endpoint: Endpoint) -> None:
    assert endpoint.send(b" " * (1024 * 1024 + 1)).status_code == 413


def test_nul_characters_in_an_event_lose_nothing_else(world: World, endpoint: Endpoint, call_id: str) -> None:
    answered = endpoint.send(webhook("call.completed", call_id, result="completed", error_code="a\u0000b"))
    assert answered.status_code == 200
    assert world.attempts()[0]["outcome"] == Outcome.COMPLETED


def test_the_checks_say_that_all_is_well(endpoint: Endpoint) -> None:
    assert httpx.get(f"{endpoint.url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{endpoint.url}/readyz").json() == {"status": "ok"}


def test_many_events_at_once_are_all_applied(world: World, endpoint: Endpoint) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, map(number, range(60)))
    scheduled = world.run_pass(RecordingProvider(), batch_size=60).scheduled
    statuses: list[int] = []

    def send(index: int) -> None:
        body = webhook("call.completed", scheduled[index].call_id, f"e{index}", result="completed")
        statuses.append(endpoint.send(body).status_code)

    threads = [threading.Thread(target=send, args=(index,)) for index in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 60
    assert {attempt["outcome"] for attempt in world.attempts()} == {Outcome.COMPLETED}


def set_read_only(world: World, *, on: bool) -> None:
    """As a server is that steps down, or whose disk is full."""
    with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("SET default_transaction_read_only = off"))
        name = connection.execute(sa.text("SELECT current_database()")).scalar_one()
        value = "on" if on else "off"
        connection.execute(sa.text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}'))
    # Sessions that are open already go on as they were.
    world.engine.dispose()


def test_what_cannot_be_stored_is_503_until_it_can_and_that_is_said_once(
    world: World, endpoint: Endpoint, call_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    if world.database.dialect == "sqlite":
        pytest.skip("SQLite has no server that steps down")
    body = webhook("call.busy", call_id)
    with caplog.at_level(logging.WARNING, logger="outdial.webhooks"):
        set_read_only(world, on=True)
        refused = [endpoint.send(body) for _ in range(10)]
        set_read_only(world, on=False)
        stored = endpoint.send(body)
    assert {response.status_code for response in refused} == {503}
    assert refused[0].headers["retry-after"]
    assert stored.status_code == 200
    assert world.attempts()[0]["ending"] == "busy"
    said = [record.message for record in caplog.records]
    assert [one.split(" (")[0].split(",")[0] for one in said] == [
        "the database does not answer",
        "the database answers again",
    ]


def test_a_webhook_ends_the_alarm_that_none_arrive(world: World, endpoint: Endpoint, call_id: str) -> None:
    world.set_account(webhooks_missing_at=datetime.now(UTC), ended_by_look_up=12)
    assert endpoint.send(webhook("call.ringing", call_id)).status_code == 200
    with world.database.begin() as connection:
        query = sa.select(
            provider_configurations.c.webhooks_missing_at, provider_configurations.c.ended_by_look_up
        )
        assert tuple(connection.execute(query).one()) == (None, 0)


def test_an_event_of_a_call_that_the_database_has_lost_brings_it_back(
    world: World, endpoint: Endpoint
) -> None:
    (contact,) = world.add_contacts(world.add_campaign(), [number(1)])
    metadata = {"contact_id": str(contact), "call_id": "lost"}
    refused = {"duration_seconds": 9, "result": "refused", "opt_out": True}
    lost = webhook("call.completed", "lost", **refused, metadata=metadata, to=number(1))
    assert endpoint.send(lost).status_code == 200
    (row,) = world.attempts()
    assert (row["call_id"], row["outcome"]) == ("lost", Outcome.REFUSED)
    assert world.contact(contact)["state"] == "refused"
    # Who opted out in a call that we had forgotten is called by nobody.
    (other,) = world.add_contacts(world.add_campaign("other"), [number(1)])
    world.run_pass(RecordingProvider())
    assert world.contact(other)["state"] == "excluded"
