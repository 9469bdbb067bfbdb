"""A whole file of contacts comes into a campaign, in many short transactions, and leaves a record of itself.

Every contact comes in once, however often and by whomever its file is imported; one who must not be called comes in
as `excluded`, so that the list is accounted for to the last row. An import that stops midway keeps what it has brought,
marked as its own: it can be run again, and it can be taken back.
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

from outdial.domain.campaign import CampaignDefinition, UnknownZone
from outdial.domain.contact import OnDuplicate
from outdial.domain.errors import NotFound, UserError
from outdial.domain.ids import CampaignId
from outdial.domain.phone_numbers import checked_region
from outdial.domain.zones import ZoneSource
from outdial.operations.adding_contacts import (
    TAKES_CONTACTS,
    Added,
    CampaignClosed,
    DuplicateContact,
    add_contacts,
    preview,
    receive,
)
from outdial.operations.contact_columns import Header
from outdial.operations.contact_rows import ContactRows, RowRules
from outdial.operations.delimited_file import DelimitedFile, Row, open_delimited
from outdial.operations.import_listeners import NOBODY, Listeners, Progress
from outdial.operations.read_ahead import read_ahead
from outdial.operations.rejections import Rejection
from outdial.operations.text_encoding import WINDOWS_1252
from outdial.storage import campaigns, imports
from outdial.storage.campaigns import Campaign
from outdial.storage.database import Database, database_now
from outdial.storage.new_contacts import NewContact, Origin

BATCH_ROWS: Final = 4000
SHOWN_REGIONS: Final = 5


class ImportStopped(UserError):
    """An import ended before its file did, or cannot be trusted. What it brought stays, marked with its id.

    `import_id` None: a dry run, which brought nothing.
    """

    def __init__(self, import_id: int | None, counts: Counts, reason: str) -> None:
        self.import_id = import_id
        self.counts = counts
        self.reason = reason
        if import_id is None:
            message = f"{reason}. This was a dry run: nothing has been written."
        else:
            message = (
                f"{reason}. Import {import_id} has brought {counts.accepted} contacts and updated {counts.updated}: "
                "import the right file again (nobody comes in twice), or take back what it brought with "
                f"`outdial contacts withdraw --import {import_id}`."
            )
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How a list is read. `columns`: those that a person named, by ours. `region`: see `RowRules`.

    With `dry_run` everything is found out and nothing written; the identities of all rows are then kept in memory, some
    hundred megabytes for a million of them, as they are for updates.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    region: str | None = None
    on_duplicate: OnDuplicate = OnDuplicate.SKIP
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of the rows of a file: each of `rows` counts in exactly one of the other fields."""

    rows: int = 0
    pending: int = 0
    excluded: int = 0
    updated: int = 0
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
    """`import_id` None: a dry run. `notes` are sentences on how the file was read, where that is not plain.

    `zone_sources`: of the rows that were not rejected, how many got their calling zone from what.
    """

    import_id: int | None
    counts: Counts
    checksum: str
    zone_sources: Mapping[ZoneSource, int]
    notes: tuple[str, ...] = ()


def import_file(
    database: Database,
    path: Path,
    campaign_name: str,
    *,
    imported_by: str | None = None,
    options: ImportOptions = ImportOptions(),
    listeners: Listeners = NOBODY,
    batch_rows: int = BATCH_ROWS,
) -> Imported:
    """Bring the contacts of a CSV file into a campaign, batch by batch. Interrupted, it can simply be run again.

    Raises NotFound, CampaignClosed, UnreadableFile, and ImportStopped for a file that changes while it is read or has a
    duplicate where that is an error. A row that is wrong is no error but a rejection.
    """
    region = None if options.region is None else checked_region(options.region)
    with open_delimited(path) as file:
        header = Header(file.first, str(path), options.columns)
        campaign, at = database.run(_receiving, campaign_name)
        rows = ContactRows(header, RowRules.of(campaign.definition, region=region, at=at))
        listeners.header(header.cells)
        batches = _Batches(database, campaign, options, at)
        if not options.dry_run:
            batches.import_id = database.run(_begin, campaign.id, path.name, imported_by)
        try:
            _bring(batches, file, rows, listeners, batch_rows)
        except UserError as error:
            problem = error.reason if isinstance(error, ImportStopped) else str(error)
            database.run(_finish, batches.import_id, batches.counts, None, problem)
            raise
        database.run(_finish, batches.import_id, batches.counts, file.checksum, None)
        return Imported(
            import_id=batches.import_id,
            counts=batches.counts,
            checksum=file.checksum,
            zone_sources={one: rows.zone_sources[one] for one in ZoneSource if rows.zone_sources[one]},
            notes=_notes(file, header, rows, campaign.definition),
        )


