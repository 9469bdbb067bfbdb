import json

import pytest

from outdial.simulator.ledger import most_in_a_second, read_ledger


def start(at: float, call_id: str, to: str = "+391") -> dict[str, object]:
    return {
        "at": at,
        "kind": "start",
        "call_id": call_id,
        "provider_call_id": f"sim-{call_id}",
        "to": to,
        "from": "+392",
        "open": 1,
        "status": 201,
    }


def end(at: float, call_id: str) -> dict[str, object]:
    return {"at": at, "kind": "ended", "call_id": call_id, "open": 0, "ending": "busy"}


@pytest.fixture
def ledger_of(tmp_path):
    def write(*lines: dict[str, object], torn: str = ""):
        path = tmp_path / "ledger.ndjson"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)
        return read_ledger(path)

    return write


def test_concurrency_is_counted_from_starts_and_ends(ledger_of):
    ledger = ledger_of(start(0, "a"), start(1, "b"), end(2, "a"), start(2, "c"), end(3, "b"), end(4, "c"))
    assert ledger.max_concurrent() == 2
    assert ledger.open_call_ids == set()


def test_call_without_an_end_is_open(ledger_of):
    assert ledger_of(start(0, "a"), start(1, "b"), end(2, "a")).open_call_ids == {"b"}


@pytest.mark.parametrize(
    ("instants", "most"),
    [([], 0), ([0, 1, 2], 1), ([0, 0.999, 1, 1.9, 1.99], 4), ([5, 0, 0.1, 0.2], 3)],
)
def test_sliding_second_contains_its_end_but_not_its_beginning(instants, most):
    assert most_in_a_second(instants) == most


def test_refused_and_repeated_posts_are_starts_too(ledger_of):
    refused = {
        "at": 0.1,
        "kind": "rejected",
        "call_id": "b",
        "to": None,
        "status": 429,
        "code": "rate_limited",
    }
    repeated = start(0.2, "a") | {"kind": "duplicate_key", "status": 200}
    ledger = ledger_of(start(0, "a"), refused, repeated)
    assert ledger.max_starts_in_any_second() == 3
    assert ledger.max_starts_in_any_second(accepted_only=True) == 1
    assert ledger.accepted_call_ids == {"a"}
    assert ledger.calls["a"].repeated_posts == 1
    assert ledger.summary()["rejected_by_code"] == {"rate_limited": 1}


def test_number_with_two_open_calls_overlaps(ledger_of):
    ledger = ledger_of(start(0, "a", "+1"), start(1, "b", "+1"), end(2, "a"), start(3, "c", "+2"))
    assert ledger.calls_per_number_overlap() == {"+1"}


def test_number_called_again_after_its_end_is_repeated_but_does_not_overlap(ledger_of):
    ledger = ledger_of(start(0, "a", "+1"), end(1, "a"), start(2, "b", "+1"))
    assert ledger.calls_per_number_overlap() == set()
    assert ledger.repeated_numbers() == {"+1": 2}


def test_call_accepted_twice_is_seen(ledger_of):
    assert ledger_of(start(0, "a"), start(1, "a")).doubled_call_ids == {"a"}


def test_line_that_is_still_being_written_is_left_out(ledger_of):
    assert ledger_of(start(0, "a"), torn='{"at": 1, "ki').accepted_call_ids == {"a"}


def test_broken_line_within_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "ledger.ndjson"
    path.write_text(json.dumps(start(0, "a")) + "\nnonsense\n")
    with pytest.raises(ValueError, match="line 2"):
        read_ledger(path)


def test_ledger_of_a_provider_agrees_with_what_it_was_asked(provider, receiver):
    sim = provider(answer_rate=1.0)
    for i in range(5):
        sim.start(f"call-{i}", to=f"+39061234567{i}")
    sim.start("late", not_after="2020-01-01T00:00:00Z")
    receiver.wait_for("completed", count=5)
    sim.close()
    ledger = sim.ledger()
    assert ledger.accepted_call_ids == {f"call-{i}" for i in range(5)}
    assert [(post.call_id, post.status) for post in ledger.rejected] == [("late", 412)]
    assert all(call.started_at <= call.answered_at <= call.ended_at for call in ledger.calls.values())
    assert {call.ending for call in ledger.calls.values()} == {"completed"}
    assert ledger.deliveries == {"delivered": 20}
    assert 1 <= ledger.max_concurrent() <= 5


def test_summary_is_served(provider, receiver):
    sim = provider(answer_rate=1.0)
    sim.start("call-1")
    receiver.wait_for("completed")
    summary = sim.http.get("/ledger/summary").json()
    assert (summary["accepted"], summary["open"], summary["endings"]) == (1, 0, {"completed": 1})


def test_provider_without_a_ledger_has_no_summary(provider):
    assert provider(ledger_path=None).http.get("/ledger/summary").status_code == 404
