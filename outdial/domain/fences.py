"""The fences around the whole: where this program may dial at all, and to whom."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """What a worker says of itself: the name of the deployment that it belongs to, and the only numbers that it may
    call (E.164; empty: every number).
    """

    deployment: str | None = None
    dial_only: frozenset[str] = frozenset()

    def allows(self, phone_number: str) -> bool:
        return not self.dial_only or phone_number in self.dial_only

    def why_not_here(self, deployment: str | None) -> str | None:
        """Why nothing may be dialed from a database with this name, in one sentence; None: it may.

        A database without a name asks for none.
        """
        if deployment is None or deployment == self.deployment:
            return None
        found = "is not set" if self.deployment is None else f"is {self.deployment!r}"
        return (
            f"This database belongs to the deployment {deployment!r} and OUTDIAL_DEPLOYMENT {found}, so nothing is dialed: "
            f"set OUTDIAL_DEPLOYMENT={deployment} where the calls are really meant."
        )
