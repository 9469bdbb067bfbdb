"""The installation that is struck: its work, its processes, its database; and what was done to it and when."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from outdial.domain.attempt import AttemptState
from outdial.domain.campaign import CallOptions
from outdial.domain.contact import ContactState
from outdial.domain.ids import CampaignId
from outdial.domain.retries import RetryPolicy
from outdial.domain.windows import CallingWindow, WeeklyWindow
from outdial.storage.tables import call_attempts, campaigns, contacts
from tests.chaos.commands import Told
from tests.support.postgres_process import PostgresProcess
from tests.support.processes import Process
from tests.support.rules import Rules, rule
from tests.support.stack import Stack
from tests.support.world import number

LINES = 12
CPS = 14
# Less than its fair share of the lines, so that it binds.
OWN_LIMIT = 4
RETRY = RetryPolicy(max_attempts=2, default_delay=timedelta(seconds=1.5), max_callbacks=1)
OPTIONS = CallOptions(result_timeout_seconds=2, ring_timeout_seconds=3, max_duration_seconds=6)
CAPS = 'caps = [{ max_calls = 3, hours = 24, counts = "attempts" }]'
ROME = ZoneInfo("Europe/Rome")
EVERY_DAY = frozenset(range(7))
# A campaign of these calls first of all, until its window closes in the middle of a minute of ours.
BRIEF = 30
AGAIN_SECONDS = 1.0
CONTACTS_PER_SECOND = 3.0
FAULTS = {
    "ring_time_mean_seconds": 0.3,
    "talk_time_mean_seconds": 1.6,
    # Slow enough that kills meet POSTs that are under way.
    "answer_latency_seconds": 0.4,
    "completed_rate": 0.75,
    "opt_out_share": 0.04,
    "callback_share": 0.04,
    "callback_after_seconds": 3.0,
    "late_result_seconds": 0.3,
    "lost_answer": 0.03,
    "error_after": 0.03,
    "slow_answer": 0.01,
    "slow_answer_seconds": 11.0,
    "error_before": 0.005,
    "bad_number": 0.03,
    "webhook_lost": 0.03,
    "webhook_doubled": 0.1,
    "webhook_reordered": 0.1,
    "webhook_max_attempts": 60,
    "webhook_backoff_max_seconds": 2.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the database held at an instant. `due`: contacts who may be called right then, as far as columns
    and the campaign's own limit say.
    """

    at: float
    due: int
    open_calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """A worker or service that was told to end. `was_at_work` False: it was still starting."""

    name: str
    code: int
    seconds: float
    was_at_work: bool


@dataclass(slots=True, kw_only=True)
class Story:
    """What happened, for the judge and for who reads why it failed. Instants are Unix seconds."""

    begun_at: float
    told: list[Told] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    exits: list[Exit] = field(default_factory=list)
    killed_at: list[float] = field(default_factory=list)
    # When something other than a kill kept lines idle: the database away, all workers away, a stop, a pause.
    hindered: list[tuple[float, float]] = field(default_factory=list)
    doubts: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def tell(self, what: str) -> None:
        self.lines.append(f"{time.time() - self.begun_at:7.2f}  {what}")


