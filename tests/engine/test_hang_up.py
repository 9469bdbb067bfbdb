"""Hanging up at the provider, and ending a call by hand where nobody else will."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from outdial.clock import SystemClock
from outdial.domain.account import Account
from outdial.domain.attempt import Ending, EventKind
from outdial.domain.contact import ContactState
from outdial.domain.errors import CallRejected, InDoubt, SettingsError
from outdial.domain.ids import ProviderCallId
from outdial.domain.retries import RetryPolicy
from outdial.domain.settle import Outcome
from outdial.engine import hang_up as engine
from outdial.engine.by_hand import end_by_hand
from outdial.engine.hang_up import HungUp, hang_up
from outdial.engine.transactions import Transactions
from outdial.operations import stops
from outdial.operations.stops import Scope
from tests.support.world import RecordingProvider, World, event, number, refusing


class HangingUp(RecordingProvider):
    """A provider that can hang up; `broken` are calls that it fails to."""

    def __init__(self, answer: Any = None) -> None:
        super().__init__(answer)
        self.hung_up: list[ProviderCallId] = []
        self.broken: set[ProviderCallId] = set()

    def hang_up_call(self, provider_call_id: ProviderCallId) -> None:
        if provider_call_id in self.broken:
            raise CallRejected("not now")
        self.hung_up.append(provider_call_id)


@dataclass
class OneProvider:
    provider: Any
    missing: set[str] = field(default_factory=set)

    def provider_for(self, account: Account) -> Any:
        if account.name in self.missing:
            raise SettingsError("The environment variable KEY is not set.")
        return self.provider

    def callback_url_for(self, account: Account) -> str:
        return "http://127.0.0.1:1/"


EVERYTHING = Scope()


def hang_up_all(world: World, providers: Any, scope: Scope = EVERYTHING) -> HungUp:
    return asyncio.run(
        hang_up(
            Transactions(world.database),
            providers if isinstance(providers, OneProvider) else OneProvider(providers),
            lambda c: stops.open_calls(c, scope),
            SystemClock(),
            by="ada",
            reason="wrong list",
        )
    )


def dial(world: World, provider: RecordingProvider, count: int = 3) -> None:
    world.add_contacts(world.add_campaign(), map(number, range(count)))
    assert len(world.run_pass(provider).scheduled) == count


def test_every_open_call_is_hung_up_once_and_says_who_did_it(world: World) -> None:
    provider = HangingUp()
    dial(world, provider)
    done = hang_up_all(world, provider)
    assert sorted(provider.hung_up) == sorted(f"P-{row['call_id']}" for row in world.attempts())
    assert sorted(done.calls) == sorted(row["call_id"] for row in world.attempts())
    for row in world.attempts():
        assert (row["ended_by"], row["metadata"]) == ("ada", {"ended_because": "wrong list"})
        assert row["ended_at"] is None, "its end is what the provider says it is"


def test_a_call_that_could_not_be_hung_up_is_named(world: World) -> None:
    provider = HangingUp()
    dial(world, provider)
    broken = world.attempts()[1]["call_id"]
    provider.broken = {ProviderCallId(f"P-{broken}")}
    done = hang_up_all(world, provider)
    assert len(done.calls) == 2
    assert done.failed == {broken: "not now"}


def test_a_call_without_an_id_of_the_provider_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE_SECONDS", 0.1)
    provider = HangingUp(refusing(InDoubt("timed out")))
    dial(world, provider, 1)
    done = hang_up_all(world, provider)
    (row,) = world.attempts()
    assert done.failed == {row["call_id"]: "the provider has not told its id of this call"}


def test_an_account_without_its_key_is_named_and_the_others_go_on(world: World) -> None:
    provider = HangingUp()
    second = world.add_account("second")
    dial(world, provider, 1)
    world.add_contacts(world.add_campaign("other", account_id=second, account="second"), [number(9)])
    world.run_pass(provider, account="second")
    done = hang_up_all(world, OneProvider(provider, {"main"}))
    assert (len(done.calls), list(done.failed.values())) == (1, ["The environment variable KEY is not set."])


def test_only_the_calls_of_the_scope_are_hung_up(world: World) -> None:
    provider = HangingUp()
    dial(world, provider, 1)
    world.add_contacts(world.add_campaign("other"), [number(9)])
    world.run_pass(provider)
    done = hang_up_all(world, provider, Scope(campaign="other"))
    assert [row["call_id"] for row in world.attempts() if row["phone_number"] == number(9)] == done.calls


def test_a_plain_provider_object_that_cannot_hang_up_says_so(world: World) -> None:
    provider = RecordingProvider()
    dial(world, provider, 1)
    assert "cannot hang up" in next(iter(hang_up_all(world, provider).failed.values()))


# --- by hand


def end_it(world: World, ending: Ending = Ending.UNKNOWN) -> bool:
    attempt = world.attempts()[0]
    return world.database.run(
        end_by_hand, attempt["id"], ending=ending, by="ada", reason="nobody knows it", known=world.known
    )


@pytest.mark.parametrize("ending", [Ending.UNKNOWN, Ending.CANCELED])
def test_a_call_ended_by_hand_frees_its_line_and_says_who_did_it(world: World, ending: Ending) -> None:
    (contact,) = world.add_contacts(world.add_campaign(retry=RetryPolicy(max_attempts=2)), [number(1)])
    world.run_pass(RecordingProvider())
    assert end_it(world, ending)
    (row,) = world.attempts()
    assert (row["ending"], row["ended_by"], row["state"]) == (ending, "ada", "ended")
    assert row["metadata"] == {"ended_because": "nobody knows it"}
    assert world.contact(contact)["state"] == ContactState.PENDING
    assert world.run_pass(RecordingProvider()).capacity == 100


def test_ending_twice_changes_nothing(world: World) -> None:
    dial(world, RecordingProvider(), 1)
    end_it(world)
    assert not end_it(world, Ending.CANCELED)
    assert world.attempts()[0]["ending"] == Ending.UNKNOWN


def test_the_provider_knows_better_than_a_hand(world: World) -> None:
    (contact,) = world.add_contacts(world.add_campaign(), [number(1)])
    (scheduled,) = world.run_pass(RecordingProvider()).scheduled
    end_it(world)
    world.hear(event(EventKind.ENDED, scheduled.call_id, ending=Ending.ANSWERED, result="completed"))
    assert world.attempts()[0]["outcome"] == Outcome.COMPLETED
    assert world.contact(contact)["state"] == ContactState.COMPLETED
