"""calling rules, caps, and what each revision of a campaign said"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from outdial.storage.database import schema_of
from outdial.storage.types import BigId, Instant, Json

revision = "0002"
down_revision = "0001"

# The columns of `campaigns` that held a definition under the first schema.
DEFINITION: dict[str, Any] = {
    "name": sa.Text,
    "purpose": sa.Text,
    "language": sa.Text,
    "script": Json,
    "retry_policy": Json,
    "windows": Json,
    "closed_dates": Json,
    "calling_rule": sa.Text,
    "default_time_zone": sa.Text,
    "countries": Json,
    "starts_at": Instant,
    "ends_at": Instant,
    "when_empty": sa.Text,
    "unique_by": sa.Text,
    "max_concurrent_calls": sa.Integer,
    "weight": sa.Float,
    "priority": sa.Integer,
    "caller_numbers": Json,
    "call_options": Json,
}


def upgrade() -> None:
    # ALTER TABLE is the one statement that does not go where the connection's other tables are.
    schema = schema_of(op.get_bind())
    with op.batch_alter_table("deployment", schema=schema) as table:
        table.add_column(sa.Column("accepted_rules", Json))
    with op.batch_alter_table("campaigns", schema=schema) as table:
        table.add_column(sa.Column("guard_seconds", sa.Integer()))
        table.add_column(sa.Column("required_consent", sa.Text()))
        table.add_column(sa.Column("unknown_zone", sa.Text(), nullable=False, server_default="closed"))
        table.create_check_constraint(
            op.f("ck_campaigns_unknown_zone_known"), "unknown_zone IN ('closed', 'use_default')"
        )
    for column in (
        sa.Column("judged_as", sa.Text()),
        sa.Column("judged_until", Instant),
        sa.Column("held_by", sa.Text()),
    ):
        op.add_column("buckets", column, schema=schema)
    op.create_table(
        "campaign_revisions",
        sa.Column("campaign_id", BigId, nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("definition", Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_campaign_revisions_campaign_id")
        ),
        sa.PrimaryKeyConstraint("campaign_id", "revision", name=op.f("pk_campaign_revisions")),
    )
    _keep_revisions(schema)
    op.add_column("contacts", sa.Column("person_key", sa.Text()), schema=schema)
    op.create_index(
        "ix_contacts_person_key",
        "contacts",
        ["person_key"],
        postgresql_where=sa.text("person_key IS NOT NULL"),
        sqlite_where=sa.text("person_key IS NOT NULL"),
    )
    op.create_index(
        "ix_contacts_held",
        "contacts",
        ["campaign_id"],
        postgresql_where=sa.text("state = 'pending' AND held_until IS NOT NULL"),
        sqlite_where=sa.text("state = 'pending' AND held_until IS NOT NULL"),
    )
    op.create_index(
        "ix_call_attempts_phone_number_claimed_at", "call_attempts", ["phone_number", "claimed_at"]
    )
    op.drop_index("uq_exclusion_list_entries_in_force", table_name="exclusion_list_entries")
    with op.batch_alter_table("exclusion_list_entries", schema=schema) as table:
        table.alter_column("phone_number", existing_type=sa.Text(), nullable=True)
        table.add_column(sa.Column("person_key", sa.Text()))
        table.add_column(sa.Column("created_at", Instant))
        table.create_check_constraint(
            op.f("ck_exclusion_list_entries_of_somebody"),
            "phone_number IS NOT NULL OR person_key IS NOT NULL",
        )
        table.create_check_constraint(
            op.f("ck_exclusion_list_entries_scope_names_campaign"),
            "(scope = 'campaign') = (campaign_id IS NOT NULL)",
        )
    for name, of in (
        ("uq_exclusion_list_entries_in_force", "phone_number"),
        ("uq_exclusion_list_entries_person_in_force", "person_key"),
    ):
        op.create_index(
            name,
            "exclusion_list_entries",
            [of, "workspace_id", "scope", sa.literal_column("coalesce(campaign_id, 0)")],
            unique=True,
            postgresql_where=sa.text(f"removed_at IS NULL AND {of} IS NOT NULL"),
            sqlite_where=sa.text(f"removed_at IS NULL AND {of} IS NOT NULL"),
        )


def downgrade() -> None:
    schema = schema_of(op.get_bind())
    op.drop_index("uq_exclusion_list_entries_person_in_force", table_name="exclusion_list_entries")
    op.drop_index("uq_exclusion_list_entries_in_force", table_name="exclusion_list_entries")
    _fold_entries(schema)
    with op.batch_alter_table("exclusion_list_entries", schema=schema) as table:
        table.drop_constraint(op.f("ck_exclusion_list_entries_of_somebody"), type_="check")
        table.drop_constraint(op.f("ck_exclusion_list_entries_scope_names_campaign"), type_="check")
        table.drop_column("person_key")
        table.drop_column("created_at")
        table.alter_column("phone_number", existing_type=sa.Text(), nullable=False)
    op.create_index(
        "uq_exclusion_list_entries_in_force",
        "exclusion_list_entries",
        ["phone_number", "workspace_id", sa.literal_column("coalesce(campaign_id, 0)")],
        unique=True,
        postgresql_where=sa.text("removed_at IS NULL"),
        sqlite_where=sa.text("removed_at IS NULL"),
    )
    op.drop_index("ix_call_attempts_phone_number_claimed_at", table_name="call_attempts")
    op.drop_index("ix_contacts_person_key", table_name="contacts")
    op.drop_index("ix_contacts_held", table_name="contacts")
    op.drop_column("contacts", "person_key", schema=schema)
    op.drop_table("campaign_revisions")
    for name in ("judged_as", "judged_until", "held_by"):
        op.drop_column("buckets", name, schema=schema)
    with op.batch_alter_table("campaigns", schema=schema) as table:
        table.drop_constraint(op.f("ck_campaigns_unknown_zone_known"), type_="check")
        table.drop_column("unknown_zone")
        table.drop_column("required_consent")
        table.drop_column("guard_seconds")
    with op.batch_alter_table("deployment", schema=schema) as table:
        table.drop_column("accepted_rules")


def _fold_entries(schema: str | None) -> None:
    """What the old schema cannot hold: it knows no persons, and of a number no two entries for many campaigns at once."""
    names = {"phone_number": sa.Text, "person_key": sa.Text, "scope": sa.Text, "removed_why": sa.Text}
    columns = [sa.column(name, kind) for name, kind in names.items()]
    entries = sa.table(
        "exclusion_list_entries",
        *columns,
        sa.column("removed_at", Instant),
        sa.column("since", Instant),
        schema=schema,
    )
    of_persons = sa.select(sa.func.count()).where(
        entries.c.phone_number.is_(None), entries.c.removed_at.is_(None)
    )
    count = op.get_bind().execute(of_persons).scalar_one()
    if count:
        raise RuntimeError(
            f"{count} exclusions of persons would be lost, and these people be called: exclude their numbers, end those "
            "entries with `outdial exclusions remove --person`, and downgrade again"
        )
    op.execute(sa.delete(entries).where(entries.c.phone_number.is_(None)))
    for_all = entries.alias("for_all")
    covered = sa.exists().where(
        for_all.c.phone_number == entries.c.phone_number,
        for_all.c.scope == "all",
        for_all.c.removed_at.is_(None),
    )
    op.execute(
        sa.update(entries)
        .where(entries.c.scope == "workspace", entries.c.removed_at.is_(None), covered)
        .values(removed_at=entries.c.since, removed_why="covered by the entry for all")
    )


def _keep_revisions(schema: str | None) -> None:
    """What the campaigns say now is kept as what their revision said; what earlier ones said is not known any more."""
    connection = op.get_bind()
    campaigns = sa.table(
        "campaigns",
        sa.column("id", BigId),
        sa.column("revision", sa.Integer),
        sa.column("changed_at", Instant),
        *(sa.column(name, kind) for name, kind in DEFINITION.items()),
        schema=schema,
    )
    revisions = sa.table(
        "campaign_revisions",
        sa.column("campaign_id", BigId),
        sa.column("revision", sa.Integer),
        sa.column("created_at", Instant),
        sa.column("definition", Json),
        schema=schema,
    )
    rows = [
        {
            "campaign_id": row["id"],
            "revision": row["revision"],
            "created_at": row["changed_at"],
            "definition": {name: _as_json(row[name]) for name in DEFINITION},
        }
        for row in connection.execute(sa.select(campaigns)).mappings()
    ]
    if rows:
        connection.execute(sa.insert(revisions), rows)


def _as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
