"""How the engine calls any provider without blocking: over the shared transport, or in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import datetime
from typing import Final, Protocol

from outdial.domain.attempt import CallEvent
from outdial.domain.doubt import Capabilities
from outdial.domain.errors import CallRejected, CannotList, MissedMoment
from outdial.domain.ids import CallId, ProviderCallId
from outdial.telephony.http_provider import AdapterProvider
from outdial.telephony.protocol import (
    CallPage,
    HangsUpCalls,
    HttpAdapter,
    ListsCalls,
    ListsCallsByHttp,
    LooksUpCalls,
    LookUp,
    OutboundCallRequest,
    OutboundCallResponse,
    TelephonyProvider,
)
from outdial.telephony.transport import AsyncTransport

NO_LIST: Final = "it keeps no list of its calls that can be asked for"

MayLeave = Callable[[], bool]
"""Whether a request may still leave now. Asked from any thread."""


class Caller(Protocol):
    """`can_look_up` False: nobody can be asked, and only time ends a doubt. `can_hang_up` False: `hang_up` raises."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def can_look_up(self) -> bool: ...

    async def start(self, request: OutboundCallRequest, may_leave: MayLeave) -> OutboundCallResponse:
        """`may_leave` is asked in the last moment before the bytes leave; False raises `MissedMoment`."""
        ...

    async def look_up(self, query: LookUp) -> Sequence[CallEvent]: ...

    async def probe(self, unused: CallId) -> None:
        """Ask a free question that only a good account answers; raises a `TelephonyProviderError` from a bad one."""
        ...

    @property
    def can_hang_up(self) -> bool: ...

    async def hang_up(self, provider_call_id: ProviderCallId, *, is_queued: bool = False) -> None:
        """`is_queued`: only if it was not answered meanwhile, where the provider makes that difference."""
        ...

    @property
    def can_list(self) -> bool: ...

    async def list_calls(self, since: datetime, page: str | None) -> CallPage:
        """As `ListsCalls.list_calls`; raises `CannotList` where `can_list` is False."""
        ...


def caller_for(provider: TelephonyProvider, transport: AsyncTransport, threads: Executor | None) -> Caller:
    """`threads` None means the loop's default threads."""
    if isinstance(provider, AdapterProvider) and not provider.brings_own_client:
        return _HttpCaller(provider.adapter, transport)
    return _ThreadCaller(provider, threads)


class _HttpCaller:
    can_look_up = True
    can_hang_up = True

    def __init__(self, adapter: HttpAdapter, transport: AsyncTransport) -> None:
        self._adapter = adapter
        self._transport = transport
        self.capabilities = adapter.capabilities
        self.can_list = isinstance(adapter, ListsCallsByHttp) and adapter.can_list

    async def start(self, request: OutboundCallRequest, may_leave: MayLeave) -> OutboundCallResponse:
        response = await self._transport.send(self._adapter.start_request(request), may_leave)
        return self._adapter.read_start(response)

    async def look_up(self, query: LookUp) -> Sequence[CallEvent]:
        return self._adapter.read_look_up(
            query, await self._transport.send(self._adapter.look_up_request(query))
        )

    async def hang_up(self, provider_call_id: ProviderCallId, *, is_queued: bool = False) -> None:
        request = self._adapter.hang_up_request(provider_call_id, is_queued=is_queued)
        self._adapter.read_hang_up(await self._transport.send(request))

    async def list_calls(self, since: datetime, page: str | None) -> CallPage:
        if not isinstance(self._adapter, ListsCallsByHttp) or not self.can_list:
            raise CannotList(NO_LIST)
        response = await self._transport.send(self._adapter.list_request(since, page))
        return self._adapter.read_list(page, response)

    async def probe(self, unused: CallId) -> None:  # noqa: ARG002 - an adapter has a question of its own
        self._adapter.read_check(await self._transport.send(self._adapter.check_request()))


class _ThreadCaller:
    def __init__(self, provider: TelephonyProvider, threads: Executor | None) -> None:
        self._provider = provider
        self._threads = threads
        self.can_look_up = isinstance(provider, LooksUpCalls)
        self.can_hang_up = isinstance(provider, HangsUpCalls)
        self.can_list = isinstance(provider, ListsCalls) and (
            not isinstance(provider, AdapterProvider) or provider.can_list
        )
        self.capabilities = getattr(provider, "capabilities", None) or Capabilities()

    async def start(self, request: OutboundCallRequest, may_leave: MayLeave) -> OutboundCallResponse:
        def start_now() -> OutboundCallResponse:
            # The call may have waited for a thread.
            if not may_leave():
                raise MissedMoment("no thread was free in time")
            return self._provider.start_outbound_call(request)

        return await asyncio.get_running_loop().run_in_executor(self._threads, start_now)

    async def look_up(self, query: LookUp) -> Sequence[CallEvent]:
        if not isinstance(self._provider, LooksUpCalls):
            return ()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._provider.look_up_call, query
        )

    async def hang_up(self, provider_call_id: ProviderCallId, *, is_queued: bool = False) -> None:  # noqa: ARG002
        if not isinstance(self._provider, HangsUpCalls):
            raise CallRejected("this provider object cannot hang up: it has no hang_up_call")
        await asyncio.get_running_loop().run_in_executor(
            self._threads, self._provider.hang_up_call, provider_call_id
        )

    async def list_calls(self, since: datetime, page: str | None) -> CallPage:
        if not isinstance(self._provider, ListsCalls):
            raise CannotList(NO_LIST)
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._provider.list_calls, since, page
        )

    async def probe(self, unused: CallId) -> None:
        await self.look_up(LookUp(call_id=unused, to="", from_number=""))
