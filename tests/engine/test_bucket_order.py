"""The order of service is told twice: by the domain, and by the statement that lists the first few buckets."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from outdial.domain.contact import Stage
from outdial.domain.ids import CallingZoneId, CampaignId
from outdial.domain.lawful_hours import lawful_hours
from outdial.domain.order import plan
from outdial.domain.permit import Permit
from outdial.domain.rules import Choice
from outdial.domain.windows import CallingWindow
from outdial.domain.zones import CallingZone, ZoneSource, all_zone_names
from outdial.storage import buckets, calling_zones
from outdial.storage.buckets import Judgment
from outdial.storage.database import database_now
from tests.support.world import ROME, World

MOST = 10


@pytest.mark.parametrize("seed", range(5))
def test_the_first_buckets_by_statement_are_the_first_by_the_domain(world: World, seed: int) -> None:
    chance = random.Random(seed)
    campaign = world.add_campaign()
    names = all_zone_names()[:12]
    places = [CallingZone(time_zones=(name,), country=None, source=ZoneSource.CONTACT) for name in names]
    with world.database.begin() as connection:
        at = database_now(connection)
        zones = [CallingZoneId(one) for one in calling_zones.ensure(connection, places).values()]
        for zone in zones:
            for stage in Stage:
                due_at = at - timedelta(minutes=chance.randrange(5))
                buckets.add_due(connection, [(campaign, zone, chance.choice([0, 0, 5]), stage, due_at)])
        untils = {
            zone: None if chance.random() < 0.2 else at + timedelta(hours=chance.randrange(1, 4))
            for zone in zones
        }
        judgments = [
            Judgment(
                campaign_id=campaign,
                calling_zone_id=zone,
                judged_as="facts",
                judged_until=until,
                held_by=None,
            )
            for zone, until in untils.items()
        ]
        buckets.judge(connection, judgments)
        listed = buckets.waiting(connection, {campaign: "facts"}, at, MOST).to_ask
        everything = buckets.waiting(connection, {campaign: "facts"}, at, 1000).to_ask

    def permit_of(_: CampaignId, zone: CallingZoneId) -> Permit:
        return Permit(
            until=untils[zone],
            closes_at=untils[zone],
            zone=ROME,
            choice=Choice(rules=(), why="none"),
            hours=lawful_hours(CallingWindow(), (), "IT"),
            guard=timedelta(),
            memory=timedelta(),
            rules_change_at=None,
        )

    assert len(everything) == len(zones) * len(Stage)
    assert plan(listed, permit_of, at).due == plan(everything, permit_of, at).due[:MOST]
