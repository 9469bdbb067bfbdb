"""Rows that an import did not take: what is wrong with each, and the file in which they are handed back."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outdial.domain.errors import UserError

# Added to the original columns, and passed over by an import: a file of rejects, mended, can be imported as it is.
LINE_COLUMN: Final = "rejected_line"
REASON_COLUMN: Final = "rejected_reason"
REJECTION_COLUMNS: Final = (LINE_COLUMN, REASON_COLUMN)
SHOWN_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """`column` and `value` None: the row as a whole is at fault. `reason` goes on where the value's name ends."""

    line: int
    column: str | None
    value: str | None
    reason: str
    cells: Sequence[str]

    def __str__(self) -> str:
        if self.column is None:
            return f"line {self.line}: the row {self.reason}"
        return f"line {self.line}: {self.column} {self.shown_value} {self.reason}"

    @property
    def shown_value(self) -> str:
        """The value, short, and with nothing in it that a terminal would obey."""
        value = self.value or ""
        return repr(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…")


class RejectsFile:
    """A CSV file of the rejected rows, as they were, with line and reason."""

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        # Bytes that were no UTF-8 go back as they came.
        self._file = path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._width = len(header)
        # The header of an earlier file of rejects has our columns already.
        self._kept = [place for place, name in enumerate(header) if name.strip() not in REJECTION_COLUMNS]
        self._writer.writerow([*(header[place] for place in self._kept), *REJECTION_COLUMNS])

    def write(self, rejection: Rejection) -> None:
        cells = [*rejection.cells, *[""] * (self._width - len(rejection.cells))]
        reason = rejection.reason if rejection.column is None else f"{rejection.column} {rejection.reason}"
        # Cells beyond the header come last, where they shift nothing.
        row = [*(cells[place] for place in self._kept), str(rejection.line), reason, *cells[self._width :]]
        self._writer.writerow(row)

    def close(self) -> None:
        self._file.close()


@contextmanager
def rejects_file(path: Path, source: Path, header: Sequence[str]) -> Iterator[RejectsFile]:
    """A new file at `path`, which must not be the one being read."""
    if path.exists() and source.exists() and path.samefile(source):
        raise UserError(f"{path} is the file being imported: name another one for the rejects.")
    try:
        file = RejectsFile(path, header)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    try:
        yield file
    finally:
        file.close()
