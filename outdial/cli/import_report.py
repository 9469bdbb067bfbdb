"""How an import shows itself: a bar on a terminal, plain lines elsewhere, and the first rejections at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from outdial.cli.output import print_facts, print_json, say, warn

if TYPE_CHECKING:
    from outdial.operations.import_listeners import Listeners, Progress
    from outdial.operations.rejections import Rejection

SHOWN_REJECTIONS: Final = 20
ROWS_PER_LINE: Final = 100_000


class ImportReport:
    """Listens to an import and tells of it; the progress goes to stderr, so that stdout is the answer alone."""

    def __init__(self, path: Path, rejects: Path | None) -> None:
        self.first_rejections: list[Rejection] = []
        self._path = path
        self._rejects = rejects

    @contextmanager
    def listening(self) -> Iterator[Listeners]:
        from outdial.operations.import_listeners import Listeners
        from outdial.operations.rejections import RejectsFile, rejects_file

        with ExitStack() as stack:
            files: list[RejectsFile] = []

            def on_header(header: Sequence[str]) -> None:
                if self._rejects is not None:
                    files.append(stack.enter_context(rejects_file(self._rejects, self._path, header)))

            def on_rejection(rejection: Rejection) -> None:
                for file in files:
                    file.write(rejection)
                if len(self.first_rejections) < SHOWN_REJECTIONS:
                    self.first_rejections.append(rejection)

            show = stack.enter_context(_bar(self._path.name) if sys.stderr.isatty() else _lines())
            yield Listeners(header=on_header, rejection=on_rejection, progress=show)

    def print(
        self, summary: Mapping[str, Any], rejected: int, *, notes: Sequence[str] = (), as_json: bool
    ) -> None:
        if as_json:
            rejections = [_document(one) for one in self.first_rejections]
            print_json({**summary, "rejections": rejections, "notes": list(notes)})
            return
        for note in notes:
            say(note)
        print_facts({name.replace("_", " "): _told(value) for name, value in summary.items()})
        for rejection in self.first_rejections:
            say(f"  {rejection}")
        if rejected > len(self.first_rejections):
            say(f"  … and {rejected - len(self.first_rejections)} more")
        if rejected and self._rejects is not None:
            say(f"The rejected rows are in {self._rejects}: mend them there and import that file.")
        elif rejected > len(self.first_rejections):
            say("Import again with --rejects FILE to have all of them in a file; nobody comes in twice.")


def _told(value: Any) -> object:
    """`{"number": 900, "region": 50}` as `number 900, region 50`."""
    return ", ".join(f"{name} {count}" for name, count in value.items()) if isinstance(value, dict) else value


@contextmanager
def _bar(name: str) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress as Bar, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rows]} rows"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None, rows=0)
        yield lambda now: bar.update(task, completed=now.bytes_read, total=now.total_bytes, rows=now.rows)


@contextmanager
def _lines() -> Iterator[Callable[[Progress], None]]:
    told = 0

    def show(now: Progress) -> None:
        nonlocal told
        if now.rows - told >= ROWS_PER_LINE:
            told = now.rows
            share = f" ({now.bytes_read / now.total_bytes:.0%})" if now.total_bytes else ""
            warn(f"{now.rows} rows{share}")

    yield show


def _document(rejection: Rejection) -> dict[str, object]:
    return {
        "line": rejection.line,
        "column": rejection.column,
        # Bytes that are no UTF-8 have no place in JSON.
        "value": None if rejection.value is None else rejection.value.encode(errors="replace").decode(),
        "reason": rejection.reason,
    }
