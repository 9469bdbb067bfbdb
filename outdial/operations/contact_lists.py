"""The people of a campaign as an operator looks at them, and one more of them; and the files that brought them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.contact import ContactState, OnDuplicate
from outdial.domain.errors import NotFound, UserError
from outdial.domain.phone_numbers import InvalidPhoneNumber, checked_region, normalize
from outdial.operations.adding_contacts import Added, add_contacts, receive
from outdial.operations.contact_columns import COLUMNS, PLACE, Header
from outdial.operations.contact_rows import LARGEST_ATTRIBUTES_BYTES, ContactRows, RowRules
from outdial.operations.delimited_file import Row
from outdial.operations.rejections import Rejection
from outdial.storage import campaigns, contact_lists, imports
from outdial.storage.campaigns import Campaign
from outdial.storage.database import database_now
from outdial.storage.new_contacts import Origin

SHOWN: Final = (
    "id",
    "external_contact_id",
    "phone_number",
    "person_key",
    "name",
    "email",
    "language",
    "state",
    "final_reason",
    "priority",
    "attempts_count",
    "last_outcome",
    "last_attempt_at",
    "next_attempt_at",
    "call_after",
    "call_before",
    "consent_kind",
    "consent_at",
    "consent_source",
    "import_id",
    "import_line",
    "created_at",
    "attributes",
)


def list_contacts(
    connection: sa.Connection,
    campaign: str,
    *,
    state: ContactState | None = None,
    import_id: int | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """In the order in which they came in. Raises NotFound."""
    rows = contact_lists.listed(
        connection, _campaign(connection, campaign).id, state=state, import_id=import_id, limit=limit
    )
    return [{name: row[name] for name in SHOWN} for row in rows]


def list_imports(
    connection: sa.Connection, *, campaign: str | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """The newest first. `state`: running or interrupted, finished, stopped (see its `problem`), withdrawn."""
    campaign_id = None if campaign is None else _campaign(connection, campaign).id
    return [
        {
            "id": row["id"],
            "campaign": row["campaign"],
            "file": row["file_name"],
            "state": _state(row),
            "checksum": row["checksum"],
            "imported_by": row["imported_by"],
            "created_at": row["created_at"],
            "finished_at": row["finished_at"],
            "problem": row["problem"],
            "withdrawn_at": row["withdrawn_at"],
            "withdrawn_by": row["withdrawn_by"],
            "counts": row["counts"],
        }
        for row in imports.latest(connection, campaign_id=campaign_id, limit=limit)
    ]


def add_contact(
    connection: sa.Connection,
    campaign: str,
    columns: Mapping[str, str],
    attributes: Mapping[str, str],
    *,
    source: str,
    region: str | None = None,
    on_duplicate: OnDuplicate = OnDuplicate.SKIP,
) -> Added:
    """One contact, under the same rules as a row of a file; `columns` are those of a file, `phone_number` among them.

    Raises NotFound, CampaignClosed, and UserError for what a file's row would be rejected for.
    """
    taken = sorted({*COLUMNS} & {*attributes})
    attributes = {name: columns.get(name, "") for name in COLUMNS if name in PLACE} | {**attributes}
    if taken:
        raise UserError(f"{taken[0]} is no further attribute: it has an option of its own.")
    kept = {name: value.strip() for name, value in attributes.items() if value.strip()}
    return add_listed(
        connection,
        campaign,
        [(columns, json.dumps(kept, ensure_ascii=False))],
        source=source,
        region=region,
        on_duplicate=on_duplicate,
    )


def add_listed(
    connection: sa.Connection,
    campaign: str,
    listed: Sequence[tuple[Mapping[str, str], str]],
    *,
    source: str,
    region: str | None = None,
    on_duplicate: OnDuplicate = OnDuplicate.SKIP,
) -> Added:
    """Contacts as (columns of a file, attributes as the text of a JSON object): all of them or none.

    Raises as `add_contact` does; with several, the message says which one.
    """
    found = _campaign(connection, campaign)
    at = database_now(connection)
    # As it stands now, and cannot change until we commit.
    unique_by = receive(connection, found.id).unique_by
    home = None if region is None else checked_region(region)
    rules = replace(RowRules.of(found.definition, region=home, at=at), unique_by=unique_by)
    rows = ContactRows(Header(Row(1, list(COLUMNS), None), "the contact"), rules)
    new = []
    for number, (columns, attributes_json) in enumerate(listed, 1):
        contact = rows.read(Row(number, [columns.get(name, "") for name in COLUMNS], None))
        place = "" if len(listed) == 1 else f"Contact {number} of {len(listed)}: "
        if isinstance(contact, Rejection):
            what = "The contact" if contact.column is None else f"{contact.column} {contact.shown_value}"
            raise UserError(f"{place}{what} {contact.reason}.")
        if len(attributes_json.encode()) > LARGEST_ATTRIBUTES_BYTES:
            raise UserError(
                f"{place}The attributes have {len(attributes_json.encode())} bytes: "
                f"{LARGEST_ATTRIBUTES_BYTES // 1024} KiB is the limit."
            )
        new.append(contact._replace(import_line=None, attributes_json=attributes_json))
    origin = Origin(consent_at=at, consent_source=source)
    return add_contacts(connection, found.id, new, origin, on_duplicate=on_duplicate)


def find_contacts(
    connection: sa.Connection, campaign: str, contact: str, *, region: str | None = None
) -> list[dict[str, Any]]:
    """The people of a campaign with this phone number or external id, in the order in which they came in; none is no
    error. Instants are aware UTC. Raises NotFound for the campaign.
    """
    number = number_in(contact, region)
    found = contact_lists.found(
        connection, _campaign(connection, campaign).id, phone_number=number, external_contact_id=contact
    )
    return [{name: row[name] for name in SHOWN} for row in found]


def number_in(text: str, region: str | None) -> str | None:
    """What may be a phone number or an id, as a number in E.164 form; None: it is none. Raises UnknownRegion."""
    try:
        return normalize(text, region).e164
    except InvalidPhoneNumber:
        return None


def parse_attributes(texts: list[str]) -> dict[str, str]:
    """`["city=Forlì"]` as a mapping. Raises UserError for what is none."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UserError(
                f"--attribute {json.dumps(text, ensure_ascii=False)} is none: write it as NAME=VALUE."
            )
        found[name.strip()] = value
    return found


def _campaign(connection: sa.Connection, name: str) -> Campaign:
    campaign = campaigns.by_name(connection, name)
    if campaign is None:
        raise NotFound("campaign", name, "`outdial campaign list` shows those that there are.")
    return campaign


def _state(row: sa.RowMapping) -> str:
    if row["withdrawn_at"] is not None:
        return "withdrawn"
    if row["finished_at"] is None:
        return "running or interrupted"
    return "finished" if row["problem"] is None else "stopped"
