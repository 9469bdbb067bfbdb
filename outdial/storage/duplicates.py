"""Statements over contacts that come in a second time: finding them by their identity, and bringing them up to date."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.contact import ContactState, Stage
from outdial.domain.ids import CallingZoneId, CampaignId, ContactId
from outdial.storage.rows import Rows, Types
from outdial.storage.tables import contacts
from outdial.storage.types import BigId, Instant, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A contact that is there already, with all that an update may change or has to respect."""

    id: ContactId
    identity_key: str
    import_id: int | None
    state: ContactState
    final_reason: str | None
    stage: Stage
    attempts_count: int
    next_attempt_at: datetime | None
    phone_number: str
    calling_zone_id: CallingZoneId
    person_key: str | None
    email: str | None
    name: str | None
    language: str | None
    consent_kind: str | None
    consent_at: datetime | None
    consent_source: str | None
    attributes: Mapping[str, Any]
    priority: int
    call_after: datetime | None
    call_before: datetime | None


def known_keys(
    connection: sa.Connection, campaign_id: CampaignId, keys: Collection[str]
) -> dict[str, int | None]:
    """Those of the identity keys that the campaign has, with the import that brought each."""
    rows, query = _known_keys(connection.dialect.name)
    params = {**rows.params((key,) for key in keys), "campaign_id": campaign_id}
    return {row.identity_key: row.import_id for row in connection.execute(query, params)}


def load(
    connection: sa.Connection, campaign_id: CampaignId, keys: Collection[str], *, lock: bool
) -> dict[str, Known]:
    """The campaign's contacts with these identity keys; locked in the order of their ids, as everybody does."""
    rows, query = _load(connection.dialect.name, lock)
    params = {**rows.params((key,) for key in keys), "campaign_id": campaign_id}
    found = [_known(row) for row in connection.execute(query, params).mappings()]
    return {known.identity_key: known for known in found}


def write(connection: sa.Connection, changed: Sequence[Known]) -> None:
    """What an update made of contacts that this transaction has locked."""
    rows, statement = _write(connection.dialect.name)
    listed = [{name: getattr(one, name) for name in ("id", *CHANGED)} for one in changed]
    connection.execute(statement, rows.params(listed))


# Never how often somebody was called, and a state only where the person must not be called any more.
CHANGED: Final[Types] = {
    "state": sa.Text,
    "final_reason": sa.Text,
    "next_attempt_at": Instant,
    "phone_number": sa.Text,
    "calling_zone_id": BigId,
    "person_key": sa.Text,
    "email": sa.Text,
    "name": sa.Text,
    "language": sa.Text,
    "consent_kind": sa.Text,
    "consent_at": Instant,
    "consent_source": sa.Text,
    "attributes": Json,
    "priority": sa.Integer,
    "call_after": Instant,
    "call_before": Instant,
}


@cache
def _known_keys(dialect: str) -> tuple[Rows, sa.Select[Any]]:
    rows, joined = _by_key(dialect)
    return rows, sa.select(contacts.c.identity_key, contacts.c.import_id).select_from(joined).where(
        _in_campaign()
    )


@cache
def _load(dialect: str, lock: bool) -> tuple[Rows, sa.Select[Any]]:
    rows, joined = _by_key(dialect)
    columns = [contacts.c[name] for name in Known.__dataclass_fields__]
    query = sa.select(*columns).select_from(joined).where(_in_campaign())
    if lock:
        query = query.order_by(contacts.c.id).with_for_update(of=contacts, key_share=True)
    return rows, query


def _by_key(dialect: str) -> tuple[Rows, sa.Join]:
    rows = Rows(dialect, "k", {"identity_key": sa.Text})
    return rows, rows.source.join(contacts, contacts.c.identity_key == rows.c.identity_key)


def _in_campaign() -> sa.ColumnElement[bool]:
    return contacts.c.campaign_id == sa.bindparam("campaign_id", type_=BigId)


@cache
def _write(dialect: str) -> tuple[Rows, sa.Update]:
    rows = Rows(dialect, "r", {"id": BigId, **CHANGED})
    statement = (
        sa.update(contacts)
        .where(contacts.c.id == rows.c.id)
        .values({contacts.c[name]: rows.c[name] for name in CHANGED})
    )
    return rows, statement


def _known(row: sa.RowMapping) -> Known:
    made: dict[str, Any] = {
        "state": ContactState,
        "stage": Stage,
        "id": ContactId,
        "calling_zone_id": CallingZoneId,
    }
    return Known(**{name: made.get(name, _same)(value) for name, value in row.items()})


def _same(value: Any) -> Any:
    return value
