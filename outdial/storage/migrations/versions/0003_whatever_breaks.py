"""breakers, probes, the rate of look-ups, missing webhooks, calls to hang up, calls found after a restore"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from outdial.storage.database import schema_of
from outdial.storage.types import Instant

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # ALTER TABLE is the one statement that does not go where the connection's other tables are.
    schema = schema_of(op.get_bind())
    with op.batch_alter_table("provider_configurations", schema=schema) as table:
        for column in (
            sa.Column("breaker", sa.Text()),
            sa.Column("breaker_at", Instant),
            sa.Column("breaker_reason", sa.Text()),
            sa.Column("trial_until", Instant),
            sa.Column("probe_at", Instant),
            sa.Column("probes", sa.Integer(), nullable=False, server_default="0"),
            sa.Column("look_up_cursor_at", Instant),
            sa.Column("look_ups_not_before", Instant),
            sa.Column("look_up_failures", sa.Integer(), nullable=False, server_default="0"),
            sa.Column("ended_by_look_up", sa.Integer(), nullable=False, server_default="0"),
            sa.Column("webhooks_missing_at", Instant),
            sa.Column("timeline", sa.Text()),
        ):
            table.add_column(column)
        table.create_check_constraint(
            op.f("ck_provider_configurations_breaker_known"), "breaker IN ('open', 'half_open')"
        )
    op.add_column("workers", sa.Column("found_dead_at", Instant), schema=schema)
    for column in (
        sa.Column("hang_up_because", sa.Text()),
        sa.Column("hung_up_at", Instant),
        sa.Column("awaits_confirmation", sa.Boolean(), nullable=False, server_default=sa.false()),
    ):
        op.add_column("call_attempts", column, schema=schema)


def downgrade() -> None:
    schema = schema_of(op.get_bind())
    with op.batch_alter_table("call_attempts", schema=schema) as table:
        for name in ("awaits_confirmation", "hung_up_at", "hang_up_because"):
            table.drop_column(name)
    with op.batch_alter_table("workers", schema=schema) as table:
        table.drop_column("found_dead_at")
    with op.batch_alter_table("provider_configurations", schema=schema) as table:
        table.drop_constraint(op.f("ck_provider_configurations_breaker_known"), type_="check")
        for name in (
            "timeline",
            "webhooks_missing_at",
            "ended_by_look_up",
            "look_up_failures",
            "look_ups_not_before",
            "look_up_cursor_at",
            "probes",
            "probe_at",
            "trial_until",
            "breaker_reason",
            "breaker_at",
            "breaker",
        ):
            table.drop_column(name)
