"""Twilio Programmable Voice (Calls resource, API 2010-04-01). Without IO.

Twilio does not de-duplicate: a POST in doubt is never repeated, and a call is found again by its numbers and time.
Nothing of ours is stored with a call, so our id travels in the query of every URL that Twilio is given.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pydantic import BaseModel, Field, ValidationError

from outdial.domain.attempt import AnsweredBy, CallEvent, Ending, ErrorClass, EventKind
from outdial.domain.conversation import Reply, Turn, opening
from outdial.domain.doubt import Capabilities
from outdial.domain.errors import (
    AccountRejected,
    CallRejected,
    InDoubt,
    RateLimited,
    TelephonyProviderError,
)
from outdial.domain.http_url import check_http_url
from outdial.domain.ids import CallId, ProviderCallId
from outdial.domain.settle import MachinePolicy
from outdial.telephony.adapters import twiml
from outdial.telephony.adapters.twilio_calls import (
    MADE_BY_US,
    NEVER,
    TwilioCall,
    TwilioCalls,
    instant,
    listed_call,
    looked_up,
    may_be,
    origin_of,
    whole,
)
from outdial.telephony.adapters.twilio_signature import is_signed
from outdial.telephony.adapters.twilio_tables import (
    ANSWERED_BY,
    ERROR_OF_CODE,
    ERROR_OF_STATUS,
    ERROR_WITHOUT_CODE,
    KIND_OF_STATUS,
    UNAVAILABLE,
    WRONG_CALL_STATE,
)
from outdial.telephony.http_answers import retry_after
from outdial.telephony.options import AdapterKind, Option, one_of, seconds
from outdial.telephony.protocol import (
    CallPage,
    HttpRequest,
    HttpResponse,
    LookUp,
    OutboundCallRequest,
    OutboundCallResponse,
    SignatureInvalid,
    VoiceDocument,
    VoiceRequest,
    WebhookMalformed,
    WebhookRequest,
)
from outdial.telephony.sip import ENDING_OF_SIP, NUMBER_SIP_CODES

API: Final = "/2010-04-01"
# In place of a page: that list begins which the calls are in that have begun.
BEGUN: Final = "begun"
CALL_SID: Final = re.compile(r"CA[0-9a-fA-F]{32}")
# What Twilio takes as an inline document, in characters.
INLINE_LIMIT: Final = 4000
MOST_RING_SECONDS: Final = 600
# The largest page; the same two numbers do not have more calls with each other.
PAGE_SIZE: Final = 1000
# Where no events come. Each open call costs a request every so often.
POLL_SECONDS: Final = 3.0
# Without this Twilio repeats a callback once, and only when the connection fails. It is neither sent nor signed.
REPEAT_CALLBACKS: Final = "#rc=5&rp=all"

DETECTION: Final[Mapping[str, str]] = {
    MachinePolicy.HANG_UP: "Enable",
    MachinePolicy.LEAVE_MESSAGE: "DetectMessageEnd",
}
# SIP codes that tell a refusal from a phone that only rang.
REFUSALS: Final = frozenset({Ending.REJECTED, Ending.BLOCKED})


class _Created(BaseModel):
    sid: str = Field(pattern=rf"^{CALL_SID.pattern}$")
    status: str | None = None


class _Account(BaseModel):
    status: str
    friendly_name: str = ""
    type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioAdapter:
    """`auth_token` signs webhooks, None where only an API key is known; `voice_url` is where calls fetch what to say,
    None where Twilio cannot reach us; `answer_url` is the operator's own document in place of ours.
    """

    account_sid: str
    user: str
    password: str
    auth_token: str | None = None
    base_url: str = "https://api.twilio.com"
    voice_url: str | None = None
    answer_url: str | None = None
    capabilities: Capabilities = Capabilities()

    def start_request(self, request: OutboundCallRequest) -> HttpRequest:
        """Raises `CallRejected` for a script that Twilio could not speak as things are set up."""
        form = [("To", request.to), ("From", request.from_number), self._document_of(request)]
        if request.callback_url is not None:
            url = with_call_id(request.callback_url, request.call_id)
            form.append(("StatusCallback", url + REPEAT_CALLBACKS))
            form.extend(
                ("StatusCallbackEvent", name) for name in ("initiated", "ringing", "answered", "completed")
            )
        if request.ring_timeout_seconds is not None:
            form.append(("Timeout", str(min(request.ring_timeout_seconds, MOST_RING_SECONDS))))
        if request.max_duration_seconds is not None:
            form.append(("TimeLimit", str(request.max_duration_seconds)))
        detection = DETECTION.get(request.machine_detection or "")
        if detection is not None:
            form.append(("MachineDetection", detection))
        return self._post("Calls.json", form)

    def read_start(self, response: HttpResponse) -> OutboundCallResponse:
        if 200 <= response.status < 300:
            try:
                created = _Created.model_validate_json(response.body)
            except ValidationError as error:
                raise InDoubt("accepted without a readable sid", http_status=response.status) from error
            return OutboundCallResponse(provider_call_id=ProviderCallId(created.sid), status=created.status)
        raise _refusal(response)

    def look_up_request(self, query: LookUp) -> HttpRequest:
        if query.provider_call_id is not None:
            return self._get(f"Calls/{quote(query.provider_call_id, safe='')}.json")
        # No filter by time: a call that is still queued has no start time, and would be hidden.
        facts = urlencode({"To": query.to, "From": query.from_number, "PageSize": PAGE_SIZE})
        return self._get(f"Calls.json?{facts}")

    def read_look_up(self, query: LookUp, response: HttpResponse) -> Sequence[CallEvent]:
        """Of a call whose sid is not known: all that were made between the two numbers when ours was sent."""
        try:
            if query.provider_call_id is not None:
                if response.status == 404:
                    return ()
                if response.status != 200:
                    raise _refusal(response)
                call = TwilioCall.model_validate_json(response.body)
                return [looked_up(call, query.call_id)] if call.status in KIND_OF_STATUS else ()
            if response.status != 200:
                raise _refusal(response)
            listed = TwilioCalls.model_validate_json(response.body)
        except ValidationError as error:
            raise InDoubt("the look-up's answer is not Twilio's", http_status=response.status) from error
        if listed.next_page_uri is not None:
            # It may be on a later page: nothing here can be told to be ours, and nothing proves that there is none.
            return ()
        return [looked_up(call, None) for call in listed.calls if may_be(call, query)]

    @property
    def can_list(self) -> bool:
        return True

    def list_request(self, since: datetime, page: str | None) -> HttpRequest:
        """Those that wait to begin come first: a filter by the time of their beginning hides them."""
        if page is None:
            return self._get(f"Calls.json?{urlencode({'Status': 'queued', 'PageSize': PAGE_SIZE})}")
        if page == BEGUN:
            day = since.astimezone(UTC).date().isoformat()
            return self._get(f"Calls.json?{urlencode({'StartTime>': day, 'PageSize': PAGE_SIZE})}")
        return HttpRequest(method="GET", url=f"{self.base_url.rstrip('/')}{page}", headers=self._headers())

    def read_list(self, page: str | None, response: HttpResponse) -> CallPage:
        if response.status != 200:
            raise _refusal(response)
        try:
            listed = TwilioCalls.model_validate_json(response.body)
        except ValidationError as error:
            raise InDoubt("the list of calls is not Twilio's", http_status=response.status) from error
        next_page = listed.next_page_uri
        if next_page is not None and not next_page.startswith(f"{API}/"):
            raise InDoubt("the list of calls goes on somewhere else", http_status=response.status)
        if next_page is None and (page is None or "Status=queued" in page):
            next_page = BEGUN
        ours = [
            call for call in listed.calls if call.direction == MADE_BY_US and call.status in KIND_OF_STATUS
        ]
        return CallPage(calls=[listed_call(call) for call in ours], next_page=next_page)

    def read_webhook(self, request: WebhookRequest) -> Sequence[CallEvent]:
        form = self._verified(request)
        status = form.get("CallStatus", "")
        if status not in KIND_OF_STATUS:
            raise WebhookMalformed(f"CallStatus: {status[:50]!r} is no status of a call")
        kind, ending = KIND_OF_STATUS[status]
        sip_code = whole(form.get("SipResponseCode"))
        if sip_code is not None and not 100 <= sip_code <= 699:
            sip_code = None
        ending, error_class = _ending(ending, sip_code)
        sid = _sid(form)
        return [
            CallEvent(
                kind=kind,
                event_id=f"{sid}-{form.get('SequenceNumber') or status}"[:255],
                at=instant(form.get("Timestamp")) or NEVER,
                call_id=_call_id(request.url),
                provider_call_id=sid,
                ending=ending,
                answered_by=ANSWERED_BY.get(form.get("AnsweredBy", "")),
                duration_seconds=whole(form.get("CallDuration")),
                sip_code=sip_code,
                error_code=form.get("ErrorCode", "")[:100] or None,
                error_class=error_class,
                raw_status=status,
                origin=origin_of(form),
            )
        ]

    def read_voice(self, request: WebhookRequest) -> VoiceRequest:
        form = self._verified(request)
        sid = _sid(form)
        query = dict(parse_qsl(urlsplit(request.url).query))
        position = whole(query.get("position"))
        if position is not None:
            reply = Reply(
                position=position,
                tries=whole(query.get("tries")) or 1,
                speech=form.get("SpeechResult"),
                digits=form.get("Digits"),
            )
            return VoiceRequest(provider_call_id=sid, reply=reply)
        if form.get("CallStatus") != "in-progress":
            return VoiceRequest(provider_call_id=sid)
        answered_by = ANSWERED_BY.get(form.get("AnsweredBy", ""))
        is_machine = answered_by is AnsweredBy.MACHINE
        event = CallEvent(
            kind=EventKind.VOICEMAIL if is_machine else EventKind.ANSWERED,
            event_id=f"{sid}-voice",
            at=NEVER,
            provider_call_id=sid,
            answered_by=answered_by,
            raw_status="in-progress",
        )
        return VoiceRequest(provider_call_id=sid, event=event)

    def voice_document(self, call_id: CallId, turn: Turn, language: str) -> VoiceDocument:
        return VoiceDocument(
            content_type=twiml.CONTENT_TYPE, body=twiml.document(turn, language, self._action(call_id, turn))
        )

    def hang_up_request(self, provider_call_id: ProviderCallId, *, is_queued: bool = False) -> HttpRequest:
        """Ends the call. `is_queued`: only if it was not answered meanwhile."""
        status = "canceled" if is_queued else "completed"
        return self._post(f"Calls/{quote(provider_call_id, safe='')}.json", [("Status", status)])

    def read_hang_up(self, response: HttpResponse) -> None:
        if 200 <= response.status < 300 or response.status == 404:
            return
        error = _refusal(response)
        if error.error_code != str(WRONG_CALL_STATE):
            raise error

    def check_request(self) -> HttpRequest:
        return HttpRequest(method="GET", url=f"{self._account_url}.json", headers=self._headers())

    def read_check(self, response: HttpResponse) -> str:
        if response.status != 200:
            raise _refusal(response)
        try:
            account = _Account.model_validate_json(response.body)
        except ValidationError as error:
            raise InDoubt("the answer is not Twilio's", http_status=response.status) from error
        if account.status != "active":
            raise AccountRejected(f"the Twilio account {self.account_sid} is {account.status}")
        trial = ", a trial: it calls verified numbers only" if account.type == "Trial" else ""
        return f"Twilio knows {self.account_sid} ({account.friendly_name}): it is active{trial}"

    def _document_of(self, request: OutboundCallRequest) -> tuple[str, str]:
        """What the call says: at a URL where the answer hangs on who picked up, else inline, which saves a fetch."""
        if self.answer_url is not None:
            return "Url", with_call_id(self.answer_url, request.call_id)
        if request.machine_detection in DETECTION and self.voice_url is not None:
            return "Url", self._voice_url(request.call_id)
        turn = opening(request.intro_script, request.questions, None, MachinePolicy.OFF)
        if turn.ask is not None and self.voice_url is None:
            raise CallRejected("a script with questions needs OUTDIAL_PUBLIC_URL: answers are posted there")
        inline = twiml.document(turn, request.language, self._action(request.call_id, turn)).decode()
        if len(inline) <= INLINE_LIMIT:
            return "Twiml", inline
        if self.voice_url is None:
            raise CallRejected(
                f"a script of more than {INLINE_LIMIT} characters needs OUTDIAL_PUBLIC_URL: it is fetched there"
            )
        return "Url", self._voice_url(request.call_id)

    def _action(self, call_id: CallId, turn: Turn) -> str | None:
        if turn.ask is None or self.voice_url is None:
            return None
        facts = urlencode({"position": turn.ask.position, "tries": turn.tries})
        return f"{self._voice_url(call_id)}&{facts}"

    def _voice_url(self, call_id: CallId) -> str:
        return with_call_id(f"{self.voice_url}/{call_id}", call_id)

    def _verified(self, request: WebhookRequest) -> dict[str, str]:
        """The form of a request that Twilio signed; of a GET, its query."""
        if self.auth_token is None:
            raise SignatureInvalid(
                "this account has an API key only: give its auth token as --webhook-secret"
            )
        form = parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        signature = request.headers.get("x-twilio-signature", "")
        if not is_signed(self.auth_token, request.url, form, signature):
            raise SignatureInvalid(f"X-Twilio-Signature is not right for {request.url.partition('?')[0]}")
        return dict(form or parse_qsl(urlsplit(request.url).query))

    @property
    def _account_url(self) -> str:
        return f"{self.base_url.rstrip('/')}{API}/Accounts/{self.account_sid}"

    def _get(self, path: str) -> HttpRequest:
        return HttpRequest(method="GET", url=f"{self._account_url}/{path}", headers=self._headers())

    def _post(self, path: str, form: Sequence[tuple[str, str]]) -> HttpRequest:
        return HttpRequest(
            method="POST",
            url=f"{self._account_url}/{path}",
            headers={**self._headers(), "Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(form).encode(),
        )

    def _headers(self) -> dict[str, str]:
        credentials = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {credentials}", "Accept": "application/json"}


def with_call_id(url: str, call_id: CallId) -> str:
    """`url` with our id in its query: nothing else of ours comes back with what Twilio sends."""
    bare = url.partition("#")[0]
    return f"{bare}{'&' if '?' in bare else '?'}call_id={quote(call_id, safe='')}"


def _sid_of(kind: str) -> Any:
    pattern = re.compile(rf"{kind}[0-9a-fA-F]{{32}}")

    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"must be {kind} and 32 hexadecimal digits, as Twilio's console shows it")
        return text

    return check


EVENTS_BY: Final = ("webhooks", "poll")
KIND: Final = AdapterKind(
    options={
        "account_sid": Option(check=_sid_of("AC"), is_required=True),
        "key_sid": Option(check=_sid_of("SK")),
        "events": Option(check=one_of(EVENTS_BY)),
        "answer_url": Option(check=check_http_url),
        "queue_limit_seconds": Option(check=seconds),
    },
    base_url="https://api.twilio.com",
    # What Twilio starts for a new account; it queues the rest, out of our sight and maybe past a window's end.
    calls_per_second="1",
    own_webhook_secret=False,
)
# A queue this long means that the account's rate is set above Twilio's.
QUEUE_LIMIT_SECONDS: Final = 600.0


def capabilities_of(options: Mapping[str, Any]) -> Capabilities:
    """What the API guarantees an account with these options: next to nothing in doubt."""
    return Capabilities(
        honours_not_after=False,
        listing_lag_seconds=10.0,
        queue_limit_seconds=float(options.get("queue_limit_seconds", QUEUE_LIMIT_SECONDS)),
        look_up_seconds=POLL_SECONDS if polls(options) else None,
    )


def polls(options: Mapping[str, Any]) -> bool:
    """Whether the account asks for what happens, rather than being told."""
    return options.get("events") == "poll"


def _refusal(response: HttpResponse) -> TelephonyProviderError:
    code, detail = _error_of(response.body)
    shown = None if code is None else str(code)
    kind: type[TelephonyProviderError] = InDoubt
    if code is not None and 400 <= response.status < 500:
        kind = ERROR_OF_CODE.get(code) or ERROR_OF_STATUS.get(response.status, CallRejected)
    elif response.status in ERROR_WITHOUT_CODE:
        kind = ERROR_WITHOUT_CODE[response.status]
    elif response.status == 503 and code == UNAVAILABLE:
        kind = RateLimited
    if issubclass(kind, RateLimited):
        return kind(detail, retry_after=retry_after(response), error_code=shown, http_status=response.status)
    return kind(detail, error_code=shown, http_status=response.status)


def _error_of(body: bytes) -> tuple[int | None, str]:
    try:
        error = json.loads(body)
        return int(error["code"]), str(error.get("message", ""))[:300]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, ""


def _ending(ending: Ending | None, sip_code: int | None) -> tuple[Ending | None, ErrorClass | None]:
    """What the SIP code adds: Twilio says "no-answer" of a call that was refused, and "failed" of most else."""
    told = ENDING_OF_SIP.get(sip_code or 0)
    if ending is Ending.FAILED:
        return told or ending, ErrorClass.NUMBER if sip_code in NUMBER_SIP_CODES else None
    if ending is Ending.NO_ANSWER and told in REFUSALS:
        return told, None
    return ending, None


def _sid(form: Mapping[str, str]) -> ProviderCallId:
    sid = form.get("CallSid", "")
    if not CALL_SID.fullmatch(sid):
        raise WebhookMalformed(f"CallSid: {sid[:50]!r} is no call's sid")
    return ProviderCallId(sid)


def _call_id(url: str) -> CallId | None:
    found = dict(parse_qsl(urlsplit(url).query)).get("call_id")
    return None if found is None else CallId(found[:255])
