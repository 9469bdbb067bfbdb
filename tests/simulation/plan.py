"""What kind of world a seed is: everything that is drawn before the first instant."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from outdial.domain.doubt import Capabilities

RING_SECONDS: Final = 5
TALK_SECONDS: Final = 10
RESULT_SECONDS: Final = 4.0
LATE_SECONDS: Final = 25.0
LISTING_LAG_SECONDS: Final = 5.0
CAP_HOURS: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a provider guarantees. `keeps_our_id`: in events and look-ups; else only its own id is in them."""

    name: str
    can_look_up: bool
    keeps_our_id: bool
    capabilities: Capabilities


KINDS: Final = (
    Kind(
        name="exact",
        can_look_up=True,
        keeps_our_id=True,
        capabilities=Capabilities(honours_not_after=True, listing_lag_seconds=LISTING_LAG_SECONDS),
    ),
    Kind(
        name="late",
        can_look_up=True,
        keeps_our_id=True,
        capabilities=Capabilities(honours_not_after=False, listing_lag_seconds=LISTING_LAG_SECONDS),
    ),
    Kind(
        name="mute",
        can_look_up=False,
        keeps_our_id=True,
        capabilities=Capabilities(honours_not_after=False),
    ),
    Kind(
        name="alike",
        can_look_up=True,
        keeps_our_id=False,
        capabilities=Capabilities(honours_not_after=False, listing_lag_seconds=LISTING_LAG_SECONDS),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How likely each fault is: of a POST, of an event, of a point in the code."""

    # The provider takes the call and the answer is lost, or is an error.
    answer_lost: float = 0.0
    error_after: float = 0.0
    # A 5xx without a call.
    error_before: float = 0.0
    # The bytes arrive after we have given up on them.
    late: float = 0.0
    slow: float = 0.0
    rate_limited: float = 0.0
    unreachable: float = 0.0
    bad_number: float = 0.0
    rejected: float = 0.0
    look_up_fails: float = 0.0
    webhook_lost: float = 0.0
    webhook_doubled: float = 0.0
    webhook_late: float = 0.0
    result_late: float = 0.0
    # Of a process, per statement, per commit, and per edge of a POST.
    crash_at_statement: float = 0.0
    crash_at_commit: float = 0.0
    crash_at_post: float = 0.0
    lost_connection: float = 0.0
    # Stopped in its tracks and resumed, per edge of a POST.
    stall: float = 0.0
    # Stopped in the middle of a transaction, for less than the database has patience.
    dawdle: float = 0.0
    # The same, between what a claim has counted and what it inserts.
    dawdle_in_claim: float = 0.0
    notification_lost: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A world. The faults end at `faults_end`, and everything must be in order some time later."""

    workers: int
    lines: tuple[int, ...]
    calls_per_second: float | None
    kind: Kind
    contacts: tuple[int, ...]
    shared_numbers: int
    max_attempts: int
    network_retries: int
    retry_seconds: float
    cap: int | None
    rates: Rates
    faults_end: float
    # What the operator does, each at some time.
    commands: tuple[str, ...]
    answer_seconds: float
    # What becomes of calls, each as likely as the others.
    endings: tuple[str, ...] = ("no_answer", "busy", "failed", "answered", "answered", "answered")

    def __str__(self) -> str:
        faults = ", ".join(
            f"{one.name} {getattr(self.rates, one.name):.3f}"
            for one in fields(self.rates)
            if getattr(self.rates, one.name)
        )
        return (
            f"{self.workers} workers; accounts with {self.lines} lines, {self.calls_per_second} calls a second, "
            f"provider {self.kind.name}; campaigns of {self.contacts} contacts, {self.shared_numbers} numbers in "
            f"several; {self.max_attempts} attempts and {self.network_retries} network retries, {self.retry_seconds} s "
            f"apart; cap {self.cap}; faults until {self.faults_end:.0f} s: {faults or 'none'}; "
            f"commands: {', '.join(self.commands) or 'none'}"
        )


COMMANDS: Final = ("pause", "stop_account", "stop_all", "exclude")

# By fault: in what part of the worlds it is, and how often at most.
FAULTS: Final[dict[str, tuple[float, float]]] = {
    "answer_lost": (0.4, 0.3),
    "error_after": (0.3, 0.3),
    "error_before": (0.3, 0.3),
    "late": (0.3, 0.25),
    "slow": (0.3, 0.3),
    "rate_limited": (0.2, 0.25),
    "unreachable": (0.2, 0.2),
    "bad_number": (0.1, 0.2),
    "rejected": (0.1, 0.15),
    "look_up_fails": (0.3, 0.3),
    "webhook_lost": (0.4, 0.3),
    "webhook_doubled": (0.3, 0.3),
    "webhook_late": (0.4, 0.4),
    "result_late": (0.3, 0.6),
    "crash_at_statement": (0.4, 0.002),
    "crash_at_commit": (0.4, 0.01),
    "crash_at_post": (0.4, 0.06),
    "lost_connection": (0.3, 0.003),
    "stall": (0.3, 0.06),
    "dawdle": (0.3, 0.02),
    "dawdle_in_claim": (0.3, 0.3),
    "notification_lost": (0.2, 0.5),
}


def draw(chance: random.Random, focus: Mapping[str, Any] | None = None) -> Plan:
    """The world of a seed; one of eight has no faults at all. `focus`: what is not left to chance, rates too."""
    plan = _draw(chance)
    given = dict(focus or {})
    rates = {name: given.pop(name) for name in list(given) if name in FAULTS}
    if "kind" in given:
        given["kind"] = next(kind for kind in KINDS if kind.name == given["kind"])
    return replace(plan, **given, rates=replace(plan.rates, **rates))


def _draw(chance: random.Random) -> Plan:
    accounts = chance.choice((1, 1, 2))
    campaigns = chance.choice((1, 2)) if accounts == 1 else 2
    contacts = tuple(chance.randint(1, 3) for _ in range(campaigns))
    is_calm = chance.random() < 0.125
    rates: dict[str, Any] = {}
    for name, (part, most) in FAULTS.items():
        is_in, rate = chance.random() < part, chance.uniform(0.2, 1.0) * most
        if is_in and not is_calm:
            rates[name] = rate
    return Plan(
        workers=chance.choice((1, 2, 2, 3)),
        lines=tuple(chance.randint(1, 3) for _ in range(accounts)),
        calls_per_second=chance.choice((None, None, 1.0, 3.0)),
        kind=chance.choice((KINDS[0], KINDS[0], *KINDS)),
        contacts=contacts,
        shared_numbers=chance.randint(0, min(contacts)) if campaigns > 1 else 0,
        max_attempts=chance.randint(1, 3),
        network_retries=chance.choice((0, 1)),
        retry_seconds=chance.choice((0.5, 6.0)),
        cap=chance.choice((None, None, None, 1, 2)),
        rates=Rates(**rates),
        faults_end=chance.uniform(15, 40),
        commands=tuple(chance.choice(COMMANDS) for _ in range(chance.choice((0, 0, 1, 2)))),
        answer_seconds=chance.choice((0.02, 0.4)),
    )
