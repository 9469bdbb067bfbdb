"""The telephony provider of a simulation: it takes calls, loses answers, tells of calls late, twice or never, and keeps
a ledger of its own, which is the truth that the database is judged by.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from outdial.domain.attempt import AnsweredBy, CallEvent, Ending, EventKind, Source
from outdial.domain.doubt import Capabilities
from outdial.domain.errors import (
    CallRejected,
    CannotList,
    InDoubt,
    MissedMoment,
    NotPlaced,
    NumberRejected,
    ProviderUnreachable,
    RateLimited,
    TelephonyProviderError,
)
from outdial.domain.ids import AccountId, CallId, ProviderCallId
from outdial.telephony.caller import MayLeave
from outdial.telephony.protocol import CallPage, LookUp, OutboundCallRequest, OutboundCallResponse
from tests.simulation.hub import Hub
from tests.simulation.plan import LATE_SECONDS, LISTING_LAG_SECONDS, RING_SECONDS, TALK_SECONDS, Plan

POST_TIMEOUT_SECONDS: Final = 10.0
DELIVERY_TRIES: Final = 3
DELIVERY_AGAIN_SECONDS: Final = 5.0


@dataclass(slots=True)
class Post:
    """A request that left. `read_at`: when the provider read it."""

    call_id: str
    account_id: int
    campaign_id: int
    contact_id: int
    to: str
    left_at: float
    read_at: float | None = None
    call: Call | None = None


@dataclass(slots=True)
class Call:
    """A call that the provider took. `told_end`: an event that says how it ended has been delivered, or a look-up has."""

    post: Post
    provider_call_id: str
    began_at: float
    ended_at: float | None = None
    rang: bool = False
    ending: Ending | None = None
    result: str | None = None
    status: EventKind = EventKind.INITIATED
    told_end: bool = False
    told_result_at: float | None = None


@dataclass(slots=True)
class Ledger:
    posts: list[Post] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


class Points(Protocol):
    async def at_post(self, where: str) -> None:
        """An edge of a POST, at which a process may crash or be stopped for a while."""
        ...


Deliver = Callable[[AccountId, CallEvent, Callable[[], None]], None]
"""Hands an event to the webhook intake, and says when it was answered with a 2xx."""


class SimulatedProvider:
    """One provider with all accounts. `on_post` and `on_call` are told of what was just written into the ledger."""

    def __init__(self, hub: Hub, plan: Plan, deliver: Deliver) -> None:
        self.hub = hub
        self.plan = plan
        self.ledger = Ledger()
        self.on_post: Callable[[Post], None] = lambda _: None
        self.on_call: Callable[[Call], None] = lambda _: None
        self._deliver = deliver
        self._by_call_id: dict[str, Call] = {}
        self._event_ids = 0

    @property
    def has_faults(self) -> bool:
        return self.hub.at < self.plan.faults_end

    def draws(self, rate: float) -> bool:
        return rate > 0 and self.has_faults and self.hub.chance.random() < rate

    def read(self, post: Post, request: OutboundCallRequest, fate: str) -> OutboundCallResponse:
        """The bytes have arrived. Raises as an adapter would; `InDoubt` may have placed the call."""
        hub = self.hub
        post.read_at = hub.at
        honours = self.plan.kind.capabilities.honours_not_after
        if honours and request.not_after is not None and hub.instant() > request.not_after:
            hub.tell("412: read too late", post.call_id, post.to, who="provider")
            raise NotPlaced("too late", http_status=412)
        refusal = REFUSALS.get(fate)
        if refusal is not None:
            hub.tell(f"refuses: {fate}", post.call_id, post.to, who="provider")
            raise refusal()
        # Only one kind knows a key that it has seen.
        known = self._by_call_id.get(post.call_id) if honours else None
        call = known or self._take(post)
        post.call = call
        if fate == "error_after":
            raise InDoubt("bad gateway", http_status=502)
        return OutboundCallResponse(provider_call_id=ProviderCallId(call.provider_call_id), status="queued")

    def look_up(self, account_id: AccountId, query: LookUp) -> Sequence[CallEvent]:
        """What is listed by now among the account's calls."""
        if self.draws(self.plan.rates.look_up_fails):
            raise InDoubt("the look-up timed out")
        seen = self.hub.at - self.hub.chance.uniform(0, LISTING_LAG_SECONDS)
        if self.plan.kind.keeps_our_id:
            found = [call for call in self.ledger.calls if call.post.call_id == query.call_id]
        elif query.provider_call_id is not None:
            found = [call for call in self.ledger.calls if call.provider_call_id == query.provider_call_id]
        else:
            found = [call for call in self.ledger.calls if self._is_alike(call, query)]
        listed = [call for call in found if call.began_at <= seen and call.post.account_id == account_id]
        self.hub.tell(
            f"is asked, and lists {[f'{c.provider_call_id} {c.ending or c.status}' for c in listed]}",
            str(query.call_id),
            query.to,
        )
        return [self._as_found(call) for call in listed]

    def _is_alike(self, call: Call, query: LookUp) -> bool:
        if query.sent_at is None or call.post.to != query.to:
            return False
        began = self.hub.instant() - timedelta(seconds=self.hub.at - call.began_at)
        return -1 < (began - query.sent_at).total_seconds() < LATE_SECONDS + 5

    def _as_found(self, call: Call) -> CallEvent:
        is_over = call.ending is not None
        if is_over:
            call.told_end = True
        known = self._event(call, EventKind.ENDED if is_over else call.status)
        return replace(known, source=Source.LOOKUP, event_id="")

    def _take(self, post: Post) -> Call:
        call = Call(post, f"P{len(self.ledger.calls) + 1}", began_at=self.hub.at)
        self._by_call_id[post.call_id] = call
        self.ledger.calls.append(call)
        self.hub.tell(
            f"takes the call to {post.to} as {call.provider_call_id}", post.call_id, post.to, who="provider"
        )
        self.on_call(call)
        chance = self.hub.chance
        if chance.random() < 0.15:
            self._say(call, EventKind.INITIATED)
        fate = chance.choice(self.plan.endings)
        if fate == "failed":
            self.hub.later(chance.uniform(0.1, 1), lambda: self._end(call, Ending.FAILED))
        else:
            self.hub.later(chance.uniform(0.1, 1), lambda: self._ring(call, fate))
        return call

    def _ring(self, call: Call, fate: str) -> None:
        call.rang = True
        call.status = EventKind.RINGING
        chance = self.hub.chance
        if chance.random() < 0.25:
            self._say(call, EventKind.RINGING)
        if fate == "no_answer":
            self.hub.later(RING_SECONDS - 1, lambda: self._end(call, Ending.NO_ANSWER))
        elif fate == "busy":
            self.hub.later(0.5, lambda: self._end(call, Ending.BUSY))
        else:
            self.hub.later(chance.uniform(0.2, RING_SECONDS - 2), lambda: self._answer(call))

    def _answer(self, call: Call) -> None:
        call.status = EventKind.ANSWERED
        self._say(call, EventKind.ANSWERED)
        self.hub.later(self.hub.chance.uniform(0.5, TALK_SECONDS), lambda: self._end(call, Ending.ANSWERED))

    def _end(self, call: Call, ending: Ending) -> None:
        call.ended_at = self.hub.at
        call.ending = ending
        chance = self.hub.chance
        if ending is Ending.ANSWERED:
            call.result = chance.choice(("completed", "completed", "refused", "partial", None))
        self.hub.tell(
            f"{call.provider_call_id} ended: {ending}", call.post.call_id, call.post.to, who="provider"
        )
        self.on_call(call)
        is_late = call.result is not None and chance.random() < max(0.2, self.plan.rates.result_late)
        self._say(call, EventKind.ENDED, with_result=not is_late)
        if is_late:
            # Some come when nobody waits for them any more.
            self.hub.later(chance.uniform(0.5, 8), lambda: self._say(call, EventKind.RESULT))

    def _event(self, call: Call, kind: EventKind, *, with_result: bool = True) -> CallEvent:
        self._event_ids += 1
        is_end = kind is EventKind.ENDED
        tells_result = (is_end and with_result) or kind is EventKind.RESULT
        return CallEvent(
            kind=kind,
            event_id=f"E{self._event_ids}",
            at=self.hub.instant(),
            call_id=CallId(call.post.call_id) if self.plan.kind.keeps_our_id else None,
            provider_call_id=ProviderCallId(call.provider_call_id),
            ending=call.ending if is_end else None,
            answered_by=AnsweredBy.HUMAN if kind is EventKind.ANSWERED else None,
            result=call.result if tells_result else None,
        )

    def _say(self, call: Call, kind: EventKind, *, with_result: bool = True) -> None:
        event = self._event(call, kind, with_result=with_result)
        rates = self.plan.rates
        if self.draws(rates.webhook_lost):
            self.hub.tell(
                f"webhook {event.event_id} {kind} of {call.provider_call_id} is lost",
                call.post.call_id,
                call.post.to,
                who="provider",
            )
            return
        times = 2 if self.draws(rates.webhook_doubled) else 1
        for _ in range(times):
            slowest = 4.0 if self.draws(rates.webhook_late) else 0.1
            delay = self.hub.chance.uniform(0.005, slowest)
            self.hub.later(delay, lambda: self._send(call, event, DELIVERY_TRIES))

    def _send(self, call: Call, event: CallEvent, tries: int) -> None:
        """Once more after a while, unless it was answered: as the standard for webhooks has it."""
        answered: list[bool] = []

        def was_answered() -> None:
            answered.append(True)
            if event.kind is EventKind.ENDED:
                call.told_end = True
            if event.result is not None and call.told_result_at is None:
                call.told_result_at = self.hub.at

        self._deliver(AccountId(call.post.account_id), event, was_answered)
        if tries > 1:
            again = DELIVERY_AGAIN_SECONDS * self.hub.chance.uniform(0.8, 1.2)
            self.hub.later(again, lambda: None if answered else self._send(call, event, tries - 1))


