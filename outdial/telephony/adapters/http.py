"""The generic HTTP contract (docs/http-contract.md), for anyone's gateway and for the simulated provider. Without IO."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlencode
from uuid import uuid4

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from standardwebhooks import Webhook, WebhookVerificationError

from outdial.domain.attempt import AnsweredBy, CallEvent, Ending, ErrorClass, EventKind, Origin, Source
from outdial.domain.doubt import Capabilities
from outdial.domain.errors import (
    AccountRejected,
    CallerRejected,
    CallRejected,
    CannotList,
    DestinationRejected,
    InDoubt,
    NotPlaced,
    NumberRejected,
    RateLimited,
    TelephonyProviderError,
)
from outdial.domain.ids import CallId, ProviderCallId
from outdial.telephony.http_answers import retry_after
from outdial.telephony.options import AdapterKind, Option, seconds, yes_or_no
from outdial.telephony.protocol import (
    CallPage,
    HttpRequest,
    HttpResponse,
    ListedCall,
    LookUp,
    OutboundCallRequest,
    OutboundCallResponse,
    SignatureInvalid,
    WebhookMalformed,
    WebhookRequest,
)
from outdial.telephony.sip import ENDING_OF_SIP, NUMBER_SIP_CODES

# The contract's error codes that say more than the HTTP status does.
ERROR_OF_CODE: Final[Mapping[str, type[TelephonyProviderError]]] = {
    "invalid_number": NumberRejected,
    "invalid_caller": CallerRejected,
    "destination_not_allowed": DestinationRejected,
    "expired": NotPlaced,
    "unauthorized": AccountRejected,
    "payment_required": AccountRejected,
    "account_suspended": AccountRejected,
    "invalid_request": CallRejected,
}
ERROR_OF_STATUS: Final[Mapping[int, type[TelephonyProviderError]]] = {
    401: AccountRejected,
    402: AccountRejected,
    403: AccountRejected,
    # A proxy's time-out, and a key that the gateway knows already: the call may exist.
    408: InDoubt,
    409: InDoubt,
    412: NotPlaced,
}

# What a gateway says to a question that it does not know.
NO_SUCH_LIST: Final = frozenset({400, 404, 405, 422, 501})

KIND_OF_WORD: Final[Mapping[str, tuple[EventKind, Ending | None]]] = {
    "queued": (EventKind.INITIATED, None),
    "initiated": (EventKind.INITIATED, None),
    "ringing": (EventKind.RINGING, None),
    "answered": (EventKind.ANSWERED, None),
    "voicemail": (EventKind.VOICEMAIL, None),
    "completed": (EventKind.ENDED, Ending.ANSWERED),
    "failed": (EventKind.ENDED, Ending.FAILED),
    "no_answer": (EventKind.ENDED, Ending.NO_ANSWER),
    "busy": (EventKind.ENDED, Ending.BUSY),
    "canceled": (EventKind.ENDED, Ending.CANCELED),
    "result": (EventKind.RESULT, None),
}

# Older gateways put what the line did into the result; it is no result of a conversation.
ECHOES: Final = frozenset({"voicemail", "no_answer", "busy", "failed", "canceled", "answered"})


KIND: Final = AdapterKind(
    options={
        "honours_not_after": Option(check=yes_or_no),
        "listing_lag_seconds": Option(check=seconds),
        "queue_limit_seconds": Option(check=seconds),
        "lists_calls": Option(check=yes_or_no),
    }
)


def _in_utc(instant: datetime) -> datetime:
    """Raises ValueError for an instant that no calendar of ours reaches."""
    try:
        aware = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is beyond the calendar") from error
    if not 2000 <= aware.year <= 2200:
        raise ValueError("is no time of this age")
    return aware


Utc = Annotated[datetime, AfterValidator(_in_utc)]


def _id_as_text(value: Any) -> Any:
    """Some gateways number their calls."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class _Start(BaseModel):
    provider_call_id: Annotated[str, BeforeValidator(_id_as_text)] = Field(
        validation_alias=AliasChoices("provider_call_id", "call_id"), min_length=1, max_length=255
    )
    status: str | None = None


class _Facts(BaseModel):
    """What events and look-ups share."""

    model_config = ConfigDict(extra="ignore")

    provider_call_id: str | None = Field(default=None, max_length=255)
    call_id: str | None = Field(default=None, max_length=255)
    duration_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    answered_by: AnsweredBy | None = None
    result: str | None = Field(
        default=None, validation_alias=AliasChoices("result", "outcome"), max_length=100
    )
    answers: list[dict[str, Any]] | None = None
    error_code: str | None = Field(default=None, max_length=100)
    sip_code: int | None = Field(default=None, ge=100, le=699)
    callback_at: Utc | None = None
    opt_out: bool = False
    cost: str | float | None = None
    artifacts: list[dict[str, Any]] | None = None


def _number_or_none(value: Any) -> Any:
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_NUMBER else None


def _object_or_none(value: Any) -> Any:
    return value if isinstance(value, dict) else None


LONGEST_NUMBER: Final = 50
OptionalNumber = Annotated[str | None, BeforeValidator(_number_or_none)]


class _Origin(BaseModel):
    """Whose call it is. What older gateways have under these names is no reason to refuse an event."""

    to: OptionalNumber = None
    from_number: OptionalNumber = Field(default=None, validation_alias="from")
    metadata: Annotated[dict[str, Any] | None, BeforeValidator(_object_or_none)] = None

    def at(self, started_at: datetime) -> Origin:
        return Origin.of_metadata(
            self.metadata, to=self.to, from_number=self.from_number, started_at=started_at
        )


class _Event(_Facts, _Origin):
    event: Literal[
        "call.initiated",
        "call.ringing",
        "call.answered",
        "call.completed",
        "call.failed",
        "call.no_answer",
        "call.busy",
        "call.voicemail",
        "call.canceled",
        "call.result",
    ]
    event_id: str = Field(min_length=1, max_length=255)
    timestamp: Utc


class _Call(_Facts):
    provider_call_id: str
    status: str
    ended_at: Utc | None = None


class _Calls(BaseModel):
    calls: list[_Call]


class _ListedCall(_Call, _Origin):
    started_at: Utc


class _List(BaseModel):
    """`next` must be there: a gateway that overlooks `since` answers as to a look-up."""

    calls: list[_ListedCall]
    next: str | None


GENERIC: Final = Capabilities(honours_not_after=True, listing_lag_seconds=5.0)
"""What the contract promises, where an account's options say nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenericHttpAdapter:
    """`webhook_secret` is a Standard Webhooks secret (`whsec_` and base64). Without one every webhook is refused.

    `can_list` False: the gateway is not asked for lists of calls.
    """

    base_url: str
    api_key: str
    webhook_secret: str | None = None
    capabilities: Capabilities = GENERIC
    can_list: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError for a webhook secret that is none."""
        if self.webhook_secret is not None:
            Webhook(self.webhook_secret)

    def start_request(self, request: OutboundCallRequest) -> HttpRequest:
        body = {
            "call_id": request.call_id,
            "to": request.to,
            "from": request.from_number,
            "language": request.language,
            "callback_url": request.callback_url,
            "intro_script": request.intro_script,
            "questions": [
                {"position": question.position, "text": question.text, "answer_type": question.answer_type}
                for question in request.questions
            ],
            "metadata": dict(request.metadata),
            "not_after": None if request.not_after is None else _rfc3339(request.not_after),
            "ring_timeout_seconds": request.ring_timeout_seconds,
            "max_duration_seconds": request.max_duration_seconds,
            "machine_detection": request.machine_detection,
        }
        return HttpRequest(
            method="POST",
            url=f"{self.base_url.rstrip('/')}/calls",
            headers={
                **self._headers(),
                "Content-Type": "application/json",
                "Idempotency-Key": request.call_id,
            },
            body=json.dumps({key: value for key, value in body.items() if value is not None}).encode(),
        )

    def read_start(self, response: HttpResponse) -> OutboundCallResponse:
        if 200 <= response.status < 300:
            try:
                answer = _Start.model_validate_json(response.body)
            except ValidationError as error:
                raise InDoubt("accepted without a readable id", http_status=response.status) from error
            return OutboundCallResponse(
                provider_call_id=ProviderCallId(answer.provider_call_id), status=answer.status
            )
        raise self._refusal(response)

    def look_up_request(self, query: LookUp) -> HttpRequest:
        url = f"{self.base_url.rstrip('/')}/calls?client_call_id={query.call_id}"
        return HttpRequest(method="GET", url=url, headers=self._headers())

    def read_look_up(self, query: LookUp, response: HttpResponse) -> Sequence[CallEvent]:
        if response.status != 200:
            raise self._refusal(response)
        try:
            calls = _Calls.model_validate(_json(response.body)).calls
        except (ValueError, RecursionError) as error:
            raise InDoubt(
                "the look-up's answer is not the contract's", http_status=response.status
            ) from error
        ours = [call for call in calls if call.call_id in {None, query.call_id}]
        if calls and not ours:
            raise InDoubt("the look-up lists other calls than the one that was asked for")
        return [_looked_up(query.call_id, call) for call in ours]

    def hang_up_request(self, provider_call_id: ProviderCallId, *, is_queued: bool = False) -> HttpRequest:  # noqa: ARG002
        url = f"{self.base_url.rstrip('/')}/calls/{quote(provider_call_id, safe='')}/hangup"
        return HttpRequest(method="POST", url=url, headers=self._headers())

    def read_hang_up(self, response: HttpResponse) -> None:
        # 410: a gateway that forgets ended calls. A 404 may as well be a wrong URL, and the call go on.
        if not 200 <= response.status < 300 and response.status != 410:
            raise self._refusal(response)

    def list_request(self, since: datetime, page: str | None) -> HttpRequest:
        query = {"since": _rfc3339(since)} | ({} if page is None else {"page": page})
        url = f"{self.base_url.rstrip('/')}/calls?{urlencode(query)}"
        return HttpRequest(method="GET", url=url, headers=self._headers())

    def read_list(self, page: str | None, response: HttpResponse) -> CallPage:  # noqa: ARG002 - all are alike
        if response.status in NO_SUCH_LIST:
            raise CannotList(f"the gateway answers HTTP {response.status} to the question for its calls")
        if response.status != 200:
            raise self._refusal(response)
        try:
            listed = _List.model_validate(_json(response.body))
        except (ValueError, RecursionError) as error:
            raise CannotList("the gateway's answer is not the contract's list of calls") from error
        return CallPage(calls=[_listed(call) for call in listed.calls], next_page=listed.next)

    def check_request(self) -> HttpRequest:
        return self.look_up_request(_nobodys_call())

    def read_check(self, response: HttpResponse) -> str:
        self.read_look_up(_nobodys_call(), response)
        return "the gateway answers and takes the API key"

    def read_webhook(self, request: WebhookRequest) -> Sequence[CallEvent]:
        body = request.body
        if self.webhook_secret is None:
            raise SignatureInvalid("this account has no webhook secret")
        try:
            Webhook(self.webhook_secret).verify(body, dict(request.headers), json_parse=False)
        except (WebhookVerificationError, ValueError) as error:
            # ValueError: the library on a signature header, or a body, that is not even of the right form.
            raise SignatureInvalid(str(error)) from error
        try:
            event = _Event.model_validate(_json(body))
        except RecursionError as error:
            raise WebhookMalformed("the body is nested too deep") from error
        except ValueError as error:
            if not isinstance(error, ValidationError):
                raise WebhookMalformed(f"the body is not JSON: {error}") from error
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "body"
            raise WebhookMalformed(f"{place}: {first['msg']}") from error
        if event.call_id is None and event.provider_call_id is None:
            raise WebhookMalformed(
                "call_id: the event names no call, neither by call_id nor by provider_call_id"
            )
        return [_heard(event)]

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}", "Accept": "application/json"}

    def _refusal(self, response: HttpResponse) -> TelephonyProviderError:
        code, detail = _error_of(response.body)
        status = response.status
        # A 503 without the contract's error may come from a proxy that had passed the request on.
        if status == 429 or (status == 503 and code is not None):
            return RateLimited(detail, retry_after=retry_after(response), error_code=code, http_status=status)
        if 400 <= status < 500:
            kind = ERROR_OF_CODE.get(code or "") or ERROR_OF_STATUS.get(status, CallRejected)
            return kind(detail, error_code=code, http_status=status)
        return InDoubt(detail, error_code=code, http_status=status)


