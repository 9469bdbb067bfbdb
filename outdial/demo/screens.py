"""Where a running demo is shown: redrawn in place on a terminal, or as a line a second anywhere else."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.live import Live

from outdial.demo.view import WIDTH, History, live, plain

LINE_SECONDS: Final = 1.0
# A screen narrower or lower than the view shows a heap of fragments.
LEAST_ROWS: Final = 24


class Screen(Protocol):
    """`show` is called for every reading, inside a `with` block."""

    def show(self, history: History) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def screen_for(console: Console) -> Screen:
    is_drawable = console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf")
    if is_drawable and console.width >= WIDTH and console.height >= LEAST_ROWS:
        return LiveScreen(console)
    return PlainScreen(console)


class LiveScreen:
    """Draws the view over itself."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)

    def show(self, history: History) -> None:
        self._live.update(live(history), refresh=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)


class PlainScreen:
    """Prints one line, and the next not before a second has passed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_at = 0.0

    def show(self, history: History) -> None:
        if history.seconds < self._next_at and not history.latest.is_over:
            return
        self._next_at = history.seconds + LINE_SECONDS
        self._console.print(plain(history), soft_wrap=True, highlight=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
