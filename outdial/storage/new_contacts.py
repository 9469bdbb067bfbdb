"""Statements by which contacts come into a campaign, a batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState, Stage
from outdial.domain.ids import CallingZoneId, CampaignId
from outdial.domain.zones import CallingZone
from outdial.storage.contacts import PENDING
from outdial.storage.rows import Rows
from outdial.storage.tables import campaigns, contacts
from outdial.storage.types import BigId, Instant, Json


# A tuple and not one of our records: an import makes a million of them, and this one takes a third of the time.
class NewContact(NamedTuple):
    """A contact as it comes in, normalized. `identity_key`: by it a contact is the same on a second import.

    `import_line` is None for what comes from no file.
    """

    import_line: int | None
    external_contact_id: str | None
    identity_key: str
    phone_number: str
    email: str | None
    name: str | None
    language: str | None
    attributes: Mapping[str, str]
    has_prior_consent: bool
    calling_zone: CallingZone
    priority: int
    do_not_call: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a batch of contacts comes from. `consent_at`, `consent_source`: for those who gave prior consent."""

    consent_at: datetime
    consent_source: str
    import_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """The campaign that contacts are about to come into."""

    name: str
    status: CampaignStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Inserted:
    calling_zone_id: CallingZoneId
    priority: int
    state: ContactState


def lock_receiver(connection: sa.Connection, campaign_id: CampaignId) -> Receiver | None:
    """The campaign as it is now, kept from being completed until this transaction ends.

    The weakest of the locks: batches do not wait for each other, nor does a pause wait for them.
    """
    query = (
        sa.select(campaigns.c.name, campaigns.c.status)
        .where(campaigns.c.id == campaign_id)
        .with_for_update(read=True, key_share=True)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Receiver(name=row.name, status=CampaignStatus(row.status))


def insert(
    connection: sa.Connection,
    campaign_id: CampaignId,
    new: Sequence[tuple[NewContact, ContactState, str | None]],
    zone_ids: Mapping[str, CallingZoneId],
    origin: Origin,
    at: datetime,
) -> list[Inserted]:
    """Insert contacts with the state and final reason given; those who are there already stay untouched.

    Of two with the same identity in `new` the first is inserted. Pending ones are due at `at`.
    """
    rows, statement = _insert(connection.dialect.name)
    params = {
        **rows.params([_values(contact, state, reason, zone_ids) for contact, state, reason in new]),
        "campaign_id": campaign_id,
        "import_id": origin.import_id,
        "consent_at": origin.consent_at,
        "consent_source": origin.consent_source,
        "at": at,
    }
    return [
        Inserted(
            calling_zone_id=CallingZoneId(row.calling_zone_id),
            priority=row.priority,
            state=ContactState(row.state),
        )
        for row in connection.execute(statement, params)
    ]


def count_of_import(
    connection: sa.Connection, campaign_id: CampaignId, import_id: int, identity_keys: Collection[str]
) -> int:
    """How many of the keys, each as often as it is given, belong to contacts that this import brought."""
    rows, query = _count_of_import(connection.dialect.name)
    params = {**rows.params([(key,) for key in identity_keys]), "campaign_id": campaign_id, "import_id": import_id}
    return connection.execute(query, params).scalar_one()


def _values(
    contact: NewContact, state: ContactState, reason: str | None, zone_ids: Mapping[str, CallingZoneId]
) -> tuple[Any, ...]:
    return (
        contact.import_line,
        contact.external_contact_id,
        contact.identity_key,
        contact.phone_number,
        contact.email,
        contact.name,
        contact.language,
        contact.attributes,
        zone_ids[contact.calling_zone.key],
        contact.priority,
        state.value,
        reason,
        contact.has_prior_consent,
    )


GIVEN: Final = {
    "import_line": sa.Integer,
    "external_contact_id": sa.Text,
    "identity_key": sa.Text,
    "phone_number": sa.Text,
    "email": sa.Text,
    "name": sa.Text,
    "language": sa.Text,
    "attributes": Json,
    "calling_zone_id": BigId,
    "priority": sa.Integer,
    "state": sa.Text,
    "final_reason": sa.Text,
}
# The same for all of a batch.
SHARED: Final = {
    "campaign_id": BigId,
    "import_id": BigId,
    "consent_at": Instant,
    "consent_source": sa.Text,
    "at": Instant,
}


@cache
def _insert(dialect: str) -> tuple[Rows, Any]:
    rows = Rows(dialect, "n", {**GIVEN, "has_consent": sa.Boolean})
    shared = {name: _bound(dialect, name, kind) for name, kind in SHARED.items()}
    consented = rows.c.has_consent == sa.true()
    columns: dict[str, sa.ColumnElement[Any]] = {
        **{name: rows.c[name] for name in GIVEN},
        "campaign_id": shared["campaign_id"],
        "import_id": shared["import_id"],
        "stage": sa.literal_column(str(int(Stage.FIRST))),
        "next_attempt_at": sa.case((rows.c.state == PENDING, shared["at"])),
        "consent_at": sa.case((consented, shared["consent_at"])),
        "consent_kind": sa.case((consented, sa.literal_column("'prior'"))),
        "consent_source": sa.case((consented, shared["consent_source"])),
        "created_at": shared["at"],
    }
    # SQLite needs the WHERE to tell ON CONFLICT from a join's ON.
    source = sa.select(*columns.values()).where(sa.true())
    insert: Any = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement = insert(contacts).from_select(list(columns), source, include_defaults=False)
    return rows, statement.on_conflict_do_nothing(index_elements=["campaign_id", "identity_key"]).returning(
        contacts.c.calling_zone_id, contacts.c.priority, contacts.c.state
    )


def _bound(dialect: str, name: str, kind: Any) -> sa.ColumnElement[Any]:
    # Postgres does not guess the type of a parameter inside a CASE, SQLite would take a cast for a number.
    parameter: sa.ColumnElement[Any] = sa.bindparam(name, type_=kind)
    return parameter if dialect == "sqlite" else sa.cast(parameter, kind)


@cache
def _count_of_import(dialect: str) -> tuple[Rows, sa.Select[Any]]:
    rows = Rows(dialect, "k", {"identity_key": sa.Text})
    query = (
        sa.select(sa.func.count())
        .select_from(rows.source)
        .join(contacts, contacts.c.identity_key == rows.c.identity_key)
        .where(
            contacts.c.campaign_id == sa.bindparam("campaign_id", type_=BigId),
            contacts.c.import_id == sa.bindparam("import_id", type_=BigId),
        )
    )
    return rows, query
