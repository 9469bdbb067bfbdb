"""The generic HTTP contract: what is sent, what each answer means, what events and look-ups say."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given, strategies as st
from standardwebhooks import Webhook

from outdial import (
    AccountRejected,
    CallerRejected,
    CallRejected,
    DestinationRejected,
    HttpTelephonyProvider,
    InDoubt,
    NotPlaced,
    NumberRejected,
    OutboundCallRequest,
    ProviderUnreachable,
    RateLimited,
    TelephonyProviderError,
)
from outdial.domain.attempt import AnsweredBy, Ending, ErrorClass, EventKind, Origin, Source
from outdial.domain.campaign import AnswerType, Question
from outdial.domain.errors import CannotList
from outdial.domain.ids import CallId, ProviderCallId
from outdial.telephony.adapters.http import GenericHttpAdapter
from outdial.telephony.protocol import (
    HttpResponse,
    LookUp,
    SignatureInvalid,
    WebhookMalformed,
    WebhookRequest,
)
from tests.support.stack import WEBHOOK_SECRET

CALL_ID = CallId("0198c0de-0000-7000-8000-000000000001")
REQUEST = OutboundCallRequest(
    call_id=CALL_ID,
    to="+393471234567",
    from_number="+390612345678",
    callback_url="https://calls.example.com/webhooks/telephony/main",
    language="it",
    intro_script="Buongiorno",
    questions=(Question(position=1, text="Da 1 a 10?", answer_type=AnswerType.SCALE),),
    metadata={"campaign_id": "1", "contact_id": "2", "call_id": CALL_ID},
    not_after=datetime(2026, 11, 23, 9, 0, tzinfo=UTC),
    ring_timeout_seconds=30,
    max_duration_seconds=600,
    machine_detection="hang_up",
)
QUERY = LookUp(call_id=CALL_ID, to=REQUEST.to, from_number=REQUEST.from_number)
ADAPTER = GenericHttpAdapter(
    base_url="https://gateway.example.com/v1/", api_key="key", webhook_secret=WEBHOOK_SECRET
)


def answer(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> HttpResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=status, headers=headers or {}, body=raw)


def error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "said the gateway"}}


def test_the_request_is_the_contract_word_for_word() -> None:
    sent = ADAPTER.start_request(REQUEST)
    assert (sent.method, sent.url) == ("POST", "https://gateway.example.com/v1/calls")
    assert sent.headers["Authorization"] == "Bearer key"
    assert sent.headers["Idempotency-Key"] == CALL_ID
    assert json.loads(sent.body or b"") == {
        "call_id": CALL_ID,
        "to": "+393471234567",
        "from": "+390612345678",
        "language": "it",
        "callback_url": "https://calls.example.com/webhooks/telephony/main",
        "intro_script": "Buongiorno",
        "questions": [{"position": 1, "text": "Da 1 a 10?", "answer_type": "scale"}],
        "metadata": {"campaign_id": "1", "contact_id": "2", "call_id": CALL_ID},
        "not_after": "2026-11-23T09:00:00.000Z",
        "ring_timeout_seconds": 30,
        "max_duration_seconds": 600,
        "machine_detection": "hang_up",
    }


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("name", ["provider_call_id", "call_id"])
def test_a_2xx_with_an_id_is_acceptance(status: int, name: str) -> None:
    assert ADAPTER.read_start(answer(status, {name: "P1", "status": "queued"})).provider_call_id == "P1"


ANSWERS = [
    (answer(412, error("expired")), NotPlaced),
    (answer(429), RateLimited),
    (answer(503, error("overloaded")), RateLimited),
    (answer(503, b"<html>bad gateway</html>"), InDoubt),
    (answer(400, error("invalid_number")), NumberRejected),
    (answer(400, error("invalid_caller")), CallerRejected),
    (answer(403, error("destination_not_allowed")), DestinationRejected),
    (answer(401), AccountRejected),
    (answer(402), AccountRejected),
    (answer(403), AccountRejected),
    (answer(400), CallRejected),
    (answer(404), CallRejected),
    (answer(422, error("invalid_request")), CallRejected),
    (answer(408), InDoubt),
    (answer(409), InDoubt),
    (answer(500), InDoubt),
    (answer(502), InDoubt),
    (answer(504), InDoubt),
    (answer(200, b"not json"), InDoubt),
    (answer(200, {"status": "queued"}), InDoubt),
    (answer(302), InDoubt),
]


@pytest.mark.parametrize(("response", "kind"), ANSWERS)
def test_what_each_answer_means(response: HttpResponse, kind: type[TelephonyProviderError]) -> None:
    with pytest.raises(TelephonyProviderError) as caught:
        ADAPTER.read_start(response)
    assert type(caught.value) is kind


def test_retry_after_is_read() -> None:
    with pytest.raises(RateLimited) as caught:
        ADAPTER.read_start(answer(429, headers={"retry-after": "7"}))
    assert caught.value.retry_after == 7


@given(st.integers(100, 599), st.binary(max_size=200))
def test_no_answer_is_read_as_anything_but_acceptance_or_one_of_the_errors(status: int, body: bytes) -> None:
    try:
        accepted = ADAPTER.read_start(answer(status, body))
    except TelephonyProviderError:
        return
    assert 200 <= status < 300
    assert accepted.provider_call_id


def test_a_look_up_tells_what_the_provider_knows() -> None:
    call = {"provider_call_id": "P1", "status": "completed", "duration_seconds": 12, "answered_by": "human"}
    (found,) = ADAPTER.read_look_up(QUERY, answer(200, {"calls": [call]}))
    assert (found.kind, found.ending, found.source) == (EventKind.ENDED, Ending.ANSWERED, Source.LOOKUP)
    assert (found.provider_call_id, found.answered_by) == ("P1", AnsweredBy.HUMAN)
    assert (
        ADAPTER.look_up_request(QUERY).url == f"https://gateway.example.com/v1/calls?client_call_id={CALL_ID}"
    )


def test_a_status_that_we_do_not_know_still_proves_the_call() -> None:
    (found,) = ADAPTER.read_look_up(
        QUERY, answer(200, {"calls": [{"provider_call_id": "P1", "status": "odd"}]})
    )
    assert (found.kind, found.provider_call_id, found.raw_status) == (EventKind.INITIATED, "P1", "odd")


def test_a_look_up_that_lists_other_calls_is_no_answer() -> None:
    other = {"provider_call_id": "P9", "call_id": "another", "status": "completed"}
    with pytest.raises(InDoubt):
        ADAPTER.read_look_up(QUERY, answer(200, {"calls": [other]}))
    ours = {"provider_call_id": "P1", "call_id": CALL_ID, "status": "busy"}
    (found,) = ADAPTER.read_look_up(QUERY, answer(200, {"calls": [other, ours]}))
    assert found.provider_call_id == "P1"


@pytest.mark.parametrize(
    "body", [b'{"provider_call_id": null}', b'{"provider_call_id": {"a": 1}}', b'{"provider_call_id": ""}']
)
def test_an_acceptance_without_a_real_id_is_in_doubt(body: bytes) -> None:
    with pytest.raises(InDoubt):
        ADAPTER.read_start(answer(201, body))


def test_an_empty_look_up_is_empty_and_a_broken_one_is_no_answer() -> None:
    assert ADAPTER.read_look_up(QUERY, answer(200, {"calls": []})) == []
    with pytest.raises(TelephonyProviderError):
        ADAPTER.read_look_up(QUERY, answer(500))
    with pytest.raises(TelephonyProviderError):
        ADAPTER.read_look_up(QUERY, answer(200, {"somewhere": "else"}))


def signed(body: dict[str, Any] | bytes, at: datetime | None = None) -> WebhookRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    moment = at or datetime.now(UTC)
    signature = Webhook(WEBHOOK_SECRET).sign("msg_1", moment, raw.decode("utf-8", "replace"))
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signature,
    }
    return WebhookRequest(url=REQUEST.callback_url or "", headers=headers, body=raw)


def webhook(event: str, **facts: Any) -> dict[str, Any]:
    return {
        "event": event,
        "event_id": "e1",
        "provider_call_id": "P1",
        "call_id": CALL_ID,
        "timestamp": "2026-11-23T09:00:00Z",
        **facts,
    }


EVENTS = [
    ("call.initiated", {}, EventKind.INITIATED, None),
    ("call.ringing", {}, EventKind.RINGING, None),
    ("call.answered", {}, EventKind.ANSWERED, None),
    ("call.voicemail", {}, EventKind.VOICEMAIL, None),
    ("call.voicemail", {"duration_seconds": 9}, EventKind.ENDED, Ending.ANSWERED),
    ("call.completed", {}, EventKind.ENDED, Ending.ANSWERED),
    ("call.busy", {}, EventKind.ENDED, Ending.BUSY),
    ("call.no_answer", {}, EventKind.ENDED, Ending.NO_ANSWER),
    ("call.canceled", {}, EventKind.ENDED, Ending.CANCELED),
    ("call.failed", {}, EventKind.ENDED, Ending.FAILED),
    ("call.failed", {"sip_code": 603}, EventKind.ENDED, Ending.REJECTED),
    ("call.failed", {"sip_code": 608}, EventKind.ENDED, Ending.BLOCKED),
    ("call.result", {"result": "completed"}, EventKind.RESULT, None),
]


@pytest.mark.parametrize(("name", "facts", "kind", "ending"), EVENTS)
def test_events_are_normalized(
    name: str, facts: dict[str, Any], kind: EventKind, ending: Ending | None
) -> None:
    (event,) = ADAPTER.read_webhook(signed(webhook(name, **facts)))
    assert (event.kind, event.ending, event.call_id) == (kind, ending, CALL_ID)


def test_a_bad_number_reported_on_the_line_is_named_as_such() -> None:
    (event,) = ADAPTER.read_webhook(signed(webhook("call.failed", sip_code=404)))
    assert event.error_class is ErrorClass.NUMBER


def test_the_older_name_of_the_result_is_understood_and_its_echo_is_not_a_result() -> None:
    (told,) = ADAPTER.read_webhook(signed(webhook("call.completed", outcome="completed")))
    assert told.result == "completed"
    (echoed,) = ADAPTER.read_webhook(signed(webhook("call.completed", outcome="voicemail")))
    assert (echoed.result, echoed.answered_by) == (None, AnsweredBy.MACHINE)


def test_a_wrong_signature_is_refused() -> None:
    good = signed(webhook("call.busy"))
    with pytest.raises(SignatureInvalid):
        ADAPTER.read_webhook(replace(good, body=good.body + b" "))
    with pytest.raises(SignatureInvalid):
        ADAPTER.read_webhook(replace(good, headers={}))
    with pytest.raises(SignatureInvalid):
        ADAPTER.read_webhook(signed(webhook("call.busy"), datetime(2020, 1, 1, tzinfo=UTC)))


MALFORMED = [
    b"not json",
    b"[]",
    {"event": "call.busy"},
    webhook("call.exploded"),
    webhook("call.busy", timestamp="yesterday"),
    webhook("call.busy", duration_seconds=-1),
    webhook("call.completed", answers=[{"answer": float("nan")}]),
    json.dumps(webhook("call.completed", cost="x")).replace('"x"', "1e999").encode(),
    {**webhook("call.busy"), "call_id": None, "provider_call_id": None},
]


@pytest.mark.parametrize("body", MALFORMED)
def test_a_malformed_event_is_told_from_a_forged_one(body: Any) -> None:
    with pytest.raises(WebhookMalformed):
        ADAPTER.read_webhook(signed(body))


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx.ConnectError("refused"), ProviderUnreachable),
        (httpx.ConnectTimeout("slow"), ProviderUnreachable),
        (httpx.ReadTimeout("slow"), InDoubt),
        (httpx.RemoteProtocolError("cut"), InDoubt),
        (httpx.WriteError("cut"), InDoubt),
    ],
)
def test_what_was_surely_not_sent_is_told_from_what_may_have_arrived(
    raised: httpx.HTTPError, kind: type[TelephonyProviderError]
) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise raised

    with httpx.Client(transport=httpx.MockTransport(fail)) as client:
        provider = HttpTelephonyProvider("https://gateway.example.com", "key", client=client)
        with pytest.raises(TelephonyProviderError) as caught:
            provider.start_outbound_call(REQUEST)
    assert type(caught.value) is kind


def test_a_hang_up_is_the_contract_word_for_word() -> None:
    sent = ADAPTER.hang_up_request(ProviderCallId("a/b c"))
    assert (sent.method, sent.url) == ("POST", "https://gateway.example.com/v1/calls/a%2Fb%20c/hangup")
    assert sent.headers["Authorization"] == "Bearer key"


@pytest.mark.parametrize("status", [200, 202, 204, 410])
def test_a_call_is_hung_up_where_the_gateway_says_so_or_that_it_is_gone(status: int) -> None:
    ADAPTER.read_hang_up(answer(status))


@pytest.mark.parametrize(
    ("status", "expected"),
    [(404, CallRejected), (401, AccountRejected), (429, RateLimited), (500, InDoubt)],
)
def test_a_hang_up_that_failed_says_how(status: int, expected: type[TelephonyProviderError]) -> None:
    with pytest.raises(expected):
        ADAPTER.read_hang_up(answer(status))


def test_a_check_asks_for_a_call_that_is_none() -> None:
    sent = ADAPTER.check_request()
    assert (sent.method, sent.body) == ("GET", None)
    assert sent.url.startswith("https://gateway.example.com/v1/calls?client_call_id=check-")
    assert "takes the API key" in ADAPTER.read_check(answer(200, {"calls": []}))


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (answer(401, error("unauthorized")), AccountRejected),
        (answer(404), CallRejected),
        (answer(200, b"<html>hello</html>"), InDoubt),
    ],
)
def test_a_check_that_shows_something_wrong_raises(
    response: HttpResponse, expected: type[TelephonyProviderError]
) -> None:
    with pytest.raises(expected):
        ADAPTER.read_check(response)


SINCE = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
LISTED = {
    "provider_call_id": "P1",
    "call_id": CALL_ID,
    "to": "+393471234567",
    "from": "+390612345678",
    "started_at": "2026-11-23T09:01:00Z",
    "ended_at": "2026-11-23T09:02:00Z",
    "status": "completed",
    "result": "refused",
    "metadata": {"contact_id": "2", "campaign_id": 1, "name": "Ada"},
}


def test_a_list_is_asked_for_since_an_instant_and_page_by_page() -> None:
    first, later = ADAPTER.list_request(SINCE, None), ADAPTER.list_request(SINCE, "a b&c")
    assert first.url == "https://gateway.example.com/v1/calls?since=2026-11-23T09%3A00%3A00.000Z"
    assert later.url == f"{first.url}&page=a+b%26c"
    assert (first.method, first.headers["Authorization"]) == ("GET", "Bearer key")


def test_a_list_tells_of_each_call_its_state_and_whose_it_is() -> None:
    page = ADAPTER.read_list(None, answer(200, {"calls": [LISTED], "next": "2"}))
    (call,) = page.calls
    assert page.next_page == "2"
    assert call.origin == Origin(
        to="+393471234567",
        from_number="+390612345678",
        contact_id="2",
        campaign_id="1",
        started_at=datetime(2026, 11, 23, 9, 1, tzinfo=UTC),
    )
    event = call.event
    assert (event.call_id, event.provider_call_id, event.source) == (CALL_ID, "P1", Source.LOOKUP)
    assert (event.ending, event.result) == (Ending.ANSWERED, "refused")
    assert event.at == datetime(2026, 11, 23, 9, 2, tzinfo=UTC)


def test_a_listed_call_may_be_without_our_id_and_metadata() -> None:
    bare = {name: LISTED[name] for name in ("provider_call_id", "to", "from", "started_at", "status")}
    (call,) = ADAPTER.read_list(None, answer(200, {"calls": [bare], "next": None})).calls
    assert call.event.call_id is None
    assert call.origin.contact_id is None


@pytest.mark.parametrize(
    "response",
    [
        answer(404),
        answer(400, error("invalid_request")),
        answer(501),
        answer(200, b"<html>hello</html>"),
        # A gateway that knows only look-ups overlooks `since`: an empty answer of its is no list.
        answer(200, {"calls": []}),
        answer(200, {"calls": [{**LISTED, "started_at": None}], "next": None}),
    ],
)
def test_a_gateway_that_does_not_list_says_so_one_way_or_the_other(response: HttpResponse) -> None:
    with pytest.raises(CannotList):
        ADAPTER.read_list(None, response)


@pytest.mark.parametrize(
    ("response", "expected"),
    [(answer(401), AccountRejected), (answer(429), RateLimited), (answer(500), InDoubt)],
)
def test_a_list_that_could_not_be_had_this_time_is_no_list_that_is_not_there(
    response: HttpResponse, expected: type[TelephonyProviderError]
) -> None:
    with pytest.raises(expected):
        ADAPTER.read_list(None, response)


def test_an_event_says_whose_call_it_is_if_it_is_told() -> None:
    body = {
        "event": "call.completed",
        "event_id": "e1",
        "call_id": CALL_ID,
        "timestamp": "2026-11-23T09:02:00Z",
        "duration_seconds": 60,
        "to": "+393471234567",
        "metadata": {"contact_id": "2", "campaign_id": "1"},
    }
    (event,) = ADAPTER.read_webhook(signed(json.dumps(body).encode()))
    assert event.origin == Origin(
        to="+393471234567",
        contact_id="2",
        campaign_id="1",
        started_at=datetime(2026, 11, 23, 9, 1, tzinfo=UTC),
    )


def test_what_older_gateways_have_under_these_names_is_no_reason_to_refuse_an_event() -> None:
    body = webhook("call.ringing", metadata="none", to={"number": "1"})
    body["from"] = 39
    (event,) = ADAPTER.read_webhook(signed(body))
    assert event.origin is not None
    assert (event.origin.to, event.origin.from_number, event.origin.contact_id) == (None, None, None)
