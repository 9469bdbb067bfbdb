"""Statements by which contacts come into a campaign, a batch at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from outdial.domain.campaign import CampaignStatus
from outdial.domain.consent import ConsentKind
from outdial.domain.contact import ContactState, Stage, UniqueBy
from outdial.domain.ids import CallingZoneId, CampaignId
from outdial.domain.zones import CallingZone
from outdial.storage.contacts import PENDING, is_excluded
from outdial.storage.rows import Rows, Types
from outdial.storage.tables import campaigns, contacts
from outdial.storage.types import BigId, Instant, Json


# A tuple and not one of our records: an import makes a million of them, and hands them on by column.
class NewContact(NamedTuple):
    """A contact as it comes in, normalized. `identity_key` is as of `domain.contact`; instants are aware UTC.

    `import_line` is None for what comes from no file; `attributes_json` is the text of an object. `priority` None: as it
    was, and 0 for who is new. `consent_kind` None: `prior` with `has_prior_consent`, else none; `consent_at` and
    `consent_source` None: as of the origin.
    """

    import_line: int | None
    external_contact_id: str | None
    identity_key: str
    phone_number: str
    person_key: str | None
    email: str | None
    name: str | None
    language: str | None
    attributes_json: str
    has_prior_consent: bool
    consent_kind: str | None
    consent_at: datetime | None
    consent_source: str | None
    priority: int | None
    call_after: datetime | None
    call_before: datetime | None
    do_not_call: bool
    calling_zone: CallingZone


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a batch of contacts comes from. `consent_at`, `consent_source`: of a consent that says neither by itself."""

    consent_at: datetime
    consent_source: str
    import_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """The campaign that contacts are about to come into."""

    name: str
    status: CampaignStatus
    unique_by: UniqueBy | None


# Calling zone, priority and state of contacts that are alike for their bucket.
Group = tuple[CallingZoneId, int, ContactState]


def receiver(connection: sa.Connection, campaign_id: CampaignId, *, lock: bool = False) -> Receiver | None:
    """The campaign as it is now; locked, it is kept from being completed until this transaction ends.

    The weakest of the locks: batches do not wait for each other, nor does a pause wait for them.
    """
    query = sa.select(campaigns.c.name, campaigns.c.status, campaigns.c.unique_by).where(
        campaigns.c.id == campaign_id
    )
    if lock:
        query = query.with_for_update(read=True, key_share=True)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    unique_by = None if row.unique_by is None else UniqueBy(row.unique_by)
    return Receiver(name=row.name, status=CampaignStatus(row.status), unique_by=unique_by)


def insert(
    connection: sa.Connection,
    campaign_id: CampaignId,
    new: Sequence[NewContact],
    zone_ids: Sequence[CallingZoneId],
    origin: Origin,
    at: datetime,
) -> Counter[Group]:
    """Insert contacts: those whom nobody may call at `at` as excluded, all others pending, due at `at` or later.

    `zone_ids` go with `new`, one for each. Who is there already stays untouched, and of two with the same identity the
    first is inserted.
    """
    *columns, _ = zip(*new, strict=True)
    columns.append(tuple(zone_ids))
    dialect = connection.dialect.name
    # A host's connection may have another driver, which copies in another way.
    can_stage = connection.dialect.driver == "psycopg" and not connection.dialect.is_async
    is_staged = can_stage and len(new) >= STAGED_FROM
    source, statement = _insert(dialect, is_staged)
    params: dict[str, Any] = {
        "campaign_id": campaign_id,
        "import_id": origin.import_id,
        "origin_at": origin.consent_at,
        "origin": origin.consent_source,
        "at": at,
    }
    if isinstance(source, Rows):
        params |= source.params(zip(*columns, strict=True))
    else:
        _stage(connection, zip(*columns, strict=True))
    inserted: Counter[Group] = Counter()
    for zone_id, priority, state, count in connection.execute(statement, params):
        inserted[CallingZoneId(zone_id), priority, ContactState(state)] += count
    return inserted


def count_of_import(
    connection: sa.Connection, campaign_id: CampaignId, import_id: int, identity_keys: Collection[str]
) -> int:
    """How many of the keys, each as often as it is given, belong to contacts that this import brought."""
    rows, query = _count_of_import(connection.dialect.name)
    params = {
        **rows.params((key,) for key in identity_keys),
        "campaign_id": campaign_id,
        "import_id": import_id,
    }
    count: int = connection.execute(query, params).scalar_one()
    return count


