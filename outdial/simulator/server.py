"""Runs the simulated provider: as an ASGI application, inside a running loop, or as a whole process."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from outdial.simulator.routes import DROP_CONNECTION, ProviderRoutes
from outdial.simulator.settings import SimulatorSettings

_KEEP_ALIVE_SECONDS: Final = 75
"""Longer than clients keep an idle connection, so that none is closed while they take it up again."""
_DRAIN_SECONDS: Final = 1
_BACKLOG: Final = 2048


def create_app(settings: SimulatorSettings) -> Starlette:
    """The fault `lost_answer` needs the server of this module: only it can close a connection."""
    provider = ProviderRoutes(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await provider.start()
        try:
            yield
        finally:
            await provider.stop()

    app = Starlette(routes=provider.routes(), lifespan=lifespan)
    app.state.hasten = provider.hasten
    return app


async def serve(
    settings: SimulatorSettings,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Serves until it is cancelled, then drains for a second and returns; open calls are forgotten.

    `ready` hears the port, chosen by the system for 0, once requests are answered. Raises OSError if the port
    is taken or the ledger cannot be written.
    """
    with _listen(host, port) as listener:
        bound_port: int = listener.getsockname()[1]
        app = create_app(settings)
        server = _Server(_config(app), lambda: ready(bound_port) if ready else None)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            app.state.hasten()
            server.should_exit = True
            await serving


def run_server(
    settings: SimulatorSettings,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    port_file: str | Path | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then returns. Prints one line, and writes `port_file`, when ready."""

    def announce(bound_port: int) -> None:
        if port_file is not None:
            _write_whole(Path(port_file), f"{bound_port}\n")
        shown = f"[{host}]" if ":" in host else host
        sys.stdout.write(f"simulated provider listening on http://{shown}:{bound_port}\n")
        sys.stdout.flush()

    asyncio.run(_serve_until_signal(settings, host, port, announce))


class _Server(uvicorn.Server):
    """Leaves signals to its caller: uvicorn's own handling ends the process by the signal, not with 0."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()


async def _serve_until_signal(
    settings: SimulatorSettings, host: str, port: int, ready: Callable[[int], None]
) -> None:
    serving = asyncio.create_task(serve(settings, host, port, ready))
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, serving.cancel)
    await serving


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        # uvicorn calls whatever makes a protocol; its types know only classes.
        http=cast("type[asyncio.Protocol]", _droppable_protocol),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )


def _droppable_protocol(**arguments: Any) -> asyncio.Protocol:
    """uvicorn's HTTP protocol, with a way for a request to close its own connection."""
    protocol: Any = AutoHTTPProtocol(**arguments)
    app: ASGIApp = protocol.app

    async def offering_app(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[DROP_CONNECTION] = protocol.transport.abort
        await app(scope, receive, send)

    protocol.app = offering_app
    return cast("asyncio.Protocol", protocol)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named, which socket.create_server() does
    # not: each answer would then wait 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _write_whole(path: Path, text: str) -> None:
    """A reader sees the whole text or no file."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
