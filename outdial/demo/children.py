"""The processes of a demo: started without the user's own settings, watched, and never left over."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from outdial.clock import Clock
from outdial.domain.errors import OutdialError

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.02
LINES_SHOWN: Final = 12
OURS: Final = ("DATABASE_URL", "OUTDIAL_", "TELEPHONY_", "SCHEDULER_")


class DemoFailed(OutdialError):
    """The demo could not come to its end; the message says why."""


class Children:
    """Leaving the block stops all of them, the last one started first."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._started: list[Child] = []

    def start(
        self, name: str, module: str, *arguments: str, settings: Mapping[str, str] | None = None
    ) -> Child:
        """`settings` are its environment, beside what every program is given. What it writes is in `name.log`."""
        child = Child(name, [module, *arguments], self._folder, environment(settings or {}), self._clock)
        self._started.append(child)
        return child

    def check(self) -> None:
        """Raises `DemoFailed` if one has ended."""
        for child in self._started:
            child.check()

    def stop(self) -> None:
        """Stopping twice is harmless."""
        while self._started:
            self._started[-1].stop()
            self._started.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Child:
    """One process, on the leash of this one."""

    def __init__(
        self, name: str, arguments: list[str], folder: Path, environment: Mapping[str, str], clock: Clock
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        self._clock = clock
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "outdial.demo.leash", *arguments],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for us: we stop them in their order.
                start_new_session=True,
            )

    def wait_for_line(self, pattern: str) -> re.Match[str]:
        """The first match in what it writes. Raises `DemoFailed` if it ends, or takes too long."""
        deadline = self._clock.monotonic() + START_SECONDS
        while self._clock.monotonic() < deadline:
            # In this order: what it wrote just before its end is still seen.
            has_ended = self._process.poll() is not None
            found = re.search(pattern, self._log.read_text(errors="replace"))
            if found is not None:
                return found
            if has_ended:
                self.check()
            self._clock.sleep(POLL_SECONDS)
        raise DemoFailed(f"{self.name} did not start within {START_SECONDS:.0f} seconds.{self._tail()}")

    def check(self) -> None:
        """Raises `DemoFailed` if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise DemoFailed(f"{self.name} has ended by itself (exit code {code}).{self._tail()}")

    def stop(self) -> None:
        """SIGTERM; one that does not end is killed."""
        try:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-LINES_SHOWN:]
        return "".join(f"\n  {line}" for line in ["Its last words:", *lines]) if lines else ""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, with `settings` in place of all that would be Outdial's."""
    # Handed on, not read: settings.py reads what is ours, and that is left out here.
    inherited = os.environ.items()  # noqa: TID251
    return {name: value for name, value in inherited if not name.startswith(OURS)} | dict(settings)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