@dataclass(slots=True, kw_only=True)
class Scene:
    stack: Stack
    postgres: PostgresProcess
    story: Story
    numbers: list[str] = field(default_factory=list)
    brief_closes_at: datetime | None = None
    port: int = 0
    service: Process | None = None
    workers: dict[int, Process] = field(default_factory=dict)
    # Told to end, and when: not waited for by anybody but `watch`.
    leaving: list[tuple[Process, float]] = field(default_factory=list)
    frozen: set[int] = field(default_factory=set)
    database_is_down: bool = False
    database_was_down_at: float = 0.0
    _at_work: set[int] = field(default_factory=set)
    _begin_again_at: float = 0.0

    def add_work(self, seconds: float) -> None:
        """Three campaigns on one account: numbers in two of them, a cap, a limit of its own, a window that closes."""
        stack = self.stack
        stack.world.set_account(max_concurrent_calls=LINES, calls_per_second=CPS)
        rules = Rules(stack.folder / "rules.toml")
        rules.write(rule(more=CAPS))
        stack.environment["OUTDIAL_RULES_FILE"] = str(rules.path)
        half = int(seconds * CONTACTS_PER_SECOND / 2)
        self.numbers = [number(index) for index in range(2 * half)]
        one = self._campaign("one", max_concurrent_calls=OWN_LIMIT)
        two = self._campaign("two", calling_rule="house")
        stack.world.add_contacts(one, self.numbers[:half])
        # Some are in both: never called twice at once, and never more often than the cap says.
        stack.world.add_contacts(two, self.numbers[half - half // 8 :])
        self.brief_closes_at = _full_minute_after(10)
        brief = self._campaign("brief", priority=1, guard_seconds=0, window=_until(self.brief_closes_at))
        stack.world.add_contacts(brief, [number(9_000_000 + index) for index in range(BRIEF)])

    def _campaign(self, name: str, **definition: Any) -> CampaignId:
        return self.stack.world.add_campaign(name, retry=RETRY, call=OPTIONS, **definition)

    def start(self, workers: int, seed: int) -> None:
        self.stack.start_provider(
            max_concurrent_calls=LINES, calls_per_second=CPS, enforce_limits=False, seed=seed, **FAULTS
        )
        self.port = self.stack.free_port()
        self.service = self.stack.start_service(port=self.port)
        self.workers = dict(enumerate(self.stack.start_workers(workers)))

    def start_worker(self, place: int) -> None:
        self.workers[place] = self.stack.processes.outdial("run", env=self.stack.environment)

    def start_service(self) -> None:
        arguments = ("serve", "--port", str(self.port))
        self.service = self.stack.processes.outdial(*arguments, env=self.stack.environment)

    def watch(self) -> None:
        """Take note of who has ended. What ended by itself is started again, after a second, as a supervisor does."""
        for process, told_at in list(self.leaving):
            if not process.is_running:
                self.leaving.remove((process, told_at))
                self._note_exit(process, time.time() - told_at)
        if time.monotonic() < self._begin_again_at:
            return
        for place, worker in list(self.workers.items()):
            if not worker.is_running:
                self._note_death(worker)
                self.start_worker(place)
        if self.service is not None and not self.service.is_running:
            self._note_death(self.service)
            self.start_service()

    def is_at_work(self, process: Process) -> bool:
        """Whether it has said so: a worker or service that is starting is not yet. Once it has, that is not forgotten."""
        if process.pid not in self._at_work and (
            "is at work" in process.stderr or "listening" in process.stdout
        ):
            self._at_work.add(process.pid)
        return process.pid in self._at_work

    def _note_exit(self, process: Process, seconds: float) -> None:
        code = process.wait()
        was_at_work = self.is_at_work(process)
        self.story.exits.append(Exit(name=process.name, code=code, seconds=seconds, was_at_work=was_at_work))
        self.story.tell(f"{process.name} ended with {code} after {seconds:.2f} s")

    def _note_death(self, process: Process) -> None:
        has_begun = self.is_at_work(process)
        was_away = self.database_is_down or time.time() - self.database_was_down_at < 6
        self.story.tell(f"{process.name} ended by itself with {process.wait()}")
        self._begin_again_at = time.monotonic() + AGAIN_SECONDS
        if has_begun or not was_away:
            said = process.stderr.strip().splitlines()[-1:]
            self.story.problems.append(f"{process.name} ended by itself with {process.wait()}: {said}")

    def sample(self) -> None:
        """One look at the database, if it is there."""
        world = self.stack.world
        try:
            with world.database.begin() as connection:
                at = time.time()
                due = sum(
                    min(row.due, OWN_LIMIT) if row.name == "one" else row.due
                    for row in connection.execute(_due())
                )
                open_calls = connection.execute(
                    sa.select(call_attempts.c.call_id, call_attempts.c.state).where(
                        call_attempts.c.ended_at.is_(None)
                    )
                ).all()
        except sa.exc.OperationalError:
            return
        self.story.samples.append(Sample(at=at, due=due, open_calls=len(open_calls)))
        self.story.doubts |= {row.call_id for row in open_calls if row.state == AttemptState.IN_DOUBT}

    def left_to_do(self) -> list[str]:
        """What is not over yet, in words. Who is held by a cap until tomorrow, or by a closed window, is not waited for."""
        try:
            with self.stack.world.database.begin() as connection:
                soon = sa.func.clock_timestamp() + timedelta(minutes=5)
                brief = sa.select(campaigns.c.id).where(campaigns.c.name == "brief").scalar_subquery()
                waiting = connection.execute(
                    sa.select(sa.func.count()).where(
                        contacts.c.state == ContactState.PENDING,
                        contacts.c.next_attempt_at < soon,
                        contacts.c.campaign_id != brief,
                    )
                ).scalar_one()
                called = connection.execute(
                    sa.select(sa.func.count()).where(contacts.c.state == ContactState.IN_PROGRESS)
                ).scalar_one()
                unsettled = connection.execute(
                    sa.select(sa.func.count()).where(call_attempts.c.settled_at.is_(None))
                ).scalar_one()
        except sa.exc.OperationalError as error:
            return [f"the database is away: {error}"]
        found = {"contacts still wait": waiting, "contacts are in progress": called}
        found["attempts are not settled"] = unsettled
        return [f"{count} {what}" for what, count in found.items() if count]

    def processes(self) -> Iterator[Process]:
        yield from self.workers.values()
        if self.service is not None:
            yield self.service

    @property
    def folder(self) -> Path:
        return self.stack.folder


def _due() -> sa.Select[Any]:
    """By campaign: contacts of running campaigns that never close."""
    return (
        sa.select(campaigns.c.name, sa.func.count().label("due"))
        .select_from(contacts.join(campaigns, campaigns.c.id == contacts.c.campaign_id))
        .where(
            contacts.c.state == ContactState.PENDING,
            contacts.c.next_attempt_at <= sa.func.clock_timestamp(),
            contacts.c.held_until.is_(None),
            campaigns.c.status == "running",
            campaigns.c.name != "brief",
        )
        .group_by(campaigns.c.name)
    )


def _full_minute_after(seconds: float) -> datetime:
    at = datetime.now(ROME) + timedelta(seconds=seconds + 60)
    return at.replace(second=0, microsecond=0)


def _until(closes_at: datetime) -> CallingWindow:
    minute = closes_at.hour * 60 + closes_at.minute
    # A minute of the day of at least 1, and as a start another one: hours before it.
    return CallingWindow(
        weekly=(WeeklyWindow(days=EVERY_DAY, start_minute=(minute - 180) % 1440, end_minute=minute or 1440),)
    )
