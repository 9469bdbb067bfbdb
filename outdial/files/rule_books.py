"""The rule book as it is now: a file of one's own is read again when it has changed, without a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from outdial.domain.rules import RuleBook
from outdial.files.rule_file import RuleFileError, load_rule_book

log = logging.getLogger("outdial.rules")

RuleBooks = Callable[[], RuleBook]


class KeptRuleBook:
    """Called, it gives the package's rules and those of `own`, if there is such a file.

    A file that can no longer be read is said so once; what it said last holds on. Raises `RuleFileError` where it could
    never be read.
    """

    def __init__(self, own: Path | None = None) -> None:
        self._own = own
        self._stamp: tuple[int, ...] | None = None
        self._book: RuleBook | None = None

    def __call__(self) -> RuleBook:
        stamp = self._look()
        if self._book is None or stamp != self._stamp:
            self._stamp = stamp
            self._read()
        assert self._book is not None, "the first reading raises, or finds a book"
        return self._book

    def _read(self) -> None:
        try:
            found = load_rule_book(self._own)
        except RuleFileError as error:
            if self._book is None:
                raise
            log.warning("%s\nThe rules that were read before hold on.", error)
            return
        if self._book is not None:
            log.info("the calling rules of %s were read again", self._own)
        self._book = found

    def _look(self) -> tuple[int, ...]:
        if self._own is None:
            return ()
        try:
            seen = self._own.stat()
        except OSError:
            return (0,)
        return (seen.st_mtime_ns, seen.st_size, seen.st_ino)