def _bring(
    batches: _Batches, file: DelimitedFile, rows: ContactRows, listeners: Listeners, batch_rows: int
) -> None:
    with read_ahead(_read_batches(file, rows, batch_rows)) as upcoming:
        for batch in upcoming:
            try:
                batches.write(batch)
            except DuplicateContact as error:
                reason = f"{file.name}, {error}; nothing of its batch was taken"
                raise ImportStopped(batches.import_id, batches.counts, reason) from error
            for rejection in batch.rejections:
                listeners.rejection(rejection)
            listeners.progress(
                Progress(bytes_read=batch.bytes_read, total_bytes=file.size_bytes, rows=batches.counts.rows)
            )
    change = file.what_changed()
    if change is not None:
        reason = f"{file.name} {change} while it was read: what came in may be incomplete, or of two lists"
        raise ImportStopped(batches.import_id, batches.counts, reason)


@dataclass(slots=True, kw_only=True)
class _Batch:
    bytes_read: int = 0
    contacts: list[NewContact] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)


class _Batches:
    """Writes batch after batch, or finds out what that would do, and counts."""

    def __init__(self, database: Database, campaign: Campaign, options: ImportOptions, at: datetime) -> None:
        self.counts = Counts()
        self.import_id: int | None = None
        self._database = database
        self._campaign = campaign
        self._options = options
        self._at = at
        self._seen: set[str] = set()
        self._remembers = options.dry_run or options.on_duplicate is OnDuplicate.UPDATE

    def write(self, batch: _Batch) -> None:
        self.counts = self._database.run(self._look if self._options.dry_run else self._add, batch)
        # Only now: a transaction that failed is run again.
        if self._remembers:
            self._seen.update(contact.identity_key for contact in batch.contacts)

    def _look(self, connection: sa.Connection, batch: _Batch) -> Counts:
        added = preview(
            connection,
            self._campaign.id,
            batch.contacts,
            on_duplicate=self._options.on_duplicate,
            seen=self._seen,
        )
        return self.counts.and_batch(added, len(batch.rejections))

    def _add(self, connection: sa.Connection, batch: _Batch) -> Counts:
        assert self.import_id is not None
        name = self._campaign.definition.name
        if receive(connection, self._campaign.id).unique_by is not self._campaign.definition.unique_by:
            raise UserError(
                f"unique_by of the campaign {name!r} was changed at this very moment: import again."
            )
        added = add_contacts(
            connection,
            self._campaign.id,
            batch.contacts,
            Origin(consent_at=self._at, consent_source="import", import_id=self.import_id),
            on_duplicate=self._options.on_duplicate,
            seen=self._seen,
        )
        counts = self.counts.and_batch(added, len(batch.rejections))
        if not imports.write_counts(connection, self.import_id, asdict(counts)):
            raise UserError(f"Import {self.import_id} was taken back while it ran: it brings nobody more.")
        return counts


def _receiving(connection: sa.Connection, name: str) -> tuple[Campaign, datetime]:
    campaign = campaigns.by_name(connection, name)
    if campaign is None:
        raise NotFound("campaign", name, "`outdial campaign list` shows those that there are.")
    if campaign.status not in TAKES_CONTACTS:
        raise CampaignClosed(name, campaign.status)
    return campaign, database_now(connection)


def _begin(
    connection: sa.Connection, campaign_id: CampaignId, file_name: str, imported_by: str | None
) -> int:
    at = database_now(connection)
    return imports.begin(connection, campaign_id, file_name=file_name, imported_by=imported_by, at=at)


def _read_batches(file: DelimitedFile, rows: ContactRows, size: int) -> Iterator[_Batch]:
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


def _finish(
    connection: sa.Connection,
    import_id: int | None,
    counts: Counts,
    checksum: str | None,
    problem: str | None,
) -> None:
    if import_id is not None:
        at = database_now(connection)
        imports.finish(connection, import_id, asdict(counts), checksum=checksum, problem=problem, at=at)


def _notes(
    file: DelimitedFile, header: Header, rows: ContactRows, definition: CampaignDefinition
) -> tuple[str, ...]:
    notes = [f"The column {name!r} was read as {column}." for column, name in header.renamed.items()]
    if file.encoding is WINDOWS_1252:
        notes.append(
            f"The file is not UTF-8 and was read as {WINDOWS_1252.name}: look whether names with accents came in right."
        )
    if rows.unknown_regions:
        most = ", ".join(repr(region) for region, _ in rows.unknown_regions.most_common(SHOWN_REGIONS))
        notes.append(
            f"Rows with a region that is not known: {rows.unknown_regions.total()} ({most}). They keep all time zones "
            "that their number or country may have. Write its ISO 3166-2 code, such as FL, or its English name, and "
            "the country beside it."
        )
    unknown = rows.zone_sources[ZoneSource.UNKNOWN]
    if unknown and definition.unknown_zone is UnknownZone.USE_DEFAULT:
        notes.append(
            f"Rows without a time zone that is known: {unknown}. {definition.default_time_zone} serves them."
        )
    elif unknown and definition.default_time_zone is not None:
        notes.append(
            f"Rows without a time zone that is known: {unknown}. Their numbers ring anywhere, and nobody calls them: give "
            'them a time_zone, or a country and region; unknown_zone = "use_default" in the campaign file calls them '
            f"by the clock of {definition.default_time_zone}."
        )
    return tuple(notes)
