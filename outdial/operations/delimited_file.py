"""Reads a file of delimited rows from front to back, in bounded memory, whatever is in it.

Promises a row, with the physical line on which it starts, for everything in the file that is not blank; what cannot be
read is a row with a fault, and reading goes on behind it. What the cells mean is for others to say.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from outdial.domain.errors import UserError
from outdial.operations.text_encoding import CHUNK_BYTES, REPLACED, UTF_16, Encoding, encoding_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

DELIMITERS: Final = (",", ";", "\t")
# In characters. A quotation mark that nobody closes swallows what follows up to here.
LONGEST_ROW: Final = 128 * 1024
# A control character or two are a damaged row; with more than this share of them, the first bytes are no text at all.
LOOKED_AT_BYTES: Final = 4096
CONTROLS_IN_TEXT: Final = 0.05
# In a short file, a few bad rows are a large share.
DAMAGE: Final = 64
CONTROLS: Final = bytes(set(range(32)) - set(b"\t\n\f\r"))

# What people pick by mistake, by its first bytes, and what to do about it.
OTHER_FORMATS: Final[Mapping[bytes, str]] = {
    b"PK\x03\x04": "is a workbook or an archive: save the sheet as CSV (UTF-8) and import that",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook: save the sheet as CSV (UTF-8) and import that",
    b"\xff\xfe\0\0": "is in UTF-32: save it as CSV (UTF-8) and import that",
    b"\0\0\xfe\xff": "is in UTF-32: save it as CSV (UTF-8) and import that",
    b"\x1f\x8b": "is compressed with gzip: unpack it and import what is inside",
    b"%PDF": "is a PDF: save the list as CSV (UTF-8) and import that",
}


class UnreadableFile(UserError):
    """A file of which no row can be read. `reason` goes on where "FILE …" begins; the message has both."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"{name} {reason}.")


# A tuple and not one of our records: there is one for each of a million lines.
class Row(NamedTuple):
    """`line` counts the file's lines from 1. With a `fault` the row is not to be trusted, and may have no cells."""

    line: int
    cells: list[str]
    fault: str | None


class DelimitedFile:
    """An open file. `first` is its first row, mostly the header; `rows` are those after it, and can be read once."""

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        size_bytes: int | None,
        change: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self._change = change
        self._source = _Source(file)
        buffer = io.BufferedReader(self._source, CHUNK_BYTES)
        beginning = buffer.peek(LOOKED_AT_BYTES)
        self._refuse_other_formats(beginning)
        self.encoding = encoding_of(file, beginning)
        self._refuse_what_is_no_text(beginning)
        text = io.TextIOWrapper(buffer, encoding=self.encoding.codec, errors=self.encoding.errors, newline="")
        self._lines = _Lines(text, name, self.encoding)
        delimiter = self._lines.delimiter_by_mark() or _delimiter_of(self._lines.first_with_text())
        self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)
        self._rows = self._read()
        first = next(self._rows, None)
        if first is None:
            raise UnreadableFile(name, "is empty: give a file with a header line and rows")
        self.first = first

    @property
    def bytes_read(self) -> int:
        return self._source.bytes_read

    @property
    def checksum(self) -> str:
        """The SHA-256 of what has been read: of the file, once `rows` has ended."""
        return self._source.digest.hexdigest()

    def what_changed(self) -> str | None:
        """What has happened to the file since it was opened ("was changed"): then half of it may be old, half new.

        None: nothing that shows; of a pipe nothing ever does.
        """
        return self._change()

    def rows(self) -> Iterator[Row]:
        return self._rows

    def _read(self) -> Iterator[Row]:
        lines, reader = self._lines, self._reader
        while True:
            lines.begin_row()
            start = lines.count + 1
            cells: list[str] = []
            fault = None
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                fault = _fault_of_quotes(error, lines.count - start)
            fault = lines.fault or fault
            if fault is not None or any(cells):
                yield Row(start, cells, fault)

    def _refuse_other_formats(self, beginning: bytes) -> None:
        for magic, reason in OTHER_FORMATS.items():
            if beginning.startswith(magic):
                raise UnreadableFile(self.name, reason)

    def _refuse_what_is_no_text(self, beginning: bytes) -> None:
        looked_at = beginning[:LOOKED_AT_BYTES]
        most = CONTROLS_IN_TEXT * len(looked_at)
        is_binary = looked_at.count(0) > most or _controls(looked_at) > max(most, DAMAGE)
        if self.encoding is not UTF_16 and is_binary:
            raise UnreadableFile(self.name, "is no text: save the list as CSV (UTF-8) and import that")


def _controls(block: bytes) -> int:
    """How many bytes are control characters, which text has none of but tabs and ends of lines."""
    return len(block) - len(block.translate(None, CONTROLS))


