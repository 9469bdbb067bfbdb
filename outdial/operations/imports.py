"""Contacts come into a campaign: a batch in the caller's transaction, or a whole file in many short ones.

Every contact comes in once, however often and by whomever its file is imported; one who must not be called comes in
as `excluded`, so that the list is accounted for to the last row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState, Stage
from outdial.domain.errors import NotFound, UserError
from outdial.domain.ids import CampaignId
from outdial.operations.contact_rows import ContactRows, Header, RowRules
from outdial.operations.delimited_file import DelimitedFile, Row, open_delimited
from outdial.operations.import_listeners import NOBODY, Listeners, Progress
from outdial.operations.read_ahead import read_ahead
from outdial.operations.rejections import Rejection
from outdial.storage import buckets, calling_zones, campaigns, excluded_contacts, imports, new_contacts
from outdial.storage.campaigns import Campaign
from outdial.storage.database import Database, database_now, wake_schedulers
from outdial.storage.new_contacts import NewContact, Origin

BATCH_ROWS: Final = 4000

TAKES_CONTACTS: Final = frozenset(CampaignStatus) - {CampaignStatus.COMPLETED, CampaignStatus.CANCELED}


class CampaignClosed(UserError):
    """A campaign that is over takes no contacts."""

    def __init__(self, name: str, status: CampaignStatus) -> None:
        self.name = name
        self.status = status
        super().__init__(
            f"The campaign {name!r} is {status} and takes no more contacts: create another one with "
            "`outdial campaign apply FILE.toml` under a new name, and import them there."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What became of a batch: each of its contacts counts in exactly one field.

    `repeated` came earlier in the same import, `already_there` before it; both are left as they were.
    """

    pending: int = 0
    excluded: int = 0
    already_there: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of the rows of a file: each of `rows` counts in exactly one of the other fields."""

    rows: int = 0
    pending: int = 0
    excluded: int = 0
    already_there: int = 0
    repeated: int = 0
    rejected: int = 0

    @property
    def accepted(self) -> int:
        return self.pending + self.excluded

    def and_batch(self, added: Added, rejected: int) -> Counts:
        total = Counter(asdict(self))
        total.update(asdict(added), rejected=rejected, rows=sum(asdict(added).values()) + rejected)
        return Counts(**total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    import_id: int
    counts: Counts
    checksum: str


def add_contacts(
    connection: sa.Connection, campaign_id: CampaignId, new: Sequence[NewContact], origin: Origin
) -> Added:
    """Bring contacts into a campaign, in the caller's transaction; pending ones are due at once.

    Raises CampaignClosed, and NotFound for a campaign that does not exist.
    """
    receiver = new_contacts.lock_receiver(connection, campaign_id)
    if receiver is None:
        raise NotFound("campaign", str(campaign_id))
    if receiver.status not in TAKES_CONTACTS:
        raise CampaignClosed(receiver.name, receiver.status)
    if not new:
        return Added()
    at = database_now(connection)
    # By identity: few zones stand in many contacts, and hashing each one takes as long as reading its row.
    zones = {id(contact.calling_zone): contact.calling_zone for contact in new}
    ids = calling_zones.ensure(connection, zones.values())
    id_of = {place: ids[zone.key] for place, zone in zones.items()}
    excluded = excluded_contacts.numbers_among(
        connection, {contact.phone_number for contact in new}, campaign_id, at
    )
    inserted = new_contacts.insert(
        connection,
        campaign_id,
        new,
        [id_of[id(contact.calling_zone)] for contact in new],
        [_final_reason(contact, excluded) for contact in new],
        origin,
        at,
    )
    waiting = [group for group in inserted if group[2] is ContactState.PENDING]
    buckets.add_due(
        connection, [(campaign_id, zone, priority, Stage.FIRST, at) for zone, priority, _ in waiting]
    )
    if waiting and receiver.status is CampaignStatus.RUNNING:
        wake_schedulers(connection)
    pending = sum(inserted[group] for group in waiting)
    total = inserted.total()
    repeated = _count_repeated(connection, campaign_id, new, origin, total)
    return Added(
        pending=pending,
        excluded=total - pending,
        repeated=repeated,
        already_there=len(new) - total - repeated,
    )


def import_file(
    database: Database,
    path: Path,
    campaign_name: str,
    *,
    imported_by: str | None = None,
    listeners: Listeners = NOBODY,
    batch_rows: int = BATCH_ROWS,
) -> Imported:
    """Bring the contacts of a CSV file into a campaign, batch by batch. Interrupted, it can simply be run again.

    Raises NotFound, CampaignClosed and UnreadableFile; a row that is wrong is no error but a rejection.
    """
    with open_delimited(path) as file:
        header = Header(file.first, str(path))
        campaign = database.run(_receiving, campaign_name)
        rows = ContactRows(header, RowRules.of(campaign.definition))
        listeners.header(header.cells)
        started = database.run(_begin, campaign.id, path.name, imported_by)
        counts = Counts()
        with read_ahead(_batches(file, rows, batch_rows)) as batches:
            for batch in batches:
                counts = database.run(_write, started, batch, counts)
                for rejection in batch.rejections:
                    listeners.rejection(rejection)
                listeners.progress(
                    Progress(bytes_read=batch.bytes_read, total_bytes=file.size_bytes, rows=counts.rows)
                )
        database.run(_finish, started, counts, file.checksum)
        return Imported(import_id=started.import_id, counts=counts, checksum=file.checksum)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Started:
    campaign_id: CampaignId
    import_id: int
    at: datetime


@dataclass(slots=True, kw_only=True)
class _Batch:
    bytes_read: int = 0
    contacts: list[NewContact] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)


def _receiving(connection: sa.Connection, name: str) -> Campaign:
    campaign = campaigns.by_name(connection, name)
    if campaign is None:
        raise NotFound("campaign", name, "`outdial campaign list` shows those that there are.")
    if campaign.status not in TAKES_CONTACTS:
        raise CampaignClosed(name, campaign.status)
    return campaign


def _begin(
    connection: sa.Connection, campaign_id: CampaignId, file_name: str, imported_by: str | None
) -> _Started:
    at = database_now(connection)
    import_id = imports.begin(connection, campaign_id, file_name=file_name, imported_by=imported_by, at=at)
    return _Started(campaign_id=campaign_id, import_id=import_id, at=at)


def _batches(file: DelimitedFile, rows: ContactRows, size: int) -> Iterator[_Batch]:
    remaining = file.rows()
    while chunk := list(islice(remaining, size)):
        yield _read(chunk, rows, file)


def _read(chunk: Sequence[Row], rows: ContactRows, file: DelimitedFile) -> _Batch:
    batch = _Batch(bytes_read=file.bytes_read)
    for row in chunk:
        contact = rows.read(row)
        if isinstance(contact, Rejection):
            batch.rejections.append(contact)
        else:
            batch.contacts.append(contact)
    return batch


def _write(connection: sa.Connection, started: _Started, batch: _Batch, before: Counts) -> Counts:
    origin = Origin(consent_at=started.at, consent_source="import", import_id=started.import_id)
    added = add_contacts(connection, started.campaign_id, batch.contacts, origin)
    counts = before.and_batch(added, len(batch.rejections))
    imports.write_counts(connection, started.import_id, _stored(counts))
    return counts


def _finish(connection: sa.Connection, started: _Started, counts: Counts, checksum: str) -> None:
    at = database_now(connection)
    imports.finish(connection, started.import_id, _stored(counts), checksum=checksum, at=at)


def _stored(counts: Counts) -> Mapping[str, int]:
    return asdict(counts)


def _final_reason(contact: NewContact, excluded: frozenset[str]) -> str | None:
    if contact.do_not_call:
        return "do_not_call"
    return "exclusion_list" if contact.phone_number in excluded else None


def _count_repeated(
    connection: sa.Connection,
    campaign_id: CampaignId,
    new: Sequence[NewContact],
    origin: Origin,
    inserted: int,
) -> int:
    """Asked only where somebody was there already."""
    if inserted == len(new) or origin.import_id is None:
        return 0
    keys = [contact.identity_key for contact in new]
    return new_contacts.count_of_import(connection, campaign_id, origin.import_id, keys) - inserted
