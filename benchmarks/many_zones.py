"""What many places cost: a pass (claim, dial, record) over ten thousand contacts in 400 time zones and 20 campaigns, each
with a calling rule that counts calls, against one over as many contacts in one zone; and the claim alone.

Interleaved rounds on one Postgres, the provider answering at once; a round takes back what it has done, so that the next
finds the same.
"""

from __future__ import annotations

import statistics
import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import sessionmaker

from benchmarks.pass_cost import BATCH, claim_seconds, postgres, put_back
from outdial.clock import SystemClock
from outdial.domain.campaign import CampaignDefinition, Purpose
from outdial.domain.contact import Stage
from outdial.domain.ids import ProviderCallId
from outdial.domain.zones import CallingZone, ZoneSource, all_zone_names
from outdial.engine.call_ids import call_id_factory
from outdial.engine.claim import ClaimSettings
from outdial.engine.definitions import Definitions
from outdial.engine.scheduler import SchedulerService, SchedulerSettings
from outdial.files.rule_books import KeptRuleBook
from outdial.storage import accounts, buckets, calling_zones, campaigns, workers
from outdial.storage.database import Database, create_engine, database_now
from outdial.telephony.protocol import OutboundCallRequest, OutboundCallResponse

CAMPAIGNS = 20
CONTACTS = 10_000
ZONES = 400


# Open nearly all day, so that a run at any hour finds most zones open, each campaign with its own edges.
RULES = "format = 1\n" + "".join(
    f"""
[[rule]]
id = "rule-{index}"
version = 1
purposes = ["survey"]
windows = [{{ days = ["mon-sun"], start = "00:30", end = "23:{30 + index}" }}]
holidays = "as_sunday"
holidays_of = "country"
caps = [
  {{ max_calls = 3, hours = 24, counts = "attempts" }},
  {{ max_calls = 7, days = 7, counts = "attempts" }},
]
source = "benchmark"
as_of = "2026-01-01"
confidence = "high"
"""
    for index in range(CAMPAIGNS)
)


class Instant:
    """A provider that accepts every call at once."""

    def start_outbound_call(self, request: OutboundCallRequest) -> OutboundCallResponse:
        return OutboundCallResponse(provider_call_id=ProviderCallId(f"P-{request.call_id}"), status="queued")


class Spread:
    """One account, 20 campaigns, and contacts that are spread over so many zones."""

    def __init__(self, database: Database, name: str, zones: int, rules: Path) -> None:
        self._database = database
        self._known = Definitions(rule_books=KeptRuleBook(rules))
        self._settings = ClaimSettings(
            batch_size=BATCH, scheduler_time_zone="UTC", new_call_id=call_id_factory(SystemClock())
        )
        self._service = SchedulerService(
            sessionmaker(database.engine),
            Instant(),
            SchedulerSettings(
                callback_url="http://127.0.0.1:1/", batch_size=BATCH, account=name, own_rules=rules
            ),
        )
        places = [
            CallingZone(time_zones=(zone,), country="IT", source=ZoneSource.CONTACT)
            for zone in all_zone_names()[:zones]
        ]
        with database.begin() as connection:
            now = database_now(connection)
            row = {"name": name, "max_concurrent_calls": 10_000, "outbound_number": "+390612345678"}
            self._account_id = accounts.insert(connection, row)
            self._worker_id = workers.start(connection, name, now)
            zone_ids = list(calling_zones.ensure(connection, places).values())
            for index in range(CAMPAIGNS):
                definition = CampaignDefinition(
                    name=f"{name}-{index}",
                    purpose=Purpose.SURVEY,
                    account="bench",
                    default_time_zone="Europe/Rome",
                    calling_rule=f"rule-{index}",
                )
                campaign_id = campaigns.insert(connection, self._account_id, definition, now)
                connection.execute(
                    sa.text("UPDATE campaigns SET status = 'running' WHERE id = :id"), {"id": campaign_id}
                )
                due_at = now - timedelta(hours=1)
                connection.execute(
                    sa.text(
                        "INSERT INTO contacts (campaign_id, identity_key, phone_number, calling_zone_id,"
                        " next_attempt_at, created_at)"
                        " SELECT :campaign, 'id:' || n, '+39' || (3000000000 + :campaign * 10000000::bigint + n),"
                        " (CAST(:zones AS bigint[]))[1 + n % :zone_count],"
                        " CAST(:due AS timestamptz) + n * interval '1 millisecond', :due"
                        " FROM generate_series(1, :count) n"
                    ),
                    {
                        "campaign": campaign_id,
                        "zones": zone_ids,
                        "zone_count": len(zone_ids),
                        "due": due_at,
                        "count": CONTACTS // CAMPAIGNS,
                    },
                )
                buckets.add_due(
                    connection, [(campaign_id, zone_id, 0, Stage.FIRST, due_at) for zone_id in zone_ids]
                )

    def pass_seconds(self) -> float:
        """One pass over a batch; then everything is put back, outside the measure."""
        started = time.perf_counter()
        done = self._service.run()
        seconds = time.perf_counter() - started
        if len(done.scheduled) != BATCH:
            raise RuntimeError(f"a pass made {len(done.scheduled)} calls instead of {BATCH}")
        self._database.run(put_back, [call.contact_id for call in done.scheduled])
        return seconds

    def claim_seconds(self) -> float:
        return claim_seconds(self._database, self._account_id, self._worker_id, self._settings, self._known)


def measure(*, rounds: int = 30, database_url: str | None = None) -> dict[str, Any]:
    """The median claim over one zone and over many, in milliseconds, and their ratio."""
    with postgres(database_url) as url, TemporaryDirectory() as folder:
        engine = create_engine(url)
        database = Database(engine, SystemClock())
        rules = Path(folder) / "rules.toml"
        rules.write_text(RULES, "utf-8")
        one, many = Spread(database, "one", 1, rules), Spread(database, "many", ZONES, rules)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
        for spread in (one, many) * 3:
            spread.pass_seconds()
            spread.claim_seconds()
        passes = [(one.pass_seconds(), many.pass_seconds()) for _ in range(rounds)]
        claims = [(one.claim_seconds(), many.claim_seconds()) for _ in range(rounds)]
        engine.dispose()
    return {
        "measure": f"{BATCH} calls from {CONTACTS:,} contacts of {CAMPAIGNS} campaigns with rules: "
        f"in {ZONES} zones, against one",
        **_compared("pass", passes),
        **_compared("claim", claims),
        "rounds": rounds,
    }


def _compared(name: str, pairs: list[tuple[float, float]]) -> dict[str, float]:
    return {
        f"{name}_one_ms": round(statistics.median(pair[0] for pair in pairs) * 1000, 2),
        f"{name}_many_ms": round(statistics.median(pair[1] for pair in pairs) * 1000, 2),
        f"{name}_ratio": round(statistics.median(many_s / one_s for one_s, many_s in pairs), 2),
    }
