import pytest
from standardwebhooks import Webhook, WebhookVerificationError

ONLY = {
    "human": {"answer_rate": 1.0, "completed_rate": 1.0, "refuse_rate": 0.0},
    "voicemail": {
        "answer_rate": 0.0,
        "voicemail_share": 1,
        "no_answer_share": 0,
        "busy_share": 0,
        "failed_share": 0,
    },
    "no_answer": {
        "answer_rate": 0.0,
        "voicemail_share": 0,
        "no_answer_share": 1,
        "busy_share": 0,
        "failed_share": 0,
    },
    "busy": {
        "answer_rate": 0.0,
        "voicemail_share": 0,
        "no_answer_share": 0,
        "busy_share": 1,
        "failed_share": 0,
    },
    "failed": {
        "answer_rate": 0.0,
        "voicemail_share": 0,
        "no_answer_share": 0,
        "busy_share": 0,
        "failed_share": 1,
    },
}
QUESTIONS = [
    {"position": 1, "text": "How satisfied are you?", "answer_type": "scale"},
    {"position": 2, "text": "How many visits?", "answer_type": "numeric"},
    {"position": 3, "text": "Anything else?", "answer_type": "free_text"},
]


@pytest.mark.parametrize(
    ("line", "events"),
    [
        ("human", ["initiated", "ringing", "answered", "completed"]),
        ("voicemail", ["initiated", "ringing", "answered", "voicemail", "completed"]),
        ("no_answer", ["initiated", "ringing", "no_answer"]),
        ("busy", ["initiated", "busy"]),
        ("failed", ["initiated", "failed"]),
    ],
)
def test_events_of_a_call_come_in_their_order(provider, receiver, line, events):
    provider(**ONLY[line]).start("call-1")
    receiver.wait_for(events[-1])
    assert receiver.names_of("call-1") == events


def test_provider_without_progress_events_reports_only_what_it_found_and_the_end(provider, receiver):
    provider(**ONLY["voicemail"], progress_events=False).start("call-1")
    receiver.wait_for("completed")
    assert receiver.names_of("call-1") == ["voicemail", "completed"]


def test_every_event_verifies_with_the_secret_and_with_no_other(provider, receiver):
    sim = provider(**ONLY["human"])
    sim.start("call-1")
    receiver.wait_for("completed")
    for headers, body in receiver.received:
        event = Webhook(sim.settings.webhook_secret).verify(body, headers)
        assert {"event", "event_id", "provider_call_id", "call_id", "timestamp"} <= set(event)
        assert {name.lower(): value for name, value in headers.items()}["webhook-id"] == event["event_id"]
        with pytest.raises(WebhookVerificationError):
            Webhook("whsec_YW5vdGhlciBzZWNyZXQ=").verify(body, headers)


def test_machine_is_told_before_and_at_the_end_of_a_voicemail_call(provider, receiver):
    provider(**ONLY["voicemail"]).start("call-1")
    [completed] = receiver.wait_for("completed")
    assert completed["answered_by"] == "machine"
    assert "result" not in completed
    assert receiver.wait_for("voicemail")[0]["answered_by"] == "machine"


def test_completed_conversation_answers_each_question_in_its_type(provider, receiver):
    provider(**ONLY["human"]).start("call-1", questions=QUESTIONS)
    [completed] = receiver.wait_for("completed")
    scale, numeric, text = completed["answers"]
    assert [answer["position"] for answer in completed["answers"]] == [1, 2, 3]
    assert scale["text"] == "How satisfied are you?"
    assert 1 <= scale["answer"] <= 10
    assert isinstance(numeric["answer"], int)
    assert text["answer"]


def test_late_result_follows_the_end_and_is_then_looked_up(provider, receiver):
    sim = provider(**ONLY["human"], late_result_seconds=0.15)
    sim.start("call-1", questions=QUESTIONS)
    [completed] = receiver.wait_for("completed")
    assert "result" not in completed
    assert "result" not in sim.look_up("call-1")[0]
    [result] = receiver.wait_for("result")
    assert (result["result"], len(result["answers"])) == ("completed", 3)
    [call] = sim.look_up("call-1")
    assert (call["status"], call["result"]) == ("completed", "completed")


def test_opt_out_is_a_refusal_that_says_so(provider, receiver):
    provider(answer_rate=1.0, completed_rate=0.0, refuse_rate=0.0, opt_out_share=1.0).start("call-1")
    [completed] = receiver.wait_for("completed")
    assert (completed["result"], completed["opt_out"]) == ("refused", True)


def test_callback_names_its_instant(provider, receiver):
    provider(answer_rate=1.0, completed_rate=0.0, refuse_rate=0.0, callback_share=1.0).start("call-1")
    [completed] = receiver.wait_for("completed")
    assert completed["result"] == "callback"
    assert completed["callback_at"] > completed["timestamp"]


def test_metadata_comes_back_with_every_event(provider, receiver):
    metadata = {"campaign_id": "1", "contact_id": "7", "call_id": "call-1"}
    provider(**ONLY["busy"]).start("call-1", metadata=metadata)
    receiver.wait_for("busy")
    assert [event["metadata"] for event in receiver.events] == [metadata, metadata]


def test_unanswered_phone_rings_no_longer_than_the_request_allows(provider, receiver):
    sim = provider(**ONLY["no_answer"], ring_time_mean_seconds=60.0)
    sim.start("call-1", ring_timeout_seconds=0.05)
    receiver.wait_for("no_answer")


def test_event_that_is_not_taken_is_sent_again_until_it_is(provider, receiver):
    sim = provider(**ONLY["busy"])
    receiver.statuses.extend([500, 401, 204, 503])
    sim.start("call-1")
    receiver.wait_for("busy")
    receiver.wait_for("initiated", count=2)
    ids = {event["event_id"] for event in receiver.events if event["event"] == "call.initiated"}
    assert len(ids) == 1


def test_retries_of_an_event_end(provider, receiver):
    sim = provider(**ONLY["busy"], webhook_max_attempts=3)
    receiver.statuses.extend([500] * 20)
    sim.start("call-1")
    receiver.wait_for("initiated", count=3)
    receiver.wait_for("busy", count=3)
    sim.close()
    assert sim.ledger().deliveries == {"failed": 4, "gave_up": 2}


def test_receiver_that_cannot_be_reached_is_tried_again(provider, receiver):
    sim = provider(**ONLY["busy"], webhook_max_attempts=2)
    sim.start("call-1", callback_url="http://127.0.0.1:1/nobody")
    sim.start("call-2")
    receiver.wait_for("busy")
    sim.close()
    ledger = sim.ledger()
    assert ledger.calls["call-1"].events_delivered == 0
    assert ledger.deliveries["failed"] >= 1
