"""What befalls the installation and when, from a seed alone. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

CAMPAIGNS: Final = ("one", "two")
# A worker that stands still for longer is taken for dead.
LEASE_SECONDS: Final = 20.0
QUIET_SECONDS: Final = 2.0
MEAN_GAP_SECONDS: Final = 1.4


class Kind(StrEnum):
    KILL_WORKER = "kill -9 of worker"
    END_WORKER = "SIGTERM to worker"
    START_WORKER = "start of worker"
    FREEZE_WORKER = "SIGSTOP of worker"
    THAW_WORKER = "SIGCONT of worker"
    KILL_SERVICE = "kill -9 of the service"
    END_SERVICE = "SIGTERM to the service"
    START_SERVICE = "start of the service"
    CRASH_DATABASE = "immediate stop of Postgres"
    START_DATABASE = "start of Postgres"
    PAUSE = "campaign pause"
    RESUME = "campaign resume"
    STOP_ACCOUNT = "stop --account"
    RESUME_ACCOUNT = "resume --account"
    EXCLUDE = "exclusions add"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """`at`: seconds after the beginning. `target`: a worker's place, a campaign's name, or which number (a share of 1)."""

    at: float
    kind: Kind
    target: int | str | float = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.target}".strip()


@dataclass(slots=True, kw_only=True)
class _Maker:
    chance: random.Random
    workers: int
    seconds: float
    blows: list[Blow] = field(default_factory=list)
    # Until when each thing is down, paused or frozen: one blow at a time for each.
    taken_until: dict[str, float] = field(default_factory=dict)

    def try_one(self, at: float) -> None:
        (make,) = self.chance.choices(list(BLOWS), weights=list(BLOWS.values()))
        make(self, at)

    def take(self, thing: str, at: float, seconds: float) -> bool:
        """False: it is not free, or would not be whole again in time."""
        if self.taken_until.get(thing, 0.0) > at or at + seconds > self.seconds:
            return False
        self.taken_until[thing] = at + seconds + 0.5
        return True

    def add(self, at: float, kind: Kind, target: int | str | float = "") -> None:
        self.blows.append(Blow(at=round(at, 2), kind=kind, target=target))

    def both(
        self, thing: str, at: float, seconds: float, kinds: tuple[Kind, Kind], target: int | str = ""
    ) -> None:
        if self.take(thing, at, seconds):
            self.add(at, kinds[0], target)
            self.add(at + seconds, kinds[1], target)

    def worker(self) -> int:
        return self.chance.randrange(self.workers)


def plan(seed: int, seconds: float, workers: int) -> Sequence[Blow]:
    """Blows within `seconds`, in the order of time; at their end everything runs again."""
    maker = _Maker(chance=random.Random(f"chaos:{seed}"), workers=workers, seconds=seconds)
    if seed % 3 == 0 and seconds > LEASE_SECONDS + 6:
        # Of those the dice alone make too few: they are longer than most of a short run.
        _freeze(maker, 3.0, LEASE_SECONDS + 2)
    at = QUIET_SECONDS
    while at < seconds:
        maker.try_one(at)
        at += maker.chance.expovariate(1 / MEAN_GAP_SECONDS)
    return sorted(maker.blows, key=lambda blow: blow.at)


def _kill_worker(maker: _Maker, at: float) -> None:
    place, away = maker.worker(), maker.chance.uniform(0.2, 5)
    maker.both(f"worker {place}", at, away, (Kind.KILL_WORKER, Kind.START_WORKER), place)


def _replace_worker(maker: _Maker, at: float) -> None:
    place, away = maker.worker(), maker.chance.choice((0.0, 1.0))
    maker.both(f"worker {place}", at, away, (Kind.END_WORKER, Kind.START_WORKER), place)


def _freeze_worker(maker: _Maker, at: float) -> None:
    _freeze(maker, at, maker.chance.choice((0.3, 1.5, 4, 8, 13)))


def _freeze(maker: _Maker, at: float, seconds: float) -> None:
    place = maker.worker()
    maker.both(f"worker {place}", at, seconds, (Kind.FREEZE_WORKER, Kind.THAW_WORKER), place)


def _kill_service(maker: _Maker, at: float) -> None:
    # At times for longer than a POST may take: then no webhook heals what a killed worker left behind.
    away = maker.chance.choice((0.3, 1.5, 4, 15))
    maker.both("service", at, away, (Kind.KILL_SERVICE, Kind.START_SERVICE))


def _replace_service(maker: _Maker, at: float) -> None:
    maker.both("service", at, maker.chance.uniform(0.5, 2), (Kind.END_SERVICE, Kind.START_SERVICE))


def _crash_database(maker: _Maker, at: float) -> None:
    away = maker.chance.choice((0.0, 0.5, 3))
    maker.both("database", at, away, (Kind.CRASH_DATABASE, Kind.START_DATABASE))


def _pause(maker: _Maker, at: float) -> None:
    name = maker.chance.choice(CAMPAIGNS)
    maker.both(f"campaign {name}", at, maker.chance.uniform(2.5, 6), (Kind.PAUSE, Kind.RESUME), name)


def _stop_account(maker: _Maker, at: float) -> None:
    maker.both("account", at, maker.chance.uniform(2.5, 5), (Kind.STOP_ACCOUNT, Kind.RESUME_ACCOUNT))


def _stop_behind_their_backs(maker: _Maker, at: float) -> None:
    """All workers stand still, with calls about to leave, while somebody stops the account."""
    if not maker.take("account", at + 0.4, 4.0):
        return
    for place in range(maker.workers):
        thing = f"worker {place}"
        maker.both(thing, at, 2.2, (Kind.FREEZE_WORKER, Kind.THAW_WORKER), place)
    maker.add(at + 0.4, Kind.STOP_ACCOUNT)
    maker.add(at + 4.4, Kind.RESUME_ACCOUNT)


def _exclude(maker: _Maker, at: float) -> None:
    # Of somebody who has probably not been called to the end yet.
    done = 0.6 * at / maker.seconds
    maker.add(at, Kind.EXCLUDE, round(maker.chance.uniform(done, 1), 3))


BLOWS: Final[dict[Callable[[_Maker, float], None], float]] = {
    _kill_worker: 5,
    _replace_worker: 2,
    _freeze_worker: 3,
    _kill_service: 1.5,
    _replace_service: 0.7,
    _crash_database: 1.2,
    _pause: 1.5,
    _stop_account: 0.6,
    _stop_behind_their_backs: 1.2,
    _exclude: 2.5,
}
