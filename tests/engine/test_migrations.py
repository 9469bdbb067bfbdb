"""The schema: where migrations lead, and what the program says of a database that is elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from outdial.domain.errors import SchemaOutOfDate
from outdial.storage.database import create_engine
from outdial.storage.migrate import VERSION_TABLE, check, expected_revision, upgrade
from outdial.storage.tables import metadata
from tests.support.databases import PostgresServer, sqlite_url

FIRST = "0001"
AT = "'2026-03-02 09:00:00.000000'"

# A row for every table of the first schema, as SQL: later schemas must take over what was written under the first.
ROWS = {
    "deployment": {"id": "1", "name": "'production'"},
    "provider_configurations": {"name": "'main'", "max_concurrent_calls": "10"},
    "workers": {"name": "'w'", "started_at": AT, "beat_at": AT},
    "calling_zones": {
        "key": "'contact:IT:Europe/Rome'",
        "time_zones": "'[\"Europe/Rome\"]'",
        "country": "'IT'",
        "source": "'contact'",
    },
    "campaigns": {
        "name": "'survey'",
        "purpose": "'survey'",
        "account_id": "1",
        "language": "'en'",
        "script": "'{}'",
        "retry_policy": "'{}'",
        "windows": "'[]'",
        "closed_dates": "'[]'",
        "countries": "'[]'",
        "when_empty": "'complete'",
        "weight": "1",
        "priority": "0",
        "caller_numbers": "'[]'",
        "call_options": "'{}'",
        "created_at": AT,
        "changed_at": AT,
    },
    "caller_numbers": {"account_id": "1", "phone_number": "'+390612345678'", "changed_at": AT},
    "imports": {"campaign_id": "1", "file_name": "'people.csv'", "created_at": AT},
    "contacts": {
        "campaign_id": "1",
        "import_id": "1",
        "identity_key": "'tel:+393471234567'",
        "phone_number": "'+393471234567'",
        "calling_zone_id": "1",
        "next_attempt_at": AT,
        "created_at": AT,
    },
    "buckets": {"campaign_id": "1", "calling_zone_id": "1", "priority": "0", "stage": "1"},
    "call_attempts": {
        "contact_id": "1",
        "campaign_id": "1",
        "campaign_revision": "1",
        "account_id": "1",
        "phone_number": "'+393471234567'",
        "from_number": "'+390612345678'",
        "attempt_number": "1",
        "call_id": "'c'",
        "claim_id": "'k'",
        "worker_id": "1",
        "state": "'accepted'",
        "claimed_at": AT,
        "dial_at": AT,
        "not_after": AT,
        "permit": "'{}'",
    },
    "call_events": {
        "account_id": "1",
        "event_id": "'e'",
        "attempt_id": "1",
        "kind": "'ringing'",
        "event_at": AT,
        "received_at": AT,
        "payload": "'{}'",
        "normalized": "'{}'",
    },
    "exclusion_list_entries": {
        "phone_number": "'+393471234567'",
        "reason": "'asked'",
        "source": "'test'",
        "since": AT,
    },
    "events": {"kind": "'contact.completed'", "payload": "'{}'", "created_at": AT},
    "api_keys": {"name": "'k'", "role": "'viewer'", "key_hash": "'h'", "created_at": AT},
}


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def expressions_left_out() -> Iterator[None]:
    """SQLite does not tell what an index over an expression is made of, so it is left out of what is compared."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Skipped unsupported reflection of expression-based index")
        warnings.filterwarnings("ignore", "autogenerate skipping metadata-specified expression-based index")
        yield


def all_rows(connection: sa.Connection) -> dict[str, list[dict[str, Any]]]:
    found = sa.MetaData()
    with expressions_left_out():
        found.reflect(connection)
    return {
        table.name: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
        for table in found.sorted_tables
        if table.name != VERSION_TABLE
    }


def schema(connection: sa.Connection) -> dict[str, Any]:
    """All that the database says of its tables; constraints and indexes in the order of their names."""
    inspector = sa.inspect(connection)

    def by_name(found: list[Any]) -> list[Any]:
        return sorted(found, key=lambda one: str(one["name"]))

    with expressions_left_out():
        return {
            table: {
                "columns": by_name(
                    [{**column, "type": repr(column["type"])} for column in inspector.get_columns(table)]
                ),
                "key": inspector.get_pk_constraint(table),
                "foreign keys": by_name(inspector.get_foreign_keys(table)),
                "unique": by_name(inspector.get_unique_constraints(table)),
                "checks": by_name(inspector.get_check_constraints(table)),
                "indexes": by_name([plain(index) for index in inspector.get_indexes(table)]),
            }
            for table in inspector.get_table_names()
            if table != VERSION_TABLE
        }


