"""Calling rules that a test writes, and a pass by them."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from outdial.domain.attempt import Ending, EventKind
from outdial.domain.rules import RuleBook
from outdial.files.rule_file import load_rule_book
from tests.support.world import RecordingProvider, World, event

ROME = ZoneInfo("Europe/Rome")
ALL_DAY = '[{ days = ["mon-sun"], start = "00:00", end = "24:00" }]'


class Rules:
    """A file of rules that a test writes, and writes again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *rules: str) -> RuleBook:
        self.path.write_text("format = 1\n" + "".join(rules), "utf-8")
        return load_rule_book(self.path)


def rule(name: str = "house", *, windows: str = ALL_DAY, version: int = 1, more: str = "") -> str:
    return f"""
[[rule]]
id = "{name}"
version = {version}
purposes = ["survey"]
windows = {windows}
holidays = "open"
source = "the house"
as_of = "2026-01-01"
confidence = "high"
{more}
"""


CAPPED = rule(more='caps = [{ max_calls = 2, hours = 24, counts = "attempts" }]')


def hours_from_now(start: float, end: float) -> str:
    """A window of every day, by the clock of Rome, so many hours from now."""
    now = datetime.now(ROME)
    edges = [(now + timedelta(hours=h)).strftime("%H:%M") for h in (start, end)]
    return f'[{{ days = ["mon-sun"], start = "{edges[0]}", end = "{edges[1]}" }}]'


def dial(world: World, rules: Rules) -> list[str]:
    """One pass. Returns the numbers that were called, all of whom did not answer."""
    provider = RecordingProvider()
    world.run_pass(provider, own_rules=rules.path)
    world.hear(
        *(event(EventKind.ENDED, request.call_id, ending=Ending.NO_ANSWER) for request in provider.requests)
    )
    return [request.to for request in provider.requests]
