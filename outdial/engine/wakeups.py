"""Wakes the claiming loops: on Postgres by LISTEN on a connection of its own, on SQLite within the process."""

from __future__ import annotations

import asyncio
import logging
import threading
from types import TracebackType
from typing import Final, Self

import psycopg
import sqlalchemy as sa

from outdial.storage.database import CHANNEL, Database

log = logging.getLogger("outdial.wakeups")

CHECK_STOP_SECONDS: Final = 0.5
RECONNECT_SECONDS: Final = 1.0
JOIN_SECONDS: Final = 1.0


class Wakeups:
    """`listen_url`: a direct connection for LISTEN, where the engine's own goes through a pooler."""

    def __init__(self, database: Database, listen_url: str | None = None) -> None:
        self._database = database
        self._listen_url = listen_url
        self._woken: list[asyncio.Event] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def subscribe(self) -> asyncio.Event:
        """An event that is set whenever there may be work."""
        event = asyncio.Event()
        self._woken.append(event)
        return event

    def unsubscribe(self, event: asyncio.Event) -> None:
        self._woken.remove(event)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._end = self._database.on_wake(self._wake)
        if self._database.dialect == "postgresql":
            self._thread = threading.Thread(target=self._listen, name="outdial-listen", daemon=True)
            self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._end()
        if self._thread is not None:
            # It is a daemon: should its server stand still, nobody waits for it.
            await self._loop.run_in_executor(None, self._thread.join, JOIN_SECONDS)

    def _wake(self) -> None:
        """From any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        for event in self._woken:
            event.set()

    def _listen(self) -> None:
        is_first_failure = True
        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    is_first_failure = True
                    # What was notified while nobody listened.
                    self._wake()
                    while not self._stop.is_set():
                        for _ in connection.notifies(timeout=CHECK_STOP_SECONDS):
                            self._wake()
            except psycopg.Error as error:
                if is_first_failure:
                    log.warning("notifications are lost, polling goes on: %s", error)
                    is_first_failure = False
                self._stop.wait(RECONNECT_SECONDS)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        url = self._database.engine.url if self._listen_url is None else sa.make_url(self._listen_url)
        arguments = url.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(
            arguments,
            autocommit=True,
            application_name="outdial-listen",
            connect_timeout=5,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )
