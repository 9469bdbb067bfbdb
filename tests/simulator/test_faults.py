import time

import httpx
import pytest

HUMAN = {"answer_rate": 1.0, "completed_rate": 1.0, "refuse_rate": 0.0}


def test_lost_answer_closes_the_connection_of_an_accepted_call(provider, receiver):
    sim = provider(**HUMAN, lost_answer=1.0)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        sim.start("call-1")
    assert len(sim.look_up("call-1")) == 1
    receiver.wait_for("completed")
    assert sim.ledger().calls["call-1"].fault == "lost_answer"


def test_repeated_key_after_a_lost_answer_finds_the_call(provider):
    sim = provider(lost_answer=1.0)
    with pytest.raises(httpx.TransportError):
        sim.start("call-1")
    assert sim.start("call-1").status_code == 200


def test_error_after_acceptance_is_500_and_the_call_runs(provider, receiver):
    sim = provider(**HUMAN, error_after=1.0)
    answer = sim.start("call-1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    receiver.wait_for("completed")
    assert sim.ledger().accepted_call_ids == {"call-1"}


def test_error_before_acceptance_is_503_with_the_contracts_error(provider):
    sim = provider(error_before=1.0)
    answer = sim.start("call-1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
    assert sim.look_up("call-1") == []
    assert sim.ledger().accepted_call_ids == set()


def test_call_refused_by_an_overload_may_be_accepted_when_repeated(provider):
    sim = provider(error_before=0.5)
    answers = [sim.start("call-1").status_code for _ in range(30)]
    assert set(answers) >= {503, 201} or answers[0] == 201
    assert answers[-1] == 200


def test_slow_answer_comes_late_for_a_call_that_already_runs(provider, receiver):
    sim = provider(**HUMAN, slow_answer=1.0, slow_answer_seconds=0.5)
    began = time.monotonic()
    answer = sim.start("call-1")
    assert time.monotonic() - began >= 0.5
    assert answer.json()["status"] == "completed"


def test_bad_number_is_bad_each_time_and_others_are_not(provider):
    sim = provider(bad_number=0.5)
    numbers = [f"+39061234{i:04d}" for i in range(20)]
    first = [sim.start(f"first-{number}", to=number).status_code for number in numbers]
    second = [sim.start(f"second-{number}", to=number).status_code for number in numbers]
    assert set(first) == {201, 400}
    assert first == second


def test_lost_webhooks_leave_only_the_look_up(provider, receiver):
    sim = provider(**HUMAN, webhook_lost=1.0)
    sim.start("call-1")
    deadline = time.monotonic() + 5
    while sim.look_up("call-1")[0]["status"] != "completed":
        assert time.monotonic() < deadline
    sim.close()
    assert receiver.received == []
    assert sim.ledger().deliveries == {"lost": 4}


def test_doubled_webhooks_carry_the_same_event_id(provider, receiver):
    provider(**HUMAN, webhook_doubled=1.0).start("call-1")
    receiver.wait_for("completed", count=2)
    ids = [event["event_id"] for event in receiver.events]
    assert ids[::2] == ids[1::2]
    assert len(set(ids)) == 4


def test_reordered_webhooks_follow_the_one_after_them(provider, receiver):
    provider(**HUMAN, webhook_reordered=1.0).start("call-1")
    receiver.wait_for("answered")
    assert receiver.names_of("call-1") == ["completed", "initiated", "ringing", "answered"]


def test_faults_strike_their_share_of_the_calls(provider):
    sim = provider(error_after=0.3)
    answers = [sim.start(f"call-{i}").status_code for i in range(200)]
    assert 40 <= answers.count(500) <= 80
