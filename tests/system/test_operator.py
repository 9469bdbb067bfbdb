"""What an operator does by hand, against the simulated provider."""

from __future__ import annotations

import re
import signal

from outdial.domain.campaign import CampaignStatus
from tests.support.stack import Stack
from tests.support.world import number


def test_a_test_call_is_followed_hung_up_and_counted_nowhere(sqlite_stack: Stack) -> None:
    stack = sqlite_stack
    stack.start_provider(answer_rate=1.0, voicemail_share=0.0, talk_time_mean_seconds=300.0)
    stack.start_service()
    stack.world.add_campaign(status=CampaignStatus.DRAFT)
    checked = stack.processes.outdial("account", "check", "main", env=stack.environment)
    call = stack.processes.outdial(
        "campaign", "test", "survey", "--to", number(1), env=stack.environment, name="test-call"
    )
    call_id = call.wait_for_line(r"^call  (\S+)", 60)[1]
    call.wait_for_line("answered$", 60)
    hung_up = stack.processes.outdial("calls", "hangup", call_id, "--reason", "enough", env=stack.environment)
    assert hung_up.wait(60) == 0, hung_up.stderr
    assert hung_up.stdout == "Hung up: 1.\n"
    assert call.wait(60) == 0
    assert re.search(r"over\n.*ending answered", call.stdout)
    assert checked.wait(60) == 0, checked.stdout
    assert stack.ledger().calls[call_id].ended_at is not None
    (row,) = stack.world.attempts()
    assert row["metadata"] == {"ended_because": "enough"}


def test_who_stops_following_leaves_the_call(sqlite_stack: Stack) -> None:
    stack = sqlite_stack
    stack.start_provider(answer_rate=1.0, voicemail_share=0.0, talk_time_mean_seconds=300.0)
    stack.start_service()
    stack.world.add_campaign()
    call = stack.processes.outdial(
        "campaign", "test", "survey", "--to", number(1), env=stack.environment, name="test-call"
    )
    call.wait_for_line("answered$", 60)
    call.send(signal.SIGINT)
    assert call.wait(60) == 130
    assert len(stack.ledger().open_call_ids) == 1
