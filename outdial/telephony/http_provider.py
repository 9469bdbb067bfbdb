"""`HttpTelephonyProvider`: the generic contract as a provider object, synchronous for those who call it themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from outdial.domain.attempt import CallEvent
from outdial.domain.doubt import Capabilities
from outdial.domain.errors import CannotList
from outdial.domain.ids import ProviderCallId
from outdial.telephony.adapters.http import GenericHttpAdapter
from outdial.telephony.protocol import (
    CallPage,
    HttpAdapter,
    HttpResponse,
    ListsCallsByHttp,
    LookUp,
    OutboundCallRequest,
    OutboundCallResponse,
    WebhookRequest,
)
from outdial.telephony.transport import SyncTransport


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What an account's check found. `at` (aware UTC): when, by the provider's own clock, if it tells."""

    says: str
    at: datetime | None


class AdapterProvider:
    """Any sans-IO adapter as a provider object. The worker takes the adapter out and sends over its own transport,
    unless a `client` was passed: then that client sends, in threads.
    """

    def __init__(self, adapter: HttpAdapter, client: httpx.Client | None = None) -> None:
        self.adapter = adapter
        self.brings_own_client = client is not None
        self._transport: SyncTransport | None = None if client is None else SyncTransport(client)

    def start_outbound_call(self, request: OutboundCallRequest) -> OutboundCallResponse:
        """Place the call; raises a `TelephonyProviderError` for every answer but acceptance."""
        return self.adapter.read_start(self._sync.send(self.adapter.start_request(request)))

    def look_up_call(self, query: LookUp) -> Sequence[CallEvent]:
        """What the provider knows of the call; raises a `TelephonyProviderError` when it could not be asked."""
        return self.adapter.read_look_up(query, self._sync.send(self.adapter.look_up_request(query)))

    def hang_up_call(self, provider_call_id: ProviderCallId) -> None:
        """End an open call; raises a `TelephonyProviderError` when it may go on."""
        self.adapter.read_hang_up(self._sync.send(self.adapter.hang_up_request(provider_call_id)))

    @property
    def can_list(self) -> bool:
        return isinstance(self.adapter, ListsCallsByHttp) and self.adapter.can_list

    def list_calls(self, since: datetime, page: str | None) -> CallPage:
        """As `ListsCalls.list_calls`."""
        if not isinstance(self.adapter, ListsCallsByHttp):
            raise CannotList(f"{type(self.adapter).__name__} cannot ask for it")
        return self.adapter.read_list(page, self._sync.send(self.adapter.list_request(since, page)))

    def check(self) -> Checked:
        """Reach the provider without placing a call; raises a `TelephonyProviderError` when something is wrong."""
        response = self._sync.send(self.adapter.check_request())
        return Checked(says=self.adapter.read_check(response), at=_date_of(response))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def capabilities(self) -> Capabilities:
        return self.adapter.capabilities

    @property
    def _sync(self) -> SyncTransport:
        if self._transport is None:
            self._transport = SyncTransport()
        return self._transport


class HttpTelephonyProvider(AdapterProvider):
    """The generic HTTP contract (docs/http-contract.md) at `base_url`.

    `webhook_secret` is a Standard Webhooks secret; `honours_not_after` says whether the gateway answers 412 to a
    request that it reads after its `not_after`: only then does an empty look-up prove that no call was placed.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        webhook_secret: str | None = None,
        honours_not_after: bool = True,
        listing_lag_seconds: float = 5.0,
        queue_limit_seconds: float = 0.0,
        client: httpx.Client | None = None,
    ) -> None:
        self._generic = GenericHttpAdapter(
            base_url=base_url,
            api_key=api_key,
            webhook_secret=webhook_secret,
            capabilities=Capabilities(
                honours_not_after=honours_not_after,
                listing_lag_seconds=listing_lag_seconds,
                queue_limit_seconds=queue_limit_seconds,
            ),
        )
        super().__init__(self._generic, client)

    def read_webhook(self, request: WebhookRequest) -> Sequence[CallEvent]:
        """Verify and parse one webhook; raises `SignatureInvalid` or `WebhookMalformed`."""
        return self._generic.read_webhook(request)


def _date_of(response: HttpResponse) -> datetime | None:
    try:
        at = parsedate_to_datetime(response.headers["date"])
    except (KeyError, ValueError):
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
