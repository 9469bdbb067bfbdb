"""Writes the ledger: one line of JSON for each thing the simulated provider saw, in the order it saw them.

Each line leaves the process with one write when it happens, so that it survives whatever ends the process.
`outdial.simulator.ledger` reads it back.
"""

import json
from collections import Counter
from pathlib import Path
from typing import TextIO


class LedgerFile:
    """Counts the lines by kind; writes them too unless `path` is None."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self._file: TextIO | None = None
        if path is not None:
            self._file = Path(path).open("a", buffering=1, encoding="utf-8")  # noqa: SIM115

    def write(self, kind: str, at: float, **fields: object) -> None:
        self.counts[kind] += 1
        if self._file is not None:
            line = {"at": at, "kind": kind} | fields
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