def plain(index: Any) -> dict[str, Any]:
    """Its options as text: SQLite's are clauses, which are only equal to themselves."""
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return {**index, "dialect_options": options}


@pytest.fixture
def url_of_tables(empty_database_url: str, postgres_server: PostgresServer, tmp_path: Path) -> Iterator[str]:
    """A database of the same kind whose tables were made from the code, without any migration."""
    if empty_database_url.startswith("sqlite"):
        url = sqlite_url(tmp_path / "tables.sqlite3")
        make_tables(url)
        yield url
    else:
        with postgres_server.database() as url:
            make_tables(url)
            yield url


def make_tables(url: str) -> None:
    with connected(url) as connection:
        metadata.create_all(connection)


def test_migrations_end_where_the_tables_in_code_say(empty_database_url: str, url_of_tables: str) -> None:
    upgrade(empty_database_url)
    with connected(empty_database_url) as migrated, connected(url_of_tables) as made:
        assert schema(migrated) == schema(made)


def test_no_migration_is_missing(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    with connected(empty_database_url) as connection, expressions_left_out():
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_an_upgrade_again_changes_nothing(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    with connected(empty_database_url) as connection:
        before = schema(connection)
    upgrade(empty_database_url)
    with connected(empty_database_url) as connection:
        assert schema(connection) == before


def test_an_upgrade_takes_over_every_row_of_the_first_schema(empty_database_url: str) -> None:
    upgrade(empty_database_url, FIRST)
    with connected(empty_database_url) as connection:
        for table, row in ROWS.items():
            values = f"({', '.join(row)}) VALUES ({', '.join(row.values())})"
            connection.exec_driver_sql(f"INSERT INTO {table} {values}")
        before = all_rows(connection)
    assert all(before.values()), "a table of the first schema without a row"
    upgrade(empty_database_url)
    with connected(empty_database_url) as connection:
        after = all_rows(connection)
    for table, (row,) in before.items():
        (taken_over,) = after[table]
        assert row.items() <= taken_over.items()


def test_a_database_that_was_upgraded_passes_the_check(database_url: str) -> None:
    with connected(database_url) as connection:
        check(connection)


def test_a_database_without_schema_fails_the_check(empty_database_url: str) -> None:
    with connected(empty_database_url) as connection, pytest.raises(SchemaOutOfDate) as caught:
        check(connection)
    assert (caught.value.found, caught.value.expected) == (None, expected_revision())


@pytest.mark.parametrize("revision", ["0000", "9999"], ids=["behind", "ahead"])
def test_a_database_at_another_revision_fails_the_check(database_url: str, revision: str) -> None:
    with connected(database_url) as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'")
        with pytest.raises(SchemaOutOfDate) as caught:
            check(connection)
    assert caught.value.found == revision


def test_the_check_writes_nothing(empty_database_url: str) -> None:
    with connected(empty_database_url) as connection:
        with pytest.raises(SchemaOutOfDate):
            check(connection)
        assert not sa.inspect(connection).get_table_names()


def test_programs_that_upgrade_at_once_take_turns(empty_postgres_url: str) -> None:
    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(upgrade, empty_postgres_url) for _ in range(3)]:
            done.result()
    with connected(empty_postgres_url) as connection:
        check(connection)


def test_a_migration_that_fails_leaves_nothing(database_url: str) -> None:
    """As a whole or not at all: what is half there could neither be used nor upgraded again."""
    engine = create_engine(database_url)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(sa.text(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))
    upgrade(database_url, "0002")
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE call_attempts ADD COLUMN hung_up_at TEXT"))
    with pytest.raises(sa.exc.DBAPIError):
        upgrade(database_url)
    with engine.connect() as connection:
        columns = {column["name"] for column in sa.inspect(connection).get_columns("provider_configurations")}
        assert "breaker" not in columns
        assert connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one() == "0002"
    engine.dispose()
