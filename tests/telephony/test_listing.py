"""Every provider that lists its calls shows all that were made since, with each one's numbers; asked over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outdial.domain.ids import CallId
from outdial.simulator import SimulatorSettings, serve
from outdial.telephony.adapters.twilio import TwilioAdapter
from outdial.telephony.caller import caller_for
from outdial.telephony.http_provider import AdapterProvider, HttpTelephonyProvider
from outdial.telephony.protocol import ListedCall, OutboundCallRequest
from outdial.telephony.transport import AsyncTransport
from tests.support.fake_twilio import ACCOUNT_SID, AUTH_TOKEN, FakeTwilio, Fate
from tests.support.stack import WEBHOOK_SECRET

COUNT = 5
NUMBERS = [f"+3934700000{n:02d}" for n in range(COUNT)]


def request(to: str) -> OutboundCallRequest:
    return OutboundCallRequest(
        call_id=CallId(f"call-{to}"),
        to=to,
        from_number="+390612345678",
        callback_url="http://127.0.0.1:9/webhooks",
        metadata={"contact_id": to[-2:]},
        machine_detection="off",
        intro_script="Buongiorno",
    )


@contextmanager
def simulated() -> Iterator[AdapterProvider]:
    """In a thread of its own, since the provider object is synchronous."""
    import threading

    loop = asyncio.new_event_loop()
    ports: list[int] = []
    ready = threading.Event()
    settings = SimulatorSettings(
        api_key="key", webhook_secret=WEBHOOK_SECRET, talk_time_mean_seconds=60, list_page_size=2
    )
    serving = loop.create_task(serve(settings, ready=lambda port: (ports.append(port), ready.set())))
    thread = threading.Thread(target=loop.run_until_complete, args=(serving,))
    thread.start()
    assert ready.wait(10)
    try:
        yield HttpTelephonyProvider(f"http://127.0.0.1:{ports[0]}", "key")
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join()
        loop.close()


@contextmanager
def twilio() -> Iterator[AdapterProvider]:
    # One call a second: some are begun, the others wait in the queue.
    with FakeTwilio(lambda _to, _before: Fate(talk_seconds=60), calls_per_second=2) as fake:
        fake.page_limit = 2
        adapter = TwilioAdapter(
            account_sid=ACCOUNT_SID, user=ACCOUNT_SID, password=AUTH_TOKEN, base_url=fake.url
        )
        yield AdapterProvider(adapter)


def all_pages(provider: AdapterProvider, since: datetime) -> list[ListedCall]:
    """As a worker asks, over the transport that it shares."""

    async def ask() -> list[ListedCall]:
        found: list[ListedCall] = []
        page: str | None = None
        async with AsyncTransport() as transport:
            caller = caller_for(provider, transport, None)
            assert caller.can_list
            while True:
                answer = await caller.list_calls(since, page)
                found += answer.calls
                page = answer.next_page
                if page is None:
                    return found

    return asyncio.run(ask())


@pytest.mark.parametrize("started", [simulated, twilio])
def test_all_calls_since_an_instant_are_listed_however_the_pages_are_cut(started: Any) -> None:
    begun_at = datetime.now(UTC) - timedelta(seconds=2)
    with started() as provider:
        sids = {provider.start_outbound_call(request(to)).provider_call_id: to for to in NUMBERS}
        found = {one.event.provider_call_id: one for one in all_pages(provider, begun_at)}
        assert {sid: one.origin.to for sid, one in found.items()} == sids
        for one in found.values():
            assert one.origin.started_at is not None
            assert begun_at <= one.origin.started_at <= datetime.now(UTC)
        # The same, asked by who calls the object himself.
        assert provider.list_calls(begun_at, None).calls
        provider.close()
