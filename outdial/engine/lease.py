"""Leases between workers: how long one may go on dialing by itself, and when the others take it for dead.

No clocks are compared. A worker's counter in the database goes up with each renewal; whoever sees it stand still for the
length of the lease, by its own clock and while it was itself connected, takes its owner for dead. The owner counts from
before it sent the renewal, on a clock that runs through a suspension of the machine, and stops dialing earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from outdial.clock import Clock
from outdial.domain.ids import WorkerId
from outdial.domain.patience import Patience

# Between two looks that are further apart the onlooker was itself away, and saw nothing.
LONGEST_LOOK_SECONDS: Final = 6.0


class Lease:
    """The owner's side."""

    def __init__(self, clock: Clock, patience: Patience) -> None:
        self._clock = clock
        self._patience = patience
        self._renewed_at = float("-inf")

    def renewed(self, sent_at: float) -> None:
        """A renewal that was sent at this reading of our monotonic clock is in the database."""
        self._renewed_at = max(self._renewed_at, sent_at)

    @property
    def is_held(self) -> bool:
        """Whether this worker may dial. Asked right before the bytes leave, from any thread."""
        return self._clock.monotonic() < self._renewed_at + self._patience.fence_seconds


@dataclass(slots=True)
class _Seen:
    beat: int
    still_for: float = 0.0


class Onlooker:
    """The others' side: tells who died."""

    def __init__(self, clock: Clock, patience: Patience) -> None:
        self._clock = clock
        self._lease_seconds = patience.lease_seconds
        self._seen: dict[WorkerId, _Seen] = {}
        self._looked_at: float | None = None

    def look(self, beats: Mapping[WorkerId, int], looked_at: float) -> list[WorkerId]:
        """Whose counter has stood still for the lease. `looked_at`: our monotonic clock before the look."""
        passed = 0.0 if self._looked_at is None else looked_at - self._looked_at
        self._looked_at = looked_at
        dead: list[WorkerId] = []
        for worker_id in self._seen.keys() - beats.keys():
            del self._seen[worker_id]
        for worker_id, beat in beats.items():
            seen = self._seen.get(worker_id)
            if seen is None or seen.beat != beat:
                self._seen[worker_id] = _Seen(beat)
                continue
            seen.still_for += passed if passed <= LONGEST_LOOK_SECONDS else 0.0
            if seen.still_for >= self._lease_seconds:
                dead.append(worker_id)
        return dead
