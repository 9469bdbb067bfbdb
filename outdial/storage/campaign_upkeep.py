"""Statements for what time alone changes of campaigns: they begin, they end, and they complete."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from outdial.domain.campaign import CampaignStatus, WhenEmpty
from outdial.domain.contact import ContactState
from outdial.domain.ids import AccountId, CampaignId
from outdial.storage.database import now_expression
from outdial.storage.tables import call_attempts, campaigns, contacts, imports

# An import that has not finished by then was interrupted, and must not keep its campaign open.
IMPORT_PATIENCE: Final = timedelta(hours=1)


def start_due(connection: sa.Connection, account_id: AccountId, at: datetime) -> list[CampaignId]:
    """Scheduled campaigns whose start has come now run."""
    statement = (
        sa.update(campaigns)
        .where(
            campaigns.c.account_id == account_id,
            campaigns.c.status == CampaignStatus.SCHEDULED,
            sa.or_(campaigns.c.starts_at.is_(None), campaigns.c.starts_at <= at),
        )
        .values(status=CampaignStatus.RUNNING, changed_at=at)
        .returning(campaigns.c.id)
    )
    return [CampaignId(campaign_id) for campaign_id in connection.execute(statement).scalars()]


def next_start(connection: sa.Connection, account_id: AccountId) -> datetime | None:
    """When the next campaign of the account that is scheduled, or runs ahead of its start, begins."""
    query = sa.select(sa.func.min(campaigns.c.starts_at)).where(
        campaigns.c.account_id == account_id,
        sa.or_(
            campaigns.c.status == CampaignStatus.SCHEDULED,
            sa.and_(
                campaigns.c.status == CampaignStatus.RUNNING,
                campaigns.c.starts_at > now_expression(connection),
            ),
        ),
    )
    return connection.execute(query).scalar_one_or_none()


def past_end(connection: sa.Connection, account_id: AccountId, at: datetime) -> list[CampaignId]:
    """Running and paused campaigns whose end has passed."""
    query = sa.select(campaigns.c.id).where(
        campaigns.c.account_id == account_id,
        campaigns.c.status.in_((CampaignStatus.RUNNING, CampaignStatus.PAUSED)),
        campaigns.c.ends_at <= at,
    )
    return [CampaignId(campaign_id) for campaign_id in connection.execute(query).scalars()]


def canceled_with_waiting(connection: sa.Connection, account_id: AccountId) -> list[CampaignId]:
    """Canceled campaigns in which somebody still waits."""
    query = sa.select(campaigns.c.id).where(
        campaigns.c.account_id == account_id,
        campaigns.c.status == CampaignStatus.CANCELED,
        _somebody_in(ContactState.PENDING),
    )
    return [CampaignId(campaign_id) for campaign_id in connection.execute(query).scalars()]


def complete_empty(connection: sa.Connection, account_id: AccountId, at: datetime) -> list[CampaignId]:
    """Complete the running campaigns of which every contact is final and no call open, and the paused ones whose end has
    passed.

    Each is locked first and looked at in the next statement, so that nobody adds a contact in between; one whose
    lock somebody holds (a batch of an import) is left for the next pass, as is one whose import is not finished.
    """
    query = (
        sa.select(campaigns.c.id)
        .where(
            campaigns.c.account_id == account_id,
            sa.or_(
                sa.and_(
                    campaigns.c.status == CampaignStatus.RUNNING,
                    campaigns.c.when_empty == WhenEmpty.COMPLETE,
                ),
                sa.and_(
                    campaigns.c.status.in_((CampaignStatus.RUNNING, CampaignStatus.PAUSED)),
                    campaigns.c.ends_at <= at,
                ),
            ),
            ~_somebody_in(ContactState.PENDING),
            ~_somebody_in(ContactState.IN_PROGRESS),
            ~_open_call(),
            ~sa.exists().where(
                imports.c.campaign_id == campaigns.c.id,
                imports.c.finished_at.is_(None),
                imports.c.created_at > at - IMPORT_PATIENCE,
            ),
        )
        .order_by(campaigns.c.id)
        .with_for_update(skip_locked=True)
    )
    candidates = list(connection.execute(query).scalars())
    if not candidates:
        return []
    statement = (
        sa.update(campaigns)
        .where(
            campaigns.c.id.in_(candidates),
            ~_somebody_in(ContactState.PENDING),
            ~_somebody_in(ContactState.IN_PROGRESS),
            ~_open_call(),
        )
        .values(status=CampaignStatus.COMPLETED, changed_at=at, paused_by=None, paused_reason=None)
        .returning(campaigns.c.id)
    )
    return [CampaignId(campaign_id) for campaign_id in connection.execute(statement).scalars()]


def _somebody_in(state: ContactState) -> sa.Exists:
    # The state as a literal, so that the planner can use the partial index.
    here = [contacts.c.campaign_id == campaigns.c.id, contacts.c.state == sa.literal_column(f"'{state}'")]
    if state is ContactState.IN_PROGRESS:
        # A test call keeps no campaign open; it is never pending. In the words of the index.
        here.append(sa.literal_column("NOT contacts.is_test", sa.Boolean))
    return sa.exists().where(*here)


def _open_call() -> sa.Exists:
    """A call may be open whose contact is final: the result of the call before came while it was under way."""
    return sa.exists().where(
        call_attempts.c.account_id == campaigns.c.account_id,
        call_attempts.c.campaign_id == campaigns.c.id,
        call_attempts.c.ended_at.is_(None),
        contacts.c.id == call_attempts.c.contact_id,
        contacts.c.is_test.is_(False),
    )
