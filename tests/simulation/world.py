"""The rows that a simulated world begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import sqlalchemy as sa

from outdial.domain.campaign import CallOptions, CampaignDefinition, CampaignStatus, Purpose
from outdial.domain.contact import Stage
from outdial.domain.ids import AccountId, CampaignId, ContactId
from outdial.domain.retries import RetryPolicy
from outdial.domain.rules import RuleBook
from outdial.storage import accounts, buckets, calling_zones, campaigns, tables
from tests.simulation.plan import CAP_HOURS, RESULT_SECONDS, RING_SECONDS, TALK_SECONDS, Plan
from tests.support.rules import Rules, rule
from tests.support.world import ROME, number

CAPPED: Final = "capped-at-{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A contact: whom it is about, and in which campaign of which account."""

    contact_id: ContactId
    campaign_id: CampaignId
    account_id: AccountId
    phone_number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    plan: Plan
    lines: dict[AccountId, int]
    campaigns: dict[CampaignId, str]
    people: Sequence[Person]


@cache
def rule_book() -> RuleBook:
    """The package's rules, and one with a cap for each number of calls that a plan may draw."""
    with TemporaryDirectory() as folder:
        rules = Rules(Path(folder) / "rules.toml")
        return rules.write(
            *(
                rule(
                    CAPPED.format(most),
                    more=f'caps = [{{ max_calls = {most}, hours = {CAP_HOURS}, counts = "attempts" }}]',
                )
                for most in (1, 2)
            )
        )


def settle(connection: sa.Connection, plan: Plan, at: datetime) -> World:
    """Write the world that the plan says."""
    lines = {
        accounts.insert(
            connection,
            {
                "name": f"account-{index}",
                "max_concurrent_calls": most,
                "calls_per_second": plan.calls_per_second,
                "outbound_number": "+390612345678",
            },
        ): most
        for index, most in enumerate(plan.lines, 1)
    }
    zone_id = calling_zones.ensure(connection, [ROME])[ROME.key]
    names: dict[CampaignId, str] = {}
    people: list[Person] = []
    account_ids = list(lines)
    for index, size in enumerate(plan.contacts):
        account_id = account_ids[index % len(account_ids)]
        name = f"campaign-{index + 1}"
        definition = _definition(plan, name, f"account-{index % len(account_ids) + 1}")
        campaign_id = campaigns.insert(connection, account_id, definition, at)
        connection.execute(
            sa.update(tables.campaigns)
            .where(tables.campaigns.c.id == campaign_id)
            .values(status=CampaignStatus.RUNNING)
        )
        names[campaign_id] = name
        # The first numbers are the same in every campaign.
        own = [number(one if one < plan.shared_numbers else 100 * (index + 1) + one) for one in range(size)]
        rows = [
            {
                "campaign_id": campaign_id,
                "identity_key": f"tel:{one}",
                "phone_number": one,
                "calling_zone_id": zone_id,
                "next_attempt_at": at - timedelta(seconds=1),
                "created_at": at,
                "attributes": {},
            }
            for one in own
        ]
        ids = (
            connection.execute(sa.insert(tables.contacts).returning(tables.contacts.c.id), rows)
            .scalars()
            .all()
        )
        people += [
            Person(
                contact_id=ContactId(contact_id),
                campaign_id=campaign_id,
                account_id=account_id,
                phone_number=one,
            )
            for contact_id, one in zip(ids, own, strict=True)
        ]
        buckets.add_due(connection, [(campaign_id, zone_id, 0, Stage.FIRST, at - timedelta(seconds=1))])
    return World(plan=plan, lines=lines, campaigns=names, people=people)


def _definition(plan: Plan, name: str, account: str) -> CampaignDefinition:
    return CampaignDefinition(
        name=name,
        purpose=Purpose.SURVEY,
        account=account,
        default_time_zone="Europe/Rome",
        calling_rule=None if plan.cap is None else CAPPED.format(plan.cap),
        retry=RetryPolicy(
            max_attempts=plan.max_attempts,
            default_delay=timedelta(seconds=plan.retry_seconds),
            max_network_retries=plan.network_retries,
        ),
        call=CallOptions(
            ring_timeout_seconds=RING_SECONDS,
            max_duration_seconds=TALK_SECONDS,
            result_timeout_seconds=RESULT_SECONDS,
        ),
    )
