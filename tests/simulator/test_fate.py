from collections import Counter

import pytest

from outdial.simulator.fate import billed_seconds, decide_fate
from outdial.simulator.request import CallRequest


def request(call_id: str, **fields: object) -> CallRequest:
    told = {
        "call_id": call_id,
        "to": "+390612345678",
        "from_number": "+390212345678",
        "callback_url": "http://x",
    }
    return CallRequest(**told | fields)


def test_fate_depends_on_the_seed_and_the_call_alone(settings):
    one, other = settings(seed=7), settings(seed=7, ledger_path="elsewhere")
    calls = [request(f"call-{i}") for i in range(50)]
    backwards = {call.call_id: decide_fate(other, call) for call in reversed(calls)}
    assert {call.call_id: decide_fate(one, call) for call in calls} == backwards


def test_another_seed_gives_another_fate(settings):
    calls = [request(f"call-{i}") for i in range(50)]
    assert [decide_fate(settings(seed=1), c) for c in calls] != [
        decide_fate(settings(seed=2), c) for c in calls
    ]


def test_fault_leaves_the_rest_of_a_fate_as_it_was(settings):
    calls = [request(f"call-{i}") for i in range(50)]
    plain = [decide_fate(settings(), call).steps for call in calls]
    assert [decide_fate(settings(lost_answer=0.5, webhook_lost=0.5), call).steps for call in calls] == plain


def test_shares_are_met(settings):
    shares = settings(answer_rate=0.5, voicemail_share=2, no_answer_share=1, busy_share=1, failed_share=1)
    fates = [decide_fate(shares, request(f"call-{i}")) for i in range(5000)]
    ends = Counter(fate.steps[-1].name for fate in fates)
    voicemails = sum(any(step.name == "voicemail" for step in fate.steps) for fate in fates)
    assert voicemails == pytest.approx(1000, rel=0.15)
    assert ends["completed"] - voicemails == pytest.approx(2500, rel=0.1)
    assert ends["no_answer"] == pytest.approx(500, rel=0.2)
    assert ends["busy"] == pytest.approx(500, rel=0.2)
    assert ends["failed"] == pytest.approx(500, rel=0.2)


def test_results_are_met(settings):
    shares = settings(
        answer_rate=1.0, completed_rate=0.5, refuse_rate=0.2, callback_share=0.1, no_result_share=0.1
    )
    fates = [decide_fate(shares, request(f"call-{i}")) for i in range(5000)]
    results = Counter(fate.steps[-1].details.get("result") for fate in fates)
    expected = {"completed": 2500, "refused": 1000, "callback": 500, None: 500, "partial": 500}
    assert results == pytest.approx(expected, rel=0.2)


def test_talk_times_have_their_mean(settings):
    world = settings(answer_rate=1.0, talk_time_mean_seconds=90.0, time_scale=0.01)
    talks = [decide_fate(world, request(f"call-{i}")).steps[-1] for i in range(2000)]
    assert sum(step.after_seconds for step in talks) / 2000 == pytest.approx(0.9, rel=0.05)
    assert sum(step.details["duration_seconds"] for step in talks) / 2000 == pytest.approx(90, rel=0.05)


def test_conversation_ends_at_the_requests_longest_duration(settings):
    world = settings(answer_rate=1.0, talk_time_mean_seconds=90.0, time_scale=0.01)
    completed = decide_fate(world, request("call-1", max_duration_seconds=10)).steps[-1]
    assert (completed.after_seconds, completed.details["duration_seconds"]) == (pytest.approx(0.1), 10)


@pytest.mark.parametrize(("real", "billed"), [(0.0, 0), (0.001, 1), (1.0, 1), (1.2, 2)])
def test_durations_are_billed_in_whole_seconds_rounded_up(settings, real, billed):
    assert billed_seconds(settings(), real) == billed
