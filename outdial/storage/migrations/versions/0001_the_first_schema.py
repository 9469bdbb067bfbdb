"""the first schema"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from outdial.storage.types import BigId, Instant, Json

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("workspace_id", BigId, server_default="1", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("revoked_at", Instant, nullable=True),
        sa.CheckConstraint(
            "role IN ('admin', 'campaign_manager', 'viewer')", name=op.f("ck_api_keys_role_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
        sa.UniqueConstraint("workspace_id", "name", name=op.f("uq_api_keys_workspace_id_name")),
    )
    op.create_table(
        "calling_zones",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("time_zones", Json, nullable=False),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("subdivision", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calling_zones")),
        sa.UniqueConstraint("key", name=op.f("uq_calling_zones_key")),
    )
    op.create_table(
        "deployment",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("stopped_at", Instant, nullable=True),
        sa.Column("stopped_by", sa.Text(), nullable=True),
        sa.Column("stopped_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_deployment_only_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployment")),
    )
    op.create_table(
        "events",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("workspace_id", BigId, server_default="1", nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("campaign_id", BigId, nullable=True),
        sa.Column("contact_id", BigId, nullable=True),
        sa.Column("attempt_id", BigId, nullable=True),
        sa.Column("payload", Json, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_table(
        "provider_configurations",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("workspace_id", BigId, server_default="1", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("adapter", sa.Text(), server_default="http", nullable=False),
        sa.Column("base_url", sa.Text(), nullable=True),
        sa.Column("api_key_ref", sa.Text(), nullable=True),
        sa.Column("webhook_secret_ref", sa.Text(), nullable=True),
        sa.Column("options", Json, server_default="{}", nullable=False),
        sa.Column("outbound_number", sa.Text(), nullable=True),
        sa.Column("max_concurrent_calls", sa.Integer(), nullable=False),
        sa.Column("calls_per_second", sa.Numeric(precision=12, scale=4), nullable=True),
        sa.Column("burst", sa.Integer(), server_default="1", nullable=False),
        sa.Column("rate_cursor_at", Instant, nullable=True),
        sa.Column("rate_factor", sa.Float(), server_default="1", nullable=False),
        sa.Column("rate_factor_at", Instant, nullable=True),
        sa.Column("not_before", Instant, nullable=True),
        sa.Column("unreachable_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("suspended_at", Instant, nullable=True),
        sa.Column("suspended_reason", sa.Text(), nullable=True),
        sa.Column("blocked_countries", Json, server_default="{}", nullable=False),
        sa.Column("stopped_at", Instant, nullable=True),
        sa.Column("stopped_by", sa.Text(), nullable=True),
        sa.Column("stopped_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("burst >= 1", name=op.f("ck_provider_configurations_burst_positive")),
        sa.CheckConstraint(
            "calls_per_second > 0", name=op.f("ck_provider_configurations_calls_per_second_positive")
        ),
        sa.CheckConstraint(
            "max_concurrent_calls >= 0",
            name=op.f("ck_provider_configurations_max_concurrent_calls_not_negative"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_configurations")),
        sa.UniqueConstraint(
            "workspace_id", "name", name=op.f("uq_provider_configurations_workspace_id_name")
        ),
    )
    op.create_table(
        "workers",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("beat", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("beat_at", Instant, nullable=False),
        sa.Column("stopped_at", Instant, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "caller_numbers",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("workspace_id", BigId, server_default="1", nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("phone_number", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="in_use", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("changed_at", Instant, nullable=False),
        sa.CheckConstraint(
            "state IN ('in_use', 'resting', 'retired')", name=op.f("ck_caller_numbers_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["provider_configurations.id"], name=op.f("fk_caller_numbers_account_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_caller_numbers")),
        sa.UniqueConstraint(
            "account_id", "phone_number", name=op.f("uq_caller_numbers_account_id_phone_number")
        ),
    )
    op.create_table(
        "campaigns",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("workspace_id", BigId, server_default="1", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="draft", nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), server_default="1", nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("script", Json, nullable=False),
        sa.Column("retry_policy", Json, nullable=False),
        sa.Column("windows", Json, nullable=False),
        sa.Column("closed_dates", Json, nullable=False),
        sa.Column("calling_rule", sa.Text(), nullable=True),
        sa.Column("default_time_zone", sa.Text(), nullable=True),
        sa.Column("countries", Json, nullable=False),
        sa.Column("starts_at", Instant, nullable=True),
        sa.Column("ends_at", Instant, nullable=True),
        sa.Column("when_empty", sa.Text(), nullable=False),
        sa.Column("unique_by", sa.Text(), nullable=True),
        sa.Column("max_concurrent_calls", sa.Integer(), nullable=True),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("caller_numbers", Json, nullable=False),
        sa.Column("call_options", Json, nullable=False),
        sa.Column("rejections_in_a_row", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("changed_at", Instant, nullable=False),
        sa.CheckConstraint(
            "purpose IN ('telemarketing', 'survey', 'informational', 'collections')",
            name=op.f("ck_campaigns_purpose_known"),
        ),
        sa.CheckConstraint(
            "status IN ('draft', 'scheduled', 'running', 'paused', 'completed', 'canceled')",
            name=op.f("ck_campaigns_status_known"),
        ),
        sa.CheckConstraint("when_empty IN ('complete', 'wait')", name=op.f("ck_campaigns_when_empty_known")),
        sa.CheckConstraint(
            "unique_by IN ('external_contact_id', 'phone_number')", name=op.f("ck_campaigns_unique_by_known")
        ),
        sa.CheckConstraint("weight > 0", name=op.f("ck_campaigns_weight_positive")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["provider_configurations.id"], name=op.f("fk_campaigns_account_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
        sa.UniqueConstraint("workspace_id", "name", name=op.f("uq_campaigns_workspace_id_name")),
    )
    op.create_index("ix_campaigns_account_id_status", "campaigns", ["account_id", "status"], unique=False)
    op.create_table(
        "buckets",
        sa.Column("campaign_id", BigId, nullable=False),
        sa.Column("calling_zone_id", BigId, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("stage", sa.SmallInteger(), nullable=False),
        sa.Column("next_due_at", Instant, nullable=True),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["calling_zone_id"], ["calling_zones.id"], name=op.f("fk_buckets_calling_zone_id")
        ),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_buckets_campaign_id")),
        sa.PrimaryKeyConstraint(
            "campaign_id", "calling_zone_id", "priority", "stage", name=op.f("pk_buckets")
        ),
    )
    op.create_table(
        "exclusion_list_entries",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("workspace_id", BigId, server_default="1", nullable=False),
        sa.Column("phone_number", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), server_default="all", nullable=False),
        sa.Column("campaign_id", BigId, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=True),
        sa.Column("removed_at", Instant, nullable=True),
        sa.Column("removed_by", sa.Text(), nullable=True),
        sa.Column("removed_why", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "scope IN ('all', 'workspace', 'campaign')", name=op.f("ck_exclusion_list_entries_scope_known")
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_exclusion_list_entries_campaign_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exclusion_list_entries")),
    )
    op.create_index(
        "uq_exclusion_list_entries_in_force",
        "exclusion_list_entries",
        ["phone_number", "workspace_id", sa.literal_column("coalesce(campaign_id, 0)")],
        unique=True,
        postgresql_where=sa.text("removed_at IS NULL"),
        sqlite_where=sa.text("removed_at IS NULL"),
    )
    op.create_table(
        "imports",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("workspace_id", BigId, server_default="1", nullable=False),
        sa.Column("campaign_id", BigId, nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("checksum", sa.Text(), nullable=True),
        sa.Column("imported_by", sa.Text(), nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("finished_at", Instant, nullable=True),
        sa.Column("counts", Json, server_default="{}", nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("withdrawn_at", Instant, nullable=True),
        sa.Column("withdrawn_by", sa.Text(), nullable=True),
        sa.Column("after_contact_id", BigId, server_default="0", nullable=False),
        sa.Column("last_contact_id", BigId, nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_imports_campaign_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    op.create_table(
        "contacts",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("campaign_id", BigId, nullable=False),
        sa.Column("import_id", BigId, nullable=True),
        sa.Column("import_line", sa.Integer(), nullable=True),
        sa.Column("external_contact_id", sa.Text(), nullable=True),
        sa.Column("identity_key", sa.Text(), nullable=False),
        sa.Column("phone_number", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("attributes", Json, server_default="{}", nullable=False),
        sa.Column("consent_at", Instant, nullable=True),
        sa.Column("consent_kind", sa.Text(), nullable=True),
        sa.Column("consent_source", sa.Text(), nullable=True),
        sa.Column("calling_zone_id", BigId, nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("stage", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("final_reason", sa.Text(), nullable=True),
        sa.Column("attempts_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_attempt_at", Instant, nullable=True),
        sa.Column("last_outcome", sa.Text(), nullable=True),
        sa.Column("next_attempt_at", Instant, nullable=True),
        sa.Column("held_until", Instant, nullable=True),
        sa.Column("call_after", Instant, nullable=True),
        sa.Column("call_before", Instant, nullable=True),
        sa.Column("budget_renewed_at", Instant, nullable=True),
        sa.Column("is_test", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.CheckConstraint(
            "state <> 'pending' OR next_attempt_at IS NOT NULL", name=op.f("ck_contacts_pending_is_due_once")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'in_progress', 'completed', 'refused', 'not_reached', 'unreachable', 'expired', 'withdrawn', 'excluded')",
            name=op.f("ck_contacts_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["calling_zone_id"], ["calling_zones.id"], name=op.f("fk_contacts_calling_zone_id")
        ),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_contacts_campaign_id")),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_contacts_import_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contacts")),
        sa.UniqueConstraint("campaign_id", "identity_key", name=op.f("uq_contacts_campaign_id_identity_key")),
    )
    op.create_index(
        "ix_contacts_call_before",
        "contacts",
        ["call_before"],
        unique=False,
        postgresql_where=sa.text("state = 'pending' AND call_before IS NOT NULL"),
        sqlite_where=sa.text("state = 'pending' AND call_before IS NOT NULL"),
    )
    op.create_index(
        "ix_contacts_due",
        "contacts",
        ["campaign_id", "calling_zone_id", "priority", "stage", "next_attempt_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
        sqlite_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_contacts_in_progress",
        "contacts",
        ["campaign_id"],
        unique=False,
        postgresql_where=sa.text("state = 'in_progress' AND NOT is_test"),
        sqlite_where=sa.text("state = 'in_progress' AND NOT is_test"),
    )
    op.create_index("ix_contacts_phone_number", "contacts", ["phone_number"], unique=False)
    op.create_index(
        "ix_contacts_tests_in_progress",
        "contacts",
        ["campaign_id"],
        unique=False,
        postgresql_where=sa.text("is_test AND state = 'in_progress'"),
        sqlite_where=sa.text("is_test AND state = 'in_progress'"),
    )
    op.create_table(
        "call_attempts",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("contact_id", BigId, nullable=False),
        sa.Column("campaign_id", BigId, nullable=False),
        sa.Column("campaign_revision", sa.Integer(), nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("phone_number", sa.Text(), nullable=False),
        sa.Column("from_number", sa.Text(), nullable=False),
        sa.Column("attempt_number", sa.Integer(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("claim_id", sa.Text(), nullable=False),
        sa.Column("worker_id", BigId, nullable=False),
        sa.Column("provider_call_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("claimed_at", Instant, nullable=False),
        sa.Column("dial_at", Instant, nullable=False),
        sa.Column("not_after", Instant, nullable=False),
        sa.Column("sent_at", Instant, nullable=True),
        sa.Column("started_at", Instant, nullable=True),
        sa.Column("ringing_at", Instant, nullable=True),
        sa.Column("answered_at", Instant, nullable=True),
        sa.Column("ended_at", Instant, nullable=True),
        sa.Column("settled_at", Instant, nullable=True),
        sa.Column("settle_at", Instant, nullable=True),
        sa.Column("told_outcome", sa.Text(), nullable=True),
        sa.Column("tell_at", Instant, nullable=True),
        sa.Column("look_up_at", Instant, nullable=True),
        sa.Column("ending", sa.Text(), nullable=True),
        sa.Column("ending_source", sa.SmallInteger(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("answered_by", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("duration_seconds", sa.Float(), nullable=True),
        sa.Column("callback_at", Instant, nullable=True),
        sa.Column("opt_out", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("sip_code", sa.Integer(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("refused_until", Instant, nullable=True),
        sa.Column("provider_raw_status", sa.Text(), nullable=True),
        sa.Column("cost", sa.Text(), nullable=True),
        sa.Column("answers", Json, nullable=True),
        sa.Column("artifacts", Json, nullable=True),
        sa.Column("metadata", Json, server_default="{}", nullable=False),
        sa.Column("permit", Json, nullable=False),
        sa.CheckConstraint(
            "(state = 'ended') = (ended_at IS NOT NULL)", name=op.f("ck_call_attempts_ended_at_means_ended")
        ),
        sa.CheckConstraint(
            "answered_by IN ('human', 'machine', 'fax', 'unknown')",
            name=op.f("ck_call_attempts_answered_by_known"),
        ),
        sa.CheckConstraint(
            "ending IN ('answered', 'no_answer', 'busy', 'rejected', 'blocked', 'failed', 'canceled', 'not_placed', 'unknown')",
            name=op.f("ck_call_attempts_ending_known"),
        ),
        sa.CheckConstraint(
            "error_class IN ('released', 'expired', 'unreachable', 'rate', 'number', 'caller', 'destination', 'account', 'request', 'host')",
            name=op.f("ck_call_attempts_error_class_known"),
        ),
        sa.CheckConstraint(
            "outcome IN ('completed', 'refused', 'callback', 'no_result', 'voicemail', 'no_answer', 'busy', 'rejected', 'failed', 'canceled', 'not_placed', 'unknown')",
            name=op.f("ck_call_attempts_outcome_known"),
        ),
        sa.CheckConstraint(
            "state IN ('dialing', 'in_doubt', 'accepted', 'ringing', 'answered', 'ended')",
            name=op.f("ck_call_attempts_state_known"),
        ),
        sa.CheckConstraint(
            "settled_at IS NULL OR outcome IS NOT NULL", name=op.f("ck_call_attempts_settled_has_outcome")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["provider_configurations.id"], name=op.f("fk_call_attempts_account_id")
        ),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_call_attempts_campaign_id")),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], name=op.f("fk_call_attempts_contact_id")),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], name=op.f("fk_call_attempts_worker_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_call_attempts")),
        sa.UniqueConstraint(
            "account_id", "provider_call_id", name=op.f("uq_call_attempts_account_id_provider_call_id")
        ),
        sa.UniqueConstraint("call_id", name=op.f("uq_call_attempts_call_id")),
    )
    op.create_index("ix_call_attempts_contact_id", "call_attempts", ["contact_id"], unique=False)
    op.create_index(
        "ix_call_attempts_look_up_at",
        "call_attempts",
        ["look_up_at"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "ix_call_attempts_open",
        "call_attempts",
        ["account_id", "campaign_id"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "ix_call_attempts_open_number",
        "call_attempts",
        ["phone_number"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "ix_call_attempts_tell_at",
        "call_attempts",
        ["tell_at"],
        unique=False,
        postgresql_where=sa.text("tell_at IS NOT NULL"),
        sqlite_where=sa.text("tell_at IS NOT NULL"),
    )
    op.create_index(
        "ix_call_attempts_unsettled",
        "call_attempts",
        ["settle_at"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NOT NULL AND settled_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NOT NULL AND settled_at IS NULL"),
    )
    op.create_index(
        "uq_call_attempts_unsettled_number",
        "call_attempts",
        ["phone_number"],
        unique=True,
        postgresql_where=sa.text("settled_at IS NULL"),
        sqlite_where=sa.text("settled_at IS NULL"),
    )
    op.create_table(
        "call_events",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("attempt_id", BigId, nullable=True),
        sa.Column("call_id", sa.Text(), nullable=True),
        sa.Column("provider_call_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("event_at", Instant, nullable=False),
        sa.Column("received_at", Instant, nullable=False),
        sa.Column("payload", Json, nullable=False),
        sa.Column("normalized", Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["provider_configurations.id"], name=op.f("fk_call_events_account_id")
        ),
        sa.ForeignKeyConstraint(["attempt_id"], ["call_attempts.id"], name=op.f("fk_call_events_attempt_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_call_events")),
        sa.UniqueConstraint("account_id", "event_id", name=op.f("uq_call_events_account_id_event_id")),
    )
    op.create_index("ix_call_events_attempt_id", "call_events", ["attempt_id"], unique=False)
    op.create_index(
        "ix_call_events_unknown",
        "call_events",
        ["account_id", "provider_call_id"],
        unique=False,
        postgresql_where=sa.text("attempt_id IS NULL"),
        sqlite_where=sa.text("attempt_id IS NULL"),
    )


def downgrade() -> None:
    op.drop_index(
        "ix_call_events_unknown",
        table_name="call_events",
        postgresql_where=sa.text("attempt_id IS NULL"),
        sqlite_where=sa.text("attempt_id IS NULL"),
    )
    op.drop_index("ix_call_events_attempt_id", table_name="call_events")
    op.drop_table("call_events")
    op.drop_index(
        "uq_call_attempts_unsettled_number",
        table_name="call_attempts",
        postgresql_where=sa.text("settled_at IS NULL"),
        sqlite_where=sa.text("settled_at IS NULL"),
    )
    op.drop_index(
        "ix_call_attempts_unsettled",
        table_name="call_attempts",
        postgresql_where=sa.text("ended_at IS NOT NULL AND settled_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NOT NULL AND settled_at IS NULL"),
    )
    op.drop_index(
        "ix_call_attempts_open_number",
        table_name="call_attempts",
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    op.drop_index(
        "ix_call_attempts_open",
        table_name="call_attempts",
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    op.drop_index(
        "ix_call_attempts_look_up_at",
        table_name="call_attempts",
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    op.drop_index("ix_call_attempts_contact_id", table_name="call_attempts")
    op.drop_table("call_attempts")
    op.drop_index(
        "ix_contacts_tests_in_progress",
        table_name="contacts",
        postgresql_where=sa.text("is_test AND state = 'in_progress'"),
        sqlite_where=sa.text("is_test AND state = 'in_progress'"),
    )
    op.drop_index("ix_contacts_phone_number", table_name="contacts")
    op.drop_index(
        "ix_contacts_in_progress",
        table_name="contacts",
        postgresql_where=sa.text("state = 'in_progress' AND NOT is_test"),
        sqlite_where=sa.text("state = 'in_progress' AND NOT is_test"),
    )
    op.drop_index(
        "ix_contacts_due",
        table_name="contacts",
        postgresql_where=sa.text("state = 'pending'"),
        sqlite_where=sa.text("state = 'pending'"),
    )
    op.drop_table("contacts")
    op.drop_table("imports")
    op.drop_index(
        "uq_exclusion_list_entries_in_force",
        table_name="exclusion_list_entries",
        postgresql_where=sa.text("removed_at IS NULL"),
        sqlite_where=sa.text("removed_at IS NULL"),
    )
    op.drop_table("exclusion_list_entries")
    op.drop_table("buckets")
    op.drop_index("ix_campaigns_account_id_status", table_name="campaigns")
    op.drop_table("campaigns")
    op.drop_table("caller_numbers")
    op.drop_table("workers")
    op.drop_table("provider_configurations")
    op.drop_table("events")
    op.drop_table("deployment")
    op.drop_table("calling_zones")
    op.drop_table("api_keys")
