"""What Outdial asks of a telephony provider: one method, and optional capabilities as protocols of their own.

An answer that is not plain acceptance is one of the errors in `outdial.domain.errors`; what each one means for the
attempt is the table in `outdial.domain.answers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from outdial.domain.attempt import CallEvent, Origin
from outdial.domain.campaign import Question
from outdial.domain.conversation import Reply, Turn
from outdial.domain.doubt import Capabilities
from outdial.domain.ids import CallId, ProviderCallId


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundCallRequest:
    """One call to place. `to` and `from_number` are E.164; `not_after` (aware UTC): the provider must not start later.

    `metadata` holds `campaign_id`, `contact_id` (row ids as text), `call_id`, and the contact's attributes.
    `callback_url` None: no events are wanted, the account is asked for them instead.
    """

    call_id: CallId
    to: str
    from_number: str
    callback_url: str | None
    language: str = "en"
    intro_script: str | None = None
    questions: Sequence[Question] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    not_after: datetime | None = None
    ring_timeout_seconds: int | None = None
    max_duration_seconds: int | None = None
    machine_detection: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundCallResponse:
    """The provider has the call. `status` is the provider's own word, kept as it came."""

    provider_call_id: ProviderCallId
    status: str | None = None


class TelephonyProvider(Protocol):
    """Anything that can place a call. A plain synchronous object is enough: it is called from threads."""

    def start_outbound_call(self, request: OutboundCallRequest) -> OutboundCallResponse:
        """Place the call; raises a `TelephonyProviderError` for every other answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """The call that is asked about. `sent_at` (aware UTC): when our POST left; None: it may not have left at all."""

    call_id: CallId
    to: str
    from_number: str
    sent_at: datetime | None = None
    provider_call_id: ProviderCallId | None = None


@runtime_checkable
class LooksUpCalls(Protocol):
    """A provider that can be asked for a call."""

    def look_up_call(self, query: LookUp) -> Sequence[CallEvent]:
        """What the provider knows of the call, as events with the source `LOOKUP`; empty if it knows none.

        An event without a `call_id` is of a call that only looks like the one in question: same numbers, same time.
        Raises a `TelephonyProviderError` when it could not be asked.
        """
        ...


@runtime_checkable
class HangsUpCalls(Protocol):
    """A provider that can end an open call."""

    def hang_up_call(self, provider_call_id: ProviderCallId) -> None:
        """End the call; one that has ended is no error. Raises a `TelephonyProviderError` when it may go on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedCall:
    """A call as the provider lists it: its state, as an event with the source `LOOKUP`, and whose it is."""

    event: CallEvent
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPage:
    """`next_page`: what to ask for the next one with; None: this is the last."""

    calls: Sequence[ListedCall]
    next_page: str | None = None


@runtime_checkable
class ListsCalls(Protocol):
    """A provider that can say which calls an account has made."""

    def list_calls(self, since: datetime, page: str | None) -> CallPage:
        """The account's outbound calls that were started since (aware UTC), or are yet to start; `page` None: the first.

        There may be others among them, and one may come twice. Raises `CannotList` where this provider has no such
        list after all, another `TelephonyProviderError` when it could not be asked.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@runtime_checkable
class ListsCallsByHttp(Protocol):
    """An adapter whose provider can list an account's calls. `can_list` False: this account's cannot."""

    @property
    def can_list(self) -> bool: ...

    def list_request(self, since: datetime, page: str | None) -> HttpRequest: ...

    def read_list(self, page: str | None, response: HttpResponse) -> CallPage:
        """As `ListsCalls.list_calls`."""
        ...


class HttpAdapter(Protocol):
    """A provider's API without IO: a request becomes an HTTP message, an HTTP message an answer or events."""

    @property
    def capabilities(self) -> Capabilities: ...

    def start_request(self, request: OutboundCallRequest) -> HttpRequest: ...

    def read_start(self, response: HttpResponse) -> OutboundCallResponse:
        """Raises a `TelephonyProviderError` for everything but acceptance."""
        ...

    def look_up_request(self, query: LookUp) -> HttpRequest: ...

    def read_look_up(self, query: LookUp, response: HttpResponse) -> Sequence[CallEvent]:
        """As `LooksUpCalls.look_up_call`. Raises a `TelephonyProviderError` when the answer is none to the question."""
        ...

    def hang_up_request(self, provider_call_id: ProviderCallId, *, is_queued: bool = False) -> HttpRequest:
        """Ends the call. `is_queued`: only if it was not answered meanwhile, where the provider makes that difference."""
        ...

    def read_hang_up(self, response: HttpResponse) -> None:
        """Raises a `TelephonyProviderError` unless the call has ended, or will at once."""
        ...

    def check_request(self) -> HttpRequest:
        """A free question that only an account in good standing is answered."""
        ...

    def read_check(self, response: HttpResponse) -> str:
        """What the answer shows, in one sentence. Raises a `TelephonyProviderError` when something is wrong."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """`url`: the public one as the provider called it, with its query. Header names are lower case."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@runtime_checkable
class WebhookReader(Protocol):
    """The half of an adapter that takes in webhooks."""

    def read_webhook(self, request: WebhookRequest) -> Sequence[CallEvent]:
        """Verify and parse. Raises `SignatureInvalid` or `WebhookMalformed`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceRequest:
    """What a call says when it comes for its next document: that it was answered (`event`, whose instant counts for
    nothing), or what was replied to a question.
    """

    provider_call_id: ProviderCallId
    event: CallEvent | None = None
    reply: Reply | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceDocument:
    content_type: str
    body: bytes


@runtime_checkable
class TalksByDocuments(Protocol):
    """An adapter of a provider that is told what to say by documents which its calls fetch."""

    @property
    def capabilities(self) -> Capabilities: ...

    def read_voice(self, request: WebhookRequest) -> VoiceRequest:
        """Verify and parse. Raises `SignatureInvalid` or `WebhookMalformed`."""
        ...

    def voice_document(self, call_id: CallId, turn: Turn, language: str) -> VoiceDocument: ...


class SignatureInvalid(Exception):
    """Whoever sent this webhook does not know the secret, or sent it too long ago."""


class WebhookMalformed(Exception):
    """The webhook is signed well, but cannot be understood; the message says where."""
