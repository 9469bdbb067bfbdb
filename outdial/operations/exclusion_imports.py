"""A file of exclusions comes onto the list, in many short transactions: a register, or what another program kept.

A file that is interrupted can simply be imported again. What cannot be made out of a row errs on the strict side: a date
that cannot be read is left out, so that the exclusion holds for good; only a number that is none is rejected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from outdial.domain.errors import UserError
from outdial.domain.exclusions import Reach
from outdial.domain.phone_numbers import InvalidPhoneNumber, checked_region, normalize
from outdial.operations.contact_columns import ALIASES, Columns, Header
from outdial.operations.contact_times import first_instant
from outdial.operations.delimited_file import DelimitedFile, Row, open_delimited
from outdial.operations.exclusions import (
    Terms,
    add_entries,
    check_end,
    checked_person_key,
    expiry_of,
    reach_of,
)
from outdial.operations.import_listeners import NOBODY, Listeners, Progress
from outdial.operations.read_ahead import read_ahead
from outdial.operations.rejections import REJECTION_COLUMNS, Rejection
from outdial.operations.text_encoding import WINDOWS_1252
from outdial.storage import excluded_contacts, exclusions
from outdial.storage.database import Database, database_now
from outdial.storage.exclusions import NUMBER, PERSON, Terms as EntryTerms

BATCH_ROWS: Final = 4000
# What is longer is cut, for no reason keeps anybody off the list.
LONGEST_REASON: Final = 200

OF_EXCLUSIONS: Final = Columns(
    # In the order in which a row is taken apart.
    names=("phone_number", "person_key", "reason", "since", "expires"),
    aliases={
        "phone_number": ALIASES["phone_number"],
        "person_key": ALIASES["person_key"],
        "reason": ("why",),
        "since": ("opted_out_at", "excluded_at"),
        "expires": ("expires_at", "expires_on", "until", "valid_until"),
    },
    required=("phone_number", "person_key"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the file is read. `columns`: those that a person named, by ours. `region`: whose national numbers are meant.

    With `dry_run` nothing is written, and everybody in the file is kept in memory.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    region: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Each of `rows` counts in `added`, `already_there` or `rejected`; `contacts` were taken out of the queue.

    `unread_dates`: rows of the first two with a date that cannot be read.
    """

    rows: int = 0
    added: int = 0
    already_there: int = 0
    rejected: int = 0
    contacts: int = 0
    unread_dates: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """`notes` are sentences on how the file was read, where that is not plain."""

    counts: Counts
    notes: tuple[str, ...] = ()


def import_file(
    database: Database,
    path: Path,
    terms: Terms,
    *,
    options: Options = Options(),
    listeners: Listeners = NOBODY,
    batch_rows: int = BATCH_ROWS,
) -> Imported:
    """Exclude those of a file: a table with a column of numbers or of persons, or one number a line.

    `terms` hold where a row has no reason and no end of its own. Raises as `exclusions.add`, and UnreadableFile; a
    number that is none is no error but a rejection.
    """
    region = None if options.region is None else checked_region(options.region)
    with open_delimited(path) as file:
        layout, rows = _layout(file, options.columns)
        reach, at = database.run(_receiving, terms)
        reader = _Rows(layout, terms, region, at)
        listeners.header(layout.cells)
        writer = _Writer(database, reach, dry_run=options.dry_run)
        with read_ahead(_batches(rows, reader, file, batch_rows)) as batches:
            for batch in batches:
                writer.write(batch)
                for rejection in batch.rejections:
                    listeners.rejection(rejection)
                listeners.progress(
                    Progress(
                        bytes_read=batch.bytes_read, total_bytes=file.size_bytes, rows=writer.counts.rows
                    )
                )
        change = file.what_changed()
        if change is not None:
            raise UserError(
                f"{file.name} {change} while it was read: {writer.counts.added} of its rows are excluded now, and "
                "others may be missing: import the finished file again."
            )
        return Imported(
            counts=writer.counts, notes=tuple(_notes(file, layout, writer.counts, reader.first_unread))
        )


