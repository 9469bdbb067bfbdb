"""The schema: every table, constraint and index, in the words of docs/architecture.md."""

from __future__ import annotations

import sqlalchemy as sa

from outdial.domain.attempt import AnsweredBy, AttemptState, Ending, ErrorClass
from outdial.domain.campaign import CampaignStatus, Purpose, UnknownZone, WhenEmpty
from outdial.domain.contact import ContactState, Stage, UniqueBy
from outdial.domain.settle import Outcome
from outdial.storage.account_tables import caller_numbers, provider_configurations
from outdial.storage.columns import created_at, metadata, one_of, own_id, reference_to, stopped, workspace
from outdial.storage.types import BigId, Instant, Json

__all__ = [
    "api_keys",
    "buckets",
    "call_attempts",
    "call_events",
    "caller_numbers",
    "calling_zones",
    "campaign_revisions",
    "campaigns",
    "contacts",
    "deployment",
    "events",
    "exclusion_list_entries",
    "imports",
    "metadata",
    "provider_configurations",
    "workers",
]

# One row at most; where there is none, nothing is stopped and no name is asked for.
deployment = sa.Table(
    "deployment",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text),
    # Version by id of the calling rules that a person has taken over; newer ones bind besides, but widen nothing. Null:
    # nobody was ever asked.
    sa.Column("accepted_rules", Json),
    *stopped(),
    sa.CheckConstraint("id = 1", name="only_one_row"),
)

