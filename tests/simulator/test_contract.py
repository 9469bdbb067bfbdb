from datetime import UTC, datetime, timedelta

import pytest

ALWAYS_HUMAN = {"answer_rate": 1.0, "completed_rate": 1.0, "refuse_rate": 0.0}
LONG = ALWAYS_HUMAN | {"talk_time_mean_seconds": 60.0}
LONG_RINGING = {"ring_time_mean_seconds": 60.0}


def test_accepted_call_is_answered_with_201_and_the_providers_id(provider):
    answer = provider().start("call-1")
    assert answer.status_code == 201
    assert set(answer.json()) == {"provider_call_id", "status"}
    assert answer.json()["status"] == "queued"


def test_same_key_again_answers_the_same_call(provider):
    sim = provider(**LONG)
    first = sim.start("call-1")
    again = sim.start("call-1")
    assert again.status_code == 200
    assert again.json()["provider_call_id"] == first.json()["provider_call_id"]
    assert sim.http.get("/stats").json()["open_calls"] == 1
    assert sim.ledger().calls["call-1"].repeated_posts == 1


def test_wrong_bearer_is_401_on_every_call_route(provider):
    sim = provider()
    sim.http.headers["authorization"] = "Bearer wrong"
    answers = [
        sim.start("call-1"),
        sim.http.get("/calls?client_call_id=call-1"),
        sim.http.get("/calls/sim-1"),
        sim.http.post("/calls/sim-1/hangup"),
    ]
    assert [(a.status_code, a.json()["error"]["code"]) for a in answers] == [(401, "unauthorized")] * 4


@pytest.mark.parametrize(
    "fields",
    [
        {"to": None},
        {"from": 39},
        {"callback_url": "ftp://example.org"},
        {"not_after": "2027-03-01T08:00:00"},
        {"questions": [{"position": 1, "text": "How?", "answer_type": "mood"}]},
        {"metadata": []},
        {"ring_timeout_seconds": 0},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_malformed_field_is_422_and_named(provider, fields):
    answer = provider().start("call-1", **fields)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "invalid_request"
    assert next(iter(fields)) in error["message"] or "answer_type" in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"call_id": NaN}'])
def test_body_that_is_no_json_object_is_422(provider, body):
    answer = provider().http.post("/calls", content=body, headers={"idempotency-key": "call-1"})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "another"}])