def _layout(file: DelimitedFile, given: Mapping[str, str]) -> tuple[Header, Iterator[Row]]:
    first = file.first
    if len(first.cells) == 1 and not given and not OF_EXCLUSIONS.are_named_by(first.cells[0]):
        # One number a line, the first of them being one too.
        named = Row(first.line, [NUMBER], None)
        return Header(named, file.name, columns=OF_EXCLUSIONS), chain([first], file.rows())
    return Header(first, file.name, given, OF_EXCLUSIONS), file.rows()


def _receiving(connection: sa.Connection, terms: Terms) -> tuple[Reach, datetime]:
    at = database_now(connection)
    check_end(terms.expires_at, at)
    return reach_of(connection, campaign=terms.campaign, workspace=terms.workspace), at


@dataclass(slots=True, kw_only=True)
class _Batch:
    """`rows` say whom each of them names: a number, a person, or both."""

    bytes_read: int
    rows: list[tuple[str | None, str | None]] = field(default_factory=list)
    numbers: dict[str, EntryTerms] = field(default_factory=dict)
    persons: dict[str, EntryTerms] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    unread_dates: int = 0


class _Unfit(Exception):
    """A row that excludes nobody; never leaves this module."""

    def __init__(self, column: str | None, value: str | None, reason: str) -> None:
        self.column = column
        self.value = value
        self.reason = reason
        super().__init__(reason)


class _Rows:
    """Reads rows under one layout. `first_unread`: the first date that could not be read, to be told."""

    def __init__(self, header: Header, terms: Terms, region: str | None, at: datetime) -> None:
        self.first_unread: str | None = None
        self._header = header
        self._terms = terms
        self._region = region
        self._at = at
        self._plain = EntryTerms(terms.reason, terms.source, at, terms.expires_at)

    def read(self, row: Row, batch: _Batch) -> None:
        try:
            self._take(row, batch)
        except _Unfit as unfit:
            batch.rejections.append(
                Rejection(
                    line=row.line,
                    column=unfit.column,
                    value=unfit.value,
                    reason=unfit.reason,
                    cells=row.cells,
                )
            )

    def _take(self, row: Row, batch: _Batch) -> None:
        width = self._header.width
        if row.fault is not None:
            raise _Unfit(None, None, row.fault)
        if any(row.cells[width:]):
            raise _Unfit(None, None, f"has {len(row.cells)} cells, where {width} are expected")
        cells = [*row.cells[:width], *[""] * (width + 1 - len(row.cells))]
        number_text, person_text, reason, since, expires = (
            cells[place].strip() for place in self._header.places
        )
        number = self._number(number_text) if number_text or not person_text else None
        person = _person(person_text) if person_text else None
        terms = self._plain
        if reason or since or expires:
            terms, is_clear = self._own_terms(row.line, reason, since, expires)
            batch.unread_dates += not is_clear
        batch.rows.append((number, person))
        if number is not None:
            batch.numbers[number] = _longest(batch.numbers.get(number), terms)
        if person is not None:
            batch.persons[person] = _longest(batch.persons.get(person), terms)

    def _number(self, text: str) -> str:
        try:
            return normalize(text, self._region).e164
        except InvalidPhoneNumber as error:
            raise _Unfit(NUMBER, text, error.reason) from error

    def _own_terms(self, line: int, reason: str, since: str, expires: str) -> tuple[EntryTerms, bool]:
        """And whether all of it could be read."""
        since_at = _since(since) if since else None
        ends_at = _end(expires) if expires else self._terms.expires_at
        unread = since if since and since_at is None else expires if expires and ends_at is None else None
        if unread is not None and self.first_unread is None:
            self.first_unread = f"line {line}, {unread!r}"
        if ends_at is not None and ends_at <= self._at:
            raise _Unfit("expires", expires, "has passed: the exclusion would have ended already")
        terms = EntryTerms(
            reason[:LONGEST_REASON] or self._terms.reason,
            self._terms.source,
            # What is said to begin later begins at once: until then nobody would keep it in mind.
            min(since_at or self._at, self._at),
            ends_at,
        )
        return terms, unread is None


def _person(text: str) -> str:
    try:
        return checked_person_key(text)
    except UserError as error:
        raise _Unfit(PERSON, text, "is no person's key: it is too long, or not printable") from error


