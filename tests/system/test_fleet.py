"""Several workers on one Postgres, judged by the provider's own ledger."""

from __future__ import annotations

from datetime import timedelta

from outdial.domain.campaign import CallOptions
from outdial.domain.retries import RetryPolicy
from tests.support.stack import Stack, assert_accounts_agree
from tests.support.world import number

LINES = 20
CPS = 40
CONTACTS = 400
RETRY = RetryPolicy(max_attempts=2, default_delay=timedelta(seconds=1))
OPTIONS = CallOptions(result_timeout_seconds=2, ring_timeout_seconds=5, max_duration_seconds=10)


def test_four_workers_never_pass_the_limits_and_lose_or_double_no_call(stack: Stack) -> None:
    stack.world.set_account(max_concurrent_calls=LINES, calls_per_second=CPS)
    for name, first in (("one", 0), ("two", CONTACTS)):
        campaign = stack.world.add_campaign(name, retry=RETRY, call=OPTIONS)
        stack.world.add_contacts(campaign, map(number, range(first, first + CONTACTS // 2)))
    provider = stack.start_provider(max_concurrent_calls=LINES, calls_per_second=CPS)
    stack.start_service()
    workers = stack.start_workers(4)
    provider.wait_for(stack.is_done, "the end of both campaigns", 90)
    assert [worker.terminate() for worker in workers] == [0] * 4
    ledger = stack.ledger()
    assert_accounts_agree(stack)
    assert ledger.max_concurrent() <= LINES
    assert ledger.max_starts_in_any_second() <= CPS + 1
    assert not ledger.rejected
