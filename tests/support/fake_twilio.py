"""A Twilio on loopback: takes calls, queues them, calls back, fetches documents and acts them, and keeps a ledger.

Signatures are made by Twilio's own package, and documents are acted as Twilio would: what Outdial sends must be right.
`python -m tests.support.fake_twilio PORT` serves one whose callees all pick up and answer every question with 7.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import random
import re
import secrets
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.etree import ElementTree as ET

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MultiDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from twilio.request_validator import RequestValidator

ACCOUNT_SID: Final = "AC" + "0" * 31 + "1"
AUTH_TOKEN: Final = "the token of a fake account"
FINAL: Final = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})
MESSAGES: Final = {21211: "The 'To' number is not a valid phone number.", 20003: "Authenticate"}


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What becomes of a call. `code`: refused by this error. `ending`: nobody picks up. `answered_by`: by the words of
    machine detection. `says`: what is answered, question by question; who runs out of answers hangs up.
    """

    code: int | None = None
    ending: str | None = None
    sip_code: int = 200
    answered_by: str = "human"
    says: Sequence[str] = ()
    ring_seconds: float = 0.1
    talk_seconds: float = 0.2


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Shares of 1. `error_after` and `lost_answer` strike when the call is placed already."""

    error_after: float = 0.0
    lost_answer: float = 0.0
    rate_limited: float = 0.0
    callback_lost: float = 0.0
    callback_doubled: float = 0.0


@dataclass(kw_only=True)
class FakeCall:
    sid: str
    to: str
    from_number: str
    form: MultiDict
    fate: Fate
    created_at: datetime
    status: str = "queued"
    answered_by: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    sequence: int = 0
    heard: list[str] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    is_canceled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_over(self) -> bool:
        return self.status in FINAL

    @property
    def seconds(self) -> int:
        if self.ended_at is None or self.started_at is None:
            return 0
        return round((self.ended_at - self.started_at).total_seconds())

    def document(self) -> dict[str, Any]:
        return {
            "sid": self.sid,
            "account_sid": ACCOUNT_SID,
            "status": self.status,
            "to": self.to,
            "from": self.from_number,
            "direction": "outbound-api",
            "date_created": format_datetime(self.created_at.replace(microsecond=0)),
            "start_time": None if self.started_at is None else format_datetime(self.started_at),
            "end_time": None if self.ended_at is None else format_datetime(self.ended_at),
            "duration": str(self.seconds) if self.is_over else None,
            "answered_by": self.answered_by,
            "price": "-0.01300" if self.status == "completed" else None,
            "price_unit": "USD",
        }


class FakeTwilio:
    """`with FakeTwilio(fate_of) as twilio`: serves until the block ends. `fate_of` gets the number and how often it was
    called before. `calls` and `posts` are the ledger.
    """

    def __init__(
        self,
        fate_of: Callable[[str, int], Fate],
        faults: Faults | None = None,
        *,
        calls_per_second: float = 50.0,
        seed: int = 1,
        port: int = 0,
    ) -> None:
        self.calls: dict[str, FakeCall] = {}
        self.posts: Counter[str] = Counter()
        self.page_limit = 1000
        self._fate_of = fate_of
        self._faults = faults or Faults()
        self._interval = 1 / calls_per_second
        self._chance = random.Random(seed)
        self._port = port
        self._validator = RequestValidator(AUTH_TOKEN)
        self._next_start = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> FakeTwilio:
        account = f"/2010-04-01/Accounts/{ACCOUNT_SID}"
        app = Starlette(
            routes=[
                Route(f"{account}.json", self._account),
                Route(f"{account}/Calls.json", self._create, methods=["POST"]),
                Route(f"{account}/Calls.json", self._list),
                Route(f"{account}/Calls/{{sid}}.json", self._update, methods=["POST"]),
                Route(f"{account}/Calls/{{sid}}.json", self._fetch),
            ]
        )
        config = uvicorn.Config(app, port=self._port, log_config=None, ws="none", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fake-twilio")
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    def max_open(self) -> int:
        """The most calls that were ever open at once."""
        now = datetime.now(UTC)
        changes = sorted(
            change
            for call in self.calls.values()
            for change in ((call.created_at, 1), (call.ended_at or now, -1))
        )
        most = level = 0
        for _, step in changes:
            level += step
            most = max(most, level)
        return most

    def overlaps(self) -> list[str]:
        """Numbers that had two open calls at once."""
        by_number: dict[str, list[FakeCall]] = {}
        for call in sorted(self.calls.values(), key=lambda one: one.created_at):
            by_number.setdefault(call.to, []).append(call)
        return [
            number
            for number, calls in by_number.items()
            for one, other in itertools.pairwise(calls)
            if one.ended_at is None or one.ended_at > other.created_at
        ]

    async def _serve(self) -> None:
        async with httpx.AsyncClient(timeout=10) as self._client:
            await self._server.serve()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _strikes(self, share: float) -> bool:
        return self._chance.random() < share

    def _unauthorized(self, request: Request) -> Response | None:
        expected = "Basic " + base64.b64encode(f"{ACCOUNT_SID}:{AUTH_TOKEN}".encode()).decode()
        return None if request.headers.get("authorization") == expected else _error(401, 20003)

    async def _account(self, request: Request) -> Response:
        facts = {"sid": ACCOUNT_SID, "status": "active", "friendly_name": "Fake", "type": "Full"}
        return self._unauthorized(request) or JSONResponse(facts)

    async def _create(self, request: Request) -> Response:
        refused = self._unauthorized(request)
        if refused is not None:
            self.posts["unauthorized"] += 1
            return refused
        if self._strikes(self._faults.rate_limited):
            self.posts["rate_limited"] += 1
            return _error(429, 20429)
        form = MultiDict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        to = form["To"]
        before = sum(1 for call in self.calls.values() if call.to == to)
        fate = self._fate_of(to, before)
        code = fate.code or _what_is_wrong(form)
        if code is not None:
            self.posts[str(code)] += 1
            return _error(400, code)
        call = FakeCall(
            sid="CA" + secrets.token_hex(16),
            to=to,
            from_number=form["From"],
            form=form,
            fate=fate,
            created_at=datetime.now(UTC),
        )
        self.calls[call.sid] = call
        task = asyncio.create_task(self._act(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._strikes(self._faults.error_after):
            self.posts["error_after"] += 1
            return _error(500, 20500)
        if self._strikes(self._faults.lost_answer):
            self.posts["lost_answer"] += 1
            return CutAnswer()
        self.posts["created"] += 1
        return JSONResponse(call.document(), 201)

    async def _list(self, request: Request) -> Response:
        refused = self._unauthorized(request)
        if refused is not None:
            return refused
        wanted = request.query_params
        found = [
            call.document()
            for call in reversed(self.calls.values())
            if wanted.get("To") in {None, call.to}
            and wanted.get("From") in {None, call.from_number}
            and wanted.get("Status") in {None, call.status}
            and _began_since(call, wanted.get("StartTime>"))
        ]
        size = min(self.page_limit, int(wanted.get("PageSize", "50")))
        page = int(wanted.get("Page", "0"))
        query = {**wanted, "PageSize": str(size), "Page": str(page + 1)}
        more = f"{request.url.path}?{urlencode(query)}" if len(found) > size * (page + 1) else None
        shown = found[size * page : size * (page + 1)]
        return JSONResponse({"calls": shown, "next_page_uri": more, "page": page, "page_size": size})

    async def _fetch(self, request: Request) -> Response:
        call = self.calls.get(request.path_params["sid"])
        return self._unauthorized(request) or (
            _error(404, 20404) if call is None else JSONResponse(call.document())
        )

    async def _update(self, request: Request) -> Response:
        refused = self._unauthorized(request)
        if refused is not None:
            return refused
        call = self.calls.get(request.path_params["sid"])
        if call is None:
            return _error(404, 20404)
        wanted = dict(parse_qsl((await request.body()).decode())).get("Status")
        if call.is_over or (wanted == "canceled" and call.status == "in-progress"):
            return _error(400, 21220)
        call.is_canceled.set()
        return JSONResponse(call.document())

    async def _act(self, call: FakeCall) -> None:
        """The life of a call."""
        life = asyncio.create_task(self._live(call))
        cut = asyncio.create_task(call.is_canceled.wait())
        await asyncio.wait({life, cut}, return_when=asyncio.FIRST_COMPLETED)
        cut.cancel()
        if not life.done():
            was_queued, was_answered = call.status == "queued", call.status == "in-progress"
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            # Nobody is told of a call that was taken back from the queue.
            await self._end(call, "completed" if was_answered else "canceled", is_told=not was_queued)
            return
        life.result()

    async def _live(self, call: FakeCall) -> None:
        loop = asyncio.get_running_loop()
        self._next_start = max(loop.time(), self._next_start + self._interval)
        await asyncio.sleep(self._next_start - loop.time())
        await self._move(call, "initiated")
        call.started_at = datetime.now(UTC)
        await self._move(call, "ringing")
        await asyncio.sleep(call.fate.ring_seconds)
        if call.fate.ending is not None:
            await self._end(call, call.fate.ending)
            return
        await self._move(call, "in-progress")
        if "MachineDetection" in call.form:
            call.answered_by = call.fate.answered_by
        await self._talk(call)
        await self._end(call, "completed")

    async def _talk(self, call: FakeCall) -> None:
        said = iter(call.fate.says)
        known = {} if call.answered_by is None else {"AnsweredBy": call.answered_by}
        document = call.form.get("Twiml") or await self._document(call, call.form["Url"], known)
        while document is not None:
            root = ET.fromstring(document)
            assert root.tag == "Response", document
            await asyncio.sleep(call.fate.talk_seconds)
            document = None
            for verb in root:
                if verb.tag == "Say":
                    call.heard.append(verb.text or "")
                elif verb.tag == "Gather":
                    call.heard.extend(say.text or "" for say in verb.iter("Say"))
                    answer = next(said, None)
                    if answer is None:
                        return
                    kind = "Digits" if re.fullmatch(r"[0-9*#]+", answer) else "SpeechResult"
                    document = await self._document(call, verb.attrib["action"], {kind: answer})
                    break
                elif verb.tag == "Hangup":
                    return
                else:
                    raise AssertionError(f"what is {verb.tag}?")

    async def _document(self, call: FakeCall, url: str, facts: dict[str, str]) -> str | None:
        answered = await self._request(call, url, {"CallStatus": call.status, **facts})
        if answered is None or answered.status_code != 200:
            call.heard.append("We are sorry, an application error has occurred. Goodbye.")
            return None
        assert answered.headers["content-type"].startswith("text/xml")
        return answered.text

    async def _move(self, call: FakeCall, status: str, **facts: str) -> None:
        call.status = status
        event = {"in-progress": "answered", **dict.fromkeys(FINAL, "completed")}.get(status, status)
        url = call.form.get("StatusCallback")
        if url is None or event not in call.form.getlist("StatusCallbackEvent"):
            return
        told = {
            "CallStatus": status,
            "SequenceNumber": str(call.sequence),
            "Timestamp": format_datetime(datetime.now(UTC)),
            "CallbackSource": "call-progress-events",
            **facts,
        }
        call.sequence += 1
        if self._strikes(self._faults.callback_lost):
            return
        for _ in range(2 if self._strikes(self._faults.callback_doubled) else 1):
            await self._request(call, url, told)

    async def _end(self, call: FakeCall, status: str, *, is_told: bool = True) -> None:
        call.ended_at = datetime.now(UTC)
        facts = {"CallDuration": str(call.seconds), "SipResponseCode": str(call.fate.sip_code)}
        if is_told:
            await self._move(call, status, **facts)
        else:
            call.status = status

    async def _request(self, call: FakeCall, url: str, facts: dict[str, str]) -> httpx.Response | None:
        url = url.partition("#")[0]
        form = {
            "CallSid": call.sid,
            "AccountSid": ACCOUNT_SID,
            "From": call.from_number,
            "To": call.to,
            "Direction": "outbound-api",
            "ApiVersion": "2010-04-01",
            **facts,
        }
        headers = {"X-Twilio-Signature": self._validator.compute_signature(url, form)}
        try:
            answered = await self._client.post(url, data=form, headers=headers)
        except httpx.HTTPError:
            call.refusals.append(0)
            return None
        if answered.status_code >= 300:
            call.refusals.append(answered.status_code)
        return answered


class CutAnswer(Response):
    """An answer that breaks off: the server closes a connection on which less comes than was promised."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b"{"})


def _began_since(call: FakeCall, day: str | None) -> bool:
    """A call that has not begun has no time to compare: the filter hides it."""
    if day is None:
        return True
    return call.started_at is not None and call.started_at.date() >= date.fromisoformat(day)


def _what_is_wrong(form: MultiDict) -> int | None:
    """Twilio's code for a request that it would not take."""
    urls = [form[name] for name in ("Url", "StatusCallback") if name in form]
    if not form.get("From"):
        return 21213
    if any(urlsplit(url).scheme not in {"http", "https"} for url in urls):
        return 21205
    if ("Url" in form) == ("Twiml" in form) or len(form.get("Twiml", "")) > 4000:
        return 21218
    return None


def _error(status: int, code: int) -> Response:
    body = {
        "code": code,
        "message": MESSAGES.get(code, "said the fake Twilio"),
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return JSONResponse(body, status)


if __name__ == "__main__":
    with FakeTwilio(lambda _, __: Fate(says=("7",) * 20), port=int(sys.argv[1])) as fake:
        print(f"fake Twilio at {fake.url}: account {ACCOUNT_SID}, auth token {AUTH_TOKEN!r}", flush=True)
        threading.Event().wait()
