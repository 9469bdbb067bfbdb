"""A database that was restored from a backup of mid-campaign, judged by the provider's own ledger."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from outdial.cli.app import app
from outdial.domain.campaign import CallOptions
from outdial.domain.errors import UserError
from outdial.domain.retries import RetryPolicy
from outdial.storage import deployment
from tests.support.backups import dump, restore
from tests.support.stack import Stack, assert_accounts_agree, assert_audits_clean
from tests.support.world import number

LINES = 15
CPS = 15
CONTACTS = 150
ATTEMPTS = 2
RETRY = RetryPolicy(max_attempts=ATTEMPTS, default_delay=timedelta(seconds=1), max_network_retries=0)
OPTIONS = CallOptions(result_timeout_seconds=2, ring_timeout_seconds=5, max_duration_seconds=10)


def run(stack: Stack, *arguments: str) -> Result:
    """The command in this process: what starts many of them would be most of the time of these tests."""
    return CliRunner().invoke(
        app, list(arguments), env={"DATABASE_URL": stack.world.url, **stack.environment}
    )


def outdial(stack: Stack, *arguments: str) -> str:
    done = run(stack, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def recover(stack: Stack, since: datetime) -> dict[str, Any]:
    told = outdial(stack, "db", "recover", "--since", since.isoformat(), "--yes", "--json")
    found: dict[str, Any] = json.loads(told)
    return found


def calls_per_number(stack: Stack) -> Counter[str]:
    return Counter(call.to for call in stack.ledger().calls.values())


def assert_one_row_a_call(stack: Stack) -> None:
    rows = Counter(row["provider_call_id"] for row in stack.world.attempts() if row["provider_call_id"])
    assert set(rows.values()) == {1}
    assert {call.provider_call_id for call in stack.ledger().calls.values()} <= rows.keys()


def test_a_restored_database_learns_of_every_call_and_calls_nobody_twice(stack: Stack) -> None:
    stack.world.set_account(max_concurrent_calls=LINES, calls_per_second=CPS)
    campaign = stack.world.add_campaign(retry=RETRY, call=OPTIONS)
    stack.world.add_contacts(campaign, map(number, range(CONTACTS)))
    provider = stack.start_provider(max_concurrent_calls=LINES, calls_per_second=CPS, list_page_size=20)
    service = stack.start_service()
    (worker,) = stack.start_workers(1)
    backup = stack.folder / "backup"
    provider.wait_for(lambda: len(stack.ledger().calls) >= CONTACTS // 5, "calls before the backup", 60)
    dump(stack.world.url, backup)
    backed_up_at = datetime.now(UTC)
    provider.wait_for(lambda: len(stack.ledger().calls) >= CONTACTS * 3 // 5, "calls after the backup", 60)
    worker.kill()
    service.kill()
    stack.world.engine.dispose()
    restore(stack.world.url, backup)
    lost = len(stack.ledger().calls) - len(stack.world.attempts())
    assert lost > CONTACTS // 5, "the backup was as new as the database"

    found = recover(stack, backed_up_at)
    (account,) = found["accounts"]
    assert account["taken_in"] >= lost
    assert account["of_unknown_numbers"] == 0
    assert_one_row_a_call(stack)
    again = recover(stack, backed_up_at)
    assert again["accounts"][0]["taken_in"] == 0
    assert again["awaiting_confirmation"] == found["awaiting_confirmation"] > 0

    stack.start_service()
    worker = stack.start_workers(1)[0]
    posts = len(stack.ledger().posts)
    time.sleep(1)
    assert len(stack.ledger().posts) == posts, "somebody was called although everything is stopped"
    # Whoever goes on without a look calls others, and none of those whose results may be lost.
    outdial(stack, "resume", "--all")
    before = calls_per_number(stack)
    held = {row["phone_number"] for row in stack.world.attempts() if row["awaits_confirmation"]}
    provider.wait_for(lambda: len(stack.ledger().posts) > posts + LINES, "calls of others", 60)
    after = calls_per_number(stack)
    assert {one: after[one] for one in held} == {one: before[one] for one in held}

    assert "Confirmed: " in outdial(stack, "db", "recover", "--confirm", "--yes")
    provider.wait_for(stack.is_done, "the end of the campaign", 90)
    assert worker.terminate() == 0
    assert_one_row_a_call(stack)
    assert_accounts_agree(stack)
    assert max(calls_per_number(stack).values()) <= ATTEMPTS
    assert stack.unsettled() == 0
    assert_audits_clean(stack)
    assert stack.ledger().max_concurrent() <= LINES


def test_an_account_that_cannot_list_its_calls_has_its_campaigns_paused(stack: Stack) -> None:
    campaign = stack.world.add_campaign(retry=RETRY, call=OPTIONS)
    stack.world.add_contacts(campaign, [number(1)])
    stack.start_provider(lists_calls=False)
    found = recover(stack, datetime.now(UTC) - timedelta(minutes=5))
    (account,) = found["accounts"]
    assert (account["can_list"], account["paused_campaigns"]) == (False, ["survey"])
    shown = json.loads(outdial(stack, "campaign", "show", "survey", "--json"))
    assert (shown["status"], shown["paused_by"]) == ("paused", "db recover")
    assert "exclude or withdraw" in shown["paused_reason"]


def test_a_provider_that_cannot_be_asked_this_time_is_an_exit_code(stack: Stack) -> None:
    provider = stack.start_provider()
    provider.kill()
    done = run(stack, "db", "recover", "--since", "2026-01-01T00:00:00Z", "--yes")
    assert done.exit_code == 1
    assert "could not be asked" in done.stdout
    assert stack.world.database.run(deployment.load).stopped_at is not None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--since", (datetime.now(UTC) + timedelta(hours=1)).isoformat(), "--yes"],
        ["--since", "2026-11-23T18:00:00", "--yes"],
        ["--since", "noon", "--yes"],
        ["--yes"],
        ["--since", "2026-01-01T00:00:00Z", "--confirm"],
        ["--since", "2026-01-01T00:00:00Z", "--json"],
        ["--since", "2026-01-01T00:00:00Z"],
    ],
)
def test_what_was_typed_wrong_stops_nothing(stack: Stack, arguments: list[str]) -> None:
    with pytest.raises(UserError):
        CliRunner().invoke(
            app, ["db", "recover", *arguments], env={"DATABASE_URL": stack.world.url}, catch_exceptions=False
        )
    assert stack.world.database.run(deployment.load).stopped_at is None


def test_a_wrong_instant_is_one_sentence(stack: Stack) -> None:
    done = stack.processes.outdial(
        "db", "recover", "--since", "noon", "--yes", env={"DATABASE_URL": stack.world.url}
    )
    assert done.wait(60) == 2
    (sentence,) = done.stderr.splitlines()
    assert "with its offset, such as" in sentence