def test_key_that_is_not_the_call_id_is_422(provider, headers):
    sim = provider()
    answer = sim.http.post("/calls", json=sim.body("call-1"), headers=headers)
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": "0612345678"}, "invalid_number"),
        ({"to": "+390600000000"}, "invalid_number"),
        ({"from": "+390299999999"}, "invalid_caller"),
        ({"to": "+8612345678901"}, "destination_not_allowed"),
    ],
)
def test_number_that_cannot_be_called_is_400_with_its_code(provider, fields, code):
    sim = provider(
        bad_numbers=("+390600000000",), allowed_callers=("+390212345678",), blocked_destinations=("+86",)
    )
    answer = sim.start("call-1", **fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_start_read_after_not_after_is_412_and_not_placed(provider):
    sim = provider()
    answer = sim.start("call-1", not_after=(datetime.now(UTC) - timedelta(milliseconds=50)).isoformat())
    assert (answer.status_code, answer.json()["error"]["code"]) == (412, "expired")
    assert sim.look_up("call-1") == []


def test_start_read_before_not_after_is_accepted(provider):
    later = datetime.now(UTC) + timedelta(seconds=30)
    assert provider().start("call-1", not_after=later.isoformat().replace("+00:00", "Z")).status_code == 201


def test_provider_that_does_not_honour_not_after_accepts_late_starts(provider):
    sim = provider(honours_not_after=False)
    assert sim.start("call-1", not_after="2020-01-01T00:00:00Z").status_code == 201


def test_look_up_by_our_id_of_an_unknown_call_is_an_empty_list(provider):
    assert provider().look_up("never-sent") == []


def test_look_up_without_an_id_is_422(provider):
    assert provider().http.get("/calls").status_code == 422


def test_both_look_ups_show_the_ended_call_with_its_result(provider, receiver):
    sim = provider(**ALWAYS_HUMAN)
    provider_call_id = sim.start("call-1").json()["provider_call_id"]
    receiver.wait_for("completed")
    [call] = sim.look_up("call-1")
    assert call == sim.http.get(f"/calls/{provider_call_id}").json()
    assert datetime.fromisoformat(call.pop("ended_at")) <= datetime.now(UTC)
    assert call == {
        "provider_call_id": provider_call_id,
        "call_id": "call-1",
        "status": "completed",
        "duration_seconds": 1,
        "answered_by": "human",
        "result": "completed",
    }


def test_unknown_provider_call_is_404(provider):
    sim = provider()
    for answer in (sim.http.get("/calls/sim-1"), sim.http.post("/calls/sim-1/hangup")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_hang_up_of_a_ringing_call_cancels_it(provider, receiver):
    sim = provider(**LONG_RINGING)
    provider_call_id = sim.start("call-1").json()["provider_call_id"]
    answer = sim.http.post(f"/calls/{provider_call_id}/hangup")
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert receiver.wait_for("canceled")[0]["provider_call_id"] == provider_call_id
    assert sim.ledger().calls["call-1"].ending == "canceled"


def test_hang_up_of_an_answered_call_completes_it(provider, receiver):
    sim = provider(**LONG)
    provider_call_id = sim.start("call-1").json()["provider_call_id"]
    receiver.wait_for("answered")
    assert sim.http.post(f"/calls/{provider_call_id}/hangup").json()["status"] == "completed"
    [completed] = receiver.wait_for("completed")
    assert (completed["answered_by"], completed["result"]) == ("human", "partial")


def test_hang_up_of_an_ended_call_changes_nothing(provider, receiver):
    sim = provider(**ALWAYS_HUMAN)
    provider_call_id = sim.start("call-1").json()["provider_call_id"]
    receiver.wait_for("completed")
    before = sim.look_up("call-1")
    assert sim.http.post(f"/calls/{provider_call_id}/hangup").json() == before[0]
    assert sim.http.get("/stats").json()["open_calls"] == 0


def test_stats_and_health_need_no_key(provider):
    sim = provider(**LONG)
    sim.start("call-1")
    sim.start("call-2", to="nobody")
    del sim.http.headers["authorization"]
    assert sim.http.get("/healthz").json() == {"status": "ok"}
    stats = sim.http.get("/stats").json()
    assert [stats[name] for name in ("open_calls", "starts", "accepted", "rejected")] == [1, 2, 1, 1]


def listed(sim, since, **query):
    return sim.http.get("/calls", params={"since": since.isoformat(), **query})


def test_list_shows_the_calls_since_an_instant_page_by_page_with_whose_they_are(provider):
    sim = provider(**LONG, list_page_size=2)
    begun = datetime.now(UTC) - timedelta(seconds=1)
    for name in ("call-1", "call-2", "call-3"):
        sim.start(name, metadata={"contact_id": name[-1]})
    first = listed(sim, begun).json()
    last = listed(sim, begun, page=first["next"]).json()
    assert (len(first["calls"]), len(last["calls"]), last["next"]) == (2, 1, None)
    [shown] = last["calls"]
    assert datetime.fromisoformat(shown.pop("started_at")) >= begun
    assert shown.pop("provider_call_id")
    assert shown.pop("status") in {"queued", "initiated", "ringing", "answered"}
    assert shown == {
        "call_id": "call-3",
        "to": "+390612345678",
        "from": "+390212345678",
        "metadata": {"contact_id": "3"},
    }


def test_list_leaves_out_what_began_before(provider):
    sim = provider(**LONG)
    sim.start("call-1")
    assert listed(sim, datetime.now(UTC) + timedelta(seconds=1)).json() == {"calls": [], "next": None}


@pytest.mark.parametrize("query", [{"since": "yesterday"}, {"since": "2026-11-23T18:00:00"}])
def test_list_since_no_instant_is_422(provider, query):
    assert provider().http.get("/calls", params=query).status_code == 422


def test_provider_without_a_list_answers_404(provider):
    assert listed(provider(lists_calls=False), datetime.now(UTC)).status_code == 404
