"""A simulated provider on a free port of this machine, and a receiver for what it reports."""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from outdial.simulator import Ledger, SimulatorSettings, read_ledger, serve

WAIT_SECONDS = 5
QUICK = {
    "api_key": "key",
    "webhook_secret": "whsec_c2ltdWxhdGVkIHByb3ZpZGVy",
    "talk_time_mean_seconds": 0.06,
    "ring_time_mean_seconds": 0.04,
    "answer_latency_seconds": 0.0,
    "webhook_backoff_seconds": 0.02,
}
"""A provider whose calls are over in the blink of an eye."""


class Receiver:
    """Keeps the webhooks; answers them with `statuses`, one each, then with 204."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: deque[int] = deque()
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/webhooks"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.received]

    def names_of(self, call_id: str) -> list[str]:
        """The events of a call, without their prefix, in the order in which they came."""
        return [e["event"].removeprefix("call.") for e in self.events if e["call_id"] == call_id]

    def wait_for(self, event: str, *, count: int = 1) -> list[dict[str, Any]]:
        def found() -> list[dict[str, Any]]:
            return [e for e in self.events if e["event"] == f"call.{event}"]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, WAIT_SECONDS), self.events
        return found()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, headers: dict[str, str], body: bytes) -> int:
        with self._changed:
            self.received.append((headers, body))
            self._changed.notify_all()
            return self.statuses.popleft() if self.statuses else 204

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(take(dict(self.headers), body))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler


class Provider:
    """A running simulated provider, and a client that knows its contract."""

    def __init__(self, settings: SimulatorSettings, callback_url: str) -> None:
        self.settings = settings
        self._callback_url = callback_url
        self._is_closing = False
        self._loop = asyncio.new_event_loop()
        port: Future[int] = Future()
        self._serving = self._loop.create_task(serve(settings, ready=port.set_result))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.base_url = f"http://127.0.0.1:{port.result(WAIT_SECONDS)}"
        bearer = {"authorization": f"Bearer {settings.api_key}"}
        # Loading the certificates would take longer than most of the tests.
        self.http = httpx.Client(base_url=self.base_url, headers=bearer, timeout=WAIT_SECONDS, verify=False)  # noqa: S501

    def body(self, call_id: str, **fields: object) -> dict[str, object]:
        body: dict[str, object] = {
            "call_id": call_id,
            "to": "+390612345678",
            "from": "+390212345678",
            "callback_url": self._callback_url,
        }
        return body | fields

    def start(self, call_id: str, **fields: object) -> httpx.Response:
        body = self.body(call_id, **fields)
        return self.http.post("/calls", json=body, headers={"idempotency-key": call_id})

    def look_up(self, call_id: str) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = self.http.get("/calls", params={"client_call_id": call_id}).json()[
            "calls"
        ]
        return calls

    def ledger(self) -> Ledger:
        assert self.settings.ledger_path is not None
        return read_ledger(self.settings.ledger_path)

    def begin_close(self) -> None:
        self.http.close()
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon_threadsafe(self._serving.cancel)

    def close(self) -> None:
        self.begin_close()
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serving)
        finally:
            self._loop.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def settings() -> Callable[..., SimulatorSettings]:
    def build(**options: Any) -> SimulatorSettings:
        return SimulatorSettings(**QUICK | options)

    return build


@pytest.fixture(scope="session")
def closing() -> Iterator[list[Provider]]:
    """Closing takes a fifth of a second, in which the next tests can run."""
    closing: list[Provider] = []
    yield closing
    for provider in closing:
        provider.close()


@pytest.fixture
def provider(
    receiver: Receiver, tmp_path: Path, closing: list[Provider]
) -> Iterator[Callable[..., Provider]]:
    """Starts a quick provider that reports to `receiver`, with the settings it is given."""
    running: list[Provider] = []

    def start(**options: Any) -> Provider:
        told = {"ledger_path": str(tmp_path / f"ledger-{len(running)}.ndjson")} | QUICK | options
        running.append(Provider(SimulatorSettings(**told), receiver.url))
        return running[-1]

    yield start
    for provider in running:
        provider.begin_close()
    closing.extend(running)
