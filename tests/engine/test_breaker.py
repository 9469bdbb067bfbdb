"""An account in trouble: its breaker, its suspension, and how both are probed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.breaker import Breaker
from outdial.domain.errors import AccountRejected, InDoubt, ProviderUnreachable, RateLimited
from outdial.domain.ids import CallId
from outdial.engine.effects import apply_effects
from outdial.engine.probes import probe
from outdial.engine.record import Dialed, Released
from outdial.engine.transactions import Transactions
from outdial.storage import accounts, attempts
from outdial.storage.database import database_now
from outdial.telephony.caller import caller_for
from outdial.telephony.protocol import LookUp
from outdial.telephony.transport import AsyncTransport
from tests.support.world import RecordingProvider, World, number, refusing

LINES = 10


class FreeQuestions(RecordingProvider):
    """A provider that also answers a free question, unless something is wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: Exception | None = None
        self.questions = 0

    def look_up_call(self, query: LookUp) -> list[object]:
        self.questions += 1
        if self.wrong is not None:
            raise self.wrong
        return []


@pytest.fixture
def provider(world: World) -> FreeQuestions:
    world.set_account(max_concurrent_calls=LINES)
    world.add_contacts(world.add_campaign(), map(number, range(60)))
    return FreeQuestions()


def account_of(world: World) -> Account:
    found = world.database.run(accounts.by_id, world.account_id)
    assert found is not None
    return found


def ask(world: World, provider: RecordingProvider) -> None:
    """One round of a worker's probes, as if their time had come."""

    async def once() -> None:
        async with AsyncTransport() as transport:
            caller = caller_for(provider, transport, None)
            await probe(Transactions(world.database), world.account_id, caller, CallId("free"))

    asyncio.run(once())


def make_probe_due(world: World) -> None:
    world.set_account(probe_at=world.database.run(database_now) - timedelta(seconds=1))


def broken(world: World, provider: FreeQuestions, calls: int = 5) -> None:
    provider.answer = refusing(InDoubt("timeout"))
    provider.wrong = ProviderUnreachable("no answer")
    world.run_pass(provider, batch_size=calls)
    provider.answer = None


def half_opened(world: World, provider: FreeQuestions) -> None:
    broken(world, provider)
    provider.wrong = None
    make_probe_due(world)
    ask(world, provider)
    provider.requests.clear()


