"""How a demo is sized: from contacts and lines to the length of a call, the rate, and when to give up. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from outdial.domain.errors import UserError

CONTACTS: Final = range(10, 20_001)
LINES: Final = range(1, 501)

# How long dialing should take, if the machine is quick enough.
AIM_SECONDS: Final = 16.0
# With the retries of both campaigns, and the answers below.
CALLS_PER_CONTACT: Final = 1.7
SHORTEST_CALL_SECONDS: Final = 0.2
LONGEST_CALL_SECONDS: Final = 1.1
# What a line is busy for, on average, in the simulated world: most talk, some only ring.
CALL_SIMULATED_SECONDS: Final = 52.0
# The provider's 503s halve the rate for a while: it must stay above what the lines need.
SPARE_RATE: Final = 2.0
# What two busy cores surely manage, with all of it on one SQLite file.
SLOW_CALLS_PER_SECOND: Final = 8.0
GRACE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """Raises `UserError` for a size that no demo can have."""

    contacts: int = 200
    lines: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for option, value, allowed in (
            ("--contacts", self.contacts, CONTACTS),
            ("--lines", self.lines, LINES),
        ):
            if value not in allowed:
                raise UserError(
                    f"{option} is {value:,}: write a whole number from {allowed[0]:,} to {allowed[-1]:,}."
                )

    @property
    def expected_calls(self) -> float:
        return self.contacts * CALLS_PER_CONTACT

    @property
    def call_seconds(self) -> float:
        """Real seconds that a line is busy for one call, on average."""
        wanted = AIM_SECONDS * self.lines / self.expected_calls
        return min(max(wanted, SHORTEST_CALL_SECONDS), LONGEST_CALL_SECONDS)

    @property
    def calls_per_second(self) -> int:
        """The account's rate."""
        return math.ceil(SPARE_RATE * self.lines / self.call_seconds)

    @property
    def time_limit_seconds(self) -> float:
        """Dialing that takes longer has failed."""
        slowest = min(self.lines / self.call_seconds / 3, SLOW_CALLS_PER_SECOND)
        return GRACE_SECONDS + self.expected_calls / slowest

    def simulator_settings(self) -> Mapping[str, Any]:
        """The provider's world, without its secrets and places: mostly in order, as a good provider's day is."""
        return {
            "seed": self.seed,
            "time_scale": self.call_seconds / CALL_SIMULATED_SECONDS,
            "talk_time_mean_seconds": 60.0,
            "ring_time_mean_seconds": 10.0,
            "answer_rate": 0.55,
            "completed_rate": 0.74,
            "refuse_rate": 0.08,
            "opt_out_share": 0.04,
            "callback_share": 0.04,
            "no_result_share": 0.04,
            "callback_after_seconds": 1.5,
            # Results come after the hang-up, as those of voice agents do.
            "late_result_seconds": 0.4,
            "progress_events": False,
            "bad_number": 0.02,
            "error_before": 0.01,
            "webhook_doubled": 0.01,
            "webhook_reordered": 0.01,
            # Its own limits are the account's: a step over them would be refused, and stand in the ledger.
            "max_concurrent_calls": self.lines,
            "calls_per_second": self.calls_per_second,
        }
