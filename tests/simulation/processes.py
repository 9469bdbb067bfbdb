"""The processes of a simulation, each of which runs the engine's own code: workers, the webhook intake, an operator."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Concatenate, Final, ParamSpec, TypeVar

import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.attempt import CallEvent
from outdial.domain.ids import AccountId, CallId, WorkerId
from outdial.engine.claim import Claimed, ClaimSettings
from outdial.engine.definitions import Definitions
from outdial.engine.dial import DialResult
from outdial.engine.events import Heard, receive
from outdial.engine.group_commit import GroupCommit
from outdial.engine.lease import Lease, Onlooker
from outdial.engine.look_ups import look_up
from outdial.engine.probes import probe
from outdial.engine.reconcile import tidy
from outdial.engine.scheduler import Lane
from outdial.engine.transactions import Transactions
from outdial.files.rule_books import RuleBooks
from outdial.storage import accounts, workers
from outdial.storage.call_events import ReceivedEvent
from outdial.storage.database import Database, database_now
from tests.simulation import outlook
from tests.simulation.databases import Body, SimulatedDatabase
from tests.simulation.faults import Faults, is_injected
from tests.simulation.hub import Actor, Hub, VirtualClock
from tests.simulation.provider import SimulatedCaller, SimulatedProvider

log = logging.getLogger("outdial.simulation")

P = ParamSpec("P")
R = TypeVar("R")

# Sparse: what is due is looked for without a transaction, and only what is found is worth one.
POLL_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 1.5
TROUBLE_SECONDS: Final = 0.5
BEAT_SECONDS: Final = 4.0
SLOWEST_TRANSACTION_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all processes of a run share."""

    hub: Hub
    faults: Faults
    body: Body
    rule_books: RuleBooks
    provider: SimulatedProvider
    notify: Callable[[], None]
    new_call_id: Callable[[], CallId]
    on_error: Callable[[str, BaseException], None]

    def database(self) -> SimulatedDatabase:
        return SimulatedDatabase(self.body.engine, self.hub, self.faults, self.notify)


