"""The temporary folder of a demo: gone at its end, unless it is wanted or tells what went wrong."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType


@dataclass(slots=True, kw_only=True)
class DemoFolder:
    """`is_kept` may be set until the end of the block."""

    path: Path
    is_kept: bool


@contextmanager
def demo_folder(*, is_kept: bool) -> Iterator[DemoFolder]:
    """A folder that only this user can read. SIGTERM and SIGHUP end the block as Ctrl-C does."""
    folder = DemoFolder(path=Path(tempfile.mkdtemp(prefix="outdial-demo-")), is_kept=is_kept)
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield folder
    finally:
        if not folder.is_kept:
            shutil.rmtree(folder.path, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what a handler is given
    raise KeyboardInterrupt
