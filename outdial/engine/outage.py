"""Says once that the database is away, and once that it is back, however many threads of work run into it."""

from __future__ import annotations

import logging
from typing import Final

from outdial.clock import Clock

# One that comes and goes (a disk that is full takes reads) is not told each time.
SAY_AGAIN_SECONDS: Final = 60.0


class Outage:
    """One for a process: an outage is over when anything succeeds again."""

    def __init__(self, clock: Clock, log: logging.Logger, consequence: str) -> None:
        """`consequence`: what the process does meanwhile, as the rest of a sentence."""
        self._clock = clock
        self._log = log
        self._consequence = consequence
        self._since: float | None = None
        self._said_at = float("-inf")
        self._is_said = False
        self._failures = 0

    @property
    def is_on(self) -> bool:
        return self._since is not None

    def failed(self, error: BaseException) -> None:
        """Something could not be done because the database is away."""
        self._failures += 1
        if self._since is not None:
            return
        self._since = self._clock.monotonic()
        self._is_said = self._since - self._said_at >= SAY_AGAIN_SECONDS
        if not self._is_said:
            return
        self._said_at = self._since
        cause = getattr(error, "orig", None) or error
        first_line = (str(cause).strip().splitlines() or [""])[0]
        self._log.warning(
            "the database does not answer (%s: %s); %s", type(cause).__name__, first_line, self._consequence
        )

    def passed(self) -> None:
        """Something succeeded."""
        if self._since is None:
            return
        seconds = self._clock.monotonic() - self._since
        self._since = None
        if self._is_said:
            self._log.warning(
                "the database answers again, after %.1f s and %d things that were tried in vain",
                seconds,
                self._failures,
            )
        self._failures = 0
