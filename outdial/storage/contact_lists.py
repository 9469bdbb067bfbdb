"""Statements over the contacts of one import, or of one number or id: finding them, and taking them back."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from outdial.domain.contact import OPEN_STATES, ContactState
from outdial.domain.ids import CampaignId, ContactId
from outdial.storage.tables import contacts, imports


def listed(
    connection: sa.Connection,
    campaign_id: CampaignId,
    *,
    state: ContactState | None,
    import_id: int | None,
    limit: int,
) -> Sequence[sa.RowMapping]:
    """In the order in which they came in."""
    query = (
        sa.select(contacts).where(contacts.c.campaign_id == campaign_id).order_by(contacts.c.id).limit(limit)
    )
    if state is not None:
        query = query.where(contacts.c.state == state)
    if import_id is not None:
        query = query.where(*_of_import(connection, import_id))
    return connection.execute(query).mappings().all()


def open_of_import(
    connection: sa.Connection, import_id: int, after: ContactId, limit: int
) -> list[tuple[ContactId, ContactState]]:
    """Its next contacts that are not final, locked in the order of their ids."""
    query = (
        sa.select(contacts.c.id, contacts.c.state)
        .where(*_of_import(connection, import_id), contacts.c.id > after, _is_open())
        .order_by(contacts.c.id)
        .limit(limit)
        .with_for_update(key_share=True)
    )
    return [(ContactId(row.id), ContactState(row.state)) for row in connection.execute(query)]


def count_of_import(connection: sa.Connection, import_id: int) -> dict[ContactState, int]:
    query = (
        sa.select(contacts.c.state, sa.func.count())
        .where(*_of_import(connection, import_id))
        .group_by(contacts.c.state)
    )
    return {ContactState(row[0]): row[1] for row in connection.execute(query)}


def with_number_or_id(
    connection: sa.Connection, campaign_id: CampaignId, *, phone_number: str | None, external_contact_id: str
) -> list[tuple[ContactId, ContactState]]:
    """Locked in the order of their ids."""
    query = (
        sa.select(contacts.c.id, contacts.c.state)
        .where(*_meant(campaign_id, phone_number, external_contact_id))
        .order_by(contacts.c.id)
        .with_for_update(key_share=True)
    )
    return [(ContactId(row.id), ContactState(row.state)) for row in connection.execute(query)]


def found(
    connection: sa.Connection, campaign_id: CampaignId, *, phone_number: str | None, external_contact_id: str
) -> Sequence[sa.RowMapping]:
    """The whole rows, in the order in which they came in, without those of test calls."""
    query = (
        sa.select(contacts)
        .where(*_meant(campaign_id, phone_number, external_contact_id), ~contacts.c.is_test)
        .order_by(contacts.c.id)
    )
    return connection.execute(query).mappings().all()


def withdraw(
    connection: sa.Connection, ids: Collection[ContactId], reason: str, *, may_come_again: bool
) -> None:
    """Contacts that are not final become withdrawn. The last check then refuses a call that was about to be sent.

    `may_come_again`: who waits and was never called gives their identity free, as if the list had never come.
    """
    was_never_called = sa.and_(contacts.c.state == ContactState.PENDING, contacts.c.attempts_count == 0)
    free = sa.literal("withdrawn:") + sa.cast(contacts.c.id, sa.Text) + ":" + contacts.c.identity_key
    statement = sa.update(contacts).where(contacts.c.id.in_(tuple(ids)), _is_open())
    values = {"state": ContactState.WITHDRAWN, "final_reason": reason, "next_attempt_at": None}
    if may_come_again:
        statement = statement.values(
            identity_key=sa.case((was_never_called, free), else_=contacts.c.identity_key)
        )
    connection.execute(statement.values(**values))


def _meant(
    campaign_id: CampaignId, phone_number: str | None, external_contact_id: str
) -> tuple[sa.ColumnElement[bool], ...]:
    is_meant = contacts.c.external_contact_id == external_contact_id
    if phone_number is not None:
        is_meant = sa.or_(is_meant, contacts.c.phone_number == phone_number)
    return contacts.c.campaign_id == campaign_id, is_meant


def _of_import(connection: sa.Connection, import_id: int) -> tuple[sa.ColumnElement[bool], ...]:
    bounds = connection.execute(
        sa.select(imports.c.after_contact_id, imports.c.last_contact_id).where(imports.c.id == import_id)
    ).one_or_none()
    if bounds is None:
        return (sa.false(),)
    first, last = bounds
    within = [contacts.c.import_id == import_id, contacts.c.id > first]
    return (*within, contacts.c.id <= last) if last is not None else tuple(within)


def _is_open() -> sa.ColumnElement[bool]:
    return contacts.c.state.in_(sorted(OPEN_STATES))