@contextmanager
def open_delimited(path: Path) -> Iterator[DelimitedFile]:
    """The file at `path`, open for reading. Raises UnreadableFile."""
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise UnreadableFile(str(path), _cannot_be_read(error)) from error
    with file:
        seen = _Seen(path, os.fstat(file.fileno()))
        try:
            opened = DelimitedFile(file, str(path), seen.size_bytes, lambda: seen.change(file))
        except OSError as error:
            raise UnreadableFile(str(path), _cannot_be_read(error)) from error
        yield opened


class _Seen(NamedTuple):
    """A file as it was when it was opened."""

    path: Path
    before: os.stat_result

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(self.before.st_mode)

    @property
    def size_bytes(self) -> int | None:
        return self.before.st_size if self.is_regular else None

    def change(self, file: BinaryIO) -> str | None:
        if not self.is_regular:
            return None
        after = os.fstat(file.fileno())
        if (self.before.st_size, self.before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            return "was changed"
        try:
            now = self.path.stat()
        except OSError:
            return "was removed"
        is_same = (now.st_dev, now.st_ino) == (after.st_dev, after.st_ino)
        return None if is_same else "was replaced by another file"


_DELIMITER_MARK: Final = re.compile(r'"?sep=([,;|:\t])"?\s*', re.IGNORECASE)


class _TooLong(csv.Error):
    """Raised to the csv module from below, so that it lets go of the row."""


class _Lines:
    """The physical lines, as the csv module takes them, with what is wrong in those of the row being read."""

    def __init__(self, text: io.TextIOWrapper, name: str, encoding: Encoding) -> None:
        self.count = 0
        self.fault: str | None = None
        self._readline = text.readline
        self._name = name
        self._encoding = encoding
        self._left = LONGEST_ROW
        self._kept: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._kept.pop() if self._kept else self._read(LONGEST_ROW)
        if not line:
            raise StopIteration
        self._left -= len(line)
        if self._left <= 0:
            self._give_up(line)
        self.count += 1
        if not line.isascii() or "\0" in line:
            self.fault = _fault_of_text(line, self._encoding) or self.fault
        return line

    def begin_row(self) -> None:
        self._left = LONGEST_ROW
        self.fault = None

    def first_with_text(self) -> str:
        """The first line that is not blank, left to be read again."""
        while (line := self._kept.pop() if self._kept else self._read(LONGEST_ROW)) and not line.strip():
            self.count += 1
        if line:
            self._kept.append(line)
        return line

    def delimiter_by_mark(self) -> str | None:
        """What a first line such as `sep=;` says, which Excel writes and reads, and which is no row."""
        mark = _DELIMITER_MARK.fullmatch(self.first_with_text())
        if mark is None:
            return None
        self._kept.pop()
        self.count += 1
        return mark[1]

    def _give_up(self, line: str) -> None:
        if len(line) < LONGEST_ROW:
            # The row before it is too long; this line may be a good one.
            self._kept.append(line)
            raise _TooLong
        while line and not line.endswith(("\n", "\r")):
            line = self._read(CHUNK_BYTES)
        self.count += 1
        raise _TooLong

    def _read(self, limit: int) -> str:
        try:
            return self._readline(limit)
        except OSError as error:
            raise UnreadableFile(self._name, _cannot_be_read(error)) from error


class _Source(io.RawIOBase):
    """Counts and digests what passes."""

    def __init__(self, file: BinaryIO) -> None:
        self.bytes_read = 0
        self.digest = hashlib.sha256()
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        data = self._file.read(len(view))
        view[: len(data)] = data
        self.bytes_read += len(data)
        self.digest.update(data)
        return len(data)


def _delimiter_of(header: str) -> str:
    """The one that cuts the header into the most cells; a comma if none does."""
    return max(DELIMITERS, key=lambda delimiter: _count_cells(header, delimiter))


def _count_cells(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter), ()))
    except csv.Error:
        return 0


def _fault_of_text(line: str, encoding: Encoding) -> str | None:
    if "\0" in line:
        return "holds a NUL byte: the file is damaged here, or is no text"
    if encoding is UTF_16 and REPLACED in line:
        return "is not UTF-16: the file is damaged here, or was cut off"
    try:
        line.encode()
    except UnicodeEncodeError:
        return f"is not {encoding.name}: save the file as CSV (UTF-8) and import it again"
    return None


def _fault_of_quotes(error: csv.Error, more_lines: int) -> str:
    if isinstance(error, _TooLong):
        fault = f"goes on for more than {LONGEST_ROW // 1024} thousand characters"
        if not more_lines:
            return fault
        return f"{fault}, over {more_lines + 1} lines: a quotation mark is opened in it and never closed"
    where = f", {more_lines} lines further down" if more_lines else ""
    return f"has a quotation mark out of place{where}: close each one, and double those inside a quoted cell"


def _cannot_be_read(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"


def columns_named(cells: Sequence[str]) -> str:
    """Column names for a sentence."""
    return ", ".join(repr(cell[:40]) for cell in cells[:20]) + (", …" if len(cells) > 20 else "")
