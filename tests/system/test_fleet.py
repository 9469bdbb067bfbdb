"""Workers as processes on one Postgres, judged by the provider's own ledger."""

from __future__ import annotations

from datetime import timedelta

from outdial.domain.campaign import CallOptions
from outdial.domain.retries import RetryPolicy
from tests.support.rules import Rules, rule
from tests.support.stack import Stack, assert_accounts_agree, assert_audits_clean
from tests.support.world import number

LINES = 20
CPS = 40
CONTACTS = 240
RETRY = RetryPolicy(max_attempts=2, default_delay=timedelta(seconds=1))
OPTIONS = CallOptions(result_timeout_seconds=2, ring_timeout_seconds=5, max_duration_seconds=10)


def add_work(stack: Stack) -> None:
    stack.world.set_account(max_concurrent_calls=LINES, calls_per_second=CPS)
    rules = Rules(stack.folder / "rules.toml")
    rules.write(rule(more='caps = [{ max_calls = 3, hours = 24, counts = "attempts" }]'))
    stack.environment["OUTDIAL_RULES_FILE"] = str(rules.path)
    half = CONTACTS // 2
    for name, first in (("one", 0), ("two", half)):
        campaign = stack.world.add_campaign(name, retry=RETRY, call=OPTIONS, calling_rule="house")
        stack.world.add_contacts(campaign, map(number, range(first, first + half)))


def assert_limits_kept(stack: Stack) -> None:
    ledger = stack.ledger()
    assert ledger.max_concurrent() <= LINES
    assert ledger.max_starts_in_any_second() <= CPS + 1
    assert "rate_limited" not in {post.code for post in ledger.posts}


def test_four_workers_never_pass_the_limits_and_lose_or_double_no_call(stack: Stack) -> None:
    add_work(stack)
    provider = stack.start_provider(max_concurrent_calls=LINES, calls_per_second=CPS)
    stack.start_service()
    workers = stack.start_workers(4)
    provider.wait_for(stack.is_done, "the end of both campaigns", 90)
    assert [worker.terminate() for worker in workers] == [0] * 4
    assert_accounts_agree(stack)
    assert_audits_clean(stack)
    assert_limits_kept(stack)
    assert not stack.ledger().rejected


def test_every_fault_of_the_provider_leaves_an_exact_account(stack: Stack) -> None:
    add_work(stack)
    provider = stack.start_provider(
        max_concurrent_calls=LINES,
        calls_per_second=CPS,
        lost_answer=0.05,
        error_after=0.05,
        error_before=0.05,
        bad_number=0.05,
        webhook_lost=0.02,
        webhook_doubled=0.1,
        webhook_reordered=0.1,
        late_result_seconds=0.3,
    )
    stack.start_service()
    stack.start_workers(2)
    provider.wait_for(stack.is_done, "the end of both campaigns", 110)
    assert_accounts_agree(stack)
    assert_audits_clean(stack)
    assert_limits_kept(stack)
    states = stack.contact_states()
    assert sum(states.values()) == CONTACTS
    assert states["unreachable"] > 0


def test_killed_workers_leave_no_unknown_and_no_doubled_call(stack: Stack) -> None:
    add_work(stack)
    # Slow answers: the kills meet POSTs that are under way.
    provider = stack.start_provider(answer_latency_seconds=0.4, max_concurrent_calls=LINES)
    stack.start_service()
    workers = stack.start_workers(2)
    for round_number in range(3):
        accepted = 15 * (round_number + 1)
        provider.wait_for(lambda n=accepted: len(stack.ledger().calls) >= n, f"{accepted} calls", 60)
        workers[0].kill()
        workers = [*workers[1:], *stack.start_workers(1)]
    provider.wait_for(stack.is_done, "the end of both campaigns", 110)
    assert stack.unsettled() == 0
    assert_accounts_agree(stack)
    assert_audits_clean(stack)
    assert stack.ledger().max_concurrent() <= LINES


def test_one_process_on_sqlite_does_it_all(sqlite_stack: Stack) -> None:
    stack = sqlite_stack
    add_work(stack)
    provider = stack.start_provider(max_concurrent_calls=LINES, calls_per_second=CPS)
    port = stack.free_port()
    stack.environment["OUTDIAL_PUBLIC_URL"] = f"http://127.0.0.1:{port}"
    service = stack.start_service("--with-worker", port=port)
    provider.wait_for(stack.is_done, "the end of both campaigns", 90)
    assert service.terminate() == 0
    assert_accounts_agree(stack)
    assert_audits_clean(stack)
    assert_limits_kept(stack)
