"""What waits on an account: the first thing a claim does, before it locks anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.ids import CallingZoneId, CampaignId
from outdial.domain.order import Plan, plan
from outdial.domain.permit import Permit, Reason, Refusal
from outdial.engine.definitions import Definitions
from outdial.storage import buckets, campaigns
from outdial.storage.buckets import Judgment
from outdial.storage.campaigns import RunningCampaign
from outdial.storage.deployment import Deployment

# Buckets that are read beyond the contacts that are wanted: a hint may be early, and its bucket empty.
BUCKETS_BEYOND: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What waits on an account."""

    running: Sequence[RunningCampaign]
    definitions: Mapping[CampaignId, CampaignDefinition]
    planned: Plan
    judgments: Sequence[Judgment]
    changed: Set[CampaignId]
    is_anybody: bool
    cut: Set[CampaignId]


def look_around(
    connection: sa.Connection,
    account: Account,
    around: Deployment,
    at: datetime,
    known: Definitions,
    scheduler_time_zone: str,
    *,
    batch_size: int,
) -> Work:
    """Which campaigns run, who waits in them, and which of these may be called by the hour. Reads without a lock.

    `batch_size`: as many contacts are to be found in what is planned; 0: it is only asked when there is anything.
    """
    running = campaigns.running(connection, account.id, at)
    revisions = {campaign.id: campaign.revision for campaign in running}
    definitions = known.of_campaigns(connection, revisions)
    asking = known.permits.asked_by(account, around, definitions, scheduler_time_zone)
    facts = asking.facts(revisions)
    # Each may fill more than its part of the batch, where others cannot: then another claim goes on.
    most = 2 * batch_size // max(1, len(running)) + BUCKETS_BEYOND
    waiting = buckets.waiting(connection, facts, at, most if batch_size else 0)
    zones = known.of_zones(connection, {bucket.calling_zone_id for bucket in waiting.to_ask})

    def permit_of(campaign_id: CampaignId, zone_id: CallingZoneId) -> Permit | Refusal:
        return asking.permit(campaign_id, zone_id, zones[zone_id], at)

    planned = plan(waiting.to_ask, permit_of, at)
    new = {(one.campaign_id, one.calling_zone_id) for one in waiting.to_ask if not one.is_judged}
    judgments = [
        _judgment(campaign_id, zone_id, facts[campaign_id], permit_of(campaign_id, zone_id))
        for campaign_id, zone_id in new
    ]
    held = Counter({Reason(reason): count for reason, count in waiting.held.items()})
    instants = [instant for instant in (planned.next_due_at, waiting.next_due_at) if instant is not None]
    return Work(
        running=running,
        definitions=definitions,
        planned=replace(
            planned, held=dict(held + Counter(planned.held)), next_due_at=min(instants, default=None)
        ),
        judgments=judgments,
        changed={
            one.campaign_id
            for one in waiting.to_ask
            if one.judged_as is not None and one.judged_as != facts[one.campaign_id]
        },
        is_anybody=waiting.is_anybody,
        cut={one for one, count in Counter(b.campaign_id for b in planned.due).items() if count >= most},
    )


def _judgment(
    campaign_id: CampaignId, zone_id: CallingZoneId, facts: str, answer: Permit | Refusal
) -> Judgment:
    return Judgment(
        campaign_id=campaign_id,
        calling_zone_id=zone_id,
        judged_as=facts,
        judged_until=answer.until,
        held_by=answer.reason if isinstance(answer, Refusal) else None,
    )
