"""The simulator's only reader of time.

The simulator stands in for the outside world, so it lives in real time: it has no injected clock.
"""

import asyncio
import time
from datetime import UTC, datetime


def now() -> float:
    """Unix seconds of the wall clock: what the ledger and `not_after` are written in."""
    return time.time()


def to_rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_datetime(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def parse_rfc3339(text: str) -> float:
    """Unix seconds. Raises ValueError for what is not RFC 3339 with an offset (section 5.6)."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    return instant.timestamp()


class Pauses:
    """Waits that can all be cut short, so that a server that stops has nothing to wait for."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self._are_over = False

    async def wait(self, seconds: float) -> None:
        if seconds <= 0 or self._are_over:
            return
        loop = asyncio.get_running_loop()
        end = loop.create_future()
        timer = loop.call_later(seconds, _finish, end)
        self._waiting.add(end)
        try:
            await end
        finally:
            timer.cancel()
            self._waiting.discard(end)

    def end_all(self) -> None:
        """Those to come too."""
        self._are_over = True
        for end in self._waiting:
            _finish(end)


def _finish(end: asyncio.Future[None]) -> None:
    if not end.done():
        end.set_result(None)