# As they lie in a NewContact, with the id of its calling zone.
GIVEN: Final[Types] = {
    "import_line": sa.Integer,
    "external_contact_id": sa.Text,
    "identity_key": sa.Text,
    "phone_number": sa.Text,
    "person_key": sa.Text,
    "email": sa.Text,
    "name": sa.Text,
    "language": sa.Text,
    "attributes": sa.Text,
    "has_prior_consent": sa.Boolean,
    "consent_kind": sa.Text,
    "consent_at": Instant,
    "consent_source": sa.Text,
    "priority": sa.Integer,
    "call_after": Instant,
    "call_before": Instant,
    "do_not_call": sa.Boolean,
    "calling_zone_id": BigId,
}
# Of these a contact has what is made of them.
DERIVED: Final = frozenset(
    {
        "attributes",
        "has_prior_consent",
        "consent_kind",
        "consent_at",
        "consent_source",
        "priority",
        "do_not_call",
    }
)
# From so many contacts on, making a temporary table costs less than it saves.
STAGED_FROM: Final = 100

staging: Final = sa.table("outdial_incoming", *(sa.column(name, kind) for name, kind in GIVEN.items()))
# Dropped first, for the caller's transaction may bring more than one batch.
CREATE_STAGING: Final = (
    f"DROP TABLE IF EXISTS pg_temp.{staging.name}; CREATE TEMPORARY TABLE {staging.name} ("
    "import_line integer, external_contact_id text, identity_key text, phone_number text, person_key text, "
    "email text, name text, language text, attributes text, has_prior_consent boolean, consent_kind text, "
    "consent_at timestamptz, consent_source text, priority integer, "
    "call_after timestamptz, call_before timestamptz, do_not_call boolean, calling_zone_id bigint) ON COMMIT DROP"
)

# The same for all of a batch.
SHARED: Final = {
    "campaign_id": BigId,
    "import_id": BigId,
    "origin_at": Instant,
    "origin": sa.Text,
    "at": Instant,
}


@cache
def _insert(dialect: str, is_staged: bool) -> tuple[Rows | sa.TableClause, Any]:
    source = staging if is_staged else Rows(dialect, "n", GIVEN)
    given = source.columns if isinstance(source, sa.TableClause) else source.c
    shared = {name: _bound(dialect, name, kind) for name, kind in SHARED.items()}
    final_reason = sa.case(
        (given.do_not_call == sa.true(), sa.literal_column("'do_not_call'", sa.Text)),
        (
            is_excluded(given.phone_number, given.person_key, shared["campaign_id"], shared["at"]),
            sa.literal_column("'exclusion_list'", sa.Text),
        ),
    )
    # The OFFSET keeps the databases from asking the exclusion list again wherever the reason is used.
    rows = (
        sa.select(*given, final_reason.label("final_reason")).offset(sa.literal_column("0")).subquery("r").c
    )
    is_pending = rows.final_reason.is_(None)
    consent_kind = sa.func.coalesce(
        rows.consent_kind,
        sa.case((rows.has_prior_consent == sa.true(), sa.literal_column(f"'{ConsentKind.PRIOR}'", sa.Text))),
    )
    has_consent = consent_kind.is_not(None)
    first_due = sa.case((rows.call_after > shared["at"], rows.call_after), else_=shared["at"])
    attributes = rows.attributes
    columns: dict[str, sa.ColumnElement[Any]] = {
        **{name: rows[name] for name in GIVEN if name not in DERIVED},
        "final_reason": rows.final_reason,
        "priority": sa.func.coalesce(rows.priority, 0),
        "attributes": sa.type_coerce(attributes, Json) if dialect == "sqlite" else sa.cast(attributes, Json),
        "state": sa.case((is_pending, PENDING), else_=sa.literal_column(f"'{ContactState.EXCLUDED}'")),
        "campaign_id": shared["campaign_id"],
        "import_id": shared["import_id"],
        "stage": sa.literal_column(str(int(Stage.FIRST))),
        "next_attempt_at": sa.case((is_pending, first_due)),
        "consent_kind": consent_kind,
        "consent_at": sa.case((has_consent, sa.func.coalesce(rows.consent_at, shared["origin_at"]))),
        "consent_source": sa.case((has_consent, sa.func.coalesce(rows.consent_source, shared["origin"]))),
        "created_at": shared["at"],
    }
    # SQLite needs the WHERE to tell ON CONFLICT from a join's ON.
    selected = sa.select(*columns.values()).where(sa.true())
    insert: Any = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement = insert(contacts).from_select(list(columns), selected, include_defaults=False)
    statement = statement.on_conflict_do_nothing(index_elements=["campaign_id", "identity_key"])
    group = (contacts.c.calling_zone_id, contacts.c.priority, contacts.c.state)
    if dialect == "sqlite":
        return source, statement.returning(*group, sa.literal_column("1"))
    inserted = statement.returning(*group).cte("inserted")
    return source, sa.select(*inserted.c, sa.func.count()).group_by(*inserted.c)


def _stage(connection: sa.Connection, rows: Iterable[tuple[Any, ...]]) -> None:
    """COPY into a temporary table: a fraction of what parameters cost the client, and a million rows have to pass."""
    connection.exec_driver_sql(CREATE_STAGING)
    raw: Any = connection.connection.driver_connection
    with raw.cursor() as cursor, cursor.copy(f"COPY {staging.name} FROM STDIN") as copy:
        write = copy.write_row
        for row in rows:
            write(row)


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
