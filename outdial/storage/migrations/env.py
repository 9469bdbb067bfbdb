"""Alembic's environment: it runs on the connection that `outdial.storage.migrate` hands it, and reads no ini file."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from outdial.storage.database import schema_of
from outdial.storage.migrate import VERSION_TABLE
from outdial.storage.tables import metadata

connection: sa.Connection = context.config.attributes["connection"]

context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    version_table_schema=schema_of(connection),
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
