"""A running demo on a terminal: lines in use, calls per second, campaigns and outcomes; and the same in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from outdial.demo.plan import DemoPlan
from outdial.demo.readings import Reading
from outdial.domain.contact import OPEN_STATES, ContactState
from outdial.domain.settle import Outcome
from outdial.operations.campaigns import CampaignProgress

# Fits a terminal of 80 by 24.
WIDTH: Final = 80
BAR_WIDTH: Final = 38
SPARKS: Final = " ▁▂▃▄▅▆▇█"
RATE_OVER_SECONDS: Final = 1.0
COLORS: Final = {
    Outcome.COMPLETED: "green",
    Outcome.REFUSED: "red",
    Outcome.CALLBACK: "cyan",
    Outcome.FAILED: "red",
    Outcome.NOT_PLACED: "bright_black",
    Outcome.UNKNOWN: "magenta",
}


class History:
    """The readings of a run so far. Seconds count from its first call."""

    def __init__(self, plan: DemoPlan) -> None:
        self.plan = plan
        self.readings: list[tuple[float, Reading]] = []

    def add(self, seconds: float, reading: Reading) -> None:
        self.readings.append((seconds, reading))

    @property
    def seconds(self) -> float:
        return self.readings[-1][0]

    @property
    def latest(self) -> Reading:
        return self.readings[-1][1]

    @property
    def done(self) -> int:
        """Contacts that have come to their end."""
        return sum(_done(progress) for progress in self.latest.campaigns)

    def lines(self) -> list[float]:
        return [reading.open_calls for _, reading in self.readings]

    def rates(self) -> list[float]:
        """Calls per second, over the second before each reading."""
        rates, first = [], 0
        for at, reading in self.readings:
            while first + 1 < len(self.readings) and self.readings[first + 1][0] <= at - RATE_OVER_SECONDS:
                first += 1
            before, then = self.readings[first]
            rates.append((reading.placed - then.placed) / (at - before) if at > before else 0.0)
        return rates


def live(history: History) -> RenderableType:
    """The whole view, `WIDTH` columns wide."""
    reading, plan = history.latest, history.plan
    body = Group(
        _gauges(history, reading.open_calls, plan),
        Text(),
        _campaigns(reading.campaigns),
        Text(),
        _outcomes(reading),
    )
    title = (
        f"[bold]outdial demo[/]  {plan.contacts:,} contacts, {plan.lines} lines, two campaigns, one provider"
    )
    return Panel(body, title=title, subtitle=f"{history.seconds:.0f} s", width=WIDTH, padding=(0, 2))


def plain(history: History) -> str:
    """One line for a log."""
    reading = history.latest
    campaigns = ", ".join(f"{_name(one)} {_done(one)}/{one.total}" for one in reading.campaigns)
    return (
        f"{history.seconds:4.0f} s  lines {reading.open_calls}/{history.plan.lines}  "
        f"{history.rates()[-1]:.1f} calls/s  {campaigns}"
    )


def sparkline(values: Sequence[float], most: float, width: int) -> str:
    """`values` from 0 to `most` as a row of at most `width` little bars; where there are more, each is a mean."""
    if not values or most <= 0:
        return ""
    width = min(width, len(values))
    edges = [round(place * len(values) / width) for place in range(width + 1)]
    means = (sum(values[a:b]) / (b - a) for a, b in pairwise(edges))
    top = len(SPARKS) - 1
    return "".join(SPARKS[min(top, round(top * mean / most))] for mean in means)


def _gauges(history: History, open_calls: int, plan: DemoPlan) -> Table:
    rates = history.rates()
    table = _grid()
    lines = Text(sparkline(history.lines(), plan.lines, BAR_WIDTH), style="green")
    rate = Text(sparkline(rates, max(*rates, 1.0), BAR_WIDTH), style="cyan")
    table.add_row("Lines in use", f"{open_calls} of {plan.lines}", lines)
    table.add_row("Calls per second", f"{rates[-1]:.1f}", rate)
    return table


def _campaigns(campaigns: Sequence[CampaignProgress]) -> RenderableType:
    parts: list[RenderableType] = []
    for progress in campaigns:
        table = _grid()
        bar = ProgressBar(total=max(progress.total, 1), completed=_done(progress), width=BAR_WIDTH)
        table.add_row(_name(progress), f"{_done(progress):,} of {progress.total:,}", bar)
        parts += [table, Padding(Text(_states(progress), style="bright_black"), (0, 0, 0, 2))]
    return Group(*parts)


def _outcomes(reading: Reading) -> Table:
    table = _grid()
    most = max(reading.outcomes.values(), default=1)
    # All from the start: a view that grows jumps.
    for outcome in Outcome:
        count = reading.outcomes.get(outcome, 0)
        if count or outcome not in RARE:
            bar = Bar(size=most, begin=0, end=count, width=BAR_WIDTH, color=COLORS.get(outcome, "yellow"))
            table.add_row(_words(outcome), f"{count:,}", bar)
    return table


RARE: Final = frozenset({Outcome.REJECTED, Outcome.CANCELED, Outcome.UNKNOWN})


def _grid() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=17, no_wrap=True)
    table.add_column(width=15, justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    return table


def _name(progress: CampaignProgress) -> str:
    return progress.campaign.definition.name


def _done(progress: CampaignProgress) -> int:
    return progress.total - sum(progress.contacts.get(state, 0) for state in OPEN_STATES)


def _states(progress: CampaignProgress) -> str:
    def parts() -> Iterator[str]:
        for state in ContactState:
            if count := progress.contacts.get(state, 0):
                yield f"{count} {_words(state)}"

    return ", ".join(parts())


def _words(value: str) -> str:
    return value.replace("_", " ")
