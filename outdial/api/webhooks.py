"""Takes in the provider's webhooks: verified, normalized, deduplicated, and answered 2xx only when durable.

A bare Starlette route: each call sends several events, and the framework's response models would cost more than the
work itself. What arrives while a batch is being written is the next batch.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import parse_qsl

import sqlalchemy as sa
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from outdial.api.known_accounts import KnownAccounts
from outdial.clock import Clock
from outdial.domain.account import Account
from outdial.domain.errors import UserError
from outdial.domain.ids import AccountId
from outdial.engine.definitions import Definitions
from outdial.engine.events import Heard, receive
from outdial.engine.group_commit import GroupCommit
from outdial.engine.on_settled import OnSettled
from outdial.engine.outage import Outage
from outdial.engine.transactions import Transactions
from outdial.storage import standing
from outdial.storage.call_events import ReceivedEvent
from outdial.storage.database import Database, may_pass
from outdial.telephony.protocol import SignatureInvalid, WebhookMalformed, WebhookReader, WebhookRequest

log = logging.getLogger("outdial.webhooks")

MAX_BODY_BYTES: Final = 1024 * 1024
WAITING_LIMIT: Final = 5000
RETRY_AFTER_SECONDS: Final = 5
WARN_SECONDS: Final = 60.0
TELL_ARRIVAL_SECONDS: Final = 1.0

STATUS: Final = {Heard.APPLIED: 200, Heard.DUPLICATE: 200, Heard.UNKNOWN_CALL: 202}


class Intake:
    """The endpoint `POST /webhooks/telephony/{account}`. `reader_for` may raise a `UserError` for an account.

    `url_of`: under which URL the provider knows it, without a query; None: under the one that it is called by.
    """

    def __init__(
        self,
        database: Database,
        reader_for: Callable[[Account], WebhookReader],
        clock: Clock,
        url_of: Callable[[Account], str | None],
        on_settled: OnSettled | None = None,
    ) -> None:
        # One for the writer, since a second would only wait for the first one's row locks, and one for accounts.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="outdial-webhooks")
        outage = Outage(clock, log, "webhooks are answered 503, so that the provider repeats them")
        self._transactions = Transactions(database, self._threads, outage)
        self._reader_for = reader_for
        self._url_of = url_of
        self._known = Definitions(on_settled)
        self._clock = clock
        self._warned: dict[str, float] = {}
        # When an account was last told that its webhooks arrive.
        self._told: dict[AccountId, float] = {}
        self._accounts = KnownAccounts(self._transactions, clock)
        self._events: GroupCommit[ReceivedEvent, Heard] = GroupCommit(self._write, limit=WAITING_LIMIT)

    async def handle(self, request: Request) -> Response:
        """One webhook: 2xx when durable, 401 wrong signature, 404 no such account, 413, 422 malformed, 503 later."""
        try:
            account = await self._accounts.by_name(request.path_params["account"])
            if account is None:
                return _refuse(404, "there is no account of this name")
            body = await body_of(request)
            if body is None:
                return _refuse(413, f"a webhook has at most {MAX_BODY_BYTES} bytes")
            return await self._take(account, self._received(account, request, body))
        except ClientDisconnect:
            return Response(status_code=499)
        except sa.exc.SQLAlchemyError as error:
            if not may_pass(error):
                log.exception("a webhook could not be stored, the provider is asked to repeat it")
            return _refuse(503, "the database is not available", retry_after=RETRY_AFTER_SECONDS)

    async def close(self) -> None:
        """Answer what waits, then let the threads go."""
        await self._events.drain()
        self._threads.shutdown(wait=True)

    def _received(self, account: Account, request: Request, body: bytes) -> WebhookRequest:
        """The request, at the URL that the provider was given: a proxy may have changed what we see of it."""
        known_as = self._url_of(account)
        url = str(request.url) if known_as is None else with_query(known_as, request.url.query)
        return WebhookRequest(url=url, headers=dict(request.headers), body=body)

    async def _take(self, account: Account, received: WebhookRequest) -> Response:
        try:
            events = self._reader_for(account).read_webhook(received)
        except SignatureInvalid as error:
            self._warn_of_signature(account, error)
            return _refuse(401, "the signature is wrong or too old")
        except WebhookMalformed as error:
            return _refuse(422, str(error))
        except UserError as error:
            log.warning("webhooks of this account cannot be read: %s", error, extra={"account": account.name})
            return _refuse(503, "the account is not complete", retry_after=RETRY_AFTER_SECONDS)
        if self._events.is_full:
            return _refuse(503, "too many webhooks at once", retry_after=1)
        payload = _payload(received)
        heard = [
            await self._events.submit(ReceivedEvent(account_id=account.id, event=event, payload=payload))
            for event in events
        ]
        return JSONResponse(
            {"status": [str(one) for one in heard]},
            status_code=max((STATUS[one] for one in heard), default=200),
        )

    def _warn_of_signature(self, account: Account, error: SignatureInvalid) -> None:
        """Once a minute for each account: a wrong secret makes every webhook wrong."""
        now = self._clock.monotonic()
        if now - self._warned.get(account.name, float("-inf")) >= WARN_SECONDS:
            self._warned[account.name] = now
            log.warning(
                "webhooks of account %s are refused (%s): is %s the secret that the provider signs with?",
                account.name,
                error,
                account.webhook_secret_ref or "--webhook-secret of `outdial account set`",
                extra={"account": account.name},
            )

    async def _write(self, events: Sequence[ReceivedEvent]) -> Sequence[Heard]:
        heard = await self._transactions.run(receive, events, self._known)
        await self._note_arrival({one.account_id for one in events})
        return heard

    async def _note_arrival(self, account_ids: Collection[AccountId]) -> None:
        """Now and then, in a transaction of its own, since it locks accounts. What it does not say, the next one will."""
        now = self._clock.monotonic()
        for account_id in sorted(account_ids):
            if now - self._told.get(account_id, float("-inf")) < TELL_ARRIVAL_SECONDS:
                continue
            self._told[account_id] = now
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                name = await self._transactions.run(standing.hear_webhooks, account_id)
                if name is not None:
                    log.warning("the webhooks of account %s arrive again", name)


def with_query(url: str, query: str) -> str:
    """`url` with the query that it was called with, which holds the one it was given with."""
    return f"{url.partition('?')[0]}?{query}" if query else url.partition("?")[0]


def _payload(received: WebhookRequest) -> dict[str, Any]:
    """What is kept of a webhook: its JSON, or its form."""
    if received.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(received.body.decode("utf-8", "replace"), keep_blank_values=True))
    payload: dict[str, Any] = json.loads(received.body)
    return payload


async def body_of(request: Request) -> bytes | None:
    """The raw body; None if it is too long."""
    chunks = bytearray()
    async for chunk in request.stream():
        chunks += chunk
        if len(chunks) > MAX_BODY_BYTES:
            return None
    return bytes(chunks)


def _refuse(status: int, message: str, *, retry_after: int | None = None) -> Response:
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return JSONResponse({"error": message}, status_code=status, headers=headers)
