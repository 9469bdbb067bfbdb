"""Campaign definitions, calling zones and permits, worked out once per revision and kept: a pass over many campaigns reads none."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from outdial.domain.campaign import CampaignDefinition
from outdial.domain.ids import CallingZoneId, CampaignId
from outdial.domain.patience import Patience
from outdial.domain.zones import CallingZone
from outdial.engine.on_settled import Host, OnSettled
from outdial.engine.permits import Permits
from outdial.files.rule_books import RuleBooks
from outdial.storage import calling_zones, campaigns


class Definitions:
    """Safe to share by the threads of one process: an entry never changes, it is only replaced by a newer one.

    `rule_books`: the calling rules as they are now; None: the package's. `on_settled`: what the host of this process wants called with every attempt that is settled, whoever settles it.
    """

    def __init__(
        self,
        on_settled: OnSettled | None = None,
        rule_books: RuleBooks | None = None,
        patience: Patience = Patience(),
    ) -> None:
        self.permits = Permits(rule_books)
        self.patience = patience
        self.host = None if on_settled is None else Host(on_settled)
        self._campaigns: dict[CampaignId, tuple[int, CampaignDefinition]] = {}
        self._zones: dict[CallingZoneId, CallingZone] = {}

    def of_campaigns(
        self, connection: sa.Connection, revisions: dict[CampaignId, int]
    ) -> dict[CampaignId, CampaignDefinition]:
        """The definitions at exactly these revisions or newer ones."""
        stale = [
            campaign_id
            for campaign_id, revision in revisions.items()
            if self._campaigns.get(campaign_id, (-1, None))[0] < revision
        ]
        if stale:
            for campaign_id, campaign in campaigns.load(connection, stale).items():
                self._campaigns[campaign_id] = (campaign.revision, campaign.definition)
        return {campaign_id: self._campaigns[campaign_id][1] for campaign_id in revisions}

    def current(
        self, connection: sa.Connection, ids: Collection[CampaignId]
    ) -> dict[CampaignId, CampaignDefinition]:
        """The definitions as they stand now."""
        return self.of_campaigns(connection, campaigns.revisions(connection, ids))

    def of_zones(
        self, connection: sa.Connection, ids: Collection[CallingZoneId]
    ) -> dict[CallingZoneId, CallingZone]:
        missing = [zone_id for zone_id in ids if zone_id not in self._zones]
        if missing:
            self._zones.update(calling_zones.load(connection, missing))
        return {zone_id: self._zones[zone_id] for zone_id in ids}
