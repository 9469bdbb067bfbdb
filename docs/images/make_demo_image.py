"""Makes docs/images/demo.svg from a real run of the demo, as it looks at mid-run.

Run it from the root of the checkout:

    .venv/bin/python docs/images/make_demo_image.py
"""

import io
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console

from outdial.clock import SystemClock
from outdial.demo.plan import DemoPlan
from outdial.demo.run import run_demo
from outdial.demo.view import WIDTH, History, live

IMAGE = Path(__file__).with_name("demo.svg")
SHARE_OF_RUN = 0.6


class Photographer:
    """A screen that takes one picture, when so many of the contacts have come to their end."""

    def __init__(self) -> None:
        self.picture: str | None = None

    def show(self, history: History) -> None:
        if self.picture is None and history.done >= SHARE_OF_RUN * history.plan.contacts:
            canvas = Console(record=True, file=io.StringIO(), width=WIDTH, force_terminal=True)
            canvas.print(live(history))
            self.picture = canvas.export_svg(title="outdial demo")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def main() -> None:
    photographer = Photographer()
    with tempfile.TemporaryDirectory(prefix="outdial-demo-") as folder:
        result = run_demo(DemoPlan(), Path(folder), Console(), photographer, SystemClock())
    if photographer.picture is None or not result.agrees:
        sys.exit("no picture was taken: the run did not go as it should")
    IMAGE.write_text(photographer.picture, encoding="utf-8")


if __name__ == "__main__":
    main()
