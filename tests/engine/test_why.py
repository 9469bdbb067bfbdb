"""`why` says of everybody exactly what the claim does, at any instant, and from when on it will be otherwise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from outdial.clock import SystemClock
from outdial.domain.campaign import CampaignStatus, Purpose
from outdial.domain.contact import ContactState
from outdial.domain.errors import NotFound
from outdial.domain.fences import Fence
from outdial.domain.ids import CallId, ContactId, WorkerId
from outdial.domain.rules import (
    Basis,
    Cap,
    CapCounts,
    Confidence,
    CoolOff,
    HolidayPolicy,
    HolidayScope,
    Rule,
    RuleBook,
)
from outdial.domain.settle import Outcome
from outdial.domain.windows import CallingWindow, WeeklyWindow
from outdial.domain.zones import CallingZone, ZoneSource
from outdial.engine.claim import ClaimSettings, claim
from outdial.engine.definitions import Definitions
from outdial.operations.why import PASSING, Asked, Why, why
from outdial.storage import accounts, workers
from outdial.storage.database import Database
from outdial.storage.tables import call_attempts
from tests.support.excluded import exclude_numbers
from tests.support.world import ROME, World, number

START = datetime(2026, 3, 20, tzinfo=UTC)
PLACES = (
    ROME,
    CallingZone(time_zones=("America/New_York",), country="US", source=ZoneSource.NUMBER),
    CallingZone(time_zones=("Australia/Lord_Howe",), country="AU", source=ZoneSource.CONTACT),
    CallingZone(time_zones=("America/Denver", "America/Phoenix"), country="US", source=ZoneSource.NUMBER),
    CallingZone(time_zones=("Asia/Kathmandu",), country="NP", source=ZoneSource.NUMBER),
    CallingZone(time_zones=(), country=None, source=ZoneSource.UNKNOWN),
)
NOBODY_ELSE = Fence()


@dataclass
class RandomWorld:
    """A world that a seed makes, at an instant that may be moved."""

    world: World
    seed: int
    chance: random.Random = field(init=False)
    at: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.at = START + timedelta(seconds=self.chance.randrange(14 * 86400))
        engine = self.world.engine.execution_options(outdial_now=lambda: self.at)
        self.world.database = Database(engine, SystemClock())
        self.book = RuleBook(tuple(version for index in range(3) for version in self._versions(index)))
        self.world.known = Definitions(rule_books=lambda: self.book)
        self.fence = Fence(dial_only=frozenset(map(number, range(8)))) if self._seldom() else NOBODY_ELSE
        self.worker: WorkerId = self.world.database.run(lambda c: workers.start(c, "test", self.at))
        campaigns = [self._campaign(index) for index in range(3)]
        for index in range(12):
            [contact] = self.world.add_contacts(
                self.chance.choice(campaigns),
                [number(index)],
                zone=self.chance.choice(PLACES),
                due_in=timedelta(minutes=self.chance.choice([-60, -1, -1, -1, -1, 90])),
                call_before=self.at + timedelta(hours=self.chance.choice([-1, 5]))
                if self._seldom()
                else None,
            )
            for _ in range(self.chance.choice([0, 1, 2, 3])):
                self._earlier_call(contact, number(index))
            if self._seldom():
                self.world.database.run(
                    exclude_numbers,
                    [number(index)],
                    reason="asked",
                    source="test",
                    at=self.at - timedelta(days=1),
                )
        if self.chance.random() < 0.05:
            self.world.database.run(accounts.stop, self.world.account_id, "ada", "testing", self.at)

    def _seldom(self) -> bool:
        return self.chance.random() < 0.2

    def _window(self) -> WeeklyWindow:
        if self.chance.random() < 0.4:
            return WeeklyWindow(days=frozenset(range(7)), start_minute=0, end_minute=1440)
        start = self.chance.randrange(0, 1440, 30)
        length = self.chance.choice([30, 720, 1410, 1410])
        days = self.chance.choice([range(7), range(7), range(5), (5, 6)])
        end = (start + length) % 1440
        return WeeklyWindow(days=frozenset(days), start_minute=start, end_minute=end)

    def _versions(self, index: int) -> tuple[Rule, ...]:
        """One rule, or one that another takes over from within a few days."""
        first = self._rule(index)
        if self.chance.random() < 0.5:
            return (first,)
        ends_on = self.at.date() + timedelta(days=self.chance.randrange(3))
        second = replace(self._rule(index), version=2, valid_from=ends_on + timedelta(days=1))
        return (replace(first, valid_to=ends_on), second)

    def _rule(self, index: int) -> Rule:
        caps = (
            Cap(max_calls=self.chance.choice([1, 2]), hours=self.chance.choice([2, 24])),
            Cap(max_calls=1, days=2, counts=CapCounts.CONNECTED),
        )
        return Rule(
            id=f"rule-{index}",
            version=1,
            purposes=frozenset(Purpose),
            windows=(self._window(), self._window()),
            holidays=self.chance.choice(list(HolidayPolicy)),
            holidays_of=HolidayScope.COUNTRY,
            caps=caps if self.chance.random() < 0.8 else (),
            cool_offs=(CoolOff(after=Outcome.REFUSED, days=3),) if self._seldom() else (),
            source="the house",
            as_of="now",
            confidence=Confidence.HIGH,
            basis=Basis.OWN,
        )

    def _campaign(self, index: int) -> Any:
        weekly = (self._window(),) if self.chance.random() < 0.4 else ()
        named = [f"rule-{index}", f"rule-{index}", "none", "gone" if self._seldom() else "rule-0"]
        name = self.chance.choice(named) if not weekly or self._seldom() else None
        return self.world.add_campaign(
            f"campaign {index}",
            status=self.chance.choice([CampaignStatus.RUNNING] * 4 + [CampaignStatus.PAUSED]),
            window=CallingWindow(weekly=weekly),
            calling_rule=name,
            guard_seconds=self.chance.choice([None, None, 0, 1800]),
            starts_at=self.at + timedelta(hours=self.chance.choice([-1, 3])) if self._seldom() else None,
            ends_at=self.at + timedelta(days=self.chance.choice([2, 9])) if self._seldom() else None,
            caller_numbers=("+390699999999",) if self._seldom() else (),
            default_time_zone=self.chance.choice(["Europe/Rome", None]),
        )

    def _earlier_call(self, contact: ContactId, phone_number: str) -> None:
        """A call that is over, or, seldom, one that is not."""
        at = self.at - timedelta(minutes=self.chance.choice([90, 600, 4000]) * self.chance.random())
        is_over = self.chance.random() < 0.9
        answered = self.chance.random() < 0.3
        ended = {
            "state": "ended",
            "ended_at": at,
            "settled_at": at,
            "outcome": self.chance.choice(["no_answer", "refused"]),
        }
        row = {
            "contact_id": contact,
            "campaign_id": 1,
            "campaign_revision": 1,
            "account_id": self.world.account_id,
            "phone_number": phone_number,
            "from_number": "+390612345678",
            "attempt_number": 1,
            "call_id": str(uuid4()),
            "claim_id": "earlier",
            "worker_id": self.worker,
            "state": "accepted",
            "claimed_at": at,
            "dial_at": at,
            "not_after": at + timedelta(seconds=15),
            "sent_at": at,
            "answered_at": at if answered else None,
            "permit": {},
            **(ended if is_over else {}),
        }

        def insert(connection: sa.Connection) -> None:
            is_open = sa.and_(
                call_attempts.c.phone_number == phone_number, call_attempts.c.settled_at.is_(None)
            )
            if not connection.execute(sa.select(call_attempts.c.id).where(is_open)).all():
                connection.execute(sa.insert(call_attempts).values(**row))

        self.world.database.run(insert)

    def asks(self) -> list[Why]:
        asked = Asked(book=self.book, fence=self.fence)
        return [one for index in range(12) for one in self.world.database.run(why, number(index), asked)]

    def claims(self) -> set[ContactId]:
        settings = ClaimSettings(
            batch_size=100,
            scheduler_time_zone="UTC",
            new_call_id=lambda: CallId(str(uuid4())),
            fence=self.fence,
        )
        claimed = self.world.database.run(
            claim, self.world.account_id, self.worker, "claim", settings, self.world.known, SystemClock()
        )
        return {call.contact.id for call in claimed.calls}


@pytest.mark.parametrize("seed", range(12))
def test_why_says_of_everybody_what_the_claim_does(world: World, seed: int) -> None:
    random_world = RandomWorld(world, seed)
    said = random_world.asks()
    assert {one.contact_id for one in said if one.may_be_called} == random_world.claims()


@pytest.mark.parametrize("seed", range(100, 106))
def test_from_the_next_instant_on_and_not_before_somebody_may_be_called(world: World, seed: int) -> None:
    random_world = RandomWorld(world, seed)
    asked_at = random_world.at
    waiting = [one for one in random_world.asks() if not one.may_be_called and one.next_at is not None]
    for one in waiting:
        assert one.next_at is not None
        assert one.next_at >= asked_at
        if one.next_at > asked_at:
            between = random_world.chance.random()
            for earlier in (
                one.next_at - timedelta(seconds=1),
                asked_at + (one.next_at - asked_at) * between,
            ):
                random_world.at = earlier
                assert not again(random_world, one).may_be_called
        random_world.at = one.next_at
        failed = [check for check in again(random_world, one).checks if not check.passed]
        assert {check.reason for check in failed} <= PASSING


def again(random_world: RandomWorld, one: Why) -> Why:
    [found] = [other for other in random_world.asks() if other.contact_id == one.contact_id]
    return found


@pytest.mark.parametrize("seed", range(200, 204))
def test_nothing_that_never_ends_by_itself_has_a_next_instant(world: World, seed: int) -> None:
    random_world = RandomWorld(world, seed)
    endless = [one for one in random_world.asks() if one.next_at is None]
    for days in (1, 3, 30):
        random_world.at += timedelta(days=days)
        callable_now = {one.contact_id for one in random_world.asks() if one.may_be_called}
        assert not callable_now & {one.contact_id for one in endless}


# --- what it tells


def ask(world: World, whom: str = number(1), **asked: Any) -> Sequence[Why]:
    return world.database.run(why, whom, Asked(book=RuleBook(())), **asked)


def test_somebody_who_is_in_several_campaigns_has_an_answer_for_each(world: World) -> None:
    for name in ("one", "two"):
        world.add_contacts(world.add_campaign(name), [number(1)])
    assert [one.campaign for one in ask(world)] == ["one", "two"]
    assert [one.campaign for one in ask(world, campaign="two")] == ["two"]


def test_an_external_id_is_as_good_as_a_number(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)], external_contact_id="c-7")
    [found] = ask(world, "c-7")
    assert found.phone_number == number(1)


def test_nobody_of_that_number_is_said(world: World) -> None:
    world.add_campaign()
    with pytest.raises(NotFound, match="any campaign"):
        ask(world)


def test_a_final_contact_says_why_it_is_final(world: World) -> None:
    world.add_contacts(
        world.add_campaign(),
        [number(1)],
        state=ContactState.EXCLUDED,
        final_reason="exclusion_list",
        next_attempt_at=None,
    )
    [found] = ask(world)
    assert found.sentence.endswith("is not called again: it is excluded (exclusion_list).")


def test_who_is_only_held_by_full_lines_is_next_in_turn(world: World) -> None:
    world.set_account(max_concurrent_calls=0)
    world.add_contacts(world.add_campaign(), [number(1)])
    [found] = ask(world)
    assert "is called as soon as this is over: all 0 lines" in found.sentence


def test_a_paused_campaign_holds_without_an_end_in_sight(world: World) -> None:
    world.add_contacts(world.add_campaign(status=CampaignStatus.PAUSED), [number(1)])
    [found] = ask(world)
    assert (found.may_be_called, found.next_at) == (False, None)
    assert "the campaign is paused" in found.sentence
