"""The HTTP face of the simulated provider: the generic contract, and three views of what it did.

`POST /calls` decides in this order: bearer, form, repeated key, the provider's own state and limits, instant,
numbers. Every POST is a start for the rate, whatever it is answered.
"""

import hmac
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from outdial.simulator.calls import Call, Switchboard
from outdial.simulator.clock import Pauses, now, parse_rfc3339
from outdial.simulator.errors import RETRIED_LATER, Refusal
from outdial.simulator.fate import AnswerFault
from outdial.simulator.ledger import read_ledger
from outdial.simulator.ledger_file import LedgerFile
from outdial.simulator.limits import Admission, StartRate
from outdial.simulator.request import CallRequest, parse_call_request
from outdial.simulator.settings import SimulatorSettings
from outdial.simulator.webhooks import WebhookSender

DROP_CONNECTION: Final = "outdial.drop_connection"
"""The key under which the server offers, among the ASGI extensions, to close the connection at once."""


class ProviderRoutes:
    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._bearer = f"Bearer {settings.api_key}".encode()
        self._ledger = LedgerFile(settings.ledger_path)
        self._rate = StartRate()
        self._pauses = Pauses()
        self._admission = Admission(settings)
        self._webhooks = WebhookSender(settings, self._ledger)
        self._switchboard = Switchboard(settings, self._ledger, self._webhooks.send)

    async def start(self) -> None:
        await self._webhooks.start()

    async def stop(self) -> None:
        self._switchboard.stop()
        await self._webhooks.stop()
        self._ledger.close()

    def hasten(self) -> None:
        """Answers at once whatever waits to be answered late."""
        self._pauses.end_all()

    def routes(self) -> list[Route]:
        return [
            Route("/calls", self.start_call, methods=["POST"]),
            Route("/calls", self.list_calls, methods=["GET"]),
            Route("/calls/{provider_call_id}", self.show_call, methods=["GET"]),
            Route("/calls/{provider_call_id}/hangup", self.hang_up_call, methods=["POST"]),
            Route("/ledger/summary", self.summarize_ledger, methods=["GET"]),
            Route("/stats", self.show_stats, methods=["GET"]),
            Route("/healthz", self.show_health, methods=["GET"]),
        ]

    async def start_call(self, http: Request) -> Response:
        at = now()
        starts_in_second = self._rate.count(at)
        body = await http.body()
        if not self._is_authorized(http):
            return await self._refuse(at, _UNAUTHORIZED, http.headers.get("idempotency-key"), None)
        request = parse_call_request(body, http.headers.get("idempotency-key"))
        if isinstance(request, Refusal):
            return await self._refuse(at, request, http.headers.get("idempotency-key"), None)
        if known := self._switchboard.find(request.call_id):
            return await self._answer_again(at, known)
        passed = self._admission.limits_passed(starts_in_second, self._switchboard.open_calls)
        if refusal := self._admission.refuse(request, at, passed):
            return await self._refuse(at, refusal, request.call_id, request)
        return await self._accept(at, request, over=[limit.code for limit in passed])

    async def list_calls(self, http: Request) -> Response:
        if not self._is_authorized(http):
            return self._respond(_UNAUTHORIZED)
        call_id = http.query_params.get("client_call_id")
        if "since" in http.query_params:
            return self._list_since(http.query_params["since"], http.query_params.get("page", "0"))
        if not call_id:
            return self._respond(Refusal(code="invalid_request", message="client_call_id is required"))
        call = self._switchboard.find(call_id)
        return JSONResponse({"calls": [] if call is None else [call.to_json()]})

    def _list_since(self, since: str, page: str) -> Response:
        if not self._settings.lists_calls:
            return self._respond(Refusal(code="not_found", message="this provider lists no calls"))
        try:
            calls, after = self._switchboard.list_since(
                parse_rfc3339(since), int(page), self._settings.list_page_size
            )
        except ValueError as error:
            return self._respond(Refusal(code="invalid_request", message=f"since or page: {error}"))
        shown = [call.to_list_json() for call in calls]
        return JSONResponse({"calls": shown, "next": None if after is None else str(after)})

    async def show_call(self, http: Request) -> Response:
        call = self._find(http)
        return self._respond(call) if isinstance(call, Refusal) else JSONResponse(call.to_json())

    async def hang_up_call(self, http: Request) -> Response:
        """Answers the call as it is then; an ended one stays as it ended."""
        call = self._find(http)
        if isinstance(call, Refusal):
            return self._respond(call)
        self._switchboard.hang_up(call)
        return JSONResponse(call.to_json())

    async def summarize_ledger(self, _http: Request) -> Response:
        path = self._ledger.path
        if path is None:
            return self._respond(Refusal(code="not_found", message="this provider keeps no ledger"))
        # Costs a reading of the whole file, so not on the loop that the calls live on.
        return JSONResponse(await run_in_threadpool(lambda: read_ledger(path).summary()))

    async def show_stats(self, _http: Request) -> Response:
        counts = self._ledger.counts
        accepted, rejected, repeated = counts["start"], counts["rejected"], counts["duplicate_key"]
        return JSONResponse(
            {
                "open_calls": self._switchboard.open_calls,
                "starts": accepted + rejected + repeated,
                "accepted": accepted,
                "rejected": rejected,
                "duplicate_keys": repeated,
                "answered": counts["answered"],
                "ended": counts["ended"],
                "webhooks_pending": self._webhooks.pending,
            }
        )

    async def show_health(self, _http: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def _is_authorized(self, http: Request) -> bool:
        return hmac.compare_digest(http.headers.get("authorization", "").encode(), self._bearer)

    def _find(self, http: Request) -> Call | Refusal:
        if not self._is_authorized(http):
            return _UNAUTHORIZED
        provider_call_id = http.path_params["provider_call_id"]
        call = self._switchboard.find_by_provider_call_id(provider_call_id)
        return call or Refusal(code="not_found", message=f"there is no call {provider_call_id}")

    async def _refuse(
        self, at: float, refusal: Refusal, call_id: str | None, request: CallRequest | None
    ) -> Response:
        self._ledger.write(
            "rejected",
            at,
            call_id=call_id,
            provider_call_id=None,
            to=None if request is None else request.to,
            **{"from": None if request is None else request.from_number},
            open=self._switchboard.open_calls,
            status=refusal.status,
            code=refusal.code,
        )
        await self._pauses.wait(self._settings.answer_latency_seconds)
        return self._respond(refusal)

    async def _answer_again(self, at: float, call: Call) -> Response:
        self._record_start("duplicate_key", at, call, status=200)
        await self._pauses.wait(self._settings.answer_latency_seconds)
        return _answer(call, 200)

    async def _accept(self, at: float, request: CallRequest, *, over: list[str]) -> Response:
        call = self._switchboard.accept(request, at)
        fault = call.fate.answer_fault
        told: dict[str, object] = {"fault": fault} if fault else {}
        status = 500 if fault is AnswerFault.ERROR else 201
        self._record_start("start", at, call, status=status, **told, **({"over": over} if over else {}))
        is_slow = fault is AnswerFault.SLOW
        await self._pauses.wait(
            self._settings.slow_answer_seconds if is_slow else self._settings.answer_latency_seconds
        )
        if fault is AnswerFault.LOST:
            return DroppedConnection()
        if fault is AnswerFault.ERROR:
            return self._respond(Refusal(code="internal_error", message="something broke"))
        return _answer(call, 201)

    def _record_start(self, kind: str, at: float, call: Call, **fields: object) -> None:
        request = call.request
        self._ledger.write(
            kind,
            at,
            call_id=request.call_id,
            provider_call_id=call.provider_call_id,
            to=request.to,
            **{"from": request.from_number},
            open=self._switchboard.open_calls,
            **fields,
        )

    def _respond(self, refusal: Refusal) -> Response:
        seconds = self._settings.retry_after_seconds
        retry = refusal.code in RETRIED_LATER and seconds is not None
        headers = {"retry-after": str(seconds)} if retry else None
        return JSONResponse(refusal.to_json(), refusal.status, headers)


class DroppedConnection(Response):
    """No answer: the connection ends without one. Needs a server that offers `DROP_CONNECTION`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del send  # nothing is sent
        scope["extensions"][DROP_CONNECTION]()
        while (await receive())["type"] != "http.disconnect":
            pass


_UNAUTHORIZED: Final = Refusal(code="unauthorized", message="the bearer token is missing or wrong")


def _answer(call: Call, status: int) -> Response:
    # Without `call_id`: in this one place the contract reads it as the older name of the provider's own id.
    return JSONResponse({"provider_call_id": call.provider_call_id, "status": call.status}, status)