REFUSALS: Final[dict[str, Callable[[], TelephonyProviderError]]] = {
    "error_before": lambda: InDoubt("internal error", http_status=500),
    "rate_limited": lambda: RateLimited("too fast", http_status=429),
    "bad_number": lambda: NumberRejected("no such number", error_code="bad", http_status=422),
    "rejected": lambda: CallRejected("what is this", http_status=400),
}


class SimulatedCaller:
    """How one process reaches the provider for one account."""

    can_hang_up = False

    def __init__(self, provider: SimulatedProvider, account_id: AccountId, points: Points) -> None:
        self._provider = provider
        self._account_id = account_id
        self._points = points
        self.capabilities: Capabilities = provider.plan.kind.capabilities
        self.can_look_up = provider.plan.kind.can_look_up

    async def start(self, request: OutboundCallRequest, may_leave: MayLeave) -> OutboundCallResponse:
        provider, hub = self._provider, self._provider.hub
        await self._points.at_post("before the POST leaves")
        if not may_leave():
            raise MissedMoment("no connection was ready in time")
        about = (str(request.call_id), request.to)
        fate = self._fate()
        if fate == "unreachable":
            hub.tell(f"cannot reach the provider for {request.to}", *about)
            raise ProviderUnreachable("connection refused")
        post = Post(
            call_id=str(request.call_id),
            account_id=self._account_id,
            campaign_id=int(request.metadata["campaign_id"]),
            contact_id=int(request.metadata["contact_id"]),
            to=request.to,
            left_at=hub.at,
        )
        provider.ledger.posts.append(post)
        hub.tell(f"POST {request.call_id} to {request.to}{f' ({fate})' if fate else ''}", *about)
        provider.on_post(post)
        answer: list[OutboundCallResponse | TelephonyProviderError] = []
        arrived = asyncio.Event()

        def read() -> None:
            try:
                answer.append(provider.read(post, request, fate))
            except TelephonyProviderError as error:
                answer.append(error)
            # The way back; nobody may wait there any more.
            hub.later(self._way(fate), arrive)

        loop = asyncio.get_running_loop()

        def arrive() -> None:
            loop.call_soon(arrived.set)

        hub.later(self._travel(fate), read)
        await self._points.at_post("after the POST has left")
        try:
            async with asyncio.timeout(POST_TIMEOUT_SECONDS):
                if fate == "answer_lost":
                    await asyncio.sleep(hub.chance.choice((0.5, POST_TIMEOUT_SECONDS + 1)))
                    raise InDoubt("connection reset")
                await arrived.wait()
        except TimeoutError:
            raise InDoubt("no answer in time") from None
        await self._points.at_post("before the answer is recorded")
        if isinstance(answer[0], TelephonyProviderError):
            raise answer[0]
        return answer[0]

    async def look_up(self, query: LookUp) -> Sequence[CallEvent]:
        await asyncio.sleep(self._provider.hub.chance.uniform(0.01, 0.3))
        return self._provider.look_up(self._account_id, query)

    async def probe(self, unused: CallId) -> None:
        await asyncio.sleep(0.05)

    can_list = False

    async def list_calls(self, since: datetime, page: str | None) -> CallPage:
        raise CannotList("it keeps no list")

    async def hang_up(self, provider_call_id: ProviderCallId, *, is_queued: bool = False) -> None:
        raise CallRejected("this provider hangs nothing up")

    def _fate(self) -> str:
        rates = self._provider.plan.rates
        for name in (
            "unreachable", "answer_lost", "error_after", "error_before", "late", "slow", "rate_limited",
            "bad_number", "rejected",
        ):  # fmt: skip
            if self._provider.draws(getattr(rates, name)):
                return name
        return ""

    def _travel(self, fate: str) -> float:
        chance = self._provider.hub.chance
        if fate == "late":
            return chance.uniform(POST_TIMEOUT_SECONDS, LATE_SECONDS)
        return chance.uniform(0.002, 0.05)

    def _way(self, fate: str) -> float:
        chance = self._provider.hub.chance
        longest = 6.0 if fate == "slow" else self._provider.plan.answer_seconds
        return chance.uniform(0.002, longest)
