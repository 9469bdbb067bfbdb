"""Brings a database's schema up to this program's, and says whether it is there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event

from outdial.domain.errors import SchemaOutOfDate
from outdial.storage.database import create_engine, outdials_tables, schema_of

VERSION_TABLE: Final = "outdial_alembic_version"
# Two programs that upgrade at once take turns; the number only has to be ours.
UPGRADE_LOCK: Final = 0x0D1A1
# A migration waits this long for a lock and then gives up, so that it never stands in front of a running dialer.
LOCK_TIMEOUT: Final = "5s"


def upgrade(url: str | sa.URL, revision: str = "head", *, schema: str | None = None) -> None:
    """Bring the tables to the revision, in `schema` of a Postgres database (None: the default one), which is made if it
    is not there; nothing happens where they are there already.
    """
    engine = create_engine(url, schema)
    try:
        with engine.connect() as connection:
            upgrade_connection(connection, revision)
    finally:
        engine.dispose()


def upgrade_connection(connection: sa.Connection, revision: str = "head") -> None:
    """The same, each revision as a whole or not at all, on a connection that is in no transaction; its engine's option `outdial_schema` names the schema."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({UPGRADE_LOCK})")
        connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        connection.commit()
    else:
        # SQLite's own driver commits each change of the schema by itself, unless it is in a transaction that we began.
        event.listen(connection, "begin", _begin)
    try:
        _make_schema(connection)
        config = _config()
        config.attributes["connection"] = connection
        with outdials_tables(connection):
            command.upgrade(config, revision)
        connection.commit()
    finally:
        connection.rollback()
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_unlock({UPGRADE_LOCK})")
            connection.exec_driver_sql("RESET lock_timeout")
            connection.commit()
        else:
            event.remove(connection, "begin", _begin)


def current_revision(connection: sa.Connection) -> str | None:
    """The revision that the database is at; None where there is no schema."""
    opts = {"version_table": VERSION_TABLE, "version_table_schema": schema_of(connection)}
    context = MigrationContext.configure(connection, opts=opts)
    return context.get_current_revision()


def expected_revision() -> str:
    """The revision that this program needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def check(connection: sa.Connection) -> None:
    """Raises `SchemaOutOfDate` unless the database is at exactly the revision that this program needs."""
    found, expected = current_revision(connection), expected_revision()
    if found != expected:
        raise SchemaOutOfDate(found, expected, schema_of(connection))


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _make_schema(connection: sa.Connection) -> None:
    schema = schema_of(connection)
    # Asked first, for CREATE SCHEMA IF NOT EXISTS needs the right to create one even where there is nothing to do.
    if schema is not None and not sa.inspect(connection).has_schema(schema):
        connection.execute(sa.schema.CreateSchema(schema))
    connection.commit()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
