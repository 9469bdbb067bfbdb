"""What many places cost: a claim over ten thousand contacts in 400 time zones and 20 campaigns, each with a calling rule
that counts calls, against one over as many contacts in one zone.

Interleaved rounds on one Postgres; a round claims a batch, and then takes it back so that the next finds the same.
"""

from __future__ import annotations

import statistics
import time
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from benchmarks.pass_cost import BATCH, postgres, put_back
from outdial.clock import SystemClock
from outdial.domain.campaign import CampaignDefinition, Purpose
from outdial.domain.contact import Stage
from outdial.domain.rules import Basis, Cap, Confidence, HolidayPolicy, HolidayScope, Rule, RuleBook
from outdial.domain.windows import WeeklyWindow
from outdial.domain.zones import CallingZone, ZoneSource, all_zone_names
from outdial.engine.call_ids import call_id_factory
from outdial.engine.claim import ClaimSettings, claim
from outdial.engine.definitions import Definitions
from outdial.storage import accounts, buckets, calling_zones, campaigns, workers
from outdial.storage.database import Database, create_engine, database_now

CAMPAIGNS = 20
CONTACTS = 10_000
ZONES = 400


def rule(index: int) -> Rule:
    """Open nearly all day, so that a run at any hour finds most zones open, each with its own edges."""
    return Rule(
        id=f"rule-{index}",
        version=1,
        purposes=frozenset(Purpose),
        windows=(WeeklyWindow(days=frozenset(range(7)), start_minute=30, end_minute=23 * 60 + 30 + index),),
        holidays=HolidayPolicy.AS_SUNDAY,
        holidays_of=HolidayScope.COUNTRY,
        caps=(Cap(max_calls=3, hours=24), Cap(max_calls=7, days=7)),
        source="benchmark",
        as_of="now",
        confidence=Confidence.HIGH,
        basis=Basis.OWN,
    )


class Spread:
    """One account, 20 campaigns, and contacts that are spread over so many zones."""

    def __init__(self, database: Database, name: str, zones: int) -> None:
        self._database = database
        self._clock = SystemClock()
        book = RuleBook(tuple(rule(index) for index in range(CAMPAIGNS)))
        self._known = Definitions(rule_books=lambda: book)
        self._settings = ClaimSettings(
            batch_size=BATCH, scheduler_time_zone="UTC", new_call_id=call_id_factory(self._clock)
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

    def claim_seconds(self) -> float:
        """One claim of a batch, committed; then everything is put back, outside the measure."""
        started = time.perf_counter()
        claimed = self._database.run(
            claim,
            self._account_id,
            self._worker_id,
            str(self._settings.new_call_id()),
            self._settings,
            self._known,
            self._clock,
        )
        seconds = time.perf_counter() - started
        if len(claimed.calls) != BATCH:
            raise RuntimeError(f"a claim found {len(claimed.calls)} contacts instead of {BATCH}")
        self._database.run(buckets.judge, claimed.judgments)
        self._database.run(put_back, [call.contact.id for call in claimed.calls])
        return seconds


def measure(*, rounds: int = 30, database_url: str | None = None) -> dict[str, Any]:
    """The median claim over one zone and over many, in milliseconds, and their ratio."""
    with postgres(database_url) as url:
        engine = create_engine(url)
        database = Database(engine, SystemClock())
        one, many = Spread(database, "one", 1), Spread(database, "many", ZONES)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
        for spread in (one, many) * 3:
            spread.claim_seconds()
        pairs = [(one.claim_seconds(), many.claim_seconds()) for _ in range(rounds)]
        engine.dispose()
    return {
        "measure": f"a claim of {BATCH} from {CONTACTS:,} contacts of {CAMPAIGNS} campaigns with rules: "
        f"in {ZONES} zones, against one",
        "one_ms": round(statistics.median(pair[0] for pair in pairs) * 1000, 2),
        "many_ms": round(statistics.median(pair[1] for pair in pairs) * 1000, 2),
        "ratio": round(statistics.median(many_s / one_s for one_s, many_s in pairs), 2),
        "rounds": rounds,
    }
