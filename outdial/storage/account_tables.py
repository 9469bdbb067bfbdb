"""The tables of accounts and their caller numbers."""

from __future__ import annotations

import sqlalchemy as sa

from outdial.storage.columns import metadata, own_id, stopped, workspace
from outdial.storage.types import BigId, Instant, Json

provider_configurations = sa.Table(
    "provider_configurations",
    metadata,
    own_id(),
    workspace(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("adapter", sa.Text, nullable=False, server_default="http"),
    sa.Column("base_url", sa.Text),
    # Where a secret is (`env:NAME`, `file:PATH`), never the secret itself.
    sa.Column("api_key_ref", sa.Text),
    sa.Column("webhook_secret_ref", sa.Text),
    sa.Column("options", Json, nullable=False, server_default="{}"),
    sa.Column("outbound_number", sa.Text),
    sa.Column("max_concurrent_calls", sa.Integer, nullable=False),
    sa.Column("calls_per_second", sa.Numeric(12, 4)),
    sa.Column("burst", sa.Integer, nullable=False, server_default="1"),
    # The next slot, and what the provider's answers did to the rate.
    sa.Column("rate_cursor_at", Instant),
    sa.Column("rate_factor", sa.Float, nullable=False, server_default="1"),
    sa.Column("rate_factor_at", Instant),
    sa.Column("not_before", Instant),
    sa.Column("unreachable_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("suspended_at", Instant),
    sa.Column("suspended_reason", sa.Text),
    # Open: nothing is dialed; half open: one call is. Null: closed. `trial_until`: while that one call is out.
    sa.Column("breaker", sa.Text),
    sa.Column("breaker_at", Instant),
    sa.Column("breaker_reason", sa.Text),
    sa.Column("trial_until", Instant),
    # When a suspended account, or one whose breaker is open, is asked a free question, and how often it was in vain.
    sa.Column("probe_at", Instant),
    sa.Column("probes", sa.Integer, nullable=False, server_default="0"),
    # The rate of look-ups: when the next may be asked, and the waits after those that failed.
    sa.Column("look_up_cursor_at", Instant),
    sa.Column("look_ups_not_before", Instant),
    sa.Column("look_up_failures", sa.Integer, nullable=False, server_default="0"),
    # Calls in a row of whose end only a look-up told, and since when that is taken for webhooks that do not arrive.
    sa.Column("ended_by_look_up", sa.Integer, nullable=False, server_default="0"),
    sa.Column("webhooks_missing_at", Instant),
    # The history of the database (Postgres' timeline) in which its calls were last compared with the provider's.
    sa.Column("timeline", sa.Text),
    sa.Column("blocked_countries", Json, nullable=False, server_default="{}"),
    *stopped(),
    sa.UniqueConstraint("workspace_id", "name"),
    sa.CheckConstraint("max_concurrent_calls >= 0", name="max_concurrent_calls_not_negative"),
    sa.CheckConstraint("calls_per_second > 0", name="calls_per_second_positive"),
    sa.CheckConstraint("burst >= 1", name="burst_positive"),
    sa.CheckConstraint("breaker IN ('open', 'half_open')", name="breaker_known"),
)

caller_numbers = sa.Table(
    "caller_numbers",
    metadata,
    own_id(),
    workspace(),
    sa.Column("account_id", BigId, sa.ForeignKey("provider_configurations.id"), nullable=False),
    sa.Column("phone_number", sa.Text, nullable=False),
    sa.Column("country", sa.Text),
    sa.Column("state", sa.Text, nullable=False, server_default="in_use"),
    sa.Column("reason", sa.Text),
    sa.Column("changed_at", Instant, nullable=False),
    sa.UniqueConstraint("account_id", "phone_number"),
    sa.CheckConstraint("state IN ('in_use', 'resting', 'retired')", name="state_known"),
)
