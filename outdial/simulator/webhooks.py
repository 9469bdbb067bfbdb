"""Sends the events of the calls to their callback URLs, signed by the Standard Webhooks scheme.

The events of one call are first tried in their order, one after the other; what is not answered with 2xx is
tried again later with growing pauses, a bounded number of times, and holds back no other. Also the place where
webhooks are lost, doubled and reordered on demand.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from standardwebhooks import Webhook

from outdial.simulator.calls import Event
from outdial.simulator.clock import now, to_datetime
from outdial.simulator.fate import WebhookFault, webhook_fault
from outdial.simulator.ledger_file import LedgerFile
from outdial.simulator.settings import SimulatorSettings


@dataclass(slots=True)
class _Lane:
    """The events of one call that wait for their first try, and those held back to be out of order."""

    queue: deque[Event] = field(default_factory=deque)
    held: deque[Event] = field(default_factory=deque)
    is_pumped: bool = False


class WebhookSender:
    def __init__(self, settings: SimulatorSettings, ledger: LedgerFile) -> None:
        self._settings = settings
        self._ledger = ledger
        self._signer = Webhook(settings.webhook_secret)
        self._session: aiohttp.ClientSession | None = None
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._retries: set[asyncio.TimerHandle] = set()

    @property
    def pending(self) -> int:
        """Events on their way, and waits for a further try."""
        return len(self._tasks) + len(self._retries)

    async def start(self) -> None:
        connector = aiohttp.TCPConnector(limit=self._settings.webhook_max_in_flight, keepalive_timeout=15)
        seconds = self._settings.webhook_timeout_seconds
        # The wait for a free connection is ours, not the receiver's: no time-out counts it.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding"),
            auto_decompress=False,
        )

    async def stop(self) -> None:
        """Gives up what is still on its way; stopping twice is harmless."""
        for retry in self._retries:
            retry.cancel()
        self._retries.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def send(self, event: Event) -> None:
        """Takes the events of a call in their order; never waits."""
        lane = self._lanes.setdefault(event.provider_call_id, _Lane())
        lane.queue.append(event)
        if not lane.is_pumped:
            lane.is_pumped = True
            self._spawn(self._pump(lane))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self, lane: _Lane) -> None:
        while lane.queue:
            event = lane.queue.popleft()
            fault = webhook_fault(self._settings, event.event_id)
            if event.is_last:
                self._lanes.pop(event.provider_call_id, None)
            elif fault is WebhookFault.REORDERED:
                lane.held.append(event)
                continue
            await self._send_first(event, fault)
            while lane.held:
                await self._send_first(lane.held.popleft(), WebhookFault.REORDERED)
        lane.is_pumped = False

    async def _send_first(self, event: Event, fault: WebhookFault | None) -> None:
        if fault is WebhookFault.LOST:
            self._record(event, delivery="lost", attempt=0)
            return
        await self._try(event, 1)
        if fault is WebhookFault.DOUBLED:
            await self._try(event, 1)

    async def _try(self, event: Event, attempt: int) -> None:
        status, error = await self._post(event)
        if status is not None and 200 <= status < 300:
            self._record(event, delivery="delivered", attempt=attempt, status=status)
        elif attempt >= self._settings.webhook_max_attempts:
            self._record(event, delivery="gave_up", attempt=attempt, status=status, error=error)
        else:
            self._record(event, delivery="failed", attempt=attempt, status=status, error=error)
            self._retry_later(event, attempt + 1)

    async def _post(self, event: Event) -> tuple[int | None, str | None]:
        """The status of the answer, or None and what went wrong."""
        assert self._session is not None, "start() comes first"
        try:
            async with self._session.post(
                event.callback_url,
                data=event.body,
                headers=self._signed_headers(event),
                allow_redirects=False,
            ) as answer:
                return answer.status, None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return None, f"{type(error).__name__}: {error}"

    def _signed_headers(self, event: Event) -> dict[str, str]:
        # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
        at = now()
        signature = self._signer.sign(event.event_id, to_datetime(at), event.body.decode())
        return {
            "content-type": "application/json",
            "webhook-id": event.event_id,
            "webhook-timestamp": str(int(at)),
            "webhook-signature": signature,
        }

    def _retry_later(self, event: Event, attempt: int) -> None:
        settings = self._settings
        doubled = settings.webhook_backoff_seconds * 2.0 ** min(attempt - 2, 30)
        pause = min(settings.webhook_backoff_max_seconds, doubled)

        def retry() -> None:
            self._retries.discard(handle)
            self._spawn(self._try(event, attempt))

        handle = asyncio.get_running_loop().call_later(pause, retry)
        self._retries.add(handle)

    def _record(self, event: Event, *, delivery: str, attempt: int, **fields: object) -> None:
        self._ledger.write(
            "webhook",
            now(),
            call_id=event.call_id,
            provider_call_id=event.provider_call_id,
            event=f"call.{event.name}",
            event_id=event.event_id,
            delivery=delivery,
            attempt=attempt,
            **{name: value for name, value in fields.items() if value is not None},
        )
