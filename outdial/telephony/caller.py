"""How the engine calls any provider without blocking: over the shared transport, or in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Protocol

from outdial.domain.attempt import CallEvent
from outdial.domain.ids import CallId
from outdial.telephony.http_provider import AdapterProvider
from outdial.telephony.protocol import (
    Capabilities,
    ChecksAccount,
    HttpAdapter,
    LooksUpCalls,
    LookUp,
    OutboundCallRequest,
    OutboundCallResponse,
    TelephonyProvider,
)
from outdial.telephony.transport import AsyncTransport


class Caller(Protocol):
    """`can_look_up` False: nobody can be asked, and only time ends a doubt."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def can_look_up(self) -> bool: ...

    async def start(self, request: OutboundCallRequest) -> OutboundCallResponse: ...

    async def look_up(self, query: LookUp) -> Sequence[CallEvent]: ...

    async def probe(self, unused: CallId) -> None:
        """Ask a free question that only a good account answers; raises a `TelephonyProviderError` from a bad one."""
        ...


def caller_for(provider: TelephonyProvider, transport: AsyncTransport, threads: Executor | None) -> Caller:
    """`threads` None means the loop's default threads."""
    if isinstance(provider, AdapterProvider) and not provider.brings_own_client:
        return _HttpCaller(provider.adapter, transport)
    return _ThreadCaller(provider, threads)


class _HttpCaller:
    can_look_up = True

    def __init__(self, adapter: HttpAdapter, transport: AsyncTransport) -> None:
        self._adapter = adapter
        self._transport = transport
        self.capabilities = adapter.capabilities

    async def start(self, request: OutboundCallRequest) -> OutboundCallResponse:
        return self._adapter.read_start(await self._transport.send(self._adapter.start_request(request)))

    async def look_up(self, query: LookUp) -> Sequence[CallEvent]:
        return self._adapter.read_look_up(
            query, await self._transport.send(self._adapter.look_up_request(query))
        )

    async def probe(self, unused: CallId) -> None:
        if isinstance(self._adapter, ChecksAccount):
            self._adapter.read_check(await self._transport.send(self._adapter.check_request()))
        else:
            await self.look_up(LookUp(call_id=unused, to="", from_number=""))


class _ThreadCaller:
    def __init__(self, provider: TelephonyProvider, threads: Executor | None) -> None:
        self._provider = provider
        self._threads = threads
        self.can_look_up = isinstance(provider, LooksUpCalls)
        self.capabilities = getattr(provider, "capabilities", None) or Capabilities()

    async def start(self, request: OutboundCallRequest) -> OutboundCallResponse:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._provider.start_outbound_call, request)

    async def look_up(self, query: LookUp) -> Sequence[CallEvent]:
        if not isinstance(self._provider, LooksUpCalls):
            return ()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._provider.look_up_call, query
        )

    async def probe(self, unused: CallId) -> None:
        await self.look_up(LookUp(call_id=unused, to="", from_number=""))
