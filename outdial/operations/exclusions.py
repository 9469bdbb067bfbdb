"""The exclusion list: who must never be called, from when, why, and until when.

An exclusion holds from its commit on; it has taken effect everywhere once the last check of a call that was under way
is too old to be used, and only then may a command report success. A contact that it took out of the queue stays out:
to remove an entry lets the number be imported again elsewhere, and brings nobody back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.errors import NotFound, UserError
from outdial.domain.ids import CampaignId
from outdial.domain.phone_numbers import InvalidPhoneNumber, normalize
from outdial.operations.delimited_file import (
    DelimitedFile,
    Row,
    UnreadableFile,
    columns_named,
    open_delimited,
)
from outdial.operations.import_listeners import NOBODY, Listeners, Progress
from outdial.operations.read_ahead import read_ahead
from outdial.operations.rejections import Rejection
from outdial.storage import campaigns, excluded_contacts, exclusions
from outdial.storage.database import Database, database_now

BATCH_ROWS: Final = 4000
NUMBER_COLUMN: Final = "phone_number"
# A day is over everywhere when it is over here.
LAST_ZONE_OF_A_DAY: Final = timedelta(hours=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How numbers are excluded: for one campaign or (None) for all, until an instant or (None) for good."""

    reason: str
    source: str
    campaign: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """`entries` are new on the list; `contacts` were pending and now are excluded."""

    entries: int
    contacts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the list says of a number: its entries, oldest first, and which of them are in force."""

    phone_number: str
    entries: Sequence[Mapping[str, Any]]
    in_force: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Each of `rows` counts in `added`, `already_there` or `rejected`; `contacts` were taken out of the queue."""

    rows: int = 0
    added: int = 0
    already_there: int = 0
    rejected: int = 0
    contacts: int = 0


def add(connection: sa.Connection, phone_numbers: Iterable[str], terms: Terms) -> Excluded:
    """Exclude numbers, and take their pending contacts out of the queue. Those excluded already stay so.

    Raises InvalidPhoneNumber, NotFound for the campaign, UserError for an end that has passed.
    """
    numbers = {normalize(number).e164 for number in phone_numbers}
    return _add(connection, numbers, terms, _campaign_id(connection, terms.campaign))


def remove(
    connection: sa.Connection, phone_number: str, *, by: str, why: str, campaign: str | None = None
) -> Standing:
    """End the number's entries in this scope, and say what the list still holds on it."""
    if not why.strip():
        raise UserError("A removal is evidence: say with --reason why the number may be called again.")
    number = normalize(phone_number).e164
    campaign_id = _campaign_id(connection, campaign)
    exclusions.remove(
        connection, number, by=by, why=why, at=database_now(connection), campaign_id=campaign_id
    )
    return check(connection, number)


def check(connection: sa.Connection, phone_number: str) -> Standing:
    number = normalize(phone_number).e164
    at = database_now(connection)
    names = {campaign.id: campaign.definition.name for campaign in campaigns.all_campaigns(connection)}
    entries = [
        {**entry, "campaign": names.get(entry["campaign_id"])}
        for entry in exclusions.of_number(connection, number)
    ]
    in_force = [entry for entry in entries if _is_in_force(entry, at)]
    return Standing(phone_number=number, entries=entries, in_force=in_force)


def import_file(
    database: Database,
    path: Path,
    terms: Terms,
    *,
    listeners: Listeners = NOBODY,
    batch_rows: int = BATCH_ROWS,
) -> Counts:
    """Exclude the numbers of a file: a CSV with a column `phone_number`, or one number a line.

    Batch by batch: interrupted, it can simply be run again. Raises as `add`, and UnreadableFile; a number that is none
    is no error but a rejection.
    """
    with open_delimited(path) as file:
        numbers = _NumberRows.of(file)
        campaign_id = database.run(_campaign_id, terms.campaign)
        listeners.header(numbers.header)
        counts = Counts()
        with read_ahead(_batches(numbers.rows, numbers, file, batch_rows)) as batches:
            for batch in batches:
                done = database.run(_add, batch.numbers, terms, campaign_id)
                counts = _with_batch(counts, batch, done)
                for rejection in batch.rejections:
                    listeners.rejection(rejection)
                listeners.progress(
                    Progress(bytes_read=batch.bytes_read, total_bytes=file.size_bytes, rows=counts.rows)
                )
        change = file.what_changed()
        if change is not None:
            raise UserError(
                f"{file.name} {change} while it was read: {counts.added} numbers of it are excluded now, and others may "
                "be missing: import the finished file again."
            )
        return counts


