"""The audit of lines and rates: how many calls were open at once, and how many left in one second.

A long account is kept in arrays, some thirty bytes a call, for it must be read in the order of time.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from outdial.domain.audit import Finding, utc
from outdial.domain.ids import AttemptId

UNLIMITED: Final = math.inf
UNKNOWN: Final = math.nan


def _ids() -> array[int]:
    return array("q")


def _marks() -> array[int]:
    return array("b")


def _numbers() -> array[float]:
    return array("d")


@dataclass(slots=True)
class OpenCalls:
    """The calls of one account, or of one campaign, and the limit that stood when each was claimed."""

    whose: str
    ids: array[int] = field(default_factory=_ids)
    sent: array[float] = field(default_factory=_numbers)
    ended: array[float] = field(default_factory=_numbers)
    limits: array[float] = field(default_factory=_numbers)
    marks: array[int] = field(default_factory=_marks)

    @property
    def judged(self) -> int:
        """How many of them are asked about; the others only stand beside them."""
        return sum(self.marks)

    def add(
        self,
        attempt_id: AttemptId,
        sent_at: datetime,
        ended_at: datetime | None,
        limit: float,
        *,
        is_judged: bool = True,
    ) -> None:
        """`limit` may be `UNLIMITED` or `UNKNOWN`; `ended_at` None: it is open still."""
        self.ids.append(attempt_id)
        self.sent.append(sent_at.timestamp())
        self.ended.append(UNLIMITED if ended_at is None else ended_at.timestamp())
        self.limits.append(limit)
        self.marks.append(is_judged)

    def over_limit(self) -> Iterator[tuple[AttemptId, Finding]]:
        """Calls that left when more were open than the limit that stood when the newest of them was claimed.

        Every older one was counted when the newest was claimed, so that this is exact through changes of the limit: a
        lowered one binds new starts. Ids are given in the order of claims, which the account's lock keeps.
        """
        ends: list[tuple[float, int]] = []
        newest: list[tuple[int, int]] = []
        order = sorted(range(len(self.ids)), key=lambda place: (self.sent[place], self.ids[place]))
        for place in order:
            now = self.sent[place]
            while ends and ends[0][0] <= now:
                heapq.heappop(ends)
            heapq.heappush(ends, (self.ended[place], place))
            heapq.heappush(newest, (-self.ids[place], place))
            while self.ended[newest[0][1]] <= now and len(newest) > 1:
                heapq.heappop(newest)
            if not self.marks[place]:
                continue
            limit = self.limits[newest[0][1]]
            attempt_id = AttemptId(self.ids[place])
            if math.isnan(limit):
                says = "the newest call that was open then was claimed without its limits written down"
                yield attempt_id, Finding(says=says, is_violation=False)
            elif len(ends) > limit:
                says = f"was number {len(ends)} of the open calls of {self.whose} at {_utc(now)}, and {limit:g} is the limit"
                yield attempt_id, Finding(says=says)


@dataclass(slots=True)
class Starts:
    """The slots of one account, and the most that a second may have by the rate that stood when each was claimed."""

    whose: str
    ids: array[int] = field(default_factory=_ids)
    dial: array[float] = field(default_factory=_numbers)
    most: array[float] = field(default_factory=_numbers)
    marks: array[int] = field(default_factory=_marks)

    @property
    def judged(self) -> int:
        return sum(self.marks)

    def add(self, attempt_id: AttemptId, dial_at: datetime, most: float, *, is_judged: bool = True) -> None:
        """`most` is calls per second and burst together; `UNLIMITED` and `UNKNOWN` as above."""
        self.ids.append(attempt_id)
        self.dial.append(dial_at.timestamp())
        self.most.append(most)
        self.marks.append(is_judged)

    def too_fast(self) -> Iterator[tuple[AttemptId, Finding]]:
        """Calls whose slot makes a second too full. Over a change of the rate, the greater one counts."""
        second: deque[int] = deque()
        for place in sorted(range(len(self.ids)), key=lambda place: (self.dial[place], self.ids[place])):
            now = self.dial[place]
            while second and now - self.dial[second[0]] >= 1.0:
                second.popleft()
            second.append(place)
            if not self.marks[place]:
                continue
            attempt_id = AttemptId(self.ids[place])
            if math.isnan(self.most[place]):
                says = "it was claimed without its account's rate written down"
                yield attempt_id, Finding(says=says, is_violation=False)
            elif len(second) > self.most[place]:
                most = max(one for one in (self.most[other] for other in second) if not math.isnan(one))
                if len(second) > most:
                    says = f"was start {len(second)} of {self.whose} in the second up to {_utc(now)}, and {most:g} are the most"
                    yield attempt_id, Finding(says=says)


def _utc(seconds: float) -> str:
    return utc(datetime.fromtimestamp(seconds, UTC))