campaigns = sa.Table(
    "campaigns",
    metadata,
    own_id(),
    workspace(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default=CampaignStatus.DRAFT),
    sa.Column("paused_by", sa.Text),
    sa.Column("paused_reason", sa.Text),
    sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
    sa.Column("account_id", BigId, sa.ForeignKey("provider_configurations.id"), nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("script", Json, nullable=False),
    sa.Column("retry_policy", Json, nullable=False),
    sa.Column("windows", Json, nullable=False),
    sa.Column("closed_dates", Json, nullable=False),
    # "auto", "none", an id or id@version; null: nobody has said.
    sa.Column("calling_rule", sa.Text),
    # How long before hours end the last call leaves; null: the time that it may ring, and half a minute.
    sa.Column("guard_seconds", sa.Integer),
    # What consent somebody must have given to be called; null: none that we know of.
    sa.Column("required_consent", sa.Text),
    sa.Column("default_time_zone", sa.Text),
    sa.Column("unknown_zone", sa.Text, nullable=False, server_default=UnknownZone.CLOSED),
    sa.Column("countries", Json, nullable=False),
    sa.Column("starts_at", Instant),
    sa.Column("ends_at", Instant),
    sa.Column("when_empty", sa.Text, nullable=False),
    # Null: the external id of a contact, and its number where it has none.
    sa.Column("unique_by", sa.Text),
    sa.Column("max_concurrent_calls", sa.Integer),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("caller_numbers", Json, nullable=False),
    sa.Column("call_options", Json, nullable=False),
    sa.Column("rejections_in_a_row", sa.Integer, nullable=False, server_default="0"),
    created_at(),
    sa.Column("changed_at", Instant, nullable=False),
    sa.UniqueConstraint("workspace_id", "name"),
    one_of("status", CampaignStatus),
    one_of("purpose", Purpose),
    one_of("when_empty", WhenEmpty),
    one_of("unique_by", UniqueBy),
    one_of("unknown_zone", UnknownZone),
    sa.CheckConstraint("weight > 0", name="weight_positive"),
    sa.Index("ix_campaigns_account_id_status", "account_id", "status"),
)

# What each revision said: a call is judged by the one that it was made under.
campaign_revisions = sa.Table(
    "campaign_revisions",
    metadata,
    sa.Column("campaign_id", BigId, sa.ForeignKey("campaigns.id"), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
    created_at(),
    # The columns of `campaigns` that hold the definition, as JSON.
    sa.Column("definition", Json, nullable=False),
)

calling_zones = sa.Table(
    "calling_zones",
    metadata,
    own_id(),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    # Empty means unknown: such a zone is closed.
    sa.Column("time_zones", Json, nullable=False),
    sa.Column("country", sa.Text),
    sa.Column("subdivision", sa.Text),
    sa.Column("source", sa.Text, nullable=False),
)

imports = sa.Table(
    "imports",
    metadata,
    own_id(),
    workspace(),
    reference_to("campaigns"),
    sa.Column("file_name", sa.Text, nullable=False),
    sa.Column("checksum", sa.Text),
    sa.Column("imported_by", sa.Text),
    created_at(),
    sa.Column("finished_at", Instant),
    sa.Column("counts", Json, nullable=False, server_default="{}"),
    # Why what came in may not be what was meant: the file changed while it was read, a contact was there already.
    sa.Column("problem", sa.Text),
    sa.Column("withdrawn_at", Instant),
    sa.Column("withdrawn_by", sa.Text),
    # The contacts that it brought have ids after the one and up to the other, so that no index over all contacts has
    # to be written along with every call only to find them again.
    sa.Column("after_contact_id", BigId, nullable=False, server_default="0"),
    sa.Column("last_contact_id", BigId),
)

contacts = sa.Table(
    "contacts",
    metadata,
    own_id(),
    reference_to("campaigns"),
    sa.Column("import_id", BigId, sa.ForeignKey("imports.id")),
    sa.Column("import_line", sa.Integer),
    sa.Column("external_contact_id", sa.Text),
    # What makes a contact the same on a second import, made as the campaign's `unique_by` says.
    sa.Column("identity_key", sa.Text, nullable=False),
    sa.Column("phone_number", sa.Text, nullable=False),
    # The same for all numbers and campaigns of one person, as the user's own records know them.
    sa.Column("person_key", sa.Text),
    sa.Column("email", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("language", sa.Text),
    sa.Column("attributes", Json, nullable=False, server_default="{}"),
    sa.Column("consent_at", Instant),
    sa.Column("consent_kind", sa.Text),
    sa.Column("consent_source", sa.Text),
    sa.Column("calling_zone_id", BigId, sa.ForeignKey("calling_zones.id"), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("stage", sa.SmallInteger, nullable=False, server_default=str(int(Stage.FIRST))),
    sa.Column("state", sa.Text, nullable=False, server_default=ContactState.PENDING),
    sa.Column("final_reason", sa.Text),
    sa.Column("attempts_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("last_attempt_at", Instant),
    sa.Column("last_outcome", sa.Text),
    sa.Column("next_attempt_at", Instant),
    # Equal to it while the contact is only held for a call that its number has open, or by a cap: the end of such a call,
    # or another rule, makes it due.
    sa.Column("held_until", Instant),
    sa.Column("call_after", Instant),
    sa.Column("call_before", Instant),
    # Attempts before it spend nothing of the budget: an operator gave a new one.
    sa.Column("budget_renewed_at", Instant),
    # Made by a test call: in no count, no list of results, no bucket, and no reason to keep a campaign open.
    sa.Column("is_test", sa.Boolean, nullable=False, server_default=sa.false()),
    created_at(),
    sa.UniqueConstraint("campaign_id", "identity_key"),
    one_of("state", ContactState),
    sa.CheckConstraint("state <> 'pending' OR next_attempt_at IS NOT NULL", name="pending_is_due_once"),
    # Read bucket by bucket, so that all but the last two columns are equalities.
    sa.Index(
        "ix_contacts_due",
        "campaign_id",
        "calling_zone_id",
        "priority",
        "stage",
        "next_attempt_at",
        "id",
        postgresql_where=sa.text("state = 'pending'"),
        sqlite_where=sa.text("state = 'pending'"),
    ),
    sa.Index(
        "ix_contacts_in_progress",
        "campaign_id",
        postgresql_where=sa.text("state = 'in_progress' AND NOT is_test"),
        sqlite_where=sa.text("state = 'in_progress' AND NOT is_test"),
    ),
    sa.Index("ix_contacts_phone_number", "phone_number"),
    sa.Index(
        "ix_contacts_held",
        "campaign_id",
        postgresql_where=sa.text("state = 'pending' AND held_until IS NOT NULL"),
        sqlite_where=sa.text("state = 'pending' AND held_until IS NOT NULL"),
    ),
    sa.Index(
        "ix_contacts_person_key",
        "person_key",
        postgresql_where=sa.text("person_key IS NOT NULL"),
        sqlite_where=sa.text("person_key IS NOT NULL"),
    ),
    sa.Index(
        "ix_contacts_call_before",
        "call_before",
        postgresql_where=sa.text("state = 'pending' AND call_before IS NOT NULL"),
        sqlite_where=sa.text("state = 'pending' AND call_before IS NOT NULL"),
    ),
    # Test calls that wait for a line, or have one.
    sa.Index(
        "ix_contacts_tests_in_progress",
        "campaign_id",
        postgresql_where=sa.text("is_test AND state = 'in_progress'"),
        sqlite_where=sa.text("is_test AND state = 'in_progress'"),
    ),
)

buckets = sa.Table(
    "buckets",
    metadata,
    sa.Column("campaign_id", BigId, sa.ForeignKey("campaigns.id"), primary_key=True),
    sa.Column("calling_zone_id", BigId, sa.ForeignKey("calling_zones.id"), primary_key=True),
    sa.Column("priority", sa.Integer, primary_key=True),
    sa.Column("stage", sa.SmallInteger, primary_key=True),
    # When its next contact is due: may be early, never late. Null: nobody waits in it.
    sa.Column("next_due_at", Instant),
    # Raised by all who add contacts, so that a claim never overwrites a hint that it has not read.
    sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
    # What the permit said of the zone, by which facts it was asked, and until when that stands (null: as long as these
    # facts do). Where others hold now, it is asked again. `held_by` null: it may be called.
    sa.Column("judged_as", sa.Text),
    sa.Column("judged_until", Instant),
    sa.Column("held_by", sa.Text),
)

workers = sa.Table(
    "workers",
    metadata,
    own_id(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("beat_at", Instant, nullable=False),
    sa.Column("stopped_at", Instant),
    # Another worker saw its counter stand still for the lease. A sign of life takes it back.
    sa.Column("found_dead_at", Instant),
)

call_attempts = sa.Table(
    "call_attempts",
    metadata,
    own_id(),
    reference_to("contacts"),
    reference_to("campaigns"),
    sa.Column("campaign_revision", sa.Integer, nullable=False),
    sa.Column("account_id", BigId, sa.ForeignKey("provider_configurations.id"), nullable=False),
    sa.Column("phone_number", sa.Text, nullable=False),
    sa.Column("from_number", sa.Text, nullable=False),
    sa.Column("attempt_number", sa.Integer, nullable=False),
    sa.Column("call_id", sa.Text, nullable=False, unique=True),
    sa.Column("claim_id", sa.Text, nullable=False),
    sa.Column("worker_id", BigId, sa.ForeignKey("workers.id"), nullable=False),
    sa.Column("provider_call_id", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("claimed_at", Instant, nullable=False),
    sa.Column("dial_at", Instant, nullable=False),
    sa.Column("not_after", Instant, nullable=False),
    # The fence: set by the last check right before the POST, and only once.
    sa.Column("sent_at", Instant),
    sa.Column("started_at", Instant),
    sa.Column("ringing_at", Instant),
    sa.Column("answered_at", Instant),
    sa.Column("ended_at", Instant),
    sa.Column("settled_at", Instant),
    # When the outcome becomes final without a result, and when to ask the provider about an open call.
    sa.Column("settle_at", Instant),
    # What the host of this process was last told of it, and when it is told again because it did not take it.
    sa.Column("told_outcome", sa.Text),
    sa.Column("tell_at", Instant),
    sa.Column("look_up_at", Instant),
    # Why the provider shall be asked to end the call, and when it last took that on.
    sa.Column("hang_up_because", sa.Text),
    sa.Column("hung_up_at", Instant),
    # Found at the provider after a restore: what came of it may be lost, so it is not settled before a person says so.
    sa.Column("awaits_confirmation", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("ending", sa.Text),
    sa.Column("ending_source", sa.SmallInteger),
    sa.Column("ended_by", sa.Text),
    sa.Column("answered_by", sa.Text),
    sa.Column("result", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Column("duration_seconds", sa.Float),
    sa.Column("callback_at", Instant),
    sa.Column("opt_out", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("sip_code", sa.Integer),
    sa.Column("error_code", sa.Text),
    sa.Column("error_class", sa.Text),
    # When the host that refused the call lets it be asked about again.
    sa.Column("refused_until", Instant),
    sa.Column("provider_raw_status", sa.Text),
    sa.Column("cost", sa.Text),
    sa.Column("answers", Json),
    sa.Column("artifacts", Json),
    sa.Column("metadata", Json, nullable=False, server_default="{}"),
    sa.Column("permit", Json, nullable=False),
    sa.UniqueConstraint("account_id", "provider_call_id"),
    one_of("state", AttemptState),
    one_of("ending", Ending),
    one_of("answered_by", AnsweredBy),
    one_of("outcome", Outcome),
    one_of("error_class", ErrorClass),
    sa.CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", name="ended_at_means_ended"),
    sa.CheckConstraint("settled_at IS NULL OR outcome IS NOT NULL", name="settled_has_outcome"),
    # One call at a time per number, over all campaigns and accounts, held by the database itself.
    sa.Index(
        "uq_call_attempts_unsettled_number",
        "phone_number",
        unique=True,
        postgresql_where=sa.text("settled_at IS NULL"),
        sqlite_where=sa.text("settled_at IS NULL"),
    ),
    sa.Index(
        "ix_call_attempts_open",
        "account_id",
        "campaign_id",
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    ),
    sa.Index(
        "ix_call_attempts_open_number",
        "phone_number",
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    ),
    sa.Index(
        "ix_call_attempts_unsettled",
        "settle_at",
        postgresql_where=sa.text("ended_at IS NOT NULL AND settled_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NOT NULL AND settled_at IS NULL"),
    ),
    sa.Index(
        "ix_call_attempts_tell_at",
        "tell_at",
        postgresql_where=sa.text("tell_at IS NOT NULL"),
        sqlite_where=sa.text("tell_at IS NOT NULL"),
    ),
    sa.Index(
        "ix_call_attempts_look_up_at",
        "look_up_at",
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    ),
    sa.Index("ix_call_attempts_contact_id", "contact_id"),
    # How often a number was called. By the instant of the claim, since that never changes.
    sa.Index("ix_call_attempts_phone_number_claimed_at", "phone_number", "claimed_at"),
)

call_events = sa.Table(
    "call_events",
    metadata,
    own_id(),
    sa.Column("account_id", BigId, sa.ForeignKey("provider_configurations.id"), nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("attempt_id", BigId, sa.ForeignKey("call_attempts.id")),
    sa.Column("call_id", sa.Text),
    sa.Column("provider_call_id", sa.Text),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("event_at", Instant, nullable=False),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("payload", Json, nullable=False),
    # The same in our words, for the event that comes before we know whose it is.
    sa.Column("normalized", Json, nullable=False),
    sa.UniqueConstraint("account_id", "event_id"),
    sa.Index("ix_call_events_attempt_id", "attempt_id"),
    sa.Index(
        "ix_call_events_unknown",
        "account_id",
        "provider_call_id",
        postgresql_where=sa.text("attempt_id IS NULL"),
        sqlite_where=sa.text("attempt_id IS NULL"),
    ),
)

exclusion_list_entries = sa.Table(
    "exclusion_list_entries",
    metadata,
    own_id(),
    workspace(),
    # Of a number, or of all numbers of a person.
    sa.Column("phone_number", sa.Text),
    sa.Column("person_key", sa.Text),
    sa.Column("scope", sa.Text, nullable=False, server_default="all"),
    reference_to("campaigns", null=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    # From when on the person wants no call; null in the next: when we learned of it is not known.
    sa.Column("since", Instant, nullable=False),
    sa.Column("created_at", Instant),
    sa.Column("expires_at", Instant),
    # Evidence is never deleted: a removal is written beside the entry.
    sa.Column("removed_at", Instant),
    sa.Column("removed_by", sa.Text),
    sa.Column("removed_why", sa.Text),
    sa.CheckConstraint("scope IN ('all', 'workspace', 'campaign')", name="scope_known"),
    sa.CheckConstraint("phone_number IS NOT NULL OR person_key IS NOT NULL", name="of_somebody"),
    sa.CheckConstraint("(scope = 'campaign') = (campaign_id IS NOT NULL)", name="scope_names_campaign"),
    sa.Index(
        "uq_exclusion_list_entries_in_force",
        "phone_number",
        "workspace_id",
        "scope",
        sa.text("coalesce(campaign_id, 0)"),
        unique=True,
        postgresql_where=sa.text("removed_at IS NULL AND phone_number IS NOT NULL"),
        sqlite_where=sa.text("removed_at IS NULL AND phone_number IS NOT NULL"),
    ),
    sa.Index(
        "uq_exclusion_list_entries_person_in_force",
        "person_key",
        "workspace_id",
        "scope",
        sa.text("coalesce(campaign_id, 0)"),
        unique=True,
        postgresql_where=sa.text("removed_at IS NULL AND person_key IS NOT NULL"),
        sqlite_where=sa.text("removed_at IS NULL AND person_key IS NOT NULL"),
    ),
)

events = sa.Table(
    "events",
    metadata,
    own_id(),
    workspace(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("campaign_id", BigId),
    sa.Column("contact_id", BigId),
    sa.Column("attempt_id", BigId),
    sa.Column("payload", Json, nullable=False),
    created_at(),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    own_id(),
    workspace(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("key_hash", sa.Text, nullable=False, unique=True),
    created_at(),
    sa.Column("revoked_at", Instant),
    sa.UniqueConstraint("workspace_id", "name"),
    sa.CheckConstraint("role IN ('admin', 'campaign_manager', 'viewer')", name="role_known"),
)
