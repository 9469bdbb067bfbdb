"""The engine's hot statements read as much as they need, however full the tables are: their plans on Postgres."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import Stage
from outdial.domain.exclusions import EVERYWHERE
from outdial.domain.ids import AccountId, AttemptId, CallId, CallingZoneId, CampaignId, WorkerId
from outdial.domain.order import Bucket
from outdial.engine.upkeep import keep_up
from outdial.storage import (
    attempts,
    buckets,
    contacts,
    due_contacts,
    excluded_contacts,
    exclusions,
    histories,
    lines,
)
from outdial.storage.migrate import upgrade
from tests.support.databases import PostgresServer
from tests.support.world import World

LARGE_TABLES = {"contacts", "call_attempts", "exclusion_list_entries"}
FIRST_WITH_GENERIC_PLANS = 160000
ACCOUNT, CAMPAIGN, WORKER = AccountId(1), CampaignId(1), WorkerId(1)

# Of fifty thousand contacts most are done; of their calls two hundred are open and a hundred await their result.
FILL = """
INSERT INTO calling_zones (key, time_zones, source)
    SELECT 'zone ' || n, '["Europe/Rome"]', 'contact' FROM generate_series(1, 20) n;
INSERT INTO workers (name, started_at, beat_at) VALUES ('w', now(), now());
INSERT INTO contacts (campaign_id, identity_key, phone_number, person_key, calling_zone_id, stage, state,
                      next_attempt_at, created_at)
    SELECT 1 + n % 2, n, '+39347' || lpad(n::text, 7, '0'), CASE WHEN n % 4 > 0 THEN 'person ' || n END, 1 + n % 20, 1 + n % 2,
           CASE WHEN n <= 300 THEN 'in_progress' WHEN n % 3 = 0 THEN 'pending' ELSE 'completed' END,
           now() - n * interval '1 second', now()
    FROM generate_series(1, 50000) n;
INSERT INTO call_attempts (contact_id, campaign_id, campaign_revision, account_id, phone_number, from_number,
                           attempt_number, call_id, claim_id, worker_id, state, claimed_at, dial_at, not_after,
                           look_up_at, ended_at, settle_at, settled_at, outcome, permit)
    SELECT id, campaign_id, 1, 1, phone_number, '+390612345678', 1, 'call ' || id, 'claim ' || id / 25, 1,
           CASE WHEN id <= 200 THEN 'dialing' ELSE 'ended' END, now(), now(), now() + interval '15 seconds',
           now() + (id % 60) * interval '1 second',
           CASE WHEN id > 200 THEN now() END,
           CASE WHEN id > 200 THEN now() + (id % 60) * interval '1 second' END,
           CASE WHEN id > 300 THEN now() END,
           CASE WHEN id > 300 THEN 'busy' END, '{}'
    FROM contacts WHERE state <> 'pending';
INSERT INTO buckets (campaign_id, calling_zone_id, priority, stage, next_due_at)
    SELECT campaign_id, calling_zone_id, priority, stage, min(next_attempt_at)
    FROM contacts WHERE state = 'pending' GROUP BY 1, 2, 3, 4;
INSERT INTO exclusion_list_entries (phone_number, reason, source, since)
    SELECT '+39348' || lpad(n::text, 7, '0'), 'asked', 'test', now() FROM generate_series(1, 20000) n;
INSERT INTO exclusion_list_entries (person_key, reason, source, since)
    SELECT 'gone ' || n, 'asked', 'test', now() FROM generate_series(1, 20000) n;
