"""What Outdial asks of a telephony provider: one method, and optional capabilities as protocols of their own.

An answer that is not plain acceptance is one of the errors in `outdial.domain.errors`; what each one means for the
attempt is the table in `outdial.domain.answers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from outdial.domain.attempt import CallEvent
from outdial.domain.campaign import Question
from outdial.domain.doubt import Capabilities
from outdial.domain.ids import CallId, ProviderCallId


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundCallRequest:
    """One call to place. `to` and `from_number` are E.164; `not_after` (aware UTC): the provider must not start later.

    `metadata` holds `campaign_id`, `contact_id` (row ids as text), `call_id`, and the contact's attributes.
    """

    call_id: CallId
    to: str
    from_number: str
    callback_url: str
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


@runtime_checkable
class LooksUpCalls(Protocol):
    """A provider that can be asked for a call by our id."""

    def look_up_call(self, call_id: CallId) -> Sequence[CallEvent]:
        """What the provider knows of the call, as events with the source `LOOKUP`; empty if it knows none.

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


class HttpAdapter(Protocol):
    """A provider's API without IO: a request becomes an HTTP message, an HTTP message an answer or events."""

    @property
    def capabilities(self) -> Capabilities: ...

    def start_request(self, request: OutboundCallRequest) -> HttpRequest: ...

    def read_start(self, response: HttpResponse) -> OutboundCallResponse:
        """Raises a `TelephonyProviderError` for everything but acceptance."""
        ...

    def look_up_request(self, call_id: CallId) -> HttpRequest: ...

    def read_look_up(self, call_id: CallId, response: HttpResponse) -> Sequence[CallEvent]:
        """Raises a `TelephonyProviderError` when the answer is no answer to the question."""
        ...

    def hang_up_request(self, provider_call_id: ProviderCallId) -> HttpRequest: ...

    def read_hang_up(self, response: HttpResponse) -> None:
        """Raises a `TelephonyProviderError` unless the call has ended, or will at once."""
        ...

    def check_request(self) -> HttpRequest:
        """A free question that only an account in good standing is answered."""
        ...

    def read_check(self, response: HttpResponse) -> str:
        """What the answer shows, in one sentence. Raises a `TelephonyProviderError` when something is wrong."""
        ...


@runtime_checkable
class WebhookReader(Protocol):
    """The half of an adapter that takes in webhooks."""

    def read_webhook(self, headers: Mapping[str, str], body: bytes) -> Sequence[CallEvent]:
        """Verify and parse. Raises `SignatureInvalid` or `WebhookMalformed`. Header names are lower case."""
        ...


class SignatureInvalid(Exception):
    """Whoever sent this webhook does not know the secret, or sent it too long ago."""


class WebhookMalformed(Exception):
    """The webhook is signed well, but cannot be understood; the message says where."""
