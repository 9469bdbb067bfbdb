"""Runs an application over HTTP until it is told to stop, and then ends orderly: requests are drained, exit code 0."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

DRAIN_SECONDS: Final = 15
# Longer than providers keep an idle connection, so that none is closed while they take it up again.
KEEP_ALIVE_SECONDS: Final = 75


def serve(
    app: ASGIApp,
    host: str,
    port: int,
    on_ready: Callable[[int], None],
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT. `port` 0 lets the system choose; `on_ready` hears which one it is, and `on_stop`
    is called at the signal, before requests are drained.

    Raises `OSError` when the port cannot be had.
    """
    with _listen(host, port) as listener:
        asyncio.run(_serve(app, listener, on_ready, on_stop))


async def _serve(
    app: ASGIApp, listener: socket.socket, on_ready: Callable[[int], None], on_stop: Callable[[], None]
) -> None:
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = _Server(config, lambda: on_ready(listener.getsockname()[1]))

    def stop() -> None:
        on_stop()
        server.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await server.serve(sockets=[listener])
    if not server.started:
        raise OSError("the application did not start; its log says why")


class _Server(uvicorn.Server):
    """Leaves signals to its caller: uvicorn's own handling ends the process by the signal, not with 0."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    def stop(self) -> None:
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named asyncio turns Nagle's delay off; without, each answer may wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(2048)
    return listener