def expiry_of(text: str) -> datetime:
    """The instant that a text means: one with its offset from UTC, or a date, which holds to its end in every zone."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return _instant_of(text)
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1) + LAST_ZONE_OF_A_DAY


def _add(
    connection: sa.Connection, numbers: Collection[str], terms: Terms, campaign_id: CampaignId | None
) -> Excluded:
    at = database_now(connection)
    if terms.expires_at is not None and terms.expires_at <= at:
        raise UserError(
            f"The exclusion would have ended already, at {terms.expires_at.isoformat()}: give a later end."
        )
    # Contacts before entries, as a call's end does that opts out.
    contacts = excluded_contacts.exclude_pending(connection, numbers, campaign_id)
    entries = exclusions.add(
        connection,
        numbers,
        reason=terms.reason,
        source=terms.source,
        at=at,
        campaign_id=campaign_id,
        expires_at=terms.expires_at,
    )
    return Excluded(entries=entries, contacts=contacts)


def _campaign_id(connection: sa.Connection, name: str | None) -> CampaignId | None:
    if name is None:
        return None
    campaign = campaigns.by_name(connection, name)
    if campaign is None:
        raise NotFound("campaign", name, "`outdial campaign list` shows those that there are.")
    return campaign.id


def _is_in_force(entry: Mapping[str, Any], at: datetime) -> bool:
    return entry["removed_at"] is None and (entry["expires_at"] is None or entry["expires_at"] > at)


def _instant_of(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise UserError(
            f"{text!r} is no end of an exclusion: write a date such as 2027-12-31, or an instant with its offset such "
            "as 2027-12-31T18:00:00+01:00."
        )
    return instant.astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _NumberRows:
    """The rows of a file of numbers, and in which of its columns they stand."""

    header: Sequence[str]
    place: int
    width: int
    rows: Iterator[Row]

    @classmethod
    def of(cls, file: DelimitedFile) -> _NumberRows:
        names = [cell.strip().lower() for cell in file.first.cells]
        if NUMBER_COLUMN in names:
            header = file.first.cells
            return cls(header=header, place=names.index(NUMBER_COLUMN), width=len(header), rows=file.rows())
        if len(names) > 1:
            raise UnreadableFile(
                file.name,
                f"has no column {NUMBER_COLUMN}: name it so in the first line, or give one number a line "
                f"(found are {columns_named(file.first.cells)})",
            )
        return cls(header=(NUMBER_COLUMN,), place=0, width=1, rows=chain([file.first], file.rows()))

    def read(self, row: Row) -> str | Rejection:
        """The number in E.164 form."""
        text = row.cells[self.place].strip() if self.place < len(row.cells) else ""
        fault = row.fault
        if fault is None and any(row.cells[self.width :]):
            fault = f"has {len(row.cells)} cells, where {self.width} are expected"
        if fault is not None:
            return Rejection(line=row.line, column=None, value=None, reason=fault, cells=row.cells)
        try:
            return normalize(text).e164
        except InvalidPhoneNumber as error:
            return Rejection(
                line=row.line, column=NUMBER_COLUMN, value=text, reason=error.reason, cells=row.cells
            )


@dataclass(slots=True, kw_only=True)
class _Batch:
    bytes_read: int
    accepted: int = 0
    numbers: set[str] = field(default_factory=set)
    rejections: list[Rejection] = field(default_factory=list)


def _batches(rows: Iterator[Row], numbers: _NumberRows, file: DelimitedFile, size: int) -> Iterator[_Batch]:
    while chunk := list(islice(rows, size)):
        batch = _Batch(bytes_read=file.bytes_read)
        for row in chunk:
            number = numbers.read(row)
            if isinstance(number, Rejection):
                batch.rejections.append(number)
            else:
                batch.accepted += 1
                batch.numbers.add(number)
        yield batch


def _with_batch(before: Counts, batch: _Batch, done: Excluded) -> Counts:
    rejected = len(batch.rejections)
    return replace(
        before,
        rows=before.rows + batch.accepted + rejected,
        added=before.added + done.entries,
        already_there=before.already_there + batch.accepted - done.entries,
        rejected=before.rejected + rejected,
        contacts=before.contacts + done.contacts,
    )
