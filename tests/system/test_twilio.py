"""Whole campaigns through `outdial serve --with-worker` against a fake Twilio with faults, judged by its ledger."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from outdial.domain.campaign import AnswerType, CallOptions, Question, Script
from outdial.domain.retries import RetryPolicy
from tests.support.fake_twilio import ACCOUNT_SID, AUTH_TOKEN, FakeTwilio, Fate, Faults
from tests.support.processes import Process
from tests.support.stack import Stack
from tests.support.world import number

LINES = 8
RETRY = RetryPolicy(max_attempts=2, default_delay=timedelta(seconds=1))
OPTIONS = CallOptions(result_timeout_seconds=1, ring_timeout_seconds=5, max_duration_seconds=10)
SCRIPT = Script(
    intro="Hello {name}",
    questions=(
        Question(position=1, text="How likely?", answer_type=AnswerType.SCALE),
        Question(position=2, text="Why?"),
    ),
)
ANNOUNCEMENT = Script(intro="The shop is open again.")

COMPLETES = Fate(says=("8", "it was fine"))
NEEDS_ASKING_TWICE = Fate(says=("", "99", "9", "good"))
HANGS_UP_MIDWAY = Fate(says=("3",))
MACHINE = Fate(answered_by="machine_start")
BUSY = Fate(ending="busy", sip_code=486)
DECLINES = Fate(ending="no-answer", sip_code=603)
BAD_NUMBER = Fate(code=21211)
FATES = (COMPLETES, NEEDS_ASKING_TWICE, HANGS_UP_MIDWAY, MACHINE, BUSY, DECLINES, BAD_NUMBER, COMPLETES)
FIRST_OUTCOMES = (
    "completed",
    "completed",
    "no_result",
    "voicemail",
    "busy",
    "rejected",
    "failed",
    "completed",
)


def fate_of(to: str, before: int) -> Fate:
    """By the number; who was not reached at first is reached the second time."""
    fate = FATES[int(to[-4:]) % len(FATES)]
    return COMPLETES if before and fate in {BUSY, DECLINES} else fate


def set_account(stack: Stack, twilio: FakeTwilio, *options: str) -> None:
    stack.environment |= {"DATABASE_URL": stack.world.url, "TELEPHONY_API_KEY": AUTH_TOKEN}
    stack.world.set_account(webhook_secret_ref=None)
    written = [word for option in (f"account_sid={ACCOUNT_SID}", *options) for word in ("--option", option)]
    arguments = ["--adapter", "twilio", "--base-url", twilio.url, "--api-key", "env:TELEPHONY_API_KEY"]
    limits = ["--max-concurrent-calls", str(LINES), "--calls-per-second", "20"]
    done = stack.processes.outdial(
        "account", "set", "main", *arguments, *limits, *written, env=stack.environment
    )
    assert done.wait() == 0, done.stderr


def serve(stack: Stack, *, is_reachable: bool) -> Process:
    port = stack.free_port()
    if is_reachable:
        stack.environment["OUTDIAL_PUBLIC_URL"] = f"http://127.0.0.1:{port}"
    return stack.start_service("--with-worker", port=port)


def assert_accounts_agree(stack: Stack, twilio: FakeTwilio) -> None:
    """Each call at Twilio has one attempt, each attempt at most one call, and both say the same of its end."""
    rows = {row["provider_call_id"]: row for row in stack.world.attempts() if row["provider_call_id"]}
    assert rows.keys() == twilio.calls.keys()
    assert not twilio.overlaps()
    assert twilio.max_open() <= LINES
    assert stack.unsettled() == 0
    for sid, call in twilio.calls.items():
        assert call.is_over
        assert (rows[sid]["ending"] == "answered") is (call.status == "completed")
    assert not any(row["outcome"] == "unknown" for row in stack.world.attempts())


def test_a_campaign_with_callbacks_and_faults_ends_with_an_exact_account(sqlite_stack: Stack) -> None:
    stack = sqlite_stack
    faults = Faults(
        error_after=0.1, lost_answer=0.1, rate_limited=0.05, callback_lost=0.02, callback_doubled=0.1
    )
    with FakeTwilio(fate_of, faults) as twilio:
        set_account(stack, twilio)
        campaign = stack.world.add_campaign(retry=RETRY, call=OPTIONS, script=SCRIPT)
        stack.world.add_contacts(campaign, map(number, range(24)), name="Anna")
        service = serve(stack, is_reachable=True)
        service.wait_for(stack.is_done, "the end of the campaign", 80)
        assert service.terminate() == 0
        assert_accounts_agree(stack, twilio)
        assert {refusal for call in twilio.calls.values() for refusal in call.refusals} == set()
    placed = [row for row in stack.world.attempts() if row["ending"] != "not_placed"]
    first = {row["phone_number"]: row for row in reversed(placed)}
    for phone_number, row in first.items():
        expected = FIRST_OUTCOMES[int(phone_number[-4:]) % len(FATES)]
        # Where the callback of the end was lost, a look-up does not tell a refusal from a phone that rang out.
        assert row["outcome"] in ({"rejected", "no_answer"} if expected == "rejected" else {expected})
    completed = [row for row in placed if row["outcome"] == "completed"]
    assert all([one["position"] for one in row["answers"]] == [1, 2] for row in completed)
    assert {row["result"] for row in placed if row["outcome"] == "no_result"} == {"partial"}
    # A machine is hung up on without a word; whoever else picks up hears the intro.
    for call in twilio.calls.values():
        if call.status == "completed":
            assert call.heard[:1] == ([] if call.answered_by == "machine_start" else ["Hello Anna"])
    assert Counter(stack.contact_states()) == {"completed": 15, "not_reached": 6, "unreachable": 3}


def test_a_campaign_that_polls_needs_no_public_url(sqlite_stack: Stack) -> None:
    stack = sqlite_stack
    faults = Faults(error_after=0.1, lost_answer=0.1, rate_limited=0.05)
    with FakeTwilio(fate_of, faults) as twilio:
        set_account(stack, twilio, "events=poll")
        options = CallOptions(
            result_timeout_seconds=1,
            ring_timeout_seconds=5,
            max_duration_seconds=10,
            completed_after_seconds=0,
        )
        campaign = stack.world.add_campaign(retry=RETRY, call=options, script=ANNOUNCEMENT)
        stack.world.add_contacts(campaign, map(number, range(16)))
        service = serve(stack, is_reachable=False)
        service.wait_for(stack.is_done, "the end of the campaign", 80)
        assert service.terminate() == 0
        assert_accounts_agree(stack, twilio)
        assert all("StatusCallback" not in call.form for call in twilio.calls.values())
        heard = [call.heard for call in twilio.calls.values() if call.status == "completed"]
    assert all(words[0] == ANNOUNCEMENT.intro for words in heard)
    placed = [row for row in stack.world.attempts() if row["ending"] != "not_placed"]
    assert {row["outcome"] for row in placed if row["phone_number"] in {number(3), number(11)}} == {
        "voicemail"
    }
    assert Counter(stack.contact_states()) == {"completed": 12, "not_reached": 2, "unreachable": 2}
    assert {row["cost"] for row in stack.world.attempts() if row["ending"] == "answered"} == {"0.01300 USD"}
