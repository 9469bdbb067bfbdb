"""The worker's transport against real sockets that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import pytest

from outdial.domain.errors import InDoubt, MissedMoment, ProviderUnreachable, TelephonyProviderError
from outdial.telephony.protocol import HttpRequest, HttpResponse
from outdial.telephony.transport import AsyncTransport

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def post_to(handler: Handler, *, timeout_seconds: float = 1.0) -> HttpResponse:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            async with AsyncTransport(timeout_seconds=timeout_seconds) as transport:
                return await transport.send(post(port))
        finally:
            # Let the handler of a request that was given up come to its own end.
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)


def post(port: int) -> HttpRequest:
    return HttpRequest(method="POST", url=f"http://127.0.0.1:{port}/calls", headers={}, body=b"{}")


def answering(reply: bytes, *, after_seconds: float = 0.0, reads_first: bool = True) -> Handler:
    """A server that answers `reply` and hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if reads_first:
                await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(after_seconds)
            writer.write(reply)
            await writer.drain()
        writer.close()

    return handle


CLOSES_WITHOUT_ANSWER = answering(b"")
SAYS_NOTHING = answering(b"", after_seconds=1.5)
BREAKS_OFF = answering(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{")
TALKS_NONSENSE = answering(b"what?\r\n\r\n")
REDIRECTS = answering(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
SPEAKS_NO_TLS = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n", reads_first=False)


@pytest.mark.parametrize("handler", [CLOSES_WITHOUT_ANSWER, SAYS_NOTHING, BREAKS_OFF, TALKS_NONSENSE])
def test_whatever_breaks_after_sending_is_in_doubt(handler: Handler) -> None:
    with pytest.raises(InDoubt):
        asyncio.run(post_to(handler))


def test_a_refused_connection_sent_nothing() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def send() -> None:
        async with AsyncTransport() as transport:
            await transport.send(post(port))

    with pytest.raises(ProviderUnreachable):
        asyncio.run(send())


def test_an_unknown_host_sent_nothing() -> None:
    async def send() -> None:
        async with AsyncTransport() as transport:
            request = HttpRequest(method="POST", url="http://nowhere.invalid/calls", headers={}, body=b"{}")
            await transport.send(request)

    with pytest.raises(ProviderUnreachable):
        asyncio.run(send())


def test_a_redirect_is_not_followed() -> None:
    assert asyncio.run(post_to(REDIRECTS)).status == 307


def test_tls_that_fails_on_a_fresh_connection_sent_nothing() -> None:
    async def send() -> None:
        server = await asyncio.start_server(SPEAKS_NO_TLS, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, AsyncTransport(timeout_seconds=3) as transport:
            url = f"https://127.0.0.1:{port}/calls"
            await transport.send(HttpRequest(method="POST", url=url, headers={}, body=b"{}"))

    with pytest.raises(TelephonyProviderError) as caught:
        asyncio.run(send())
    assert isinstance(caught.value, ProviderUnreachable)


def test_what_may_no_longer_leave_is_not_sent_and_costs_no_connection() -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seen.append(head + await reader.readexactly(2))
                writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")
                await writer.drain()
        writer.close()

    async def send() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        request = post(server.sockets[0].getsockname()[1])
        async with server:
            async with AsyncTransport(connections=1) as transport:
                for _ in range(3):
                    with pytest.raises(MissedMoment):
                        await transport.send(request, lambda: False)
                    assert (await transport.send(request, lambda: True)).status == 201
            while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(tasks)

    asyncio.run(send())
    assert len(seen) == 3