ANALYZE;
"""


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    with postgres_server.database(upgrade) as url:
        made = World(url)
        made.add_campaign("first")
        made.add_campaign("second")
        made.add_campaign("over", status=CampaignStatus.CANCELED)
        with made.engine.begin() as connection:
            for statement in FILL.split(";\n"):
                connection.execute(sa.text(statement))
        yield made
        made.close()


@dataclass(frozen=True)
class Scan:
    """One reading of a table in a plan; `index` None means that the whole table is read."""

    table: str
    index: str | None


Explain = Callable[[sa.Connection, str, Any], Any]


def with_these_values(connection: sa.Connection, statement: str, values: Any) -> Any:
    return connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar_one()


def with_any_values(connection: sa.Connection, statement: str, values: Any) -> Any:
    """The plan that Postgres may keep for a statement that is run again and again."""
    positions = {name: position for position, name in enumerate(values, 1)}
    numbered = re.sub(r"%\((\w+)\)s", lambda match: f"${positions[match[1]]}", statement)
    found = connection.connection.driver_connection.execute(  # type: ignore[union-attr]
        f"EXPLAIN (FORMAT JSON, GENERIC_PLAN) {numbered}"
    )
    return found.fetchone()[0]


@pytest.fixture(params=[with_these_values, with_any_values], ids=["these values", "any values"])
def explain(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Explain:
    if request.param is with_any_values and postgres_server.version < FIRST_WITH_GENERIC_PLANS:
        pytest.skip("this Postgres does not explain generic plans")
    chosen: Explain = request.param
    return chosen


def scans_of(world: World, body: Callable[[sa.Connection], object], explain: Explain) -> set[Scan]:
    """How the statements of `body` read the large tables."""
    statements: list[tuple[str, Any]] = []

    def listen(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        if statement.startswith(("SELECT", "UPDATE", "INSERT", "WITH", "DELETE")):
            statements.append((statement, values))

    with world.database.engine.connect() as connection:
        sa.event.listen(connection, "before_cursor_execute", listen)
        body(connection)
        sa.event.remove(connection, "before_cursor_execute", listen)
        plans = [explain(connection, statement, values) for statement, values in statements]
        connection.rollback()
    return {scan for plan in plans for scan in scans_in(plan)}


def scans_in(plan: Any) -> Iterator[Scan]:
    if isinstance(plan, str):
        plan = json.loads(plan)
    if isinstance(plan, list):
        for part in plan:
            yield from scans_in(part)
        return
    node = plan.get("Plan", plan)
    if node.get("Relation Name") in LARGE_TABLES and node["Node Type"].endswith("Scan"):
        # A bitmap's index stands in the node below.
        index = node.get("Index Name") or (node.get("Plans") or [{}])[0].get("Index Name")
        yield Scan(node["Relation Name"], index)
    for part in node.get("Plans", ()):
        yield from scans_in(part)


def take_due(connection: sa.Connection) -> None:
    due = [
        Bucket(
            campaign_id=CampaignId(2 - zone % 2),
            calling_zone_id=CallingZoneId(zone),
            priority=0,
            stage=stage,
            next_due_at=datetime.now(UTC) - timedelta(days=1),
        )
        for zone in range(1, 21)
        for stage in (Stage.FIRST, Stage.RETRY)
    ]
    found = due_contacts.take_due(connection, due, {CAMPAIGN: 25, CampaignId(2): 25}, datetime.now(UTC))
    assert found


def refresh_hints(connection: sa.Connection) -> None:
    waiting = buckets.waiting(connection, {CAMPAIGN: "facts"}, datetime.now(UTC), 10)
    buckets.refresh(connection, waiting.to_ask[:10])


def count_open(connection: sa.Connection) -> None:
    assert attempts.count_open(connection, ACCOUNT).total


def last_check(connection: sa.Connection) -> None:
    attempts.last_check(connection, {AttemptId(n): CallId(f"call-{n}") for n in range(1, 26)}, WORKER)


def last_check_again(connection: sa.Connection) -> None:
    ids = {AttemptId(n): CallId(f"call-{n}") for n in range(1, 26)}
    attempts.last_check(connection, ids, WORKER, already_sent=True)


def sweep_unsettled(connection: sa.Connection) -> None:
    attempts.due_to_settle(connection, datetime.now(UTC), 500)


def take_dialing(connection: sa.Connection) -> None:
    at = datetime.now(UTC)
    lines.take_dialing(connection, at, at + timedelta(seconds=5), 100)


def take_silent(connection: sa.Connection) -> None:
    at = datetime.now(UTC)
    lines.take_silent(connection, [ACCOUNT], at, at + timedelta(seconds=5), 100)


def complete_empty(connection: sa.Connection) -> None:
    keep_up(connection, ACCOUNT)


def release_held(connection: sa.Connection) -> None:
    contacts.release_held(connection, ["+393470000003", "+393470000004"], datetime.now(UTC))


def expire_overdue(connection: sa.Connection) -> None:
    contacts.expire_overdue(connection, datetime.now(UTC), 1000)


def exclude(connection: sa.Connection) -> None:
    numbers, persons = [f"+39347{n:07d}" for n in range(1, 26)], [f"person {n}" for n in range(1, 26)]
    excluded_contacts.exclude_pending(connection, numbers, persons)
    at = datetime.now(UTC)
    terms = exclusions.Terms("asked", "test", at)
    exclusions.add_each(connection, exclusions.NUMBER, dict.fromkeys(numbers, terms), reach=EVERYWHERE, at=at)
    exclusions.add_each(connection, exclusions.PERSON, dict.fromkeys(persons, terms), reach=EVERYWHERE, at=at)


def read_histories(connection: sa.Connection) -> None:
    histories.load(connection, [1, 2, 3])


DUE = {"ix_contacts_due"}
NUMBER = {"uq_call_attempts_unsettled_number"}
EXCLUSIONS = {"uq_exclusion_list_entries_in_force"}
EXCLUDED_PERSONS = {"uq_exclusion_list_entries_person_in_force"}
BY_ID = [{"pk_call_attempts"}, {"pk_contacts"}, EXCLUSIONS, EXCLUDED_PERSONS]
OF_CONTACT = {"ix_call_attempts_contact_id"}
# Partial ones, that hold only what is open or unsettled: any of them is as short as the lines are many.
OPEN_NUMBER = {"ix_call_attempts_open_number"}
OPEN = {"ix_call_attempts_open", "ix_call_attempts_look_up_at", *OPEN_NUMBER}
UNSETTLED = {"ix_call_attempts_unsettled", *NUMBER}

# For each statement the indexes by which it must read; of those in one set, one is enough.
HOT: list[tuple[Callable[[sa.Connection], None], list[set[str]]]] = [
    (take_due, [DUE, NUMBER, OPEN_NUMBER, EXCLUSIONS, EXCLUDED_PERSONS]),
    (refresh_hints, [DUE]),
    (count_open, [OPEN]),
    (last_check, BY_ID),
    (last_check_again, BY_ID),
    (sweep_unsettled, [UNSETTLED]),
    (take_dialing, [OPEN]),
    (take_silent, [OPEN]),
    # Few are held, unless a rule caps many.
    (release_held, [{"ix_contacts_phone_number", "ix_contacts_held"}]),
    (expire_overdue, [{"ix_contacts_call_before"}]),
    (complete_empty, [DUE, {"ix_contacts_in_progress"}]),
    (read_histories, [OF_CONTACT]),
    (exclude, [{"ix_contacts_phone_number"}, {"ix_contacts_person_key"}]),
]


@pytest.mark.parametrize(("body", "indexes"), HOT, ids=[body.__name__ for body, _ in HOT])
def test_a_hot_statement_reads_no_large_table_as_a_whole(
    world: World, body: Callable[[sa.Connection], None], indexes: list[set[str]], explain: Explain
) -> None:
    scans = scans_of(world, body, explain)
    assert {scan.table for scan in scans if scan.index is None} == set()
    used = {scan.index for scan in scans}
    assert [alternatives for alternatives in indexes if not alternatives & used] == []
