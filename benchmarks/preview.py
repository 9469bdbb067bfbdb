"""What `campaign preview`, and so `campaign start`, costs on a million contacts: of a fresh list, and of one that is half
called, with exclusions, caps, and another running campaign over a part of the same numbers.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from benchmarks.pass_cost import postgres
from outdial.clock import SystemClock
from outdial.domain.campaign import CampaignDefinition, Purpose
from outdial.domain.contact import Stage
from outdial.domain.ids import AccountId, CampaignId, WorkerId
from outdial.domain.zones import CallingZone, calling_zone_of
from outdial.files.rule_file import load_rule_book
from outdial.operations.preview import look, tell
from outdial.operations.why import Asked
from outdial.storage import accounts, buckets, calling_zones, campaigns, workers
from outdial.storage.database import Database, create_engine, database_now

# Numbers of many places, some with several candidate zones.
PREFIXES: Final = (
    *(f"+1{area}555" for area in (201, 212, 305, 312, 404, 415, 512, 602, 702, 808, 850, 907, 800, 500)),
    *("+39347", "+4930", "+49151", "+33612", "+34612", "+447400", "+61412", "+5511", "+7495", "+5255"),
)


def measure(*, big: int = 1_000_000, database_url: str | None = None) -> dict[str, Any]:
    """Seconds of the reading transaction, and of all, for both lists."""
    with postgres(database_url) as url:
        engine = create_engine(url)
        database = Database(engine, SystemClock())
        asked = Asked(book=load_rule_book())
        with database.begin() as connection:
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            row = {"name": "bench", "max_concurrent_calls": 500, "outbound_number": "+390612345678"}
            account_id = accounts.insert(connection, row)
            campaign_id = _campaign(connection, account_id, "list")
            _contacts(connection, campaign_id, big, step=1)
        _vacuum(engine)
        fresh = [_seconds(database, asked) for _ in range(3)]
        with database.begin() as connection:
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            worker_id = workers.start(connection, "bench", database_now(connection))
            _calls(connection, campaign_id, account_id, worker_id)
            _contacts(connection, _campaign(connection, account_id, "other"), big // 10, step=10)
            _exclusions(connection, campaign_id)
            connection.execute(
                sa.text("UPDATE campaigns SET status = 'running', priority = 1 WHERE name = 'other'")
            )
        _vacuum(engine)
        used = [_seconds(database, asked) for _ in range(3)]
        engine.dispose()
    return {
        "measure": f"campaign preview over {big:,} contacts: fresh, and half of them called before",
        "fresh_read_s": round(min(fresh)[0], 2),
        "fresh_s": round(min(fresh)[1], 2),
        "used_read_s": round(min(used)[0], 2),
        "used_s": round(min(used)[1], 2),
    }


def _seconds(database: Database, asked: Asked) -> tuple[float, float]:
    started = time.perf_counter()
    seen = database.run(look, "list", asked)
    read = time.perf_counter() - started
    tell(seen)
    return read, time.perf_counter() - started


def _vacuum(engine: sa.Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


def _campaign(connection: sa.Connection, account_id: AccountId, name: str) -> CampaignId:
    definition = CampaignDefinition(
        name=name,
        purpose=Purpose.TELEMARKETING,
        account="bench",
        default_time_zone="Europe/Rome",
        calling_rule="auto",
    )
    return campaigns.insert(connection, account_id, definition, database_now(connection))


def _contacts(connection: sa.Connection, campaign_id: CampaignId, count: int, *, step: int) -> None:
    at = database_now(connection) - timedelta(hours=1)
    zones: list[CallingZone] = [calling_zone_of(f"{prefix}0001") for prefix in PREFIXES]
    ids = calling_zones.ensure(connection, zones)
    share = count // len(PREFIXES)
    for prefix, zone in zip(PREFIXES, zones, strict=True):
        connection.execute(
            sa.text(
                "INSERT INTO contacts (campaign_id, identity_key, phone_number, calling_zone_id, next_attempt_at, created_at)"
                " SELECT :campaign, 'id:' || :prefix || n, :prefix || lpad((n * :step)::text, 7, '0'), :zone,"
                " CAST(:at AS timestamptz), :at FROM generate_series(1, :count) n"
            ),
            {
                "campaign": campaign_id,
                "prefix": prefix,
                "zone": ids[zone.key],
                "at": at,
                "count": share,
                "step": step,
            },
        )
        buckets.add_due(connection, [(campaign_id, ids[zone.key], 0, Stage.FIRST, at)])


def _calls(
    connection: sa.Connection, campaign_id: CampaignId, account_id: AccountId, worker_id: WorkerId
) -> None:
    """Half of them were called a day ago and wait to be called again."""
    connection.execute(
        sa.text(
            "INSERT INTO call_attempts (contact_id, campaign_id, campaign_revision, account_id, phone_number, from_number,"
            " attempt_number, call_id, claim_id, worker_id, state, claimed_at, dial_at, not_after, sent_at, ended_at,"
            " settled_at, ending, outcome, permit)"
            " SELECT id, campaign_id, 1, :account, phone_number, '+390612345678', 1, 'call-' || id, 'claim', :worker,"
            " 'ended', moment, moment, moment, moment, moment + interval '30 seconds', moment + interval '30 seconds',"
            " 'no_answer', 'no_answer', '{}' FROM contacts, (SELECT now() - interval '1 day' AS moment) past"
            " WHERE campaign_id = :campaign AND id % 2 = 0"
        ),
        {"campaign": campaign_id, "account": account_id, "worker": worker_id},
    )
    connection.execute(
        sa.text("UPDATE contacts SET attempts_count = 1 WHERE campaign_id = :campaign AND id % 2 = 0"),
        {"campaign": campaign_id},
    )


def _exclusions(connection: sa.Connection, campaign_id: CampaignId) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO exclusion_list_entries (phone_number, reason, source, since)"
            " SELECT DISTINCT phone_number, 'asked', 'bench', now() FROM contacts"
            " WHERE campaign_id = :campaign AND id % 20 = 0"
        ),
        {"campaign": campaign_id},
    )
