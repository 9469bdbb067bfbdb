import httpx
import pytest

LONG = {"ring_time_mean_seconds": 60.0}


def codes(answers: list[httpx.Response]) -> list[str]:
    return [a.json()["error"]["code"] if a.is_error else "accepted" for a in answers]


def test_more_open_calls_than_allowed_are_refused_with_429(provider):
    sim = provider(**LONG, max_concurrent_calls=2)
    answers = [sim.start(f"call-{i}") for i in range(3)]
    assert codes(answers) == ["accepted", "accepted", "concurrency_exceeded"]
    assert (answers[-1].status_code, answers[-1].headers["retry-after"]) == (429, "1")


def test_ended_call_frees_its_line(provider):
    sim = provider(**LONG, max_concurrent_calls=1)
    provider_call_id = sim.start("call-1").json()["provider_call_id"]
    sim.http.post(f"/calls/{provider_call_id}/hangup")
    assert sim.start("call-2").status_code == 201


@pytest.mark.parametrize(("options", "allowed"), [({}, 4), ({"rate_burst": 0}, 3), ({"rate_burst": 3}, 6)])
def test_more_starts_in_a_second_than_rate_and_burst_are_refused_with_429(provider, options, allowed):
    sim = provider(calls_per_second=3, **options)
    answers = [sim.start(f"call-{i}") for i in range(allowed + 2)]
    assert codes(answers) == ["accepted"] * allowed + ["rate_limited"] * 2
    assert answers[-1].status_code == 429


def test_refused_starts_count_for_the_rate(provider):
    sim = provider(calls_per_second=1, rate_burst=1)
    assert codes(
        [sim.start("call-1", to="nobody"), sim.start("call-2", to="nobody"), sim.start("call-3")]
    ) == [
        "invalid_number",
        "invalid_number",
        "rate_limited",
    ]


def test_repeated_key_is_never_refused_for_a_limit(provider):
    sim = provider(**LONG, calls_per_second=1, rate_burst=0, max_concurrent_calls=1)
    assert [sim.start("call-1").status_code for _ in range(3)] == [201, 200, 200]


def test_limits_that_are_not_enforced_are_marked_in_the_ledger(provider):
    sim = provider(**LONG, enforce_limits=False, calls_per_second=1, max_concurrent_calls=2)
    assert codes([sim.start(f"call-{i}") for i in range(3)]) == ["accepted"] * 3
    assert [post.over for post in sim.ledger().posts] == [(), (), ("rate_limited", "concurrency_exceeded")]


def test_retry_after_can_be_left_out(provider):
    sim = provider(**LONG, max_concurrent_calls=1, retry_after_seconds=None)
    sim.start("call-1")
    assert "retry-after" not in sim.start("call-2").headers
