"""Twilio: what is sent, what each answer means, what callbacks, look-ups and documents say.

The judge of signatures and documents is Twilio's own package.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, strategies as st
from starlette.datastructures import MultiDict
from twilio.request_validator import RequestValidator

from outdial import (
    AccountRejected,
    CallerRejected,
    CallRejected,
    DestinationRejected,
    InDoubt,
    NumberRejected,
    OutboundCallRequest,
    RateLimited,
    TelephonyProviderError,
)
from outdial.domain.attempt import AnsweredBy, CallEvent, Ending, ErrorClass, EventKind, Origin, Source
from outdial.domain.campaign import AnswerType, Question
from outdial.domain.conversation import HANG_UP, Turn, opening
from outdial.domain.ids import CallId, ProviderCallId
from outdial.domain.settle import MachinePolicy
from outdial.telephony.adapters.twilio import TwilioAdapter, capabilities_of
from outdial.telephony.adapters.twilio_signature import is_signed, sign
from outdial.telephony.protocol import (
    HttpResponse,
    LookUp,
    SignatureInvalid,
    WebhookMalformed,
    WebhookRequest,
)

ACCOUNT = "AC" + "0" * 32
SID = ProviderCallId("CA" + "1" * 32)
TOKEN = "token-of-the-account"
CALL_ID = CallId("0198c0de-0000-7000-8000-000000000001")
SENT_AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ADAPTER = TwilioAdapter(
    account_sid=ACCOUNT,
    user=ACCOUNT,
    password=TOKEN,
    auth_token=TOKEN,
    voice_url="https://calls.example.com/voice/main",
    capabilities=capabilities_of({}),
)
UNREACHABLE = replace(ADAPTER, voice_url=None, capabilities=capabilities_of({"events": "poll"}))
REQUEST = OutboundCallRequest(
    call_id=CALL_ID,
    to="+393471234567",
    from_number="+390612345678",
    callback_url="https://calls.example.com/webhooks/telephony/main",
    language="it",
    intro_script="Buongiorno <Anna> & C.",
    questions=(Question(position=1, text="Da 1 a 10?", answer_type=AnswerType.SCALE),),
    ring_timeout_seconds=30,
    max_duration_seconds=600,
    machine_detection="off",
)
QUERY = LookUp(call_id=CALL_ID, to=REQUEST.to, from_number=REQUEST.from_number, sent_at=SENT_AT)


def answer(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> HttpResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=status, headers=headers or {}, body=raw)


def error(code: int) -> dict[str, Any]:
    return {"code": code, "message": "said Twilio", "more_info": "https://…", "status": 400}


def form_of(adapter: TwilioAdapter, **changes: Any) -> dict[str, list[str]]:
    return parse_qs((adapter.start_request(replace(REQUEST, **changes)).body or b"").decode())


def test_the_request_is_twilios() -> None:
    sent = ADAPTER.start_request(REQUEST)
    assert (sent.method, sent.url) == (
        "POST",
        f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Calls.json",
    )
    assert (
        base64.b64decode(sent.headers["Authorization"].removeprefix("Basic ")).decode()
        == f"{ACCOUNT}:{TOKEN}"
    )
    form = form_of(ADAPTER)
    document = form.pop("Twiml")
    assert len(document) == 1
    assert form == {
        "To": ["+393471234567"],
        "From": ["+390612345678"],
        "StatusCallback": [f"{REQUEST.callback_url}?call_id={CALL_ID}#rc=5&rp=all"],
        "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
        "Timeout": ["30"],
        "TimeLimit": ["600"],
    }


def test_every_url_that_twilio_is_given_carries_our_id() -> None:
    with_answer_url = replace(ADAPTER, answer_url="https://bot.example.com/answer?x=1")
    detecting = form_of(ADAPTER, machine_detection="hang_up")
    document = ET.fromstring(form_of(ADAPTER)["Twiml"][0])
    action = document.find("Gather")
    assert action is not None
    urls = [
        *form_of(ADAPTER)["StatusCallback"],
        *form_of(with_answer_url)["Url"],
        *detecting["Url"],
        action.attrib["action"],
    ]
    assert [parse_qs(urlsplit(url).query)["call_id"] for url in urls] == [[CALL_ID]] * 4


@pytest.mark.parametrize(
    ("policy", "detection"),
    [
        ("hang_up", ["Enable"]),
        ("leave_message", ["DetectMessageEnd"]),
        ("off", None),
        ("treat_as_human", None),
    ],
)
def test_machines_are_detected_as_the_campaign_wants(policy: str, detection: list[str] | None) -> None:
    form = form_of(ADAPTER, machine_detection=policy)
    assert form.get("MachineDetection") == detection
    # What is said hangs on who picked up, which is told to a URL only.
    assert ("Url" in form) is (detection is not None)


def test_polling_asks_for_no_callbacks_and_says_its_intro_inline() -> None:
    form = form_of(UNREACHABLE, callback_url=None, questions=(), machine_detection="hang_up")
    assert not {"StatusCallback", "StatusCallbackEvent", "Url"} & form.keys()
    assert [say.text for say in ET.fromstring(form["Twiml"][0]).iter("Say")] == [
        "Buongiorno <Anna> & C.",
        "Grazie. Arrivederci.",
    ]
    assert UNREACHABLE.capabilities.look_up_seconds == 3
    assert ADAPTER.capabilities.look_up_seconds is None


def test_questions_without_a_public_url_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(CallRejected, match="OUTDIAL_PUBLIC_URL"):
        UNREACHABLE.start_request(replace(REQUEST, callback_url=None))


def test_a_script_too_long_to_be_sent_along_is_fetched() -> None:
    long = "x" * 4000
    assert "Url" in form_of(ADAPTER, intro_script=long)
    with pytest.raises(CallRejected, match="4000"):
        UNREACHABLE.start_request(replace(REQUEST, intro_script=long, questions=()))


def test_a_created_call_is_acceptance() -> None:
    accepted = ADAPTER.read_start(answer(201, {"sid": SID, "status": "queued"}))
    assert (accepted.provider_call_id, accepted.status) == (SID, "queued")


def codes(kind: type[TelephonyProviderError], *found: int) -> list[tuple[int, type[TelephonyProviderError]]]:
    return [(code, kind) for code in found]


CODES = [
    *codes(NumberRejected, 21211, 21214, 21217, 13223, 13224, 21202, 21216, 13225, 32203),
    *codes(DestinationRejected, 21215, 13227, 32205, 21203, 21219, 573005),
    *codes(CallerRejected, 21210, 21212, 21213),
    *codes(AccountRejected, 20003, 20005, 10001, 20006, 20403, 10002),
    *codes(RateLimited, 20429, 10004, 86008),
    *codes(CallRejected, 21201, 21205, 21206, 21208, 21209, 21218, 21220, 21262, 21263, 21609, 21626, 99999),
]


@pytest.mark.parametrize(("code", "kind"), CODES)
def test_what_each_code_means(code: int, kind: type[TelephonyProviderError]) -> None:
    with pytest.raises(TelephonyProviderError) as caught:
        ADAPTER.read_start(answer(400, error(code)))
    assert (type(caught.value), caught.value.error_code) == (kind, str(code))


ANSWERS = [
    (answer(401), AccountRejected),
    (answer(403), AccountRejected),
    (answer(404, error(20404)), AccountRejected),
    (answer(429), RateLimited),
    # Without a code of Twilio's, a proxy may speak that had passed the request on.
    (answer(400), InDoubt),
    (answer(404), InDoubt),
    (answer(408), InDoubt),
    (answer(409), InDoubt),
    (answer(499), InDoubt),
    (answer(400, error(21205)), CallRejected),
    (answer(422, error(99999)), CallRejected),
    (answer(500, error(20500)), InDoubt),
    (answer(503, error(20503)), RateLimited),
    (answer(503, b"<html>bad gateway</html>"), InDoubt),
    (answer(503, error(20500)), InDoubt),
    (answer(502), InDoubt),
    (answer(500, error(21211)), InDoubt),
    (answer(201, b"not json"), InDoubt),
    (answer(201, {"sid": "what"}), InDoubt),
    (answer(302), InDoubt),
]


@pytest.mark.parametrize(("response", "kind"), ANSWERS)
def test_what_each_answer_means(response: HttpResponse, kind: type[TelephonyProviderError]) -> None:
    with pytest.raises(TelephonyProviderError) as caught:
        ADAPTER.read_start(response)
    assert type(caught.value) is kind


@given(st.integers(100, 599), st.binary(max_size=200))
def test_no_answer_is_read_as_anything_but_acceptance_or_one_of_the_errors(status: int, body: bytes) -> None:
    try:
        ADAPTER.read_start(answer(status, body))
    except TelephonyProviderError:
        return
    assert 200 <= status < 300


def listed(**facts: Any) -> dict[str, Any]:
    return {
        "sid": SID,
        "status": "in-progress",
        "to": REQUEST.to,
        "from": REQUEST.from_number,
        "direction": "outbound-api",
        "date_created": format_datetime(SENT_AT + timedelta(seconds=1)),
        "end_time": None,
        "duration": None,
        "answered_by": None,
        "price": None,
        "price_unit": "USD",
        **facts,
    }


def look_up(*calls: Mapping[str, Any], **page: Any) -> list[CallEvent]:
    body = {"calls": list(calls), "next_page_uri": None, **page}
    return list(ADAPTER.read_look_up(QUERY, answer(200, body)))


def test_a_call_of_unknown_sid_is_asked_for_by_its_numbers() -> None:
    asked = urlsplit(ADAPTER.look_up_request(QUERY).url)
    assert parse_qs(asked.query) == {
        "To": [REQUEST.to],
        "From": [REQUEST.from_number],
        "PageSize": ["1000"],
    }


def test_what_was_made_between_the_numbers_at_that_time_only_looks_alike() -> None:
    (found,) = look_up(listed())
    assert (found.kind, found.source, found.call_id) == (EventKind.ANSWERED, Source.LOOKUP, None)
    assert found.provider_call_id == SID


NOT_OURS = [
    {"to": "+393470000000"},
    {"from": "+390600000000"},
    {"direction": "inbound"},
    {"direction": "outbound-dial"},
    {"date_created": format_datetime(SENT_AT - timedelta(seconds=11))},
    {"date_created": format_datetime(SENT_AT + timedelta(seconds=61))},
    {"date_created": None},
]


@pytest.mark.parametrize("facts", NOT_OURS)
def test_other_calls_are_not_taken_for_ours(facts: dict[str, Any]) -> None:
    assert look_up(listed(**facts)) == []


def test_a_list_that_goes_on_names_no_call() -> None:
    assert not look_up(listed(), next_page_uri="/2010-04-01/…?Page=1")
    assert not ADAPTER.capabilities.honours_not_after, "and that it names none proves nothing"


def test_a_call_of_known_sid_is_asked_for_itself() -> None:
    query = replace(QUERY, provider_call_id=SID)
    assert ADAPTER.look_up_request(query).url.endswith(f"/Accounts/{ACCOUNT}/Calls/{SID}.json")
    body = listed(
        status="completed",
        duration="42",
        answered_by="machine_start",
        price="-0.01500",
        end_time="Mon, 23 Nov 2026 09:01:00 +0000",
    )
    (found,) = ADAPTER.read_look_up(query, answer(200, body))
    assert (found.call_id, found.ending, found.answered_by) == (CALL_ID, Ending.ANSWERED, AnsweredBy.MACHINE)
    assert (found.duration_seconds, found.cost) == (42, "0.01500 USD")
    assert found.at == datetime(2026, 11, 23, 9, 1, tzinfo=UTC)
    assert list(ADAPTER.read_look_up(query, answer(404, error(20404)))) == []


@pytest.mark.parametrize("response", [answer(401), answer(500), answer(200, b"{}"), answer(429)])
def test_a_look_up_that_fails_is_no_answer(response: HttpResponse) -> None:
    for query in (QUERY, replace(QUERY, provider_call_id=SID)):
        with pytest.raises(TelephonyProviderError):
            ADAPTER.read_look_up(query, response)


CALLBACK_URL = f"{REQUEST.callback_url}?call_id={CALL_ID}"


def signed(form: Mapping[str, Any] | str, *, url: str = CALLBACK_URL, token: str = TOKEN) -> WebhookRequest:
    body = form if isinstance(form, str) else urlencode(form, doseq=True)
    told = MultiDict(parse_qsl(body, keep_blank_values=True))
    return WebhookRequest(
        url=url,
        headers={
            "content-type": "application/x-www-form-urlencoded",
            "x-twilio-signature": RequestValidator(token).compute_signature(url, told),
        },
        body=body.encode(),
    )


def callback(status: str, **facts: str) -> dict[str, str]:
    return {
        "CallSid": SID,
        "AccountSid": ACCOUNT,
        "CallStatus": status,
        "SequenceNumber": "3",
        "Timestamp": "Mon, 23 Nov 2026 09:00:00 +0000",
        **facts,
    }


EVENTS = [
    ("queued", {}, EventKind.INITIATED, None),
    ("initiated", {}, EventKind.INITIATED, None),
    ("ringing", {}, EventKind.RINGING, None),
    ("in-progress", {}, EventKind.ANSWERED, None),
    ("completed", {}, EventKind.ENDED, Ending.ANSWERED),
    ("busy", {}, EventKind.ENDED, Ending.BUSY),
    ("no-answer", {}, EventKind.ENDED, Ending.NO_ANSWER),
    ("no-answer", {"SipResponseCode": "487"}, EventKind.ENDED, Ending.NO_ANSWER),
    ("no-answer", {"SipResponseCode": "603"}, EventKind.ENDED, Ending.REJECTED),
    ("failed", {}, EventKind.ENDED, Ending.FAILED),
    ("failed", {"SipResponseCode": "486"}, EventKind.ENDED, Ending.BUSY),
    ("failed", {"SipResponseCode": "608"}, EventKind.ENDED, Ending.BLOCKED),
    ("completed", {"SipResponseCode": "200"}, EventKind.ENDED, Ending.ANSWERED),
    ("canceled", {}, EventKind.ENDED, Ending.CANCELED),
]


@pytest.mark.parametrize(("status", "facts", "kind", "ending"), EVENTS)
def test_callbacks_are_normalized(
    status: str, facts: dict[str, str], kind: EventKind, ending: Ending | None
) -> None:
    (event,) = ADAPTER.read_webhook(signed(callback(status, **facts)))
    assert (event.kind, event.ending, event.call_id) == (kind, ending, CALL_ID)
    assert (event.event_id, event.provider_call_id) == (f"{SID}-3", SID)
    assert event.at == SENT_AT


def test_the_end_tells_its_facts() -> None:
    facts = {"CallDuration": "17", "SipResponseCode": "404", "AnsweredBy": "human"}
    (event,) = ADAPTER.read_webhook(signed(callback("failed", **facts)))
    assert (event.duration_seconds, event.sip_code) == (17, 404)
    assert (event.error_class, event.answered_by) == (ErrorClass.NUMBER, AnsweredBy.HUMAN)


VECTOR_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
VECTOR = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675309",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
}


def test_the_signature_is_that_of_twilios_own_vectors() -> None:
    assert sign("12345", VECTOR_URL, VECTOR.items()) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    with_port = VECTOR_URL.replace(".com", ".com:443")
    assert sign("12345", with_port, VECTOR.items()) == "kvajT1Ptam85bY51eRf/AJRuM3w="
    for url in (VECTOR_URL, with_port):
        assert is_signed("12345", url, VECTOR.items(), "RSOYDt4T1cUTdK1PDd93/VVr8B8=")
    repeated = [("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234")] * 2
    assert sign("12345", VECTOR_URL, repeated) == "IK+Dwps556ElfBT0I3Rgjkr1wJU="


@given(
    st.sampled_from([CALLBACK_URL, "http://x.example:8080/a?b=%20&c=è", "https://x.example/a", VECTOR_URL]),
    st.lists(st.tuples(st.text(min_size=1, max_size=8), st.text(max_size=8)), min_size=1, max_size=6),
)
def test_twilios_validator_and_ours_agree(url: str, form: list[tuple[str, str]]) -> None:
    told = MultiDict(form)
    signature = RequestValidator(TOKEN).compute_signature(url, told)
    assert is_signed(TOKEN, url, parse_qsl(urlencode(form), keep_blank_values=True), signature)
    assert RequestValidator(TOKEN).validate(url, told, sign(TOKEN, url, form))


def test_what_is_not_signed_by_this_account_is_refused() -> None:
    good = signed(callback("busy"))
    bad = [
        replace(good, body=good.body + b"&X=1"),
        replace(good, url=good.url + "&x=1"),
        replace(good, headers={}),
        replace(good, headers={"x-twilio-signature": "é"}),
        signed(callback("busy"), token="another"),
    ]
    for request in bad:
        with pytest.raises(SignatureInvalid):
            ADAPTER.read_webhook(request)
    with pytest.raises(SignatureInvalid, match="--webhook-secret"):
        replace(ADAPTER, auth_token=None).read_webhook(good)


@pytest.mark.parametrize(
    "form", ["", "x=1", {"CallStatus": "busy"}, callback("exploded"), {**callback("busy"), "CallSid": "x"}]
)
def test_a_malformed_callback_is_told_from_a_forged_one(form: Any) -> None:
    with pytest.raises(WebhookMalformed):
        ADAPTER.read_webhook(signed(form))


VOICE_URL = f"{ADAPTER.voice_url}/{CALL_ID}?call_id={CALL_ID}"


def test_the_first_document_tells_who_picked_up() -> None:
    form = callback("in-progress", AnsweredBy="machine_end_beep")
    asked = ADAPTER.read_voice(signed(form, url=VOICE_URL))
    assert asked.event is not None
    assert (asked.event.kind, asked.event.answered_by) == (EventKind.VOICEMAIL, AnsweredBy.MACHINE)


def test_an_answer_is_read_from_keypad_or_speech() -> None:
    url = f"{VOICE_URL}&position=2&tries=3"
    asked = ADAPTER.read_voice(signed(callback("in-progress", Digits="7", SpeechResult=""), url=url))
    assert asked.event is None
    assert asked.reply is not None
    assert (asked.reply.position, asked.reply.tries, asked.reply.digits) == (2, 3, "7")


def test_a_document_fetched_by_get_is_signed_over_its_url_alone() -> None:
    url = f"{VOICE_URL}&{urlencode(callback('in-progress', AnsweredBy='human'))}"
    signature = RequestValidator(TOKEN).compute_signature(url, {})
    request = WebhookRequest(url=url, headers={"x-twilio-signature": signature}, body=b"")
    event = ADAPTER.read_voice(request).event
    assert event is not None
    assert event.answered_by is AnsweredBy.HUMAN


def document(turn: Turn, language: str = "it") -> ET.Element:
    return ET.fromstring(ADAPTER.voice_document(CALL_ID, turn, language).body)


def test_a_question_waits_for_its_answer_at_our_url() -> None:
    turn = opening(REQUEST.intro_script, REQUEST.questions, None, MachinePolicy.HANG_UP)
    root = document(turn)
    assert [child.tag for child in root] == ["Say", "Gather"]
    gather = root[1]
    assert gather.attrib["input"] == "dtmf speech"
    assert gather.attrib["action"] == f"{VOICE_URL}&position=1&tries=1"
    assert gather.attrib["language"] == "it-IT"
    assert gather[0].text == "Da 1 a 10?"


def test_a_call_that_is_over_hangs_up_and_only_a_person_is_told_goodbye() -> None:
    assert [child.tag for child in document(HANG_UP)] == ["Hangup"]
    assert [child.text for child in document(Turn(is_polite=True))] == ["Grazie. Arrivederci.", None]
    assert [child.tag for child in document(Turn(is_polite=True), "xx")] == ["Hangup"]


@given(st.text())
def test_whatever_is_said_is_xml(text: str) -> None:
    question = Question(position=1, text=text)
    root = document(Turn(say="x" + text, ask=question))
    assert root[1].tag == "Gather"


def test_hanging_up_ends_the_call_in_any_state_and_canceling_only_before_the_answer() -> None:
    ending = ADAPTER.hang_up_request(SID)
    assert (ending.method, ending.body) == ("POST", b"Status=completed")
    assert ending.url.endswith(f"/Calls/{SID}.json")
    assert ADAPTER.hang_up_request(SID, is_queued=True).body == b"Status=canceled"
    for over in (answer(200, {}), answer(404, error(20404)), answer(400, error(21220))):
        ADAPTER.read_hang_up(over)
    for failed in (answer(401), answer(500), answer(400, error(21205))):
        with pytest.raises(TelephonyProviderError):
            ADAPTER.read_hang_up(failed)


def test_a_check_says_in_one_sentence_how_the_account_stands() -> None:
    assert ADAPTER.check_request().url.endswith(f"/2010-04-01/Accounts/{ACCOUNT}.json")
    told = {"sid": ACCOUNT, "status": "active", "friendly_name": "Ours", "type": "Trial"}
    assert "it is active, a trial" in ADAPTER.read_check(answer(200, told))
    with pytest.raises(AccountRejected, match="suspended"):
        ADAPTER.read_check(answer(200, {**told, "status": "suspended"}))
    with pytest.raises(AccountRejected):
        ADAPTER.read_check(answer(401, error(20003)))
    with pytest.raises(InDoubt):
        ADAPTER.read_check(answer(200, b"[]"))


LISTED = {
    "sid": SID,
    "status": "completed",
    "to": "+393471234567",
    "from": "+390612345678",
    "direction": "outbound-api",
    "date_created": "Mon, 23 Nov 2026 09:00:01 +0000",
    "start_time": "Mon, 23 Nov 2026 09:00:05 +0000",
    "end_time": "Mon, 23 Nov 2026 09:01:05 +0000",
    "duration": "60",
}


def urls_of_a_list(*pages: dict[str, Any]) -> list[str]:
    """What is asked, when these are the answers."""
    page: str | None = None
    asked = []
    for body in pages:
        asked.append(ADAPTER.list_request(SENT_AT, page).url)
        page = ADAPTER.read_list(page, answer(200, body)).next_page
    assert page is None
    return [url.removeprefix("https://api.twilio.com/2010-04-01/Accounts/") for url in asked]


def test_a_list_is_of_what_is_queued_and_then_of_what_has_begun_page_by_page() -> None:
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Calls.json"
    queued, begun = f"{path}?Status=queued&Page=1", f"{path}?StartTime%3E=2026-11-23&Page=1"
    asked = urls_of_a_list(
        {"calls": [], "next_page_uri": queued},
        {"calls": [], "next_page_uri": None},
        {"calls": [], "next_page_uri": begun},
        {"calls": [], "next_page_uri": None},
    )
    assert asked == [
        f"{ACCOUNT}/Calls.json?Status=queued&PageSize=1000",
        f"{ACCOUNT}/Calls.json?Status=queued&Page=1",
        f"{ACCOUNT}/Calls.json?StartTime%3E=2026-11-23&PageSize=1000",
        f"{ACCOUNT}/Calls.json?StartTime%3E=2026-11-23&Page=1",
    ]


def test_a_list_tells_of_calls_that_we_made_by_their_numbers_and_time() -> None:
    inbound = {**LISTED, "sid": "CA" + "2" * 32, "direction": "inbound"}
    page = ADAPTER.read_list("begun", answer(200, {"calls": [LISTED, inbound], "next_page_uri": None}))
    (call,) = page.calls
    assert call.origin == Origin(
        to="+393471234567", from_number="+390612345678", started_at=SENT_AT + timedelta(seconds=1)
    )
    event = call.event
    assert (event.call_id, event.provider_call_id, event.ending) == (None, SID, Ending.ANSWERED)
    assert (event.source, event.at) == (Source.LOOKUP, SENT_AT + timedelta(seconds=65))


def test_a_list_goes_on_only_at_twilio() -> None:
    with pytest.raises(InDoubt):
        ADAPTER.read_list(None, answer(200, {"calls": [], "next_page_uri": "@evil.example/2010-04-01/"}))


def test_a_list_that_is_refused_raises_what_stands_in_the_way() -> None:
    with pytest.raises(AccountRejected):
        ADAPTER.read_list(None, answer(401, error(20003)))
