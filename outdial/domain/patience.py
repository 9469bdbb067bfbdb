"""How long a worker waits for others, and others for it, before they act without it. All in seconds.

What a worker has left behind is taken up attempt by attempt, whoever lives. Beside that, a worker that cannot renew its
lease stops dialing `fence_seconds` after its last renewal, early enough for a POST that has left just then to be over
when the others, after `lease_seconds`, take it for dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from outdial.domain.errors import SettingsError

# What lies between the end of a POST's time-out and the moment at which others may rely on it.
MARGIN_SECONDS: Final = 2.0
LEAST_FENCE_SECONDS: Final = 4.0
# How long after its slot the provider may still start a call; the provider answers 412 to what it reads later.
NOT_AFTER: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """`post_timeout_seconds`: how long a POST to the provider may take. `lease_seconds`: after how long without a change
    of its counter a worker is taken for dead. `unsent_seconds`: how long after its slot a call that has not left is given
    back by whoever sees it. Every process on one database should have the same. Raises SettingsError.
    """

    post_timeout_seconds: float = 10.0
    lease_seconds: float = 20.0
    unsent_seconds: float = 8.0

    def __post_init__(self) -> None:
        if not 1 <= self.post_timeout_seconds <= 120:
            raise SettingsError(
                f"The time-out of a POST is {self.post_timeout_seconds:g} s: it must be from 1 to 120."
            )
        if self.fence_seconds < LEAST_FENCE_SECONDS:
            raise SettingsError(
                f"A lease of {self.lease_seconds:g} s is too short: it must be {LEAST_FENCE_SECONDS + MARGIN_SECONDS:g} s "
                f"longer than the time-out of a POST ({self.post_timeout_seconds:g} s)."
            )
        if not 6 <= self.unsent_seconds <= 60:
            raise SettingsError(
                f"Unsent calls are given back after {self.unsent_seconds:g} s: it must be from 6 to 60."
            )

    @property
    def fence_seconds(self) -> float:
        """How long after its last renewal a worker still dials."""
        return self.lease_seconds - self.post_timeout_seconds - MARGIN_SECONDS

    @property
    def unsent(self) -> timedelta:
        return timedelta(seconds=self.unsent_seconds)

    @property
    def post_is_over(self) -> timedelta:
        """After this, a POST that left has been answered or given up by its owner."""
        return timedelta(seconds=self.post_timeout_seconds + MARGIN_SECONDS)
