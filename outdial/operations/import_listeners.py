"""Who hears of an import while it runs: a progress bar, a file of rejects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from outdial.operations.rejections import Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What has been read and written for good. `total_bytes` None: the file does not say how long it is."""

    bytes_read: int
    total_bytes: int | None
    rows: int


def _nothing(_: object) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Called with the header, once and first; with each rejection; with the progress after each batch."""

    header: Callable[[Sequence[str]], None] = _nothing
    rejection: Callable[[Rejection], None] = _nothing
    progress: Callable[[Progress], None] = _nothing


NOBODY: Final = Listeners()