class TimedTransactions(Transactions):
    """Transactions that take their time: while one waits for its thread, the process does other things."""

    def __init__(self, database: Database, hub: Hub) -> None:
        super().__init__(database)
        self._hub = hub

    async def run(
        self, body: Callable[Concatenate[sa.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        await asyncio.sleep(self._hub.chance.uniform(0, SLOWEST_TRANSACTION_SECONDS))
        result = self.database.run(body, *args, **kwargs)
        await asyncio.sleep(self._hub.chance.uniform(0, SLOWEST_TRANSACTION_SECONDS))
        return result


class Process:
    """What the processes have in common: duties that survive a lost connection."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.hub = around.hub
        self.transactions = TimedTransactions(around.database(), around.hub)
        self.known = Definitions(None, around.rule_books)

    async def every(self, seconds: float, duty: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self.guarded(duty)
            await asyncio.sleep(seconds * self.hub.chance.uniform(0.7, 1.3))

    async def guarded(self, duty: Callable[[], Awaitable[None]]) -> bool:
        """True if it went well. A lost connection is no wonder here; any other error is the engine's."""
        try:
            await duty()
        except Exception as error:  # noqa: BLE001 - judged
            if not is_injected(error):
                self.around.on_error("a duty", error)
            return False
        return True


class SimulatedWorker(Process):
    """Does what `outdial.engine.worker.Worker` does, with lanes, duties and pauses of its own."""

    def __init__(self, around: Surroundings, name: str) -> None:
        super().__init__(around)
        self._name = name
        self._woken: list[asyncio.Event] = []
        self._lanes: list[Lane] = []
        self._next_reconcile = 0.0
        clock = VirtualClock(around.hub)
        patience = self.known.patience
        self._lease = Lease(clock, patience)
        self._onlooker = Onlooker(clock, patience)
        self._clock = clock
        self._worker_id: WorkerId | None = None

    async def main(self) -> None:
        started = False
        while not started:
            started = await self.guarded(self._begin)
            await asyncio.sleep(TROUBLE_SECONDS)
        await asyncio.gather(
            *(self._work(lane) for lane in self._lanes),
            self.every(LOOK_SECONDS, self._reconcile),
            self.every(BEAT_SECONDS, self._beat),
        )

    def wake(self) -> None:
        for event in self._woken:
            event.set()

    async def _begin(self) -> None:
        began_at = self._clock.monotonic()
        worker_id = await self.transactions.run(_start, self._name)
        self._worker_id = worker_id
        self._lease.renewed(began_at)
        found = await self.transactions.run(accounts.all_accounts)
        self._lanes = [self._lane_of(account, worker_id) for account in found]

    def _lane_of(self, account: Account, worker_id: WorkerId) -> Lane:
        return Lane(
            account=account,
            worker_id=worker_id,
            caller=SimulatedCaller(self.around.provider, account.id, self.around.faults),
            callback_url="https://example.org/webhooks/telephony",
            claim_settings=ClaimSettings(
                batch_size=4, scheduler_time_zone="Europe/Rome", new_call_id=self.around.new_call_id
            ),
            lease=self._lease,
            transactions=self.transactions,
            known=self.known,
            clock=self._clock,
        )

    async def _work(self, lane: Lane) -> None:
        woken = asyncio.Event()
        self._woken.append(woken)
        # So that two workers are not always at the same account.
        await asyncio.sleep(self.hub.chance.uniform(0, 0.2))
        while True:
            woken.clear()
            if not self._lease.is_held:
                await asyncio.sleep(TROUBLE_SECONDS)
                continue
            claimed = Claimed()

            async def claim() -> None:
                nonlocal claimed
                claimed = await lane.claim()

            if not await self.guarded(claim):
                await asyncio.sleep(TROUBLE_SECONDS)
                continue
            for task in lane.dial(claimed):
                task.add_done_callback(self._done)
            if claimed.calls:
                self.hub.tell(
                    "claims "
                    + ", ".join(f"{call.call_id} to {call.contact.phone_number}" for call in claimed.calls),
                    *(str(call.call_id) for call in claimed.calls),
                    *(call.contact.phone_number for call in claimed.calls),
                )
            if claimed.may_go_on and outlook.is_anybody_due(
                self.around.body, self.hub.instant(), lane.account.id
            ):
                continue
            await self._sleep(woken, _pause(claimed), lane.account.id)
            if outlook.may_complete(self.around.body):
                await self.guarded(lane.keep_up)

    async def _beat(self) -> None:
        """Renew the lease, and look at those of the others."""
        assert self._worker_id is not None, "begun"
        sent_at = self._clock.monotonic()
        beats = await self.transactions.run(_renew, self._worker_id, self._name)
        self._lease.renewed(sent_at)
        for dead in self._onlooker.look(beats, sent_at):
            await self.transactions.run(_find_dead, dead, beats[dead])

    async def _sleep(self, woken: asyncio.Event, seconds: float, account_id: AccountId) -> None:
        """Until there may be something to claim: woken as the engine is, but claims in vain are spared."""
        give_up_at = self.hub.at + POLL_SECONDS
        while self.hub.at < give_up_at:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), seconds)
            woken.clear()
            # Most often another worker is faster; now and then both begin at once.
            await asyncio.sleep(self.hub.chance.uniform(0, 4 * SLOWEST_TRANSACTION_SECONDS))
            body = self.around.body
            if outlook.is_anybody_due(body, self.hub.instant(), account_id) or outlook.may_complete(body):
                return
            seconds = LOOK_SECONDS

    def _done(self, task: asyncio.Task[DialResult]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and isinstance(error, Exception) and not is_injected(error):
            self.around.on_error("recording an answer", error)

    async def _reconcile(self) -> None:
        is_time = self.hub.at >= self._next_reconcile
        if is_time:
            self._next_reconcile = self.hub.at + POLL_SECONDS * self.hub.chance.uniform(0.7, 1.3)
        if is_time or outlook.needs_tidying(self.around.body, self.hub.instant()):
            await tidy(self.transactions, self.known)
        elif outlook.needs_look_ups(self.around.body, self.hub.instant()):
            callers = {lane.account.id: lane.caller for lane in self._lanes}
            await look_up(self.transactions, callers, self.known)
        for account in outlook.in_trouble(self.around.body):
            lane = next(lane for lane in self._lanes if lane.account.id == account)
            await probe(self.transactions, lane.account.id, lane.caller, self.around.new_call_id())


class SimulatedIntake(Process):
    """Takes in webhooks as `outdial.api.webhooks.Intake` does, but for HTTP."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._events: GroupCommit[ReceivedEvent, Heard] = GroupCommit(self._write, limit=1000)
        self._under_way: set[asyncio.Task[None]] = set()

    async def main(self) -> None:
        """It only waits for others."""

    def take(self, account_id: AccountId, event: CallEvent, was_answered: Callable[[], None]) -> None:
        """In its own loop."""
        received = ReceivedEvent(account_id=account_id, event=event, payload={})
        task = asyncio.create_task(self._take(received, was_answered))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _take(self, received: ReceivedEvent, was_answered: Callable[[], None]) -> None:
        about = tuple(str(one) for one in (received.event.call_id, received.event.provider_call_id) if one)

        async def submit() -> None:
            heard = await self._events.submit(received)
            event = received.event
            self.hub.tell(
                f"heard {event.event_id}: {event.kind} of {event.provider_call_id}"
                f"{'' if event.ending is None else f' {event.ending}'}"
                f"{'' if event.result is None else f' result {event.result}'}: {heard}",
                *about,
            )

        if await self.guarded(submit):
            was_answered()

    async def _write(self, events: Sequence[ReceivedEvent]) -> Sequence[Heard]:
        return await self.transactions.run(receive, events, self.known)


class Keeper:
    """Starts a process, and starts it anew some time after it died."""

    def __init__(self, hub: Hub, name: str, make: Callable[[], Process]) -> None:
        self._hub = hub
        self._name = name
        self._make = make
        self.process: Process | None = None
        self.actor: Actor | None = None
        self._generation = 0
        self.begin()

    @property
    def is_alive(self) -> bool:
        return self.actor is not None and not self.actor.is_dead

    @property
    def is_at_work(self) -> bool:
        """Alive, and not stopped in its tracks."""
        return self.is_alive and self.actor is not None and self.actor.stopped_until <= self._hub.at

    def begin(self) -> None:
        self._generation += 1
        name = f"{self._name}.{self._generation}"
        process = self._make()
        self.process = process
        main = process.main  # type: ignore[attr-defined]
        self.actor = self._hub.start(name, main)
        self.actor.on_death = self._died

    def _died(self) -> None:
        self.process = None
        self._hub.later(self._hub.chance.choice((0.3, 3.0, 15.0)), self.begin)


def _pause(claimed: Claimed) -> float:
    if claimed.next_due_at is None or claimed.at is None:
        return LOOK_SECONDS
    return min(
        LOOK_SECONDS, max(0.25 if claimed.held else 0.005, (claimed.next_due_at - claimed.at).total_seconds())
    )


def _start(connection: sa.Connection, name: str) -> WorkerId:
    return workers.start(connection, name, database_now(connection))


def _renew(connection: sa.Connection, worker_id: WorkerId, name: str) -> dict[WorkerId, int]:
    assert workers.beat(connection, worker_id, name, database_now(connection)), "nobody takes a worker's row"
    beats = workers.beats(connection)
    beats.pop(worker_id, None)
    return beats


def _find_dead(connection: sa.Connection, worker_id: WorkerId, beat: int) -> None:
    workers.find_dead(connection, worker_id, beat, database_now(connection))