def test_doubts_open_the_breaker_before_they_take_all_lines(
    world: World, provider: FreeQuestions, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        broken(world, provider, 5)
    account = account_of(world)
    assert account.breaker is Breaker.OPEN
    assert account.breaker_reason is not None
    assert "5 of 10 lines are in doubt" in account.breaker_reason
    assert sum("breaker is open" in record.message for record in caplog.records) == 1
    result = world.run_pass(provider)
    assert (result.held, len(provider.requests)) == ({"breaker_open": 1}, 5)


def test_fewer_doubts_do_not(world: World, provider: FreeQuestions) -> None:
    broken(world, provider, 4)
    assert account_of(world).breaker is None


def test_a_high_rate_of_failures_opens_it_though_no_line_is_in_doubt(
    world: World, provider: FreeQuestions
) -> None:
    world.set_account(max_concurrent_calls=100)
    world.run_pass(provider, batch_size=10)
    provider.answer = refusing(ProviderUnreachable("connection refused"))
    world.run_pass(provider, batch_size=10)
    assert account_of(world).breaker is Breaker.OPEN


def test_what_was_claimed_before_it_opened_does_not_leave(world: World, provider: FreeQuestions) -> None:
    world.run_pass(provider, batch_size=1)
    (attempt,) = world.attempts()

    def unsent(connection: sa.Connection) -> None:
        values = {"state": "dialing", "sent_at": None, "provider_call_id": None, "started_at": None}
        connection.execute(sa.update(attempts.attempts).values(values))

    def check(connection: sa.Connection) -> bool:
        ids = {attempt["id"]: attempt["call_id"]}
        return bool(attempts.last_check(connection, ids, attempt["worker_id"]))

    world.database.run(unsent)
    world.set_account(breaker="open")
    assert not world.database.run(check)
    world.set_account(breaker=None)
    assert world.database.run(check)


def test_a_free_question_comes_before_the_first_call(world: World, provider: FreeQuestions) -> None:
    broken(world, provider)
    make_probe_due(world)
    ask(world, provider)
    assert (account_of(world).breaker, provider.questions) == (Breaker.OPEN, 1)
    provider.wrong = None
    make_probe_due(world)
    ask(world, provider)
    assert account_of(world).breaker is Breaker.HALF_OPEN


def test_then_one_call_is_tried_and_all_follow(world: World, provider: FreeQuestions) -> None:
    half_opened(world, provider)
    world.run_pass(provider)
    assert len(provider.requests) == 1
    account = account_of(world)
    assert (account.breaker, account.probes) == (None, 0)
    assert len(world.run_pass(provider).scheduled) > 1


def test_while_the_one_call_is_out_no_other_is_claimed(world: World, provider: FreeQuestions) -> None:
    half_opened(world, provider)
    later: list[dict[str, int]] = []

    def answer(_: object) -> None:
        later.append(dict(world.run_pass(RecordingProvider()).held))

    provider.answer = answer
    world.run_pass(provider)
    assert later == [{"breaker_open": 1}]


def test_a_call_in_vain_opens_it_again_for_longer(world: World, provider: FreeQuestions) -> None:
    half_opened(world, provider)
    first = account_of(world)
    provider.answer = refusing(InDoubt("timeout"))
    world.run_pass(provider)
    second = account_of(world)
    assert (second.breaker, len(provider.requests)) == (Breaker.OPEN, 1)
    assert second.probe_at is not None
    assert second.breaker_at is not None
    assert first.breaker_at is not None
    wait = second.probe_at - second.breaker_at
    assert wait > timedelta(seconds=1)


def test_only_the_one_call_decides(world: World, provider: FreeQuestions) -> None:
    """Not what comes of a call that was claimed before the breaker opened."""
    half_opened(world, provider)
    row = world.attempts()[0]

    def older(connection: sa.Connection) -> None:
        answer = InDoubt("timeout")
        facts = {"account_id": world.account_id, "campaign_id": row["campaign_id"], "to": row["phone_number"]}
        dialed = Dialed(
            attempt_id=row["id"], from_number=row["from_number"], row=None, answer=answer, **facts
        )
        apply_effects(connection, world.account_id, [dialed, replace(dialed, answer=Released(why="late"))])

    before = account_of(world)
    world.set_account(trial_until=world.database.run(database_now) + timedelta(seconds=20))
    world.database.run(older)
    after = account_of(world)
    assert (after.breaker, after.trial_until is None) == (before.breaker, False)


def test_any_answer_shows_that_the_provider_is_back(world: World, provider: FreeQuestions) -> None:
    half_opened(world, provider)
    provider.answer = refusing(RateLimited("slowly"))
    world.run_pass(provider)
    assert account_of(world).breaker is None


def test_a_trial_of_which_nothing_is_heard_gives_way_to_another(
    world: World, provider: FreeQuestions
) -> None:
    half_opened(world, provider)
    until = world.database.run(database_now) + timedelta(seconds=20)
    world.set_account(trial_until=until)
    assert world.run_pass(provider).held == {"breaker_open": 1}
    world.set_account(trial_until=until - timedelta(seconds=21))
    assert len(world.run_pass(provider).scheduled) == 1


def test_where_nobody_can_be_asked_the_one_call_is_the_question(world: World) -> None:
    world.set_account(max_concurrent_calls=LINES)
    world.add_contacts(world.add_campaign(), map(number, range(20)))
    provider = RecordingProvider(refusing(InDoubt("timeout")))
    world.run_pass(provider, batch_size=5)
    ask(world, provider)
    assert account_of(world).breaker is Breaker.OPEN
    make_probe_due(world)
    ask(world, provider)
    assert account_of(world).breaker is Breaker.HALF_OPEN


def test_a_suspended_account_is_asked_ever_more_seldom_and_resumed_by_a_good_answer(
    world: World, provider: FreeQuestions
) -> None:
    provider.answer = refusing(AccountRejected("no credit", http_status=402))
    provider.wrong = AccountRejected("no credit", http_status=402)
    world.run_pass(provider, batch_size=1)
    waits = []
    for _ in range(4):
        make_probe_due(world)
        ask(world, provider)
        account = account_of(world)
        assert account.suspended_at is not None
        assert account.probe_at is not None
        waits.append(round((account.probe_at - world.database.run(database_now)).total_seconds()))
    assert waits == [10, 20, 40, 80]
    provider.wrong = None
    make_probe_due(world)
    ask(world, provider)
    assert account_of(world).suspended_at is None


def test_a_question_is_asked_once_by_all_workers_together(world: World, provider: FreeQuestions) -> None:
    broken(world, provider)
    make_probe_due(world)
    for _ in range(3):
        ask(world, provider)
    assert provider.questions == 1


def test_an_account_that_answers_questions_but_no_calls_is_not_called_again_and_again(
    world: World, provider: FreeQuestions
) -> None:
    """A suspension that its probe lifts in vain waits longer the next time."""
    provider.answer = refusing(AccountRejected("no outbound calls", http_status=403))
    waits: list[timedelta] = []
    for _ in range(3):
        world.make_due()
        world.run_pass(provider, batch_size=1)
        account = account_of(world)
        assert account.suspended_at is not None
        assert account.probe_at is not None
        waits.append(account.probe_at - account.suspended_at)
        make_probe_due(world)
        ask(world, provider)
        assert account_of(world).suspended_at is None
    assert waits == sorted(set(waits))


def test_setting_the_account_closes_its_breaker(world: World, provider: FreeQuestions) -> None:
    from outdial.operations.accounts import set_account

    broken(world, provider)
    done = world.database.run(set_account, "main", known_adapters=["http"])
    assert account_of(world).breaker is None
    assert any("breaker closed" in change for change in done.changes)