def _heard(event: _Event) -> CallEvent:
    kind, ending = KIND_OF_WORD[event.event.removeprefix("call.")]
    # `call.voicemail` normally comes before the end; with a duration it is the end itself.
    if kind is EventKind.VOICEMAIL and event.duration_seconds is not None:
        kind, ending = EventKind.ENDED, Ending.ANSWERED
    heard = _call_event(event, kind, ending, event.event_id, event.timestamp, Source.EVENT, event.event)
    started_at = event.timestamp - timedelta(seconds=event.duration_seconds or 0.0)
    return replace(heard, origin=event.at(started_at))


def can_list(options: Mapping[str, Any]) -> bool:
    return bool(options.get("lists_calls", True))


def capabilities_of(options: Mapping[str, Any]) -> Capabilities:
    """What an account's options say of its gateway. The contract asks for `not_after` to be honoured."""
    return Capabilities(
        honours_not_after=bool(options.get("honours_not_after", True)),
        listing_lag_seconds=float(options.get("listing_lag_seconds", 5.0)),
        queue_limit_seconds=float(options.get("queue_limit_seconds", 0.0)),
    )


def _nobodys_call() -> LookUp:
    return LookUp(call_id=CallId(f"check-{uuid4()}"), to="", from_number="")


def _listed(call: _ListedCall) -> ListedCall:
    event = _looked_up(None if call.call_id is None else CallId(call.call_id), call)
    return ListedCall(event=event, origin=call.at(call.started_at))


def _looked_up(call_id: CallId | None, call: _Call) -> CallEvent:
    # A word that we do not know still proves that the call exists.
    kind, ending = KIND_OF_WORD.get(call.status, (EventKind.INITIATED, None))
    facts = json.dumps([call_id, call.provider_call_id, call.status, call.result])
    event_id = "lookup-" + hashlib.sha256(facts.encode()).hexdigest()[:32]
    at = call.ended_at or datetime(2000, 1, 1, tzinfo=UTC)
    call.call_id = call_id
    return _call_event(call, kind, ending, event_id, at, Source.LOOKUP, call.status)


def _call_event(
    facts: _Facts,
    kind: EventKind,
    ending: Ending | None,
    event_id: str,
    at: datetime,
    source: Source,
    raw: str,
) -> CallEvent:
    error_class = None
    if ending is Ending.FAILED and facts.sip_code is not None:
        ending = ENDING_OF_SIP.get(facts.sip_code, ending)
    if ending is Ending.FAILED and (
        facts.sip_code in NUMBER_SIP_CODES or facts.error_code == "invalid_number"
    ):
        error_class = ErrorClass.NUMBER
    answered_by = AnsweredBy.MACHINE if raw.endswith("voicemail") else facts.answered_by
    if facts.result == "voicemail":
        answered_by = AnsweredBy.MACHINE
    return CallEvent(
        kind=kind,
        event_id=event_id,
        at=at,
        call_id=None if facts.call_id is None else CallId(facts.call_id),
        provider_call_id=None if facts.provider_call_id is None else ProviderCallId(facts.provider_call_id),
        source=source,
        ending=ending,
        answered_by=answered_by,
        result=None if facts.result in ECHOES else facts.result,
        duration_seconds=facts.duration_seconds,
        callback_at=facts.callback_at,
        opt_out=facts.opt_out,
        sip_code=facts.sip_code,
        error_code=facts.error_code,
        error_class=error_class,
        raw_status=raw,
        cost=None if facts.cost is None else str(facts.cost),
        answers=facts.answers,
        artifacts=facts.artifacts,
    )


def _json(body: bytes) -> Any:
    """Strict JSON, without NUL in any text: no database stores one. Raises ValueError or RecursionError."""
    text = body.decode()
    if "\\u0000" in text:
        return _without_nul(json.loads(text, parse_constant=_no_number, parse_float=_finite))
    return json.loads(text, parse_constant=_no_number, parse_float=_finite)


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return [_without_nul(item) for item in value] if isinstance(value, list) else value


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise ValueError(f"{text[:20]} is beyond all bounds")
    return number


def _error_of(body: bytes) -> tuple[str | None, str]:
    try:
        error = json.loads(body)["error"]
        if isinstance(error, str):
            return error, ""
        return str(error["code"]), str(error.get("message", ""))[:300]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, ""


def _rfc3339(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
