"""Sends HTTP messages, and sorts what went wrong into "nothing was sent" and "it may have arrived"."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import aiohttp
import httpx
from aiohttp.abc import AbstractStreamWriter

from outdial.domain.errors import InDoubt, MissedMoment, ProviderUnreachable
from outdial.telephony.protocol import HttpRequest, HttpResponse

POST_TIMEOUT_SECONDS: Final = 10.0
CONNECT_TIMEOUT_SECONDS: Final = 4.0
# More answers than this in one body is no answer of a telephony provider.
MAX_BODY_BYTES: Final = 4 * 1024 * 1024


class AsyncTransport:
    """Hundreds of requests in flight on kept connections, in one event loop. aiohttp: a tenth of httpx's cost."""

    def __init__(self, *, timeout_seconds: float = POST_TIMEOUT_SECONDS, connections: int = 0) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=CONNECT_TIMEOUT_SECONDS)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=30)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, request: HttpRequest, may_leave: Callable[[], bool] = lambda: True) -> HttpResponse:
        """Raises `ProviderUnreachable` when no byte left, `InDoubt` when bytes may have arrived, and `MissedMoment`
        when a connection was there only after `may_leave` no longer allowed it.
        """
        if self._session is None:
            raise RuntimeError("the transport is not open: use it with `async with`")
        body = None if request.body is None else _GuardedBody(request.body, may_leave)
        try:
            async with self._session.request(
                request.method,
                request.url,
                headers=request.headers,
                data=body,
                allow_redirects=False,
            ) as response:
                answer = await response.content.read(MAX_BODY_BYTES)
                while chunk := await response.content.read(MAX_BODY_BYTES):
                    answer += chunk
                    if len(answer) > MAX_BODY_BYTES:
                        raise InDoubt("the answer is too long")
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HttpResponse(status=response.status, headers=headers, body=answer)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise ProviderUnreachable(_said(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if body is not None and body.has_missed:
                raise MissedMoment("no connection was ready in time") from error
            raise InDoubt(_said(error)) from error


class _GuardedBody(aiohttp.BytesPayload):
    """A body that is written, and the buffered headers before it, only if it still may leave once a connection is there."""

    def __init__(self, body: bytes, may_leave: Callable[[], bool]) -> None:
        super().__init__(body, content_type="application/json")
        self._may_leave = may_leave
        self.has_missed = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if not self._may_leave():
            self.has_missed = True
            raise MissedMoment("no connection was ready in time")
        await super().write_with_length(writer, content_length)


class SyncTransport:
    """One request at a time over httpx, for callers that have no event loop or bring their own client."""

    def __init__(self, client: httpx.Client | None = None) -> None:
        self._client = client or httpx.Client(
            timeout=httpx.Timeout(POST_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
            follow_redirects=False,
        )

    def send(self, request: HttpRequest) -> HttpResponse:
        """Raises as `AsyncTransport.send` does."""
        try:
            response = self._client.request(
                request.method, request.url, headers=dict(request.headers), content=request.body
            )
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.InvalidURL,
            httpx.UnsupportedProtocol,
        ) as error:
            raise ProviderUnreachable(_said(error)) from error
        except httpx.HTTPError as error:
            raise InDoubt(_said(error)) from error
        return HttpResponse(
            status=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=response.content,
        )

    def close(self) -> None:
        self._client.close()


def _said(error: BaseException) -> str:
    # A provider's URL may carry an account's id, never a secret; a phone number stands in no error of the clients.
    return f"{type(error).__name__}: {error}"[:300]
