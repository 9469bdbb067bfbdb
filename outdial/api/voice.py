"""The documents that calls fetch to know what to say, and what is answered to them: `/voice/{account}/{call_id}`.

Somebody is waiting at the phone, so a turn has a transaction of its own and waits behind no batch of webhooks. Whatever
goes wrong here ends the call in silence: a provider would read an error out to the person.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import sqlalchemy as sa
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from outdial.api.known_accounts import KnownAccounts
from outdial.api.webhooks import body_of, with_query
from outdial.clock import Clock
from outdial.domain.account import Account
from outdial.domain.conversation import HANG_UP
from outdial.domain.errors import UserError
from outdial.domain.ids import CallId
from outdial.engine.converse import Spoken, converse
from outdial.engine.definitions import Definitions
from outdial.engine.transactions import Transactions
from outdial.storage.database import Database
from outdial.telephony.protocol import (
    SignatureInvalid,
    TalksByDocuments,
    VoiceRequest,
    WebhookMalformed,
    WebhookRequest,
)

log = logging.getLogger("outdial.voice")

THREADS: Final = 4
SILENCE: Final = Spoken(turn=HANG_UP, language="")


class Voice:
    """`adapter_for` may raise a `UserError`; `url_of` is the public URL below which an account's calls come."""

    def __init__(
        self,
        database: Database,
        adapter_for: Callable[[Account], object],
        clock: Clock,
        url_of: Callable[[Account], str | None],
    ) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="outdial-voice")
        self._transactions = Transactions(database, self._threads)
        self._adapter_for = adapter_for
        self._url_of = url_of
        self._accounts = KnownAccounts(self._transactions, clock)
        self._known = Definitions()

    async def handle(self, request: Request) -> Response:
        """A document; 401 wrong signature, 404 no such account, 413 too long, 422 malformed."""
        call_id = CallId(request.path_params["call_id"])
        try:
            account = await self._accounts.by_name(request.path_params["account"])
            adapter = None if account is None else self._adapter_for(account)
            if account is None or not isinstance(adapter, TalksByDocuments):
                return _refuse(404, "there is no account of this name whose calls fetch documents")
            body = await body_of(request)
            if body is None:
                return _refuse(413, "that is too long for an answer")
            asked = adapter.read_voice(self._received(account, call_id, request, body))
        except ClientDisconnect:
            return Response(status_code=499)
        except SignatureInvalid as error:
            log.warning("a request for a document is not signed well: %s", error)
            return _refuse(401, "the signature is wrong")
        except WebhookMalformed as error:
            return _refuse(422, str(error))
        except (UserError, sa.exc.SQLAlchemyError) as error:
            log.warning("calls of this account cannot be told what to say: %s", type(error).__name__)
            return _refuse(503, "the account or its database is not available")
        spoken = await self._next(account, adapter, call_id, asked)
        document = adapter.voice_document(call_id, spoken.turn, spoken.language)
        return Response(document.body, media_type=document.content_type)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=True)

    async def _next(
        self, account: Account, adapter: TalksByDocuments, call_id: CallId, asked: VoiceRequest
    ) -> Spoken:
        pace = adapter.capabilities.pace
        paces = {} if pace is None else {account.id: pace}
        try:
            spoken = await self._transactions.run(converse, account.id, call_id, asked, self._known, paces)
        except sa.exc.SQLAlchemyError as error:
            log.warning(
                "a call is ended, since what it said could not be stored: %s",
                type(error).__name__,
                extra={"call_id": call_id},
            )
            return SILENCE
        if spoken is None:
            log.warning("a call that we do not know wants to be told what to say", extra={"call_id": call_id})
        return spoken or SILENCE

    def _received(self, account: Account, call_id: CallId, request: Request, body: bytes) -> WebhookRequest:
        below = self._url_of(account)
        url = str(request.url) if below is None else with_query(f"{below}/{call_id}", request.url.query)
        return WebhookRequest(url=url, headers=dict(request.headers), body=body)


def _refuse(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)
