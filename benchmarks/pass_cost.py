"""What a pass costs against the size of the table: a claim over a million contacts, of which the first 900,000 are
behind closed windows, against a claim over a thousand.

Interleaved rounds on one Postgres; a round claims a batch, and then takes it back so that the next finds the same.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from outdial.clock import SystemClock
from outdial.domain.campaign import CampaignDefinition, Purpose
from outdial.domain.contact import Stage
from outdial.domain.ids import AccountId, CampaignId, WorkerId
from outdial.domain.windows import CallingWindow
from outdial.domain.zones import CallingZone, ZoneSource
from outdial.engine.call_ids import call_id_factory
from outdial.engine.claim import ClaimSettings, claim
from outdial.engine.definitions import Definitions
from outdial.storage import accounts, buckets, calling_zones, campaigns, workers
from outdial.storage.database import Database, create_engine, database_now
from outdial.storage.migrate import upgrade
from tests.support.databases import PostgresServer
from tests.support.postgres_process import start_postgres
from tests.support.run_folder import RunFolder

ROME = CallingZone(time_zones=("Europe/Rome",), country="IT", source=ZoneSource.CONTACT)
BATCH = 100
CLOSED_CAMPAIGNS = 9


@contextmanager
def postgres(given: str | None) -> Iterator[str]:
    """A fresh database: on the given server, or on one of our own."""
    folder = RunFolder.create()
    try:
        url = given or start_postgres(folder).url
        with PostgresServer(url, folder, "bench").database() as database_url:
            upgrade(database_url)
            yield database_url
    finally:
        folder.close()


class Sized:
    """One account whose campaigns hold so many contacts, the closed ones' being due first."""

    def __init__(self, database: Database, name: str, *, open_contacts: int, closed_contacts: int) -> None:
        self._database = database
        self._known = Definitions()
        self._settings = ClaimSettings(
            batch_size=BATCH, scheduler_time_zone="UTC", new_call_id=call_id_factory(SystemClock())
        )
        with database.begin() as connection:
            now = database_now(connection)
            row = {"name": name, "max_concurrent_calls": 10_000, "outbound_number": "+390612345678"}
            self._account_id = accounts.insert(connection, row)
            self._worker_id = workers.start(connection, name, now)
            today = datetime.now(UTC).date()
            closed = CallingWindow(closed_dates=frozenset(today + timedelta(days=d) for d in range(-1, 2)))
            for index in range(CLOSED_CAMPAIGNS if closed_contacts else 0):
                campaign_id = _campaign(connection, self._account_id, f"{name}-closed-{index}", closed)
                _contacts(
                    connection, campaign_id, closed_contacts // CLOSED_CAMPAIGNS, now - timedelta(days=1)
                )
            campaign_id = _campaign(connection, self._account_id, f"{name}-open", CallingWindow())
            _contacts(connection, campaign_id, open_contacts, now - timedelta(hours=1))

    def claim_seconds(self) -> float:
        return claim_seconds(self._database, self._account_id, self._worker_id, self._settings, self._known)


def claim_seconds(
    database: Database,
    account_id: AccountId,
    worker_id: WorkerId,
    settings: ClaimSettings,
    known: Definitions,
) -> float:
    """One claim of a batch, committed; then everything is put back, outside the measure."""
    started = time.perf_counter()
    claimed = database.run(
        claim, account_id, worker_id, str(settings.new_call_id()), settings, known, SystemClock()
    )
    seconds = time.perf_counter() - started
    if len(claimed.calls) != BATCH:
        raise RuntimeError(f"a claim found {len(claimed.calls)} contacts instead of {BATCH}")
    # As a worker does, so that the next claim need not ask about the zones again.
    database.run(buckets.judge, claimed.judgments)
    database.run(put_back, [call.contact.id for call in claimed.calls])
    return seconds


def measure(*, rounds: int = 30, big: int = 1_000_000, database_url: str | None = None) -> dict[str, Any]:
    """The median claim on both sizes, in milliseconds, and their ratio."""
    with postgres(database_url) as url:
        engine = create_engine(url)
        database = Database(engine, SystemClock())
        small = Sized(database, "small", open_contacts=1000, closed_contacts=0)
        large = Sized(database, "large", open_contacts=big // 10, closed_contacts=big - big // 10)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
        for sized in (small, large) * 3:
            sized.claim_seconds()
        pairs = [(small.claim_seconds(), large.claim_seconds()) for _ in range(rounds)]
        engine.dispose()
    return {
        "measure": f"a claim of {BATCH}: {big:,} contacts, 9 of 10 behind closed windows, against 1,000",
        "small_ms": round(statistics.median(pair[0] for pair in pairs) * 1000, 2),
        "large_ms": round(statistics.median(pair[1] for pair in pairs) * 1000, 2),
        "ratio": round(statistics.median(large_s / small_s for small_s, large_s in pairs), 2),
        "rounds": rounds,
    }


def _campaign(
    connection: sa.Connection, account_id: AccountId, name: str, window: CallingWindow
) -> CampaignId:
    definition = CampaignDefinition(
        name=name, purpose=Purpose.SURVEY, account="bench", default_time_zone="Europe/Rome", window=window
    )
    campaign_id = campaigns.insert(connection, account_id, definition, database_now(connection))
    connection.execute(sa.text("UPDATE campaigns SET status = 'running' WHERE id = :id"), {"id": campaign_id})
    return campaign_id


def _contacts(connection: sa.Connection, campaign_id: CampaignId, count: int, due_at: datetime) -> None:
    # Millions of rows take longer than the engine's own statements may.
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    zone_id = calling_zones.ensure(connection, [ROME])[ROME.key]
    connection.execute(
        sa.text(
            "INSERT INTO contacts (campaign_id, identity_key, phone_number, calling_zone_id, next_attempt_at, created_at)"
            " SELECT :campaign, 'id:' || n, '+39' || (3000000000 + :campaign * 10000000::bigint + n), :zone,"
            " CAST(:due AS timestamptz) + n * interval '1 millisecond', :due FROM generate_series(1, :count) n"
        ),
        {"campaign": campaign_id, "zone": zone_id, "due": due_at, "count": count},
    )
    buckets.add_due(connection, [(campaign_id, zone_id, 0, Stage.FIRST, due_at)])


def put_back(connection: sa.Connection, contact_ids: list[int]) -> None:
    connection.execute(
        sa.text("DELETE FROM call_attempts WHERE contact_id = ANY(:ids)"), {"ids": contact_ids}
    )
    connection.execute(
        sa.text(
            "UPDATE contacts SET state = 'pending', next_attempt_at = now() - interval '1 minute' WHERE id = ANY(:ids)"
        ),
        {"ids": contact_ids},
    )
    connection.execute(sa.text("UPDATE buckets SET version = version + 1"))