@lru_cache(maxsize=4096)
def _since(text: str) -> datetime | None:
    try:
        return first_instant(text, ("UTC",)).astimezone(UTC)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _end(text: str) -> datetime | None:
    try:
        return expiry_of(text)
    except UserError:
        return None


def _longest(known: EntryTerms | None, new: EntryTerms) -> EntryTerms:
    """Of two rows for one the one that ends last, and of those that end together the first."""
    if known is None:
        return new
    if known.expires_at is None or (new.expires_at is not None and new.expires_at <= known.expires_at):
        return known
    return new


def _batches(rows: Iterator[Row], reader: _Rows, file: DelimitedFile, size: int) -> Iterator[_Batch]:
    while chunk := list(islice(rows, size)):
        batch = _Batch(bytes_read=file.bytes_read)
        for row in chunk:
            reader.read(row, batch)
        yield batch


class _Writer:
    """Writes batch after batch, or finds out what that would do, and counts."""

    def __init__(self, database: Database, reach: Reach, *, dry_run: bool) -> None:
        self.counts = Counts()
        self._database = database
        self._reach = reach
        self._dry_run = dry_run
        self._seen: set[tuple[str, str]] = set()

    def write(self, batch: _Batch) -> None:
        contacts, added = self._database.run(self._look if self._dry_run else self._add, batch)
        # Only now: a transaction that failed is run again.
        if self._dry_run:
            self._seen |= {(NUMBER, one) for one in batch.numbers} | {(PERSON, one) for one in batch.persons}
        new_rows = _new_rows(batch.rows, added)
        before, rejected = self.counts, len(batch.rejections)
        self.counts = replace(
            before,
            rows=before.rows + len(batch.rows) + rejected,
            added=before.added + new_rows,
            already_there=before.already_there + len(batch.rows) - new_rows,
            rejected=before.rejected + rejected,
            contacts=before.contacts + contacts,
            unread_dates=before.unread_dates + batch.unread_dates,
        )

    def _add(self, connection: sa.Connection, batch: _Batch) -> tuple[int, set[tuple[str, str]]]:
        return add_entries(connection, batch.numbers, batch.persons, self._reach, database_now(connection))

    def _look(self, connection: sa.Connection, batch: _Batch) -> tuple[int, set[tuple[str, str]]]:
        numbers, persons = self._unseen(NUMBER, batch.numbers), self._unseen(PERSON, batch.persons)
        contacts = excluded_contacts.count_pending(connection, numbers, persons, self._reach)
        at = database_now(connection)
        new: set[tuple[str, str]] = set()
        for of, listed in ((NUMBER, numbers), (PERSON, persons)):
            there = exclusions.not_shorter(connection, of, listed, reach=self._reach, at=at)
            new |= {(of, one) for one in listed if one not in there}
        return contacts, new

    def _unseen(self, of: str, listed: Mapping[str, EntryTerms]) -> Mapping[str, EntryTerms]:
        return {one: terms for one, terms in listed.items() if (of, one) not in self._seen}


def _new_rows(rows: Sequence[tuple[str | None, str | None]], added: set[tuple[str, str]]) -> int:
    """How many of the rows brought somebody who was not excluded before; of two for one, the first did."""
    new = set(added)
    count = 0
    for number, person in rows:
        named = {(NUMBER, number), (PERSON, person)} & new
        count += bool(named)
        new -= named
    return count


def _notes(file: DelimitedFile, header: Header, counts: Counts, first_unread: str | None) -> Iterator[str]:
    for column, name in header.renamed.items():
        yield f"The column {name!r} was read as {column}."
    passed_over = [name for name, _ in header.attributes if name not in REJECTION_COLUMNS]
    if passed_over:
        yield f"Not read: {', '.join(passed_over)}."
    if counts.unread_dates:
        yield (
            f"Rows with a date that cannot be read: {counts.unread_dates}, the first in {first_unread}. They are "
            "excluded from now on and, where it was their end, for good. Write dates such as 2027-12-31."
        )
    if file.encoding is WINDOWS_1252:
        yield f"The file is not UTF-8 and was read as {WINDOWS_1252.name}."
