"""The order of service: which buckets of waiting contacts are read first, and when the next one comes due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from outdial.domain.contact import Stage
from outdial.domain.ids import CallingZoneId, CampaignId
from outdial.domain.permit import Permit, Reason, Refusal

FAR_AWAY: Final = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Contacts of a campaign that are alike for the order of service. Nobody in it is due before `next_due_at`.

    `version` is what it was when read: whoever writes the hint back must find the same. `is_judged`: what its permit
    says is on record already; `judged_as`: by which facts it was asked last.
    """

    campaign_id: CampaignId
    calling_zone_id: CallingZoneId
    priority: int
    stage: Stage
    next_due_at: datetime
    version: int = 0
    is_judged: bool = False
    judged_as: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`due` in the order of service; `held` counts buckets with due contacts by what holds them."""

    due: list[Bucket]
    permits: Mapping[tuple[CampaignId, CallingZoneId], Permit]
    held: Mapping[Reason, int]
    next_due_at: datetime | None

    def still_open(self, at: datetime) -> Plan:
        """Without what has closed by `at`."""
        open_now = [
            bucket
            for bucket in self.due
            if (until := self.permits[bucket.campaign_id, bucket.calling_zone_id].until) is None or until > at
        ]
        return self if len(open_now) == len(self.due) else replace(self, due=open_now)


def plan(
    buckets: Iterable[Bucket],
    permit_of: Callable[[CampaignId, CallingZoneId], Permit | Refusal],
    at: datetime,
) -> Plan:
    """Sort `buckets` into due now, held, and due later (the earliest instant of which is `next_due_at`)."""
    due: list[Bucket] = []
    permits: dict[tuple[CampaignId, CallingZoneId], Permit] = {}
    held: Counter[Reason] = Counter()
    later: list[datetime] = []
    for bucket in buckets:
        answer = permit_of(bucket.campaign_id, bucket.calling_zone_id)
        if isinstance(answer, Refusal):
            if bucket.next_due_at <= at:
                held[answer.reason] += 1
            if answer.until is not None:
                later.append(max(answer.until, bucket.next_due_at))
        elif bucket.next_due_at > at:
            later.append(bucket.next_due_at)
        else:
            permits[bucket.campaign_id, bucket.calling_zone_id] = answer
            due.append(bucket)
    due.sort(key=lambda bucket: _service_key(bucket, permits[bucket.campaign_id, bucket.calling_zone_id]))
    return Plan(due=due, permits=permits, held=held, next_due_at=min(later, default=None))


def _service_key(bucket: Bucket, permit: Permit) -> tuple[float, ...]:
    """Callbacks, then priority, then the zone that closes first, then first calls before retries, then the longest."""
    closes = FAR_AWAY if permit.until is None else permit.until.timestamp()
    is_callback = bucket.stage is Stage.CALLBACK
    return (
        0 if is_callback else 1,
        -bucket.priority,
        closes,
        bucket.stage,
        bucket.next_due_at.timestamp(),
        bucket.campaign_id,
        bucket.calling_zone_id,
    )
