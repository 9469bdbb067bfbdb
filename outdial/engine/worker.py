"""The loop around the pass: claims whenever there may be work, for every account, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, Self, runtime_checkable

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from outdial.clock import Clock, SystemClock
from outdial.domain.account import Account
from outdial.domain.breaker import Breaker
from outdial.domain.errors import UserError
from outdial.domain.ids import AccountId, CallId, WorkerId
from outdial.engine.before_call import BeforeCall, Gate
from outdial.engine.call_ids import call_id_factory
from outdial.engine.claim import Claimed, ClaimSettings
from outdial.engine.definitions import Definitions
from outdial.engine.dial import DialResult
from outdial.engine.lease import Lease, Onlooker
from outdial.engine.look_ups import look_up
from outdial.engine.on_settled import OnSettled
from outdial.engine.outage import Outage
from outdial.engine.probes import probe
from outdial.engine.reconcile import tidy
from outdial.engine.scheduler import Lane, SchedulerSettings, engine_of, the_account
from outdial.engine.transactions import Transactions
from outdial.engine.wakeups import Wakeups
from outdial.files.rule_books import KeptRuleBook
from outdial.storage import accounts, migrate, workers
from outdial.storage.database import Database, database_now, may_pass
from outdial.telephony.caller import Caller, caller_for
from outdial.telephony.protocol import TelephonyProvider
from outdial.telephony.transport import AsyncTransport

log = logging.getLogger("outdial.worker")

# The net below all notifications.
POLL_SECONDS: Final = 1.0
# While the rate is what holds, claim for a fair part of a second at once rather than call by call.
RATE_PAUSE_SECONDS: Final = 0.25
HEARTBEAT_SECONDS: Final = 2.0
TIDY_SECONDS: Final = 1.0
LOOK_UP_SECONDS: Final = 1.0
ACCOUNTS_SECONDS: Final = 1.0
PROBE_SECONDS: Final = 0.5
TROUBLE_PAUSE_SECONDS: Final = 1.0
# An error that is none of the database's is told again then, if it goes on.
SAY_AGAIN_SECONDS: Final = 60.0
DATABASE_THREADS: Final = 8
CALL_THREADS: Final = 64


@runtime_checkable
class Providers(Protocol):
    """Gives each account its provider object and callback URL."""

    def provider_for(self, account: Account) -> TelephonyProvider:
        """Raises a `UserError` when the account is not complete."""
        ...

    def callback_url_for(self, account: Account) -> str | None:
        """None: the account is asked for what happens. Raises a `UserError` when there is no URL to give."""
        ...


class Worker:
    """Dials for all accounts that `providers` serves; any number of workers may run on one database.

    With a plain provider object it serves the one account that `settings` name. As `async with Worker(…)` it works in
    the background of a host's event loop, such as in the lifespan of its application; `run_forever` is a process of its
    own. A worker works once: make another to begin again.

    `before_call` is asked before each call leaves (see `BeforeCall`), `on_settled` is told of each attempt that is
    settled (see `OnSettled`); neither by workers that were not given them, nor by the command line.

    Starting raises `SchemaOutOfDate` when the database is not at the revision that this program needs, `NotFound` or
    `SettingsError` when the account is missing or not named.
    """

    def __init__(
        self,
        session_factory: sessionmaker[Session] | Database,
        providers: Providers | TelephonyProvider,
        settings: SchedulerSettings,
        *,
        clock: Clock | None = None,
        new_call_id: Callable[[], CallId] | None = None,
        listen_url: str | None = None,
        name: str | None = None,
        before_call: BeforeCall | None = None,
        on_settled: OnSettled | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._database = (
            session_factory
            if isinstance(session_factory, Database)
            else Database(engine_of(session_factory), self._clock)
        )
        self._providers = providers if isinstance(providers, Providers) else _OneProvider(providers, settings)
        self._settings = settings
        self._claim_settings = ClaimSettings(
            batch_size=settings.batch_size,
            scheduler_time_zone=settings.timezone.key,
            new_call_id=new_call_id or call_id_factory(self._clock),
            fence=settings.fence,
            patience=settings.patience,
        )
        self._lease = Lease(self._clock, settings.patience)
        self._onlooker = Onlooker(self._clock, settings.patience)
        self._outage = Outage(
            self._clock, log, "the worker keeps what it knows, claims nothing and tries again"
        )
        self._said: dict[str, tuple[str, float]] = {}
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._known = Definitions(on_settled, KeptRuleBook(settings.own_rules), settings.patience)
        self._gate = None if before_call is None else Gate(before_call)
        self._wakeups = Wakeups(self._database, listen_url)
        self._lanes: dict[AccountId, tuple[Lane, asyncio.Task[None]]] = {}
        self._unserved: dict[AccountId, str] = {}
        self._calls: set[asyncio.Task[DialResult]] = set()
        self._asking: dict[AccountId, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._at_work = asyncio.Event()
        self._retired: set[asyncio.Task[None]] = set()
        self._main: asyncio.Task[None] | None = None

    def run_forever(self) -> None:
        """Work until SIGTERM or SIGINT; then finish what is under way and return."""
        asyncio.run(self._run_until_signaled())

    async def run(self) -> None:
        """Work until `stop` is called or the task is canceled; then finish what is under way."""
        threads = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="outdial-database")
        call_threads = ThreadPoolExecutor(CALL_THREADS, thread_name_prefix="outdial-call")
        self._transactions = Transactions(self._database, threads, self._outage)
        try:
            started_at = self._clock.monotonic()
            self._worker_id = await self._transactions.run(_start, self._name)
            self._lease.renewed(started_at)
            await self._choose_account()
            log.info("worker %s is at work", self._name)
            self._at_work.set()
            timeout = self._settings.patience.post_timeout_seconds
            async with AsyncTransport(timeout_seconds=timeout) as transport, self._wakeups:
                self._transport, self._call_threads = transport, call_threads
                duties = [
                    asyncio.create_task(self._every(seconds, duty))
                    for seconds, duty in (
                        (HEARTBEAT_SECONDS, self._beat),
                        (TIDY_SECONDS, self._tidy),
                        (LOOK_UP_SECONDS, self._look_up),
                        (ACCOUNTS_SECONDS, self._refresh_accounts),
                        (PROBE_SECONDS, self._probe),
                    )
                ]
                try:
                    await self._stopping.wait()
                finally:
                    await self._finish(duties)
        finally:
            # What hangs in a database that is away, or stands still, must not hold the end up.
            threads.shutdown(wait=False, cancel_futures=True)
            if self._gate is not None:
                self._gate.close()
            call_threads.shutdown(wait=False)
        log.info("worker %s has stopped", self._name)

    def stop(self) -> None:
        """Claim and send nothing more. Stopping twice is harmless."""
        self._stopping.set()
        for lane, _ in self._lanes.values():
            lane.stop()

    async def __aenter__(self) -> Self:
        """Returns when the worker is at work; raises what kept it from starting.

        Should it fail later, that is logged at once, and raised where the block ends.
        """
        self._main = asyncio.create_task(self.run())
        started = asyncio.create_task(self._at_work.wait())
        try:
            await asyncio.wait({self._main, started}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.stop()
            await self._main
            raise
        finally:
            started.cancel()
        if not self._at_work.is_set():
            await self._main
        self._main.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._main is not None:
            await self._main

    def _ended(self, main: asyncio.Task[None]) -> None:
        if not self._stopping.is_set():
            error = None if main.cancelled() else main.exception()
            log.critical("worker %s has ended, and nothing is dialed any more", self._name, exc_info=error)

    async def _run_until_signaled(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await self.run()

    async def _finish(self, duties: list[asyncio.Task[None]]) -> None:
        """Requests under way are finished, what was not sent is given back: within the time-out of a POST and a margin.

        What cannot be recorded in that time is left to the others, as if this worker had died.
        """
        self.stop()
        give_up_at = self._clock.monotonic() + self._settings.patience.post_is_over.total_seconds() - 0.5
        duties = [*duties, *self._asking.values()]
        for duty in duties:
            duty.cancel()
        lanes = [*(task for _, task in self._lanes.values()), *self._retired]
        await self._wait_until(give_up_at, [*duties, *lanes])
        # Lanes may have begun calls until they stopped.
        await self._wait_until(give_up_at, list(self._calls))
        if not self._outage.is_on and self._clock.monotonic() < give_up_at:
            stopped = asyncio.create_task(self._transactions.run(_stop, self._worker_id))
            await self._wait_until(give_up_at, [stopped])

    async def _wait_until(self, give_up_at: float, tasks: Sequence[asyncio.Task[Any]]) -> None:
        if not tasks:
            return
        done, late = await asyncio.wait(tasks, timeout=max(0.0, give_up_at - self._clock.monotonic()))
        for task in done:
            # What went wrong was said where it did.
            if not task.cancelled():
                task.exception()
        for task in late:
            task.cancel()

    async def _every(self, seconds: float, duty: Callable[[], Awaitable[None]]) -> None:
        """A duty of the background: an error is logged and does not end it."""
        while not self._stopping.is_set():
            try:
                await duty()
            except Exception as error:  # noqa: BLE001 - whatever it is, the other duties go on
                self._trouble(duty.__name__.strip("_"), error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _work(self, lane: Lane) -> None:
        """Claim for one account again and again; sleep while nothing can be done."""
        woken = self._wakeups.subscribe()
        pause = TROUBLE_PAUSE_SECONDS / 4
        last_upkeep = float("-inf")
        while not lane.is_stopped:
            woken.clear()
            if lane.is_full or not self._lease.is_held:
                # Answers pile up faster than they can be recorded, or the others may take us for dead: no more calls.
                await self._clock.sleep_async(TROUBLE_PAUSE_SECONDS)
                continue
            try:
                if self._clock.monotonic() - last_upkeep >= POLL_SECONDS:
                    await lane.keep_up()
                    last_upkeep = self._clock.monotonic()
                claimed = await lane.claim()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next claim may succeed
                self._trouble("claim", error)
                await self._rest(pause)
                pause = min(2 * pause, 2 * TROUBLE_PAUSE_SECONDS)
                continue
            pause = TROUBLE_PAUSE_SECONDS / 4
            for task in lane.dial(claimed):
                self._calls.add(task)
                task.add_done_callback(self._done)
            if claimed.is_drained:
                last_upkeep = float("-inf")
            if claimed.may_go_on:
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), _pause(claimed))
        self._wakeups.unsubscribe(woken)

    def _done(self, task: asyncio.Task[DialResult]) -> None:
        self._calls.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if may_pass(error):
            log.error("an answer could not be recorded, since the database is away; it is looked up later")
        else:
            log.error("an answer could not be recorded; the attempt will be reconciled", exc_info=error)

    def _trouble(self, what: str, error: Exception) -> None:
        """The database's trouble is said once for all of the worker; another error once, and again if it goes on."""
        if may_pass(error):
            return
        before, said_at = self._said.get(what, ("", float("-inf")))
        now = self._clock.monotonic()
        if before != repr(error) or now - said_at > SAY_AGAIN_SECONDS:
            self._said[what] = (repr(error), now)
            log.error("%s failed; it is tried again", what, exc_info=error)

    async def _rest(self, seconds: float) -> None:
        """Sleep, unless told to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _choose_account(self) -> None:
        """Which account a single provider object is for. Raises as `SchedulerService.run` does."""
        if isinstance(self._providers, _OneProvider):
            account = await self._transactions.run(the_account, self._settings.account)
            self._providers.account_id = account.id

    async def _beat(self) -> None:
        sent_at = self._clock.monotonic()
        beats = await self._transactions.run(_beat, self._worker_id, self._name)
        if beats is None:
            await self._begin_anew()
            return
        self._lease.renewed(sent_at)
        for dead in self._onlooker.look(beats, sent_at):
            name = await self._transactions.run(_find_dead, dead, beats[dead])
            if name is not None:
                log.warning("worker %s is dead or cut off; what it left behind is picked up", name)

    async def _begin_anew(self) -> None:
        """A failover has lost our row, or given its id to another worker: what was claimed under it is given back."""
        self._worker_id = await self._transactions.run(_start, self._name)
        log.warning("worker %s is not on record any more, and begins anew", self._name)
        # Lanes are made again with the next look at the accounts.
        for account_id in tuple(self._lanes):
            self._retire(account_id)

    def _retire(self, account_id: AccountId) -> None:
        if account_id in self._lanes:
            lane, task = self._lanes.pop(account_id)
            lane.stop()
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def _tidy(self) -> None:
        await tidy(self._transactions, self._known)

    async def _look_up(self) -> None:
        """Only for accounts that this worker serves: of others it could not ask, and so must not conclude."""
        for account_id, (lane, _) in tuple(self._lanes.items()):
            # Each account in a task of its own: a provider that is slow to answer holds up its own calls only.
            if account_id not in self._asking:
                task = asyncio.create_task(self._ask(lane))
                self._asking[account_id] = task
                task.add_done_callback(partial(self._asked, account_id))

    async def _ask(self, lane: Lane) -> None:
        account = lane.account
        await look_up(self._transactions, {account.id: lane.caller}, self._known, {account.id: account})

    def _asked(self, account_id: AccountId, task: asyncio.Task[None]) -> None:
        self._asking.pop(account_id, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._trouble("look_up", error)

    async def _probe(self) -> None:
        """Ask accounts in trouble, as they were when last read, a free question that only a good account answers."""
        for lane, _ in tuple(self._lanes.values()):
            if lane.account.suspended_at is not None or lane.account.breaker is Breaker.OPEN:
                await probe(
                    self._transactions, lane.account.id, lane.caller, self._claim_settings.new_call_id()
                )

    async def _refresh_accounts(self) -> None:
        """Serve accounts that are new or were changed since."""
        for account in await self._transactions.run(accounts.all_accounts):
            served = self._lanes.get(account.id)
            if served is not None and _is_same_connection(served[0].account, account):
                served[0].account = account
                continue
            try:
                lane = self._lane_of(account, self._caller_of(account))
            except UserError as error:
                if self._unserved.get(account.id) != str(error):
                    self._unserved[account.id] = str(error)
                    log.warning("account %s is not served: %s", account.name, error)
                # Nor with what was set before: that is not what its operator wants any more.
                self._retire(account.id)
                continue
            self._unserved.pop(account.id, None)
            self._retire(account.id)
            self._lanes[account.id] = (lane, asyncio.create_task(self._work(lane)))

    def _caller_of(self, account: Account) -> Caller:
        return caller_for(self._providers.provider_for(account), self._transport, self._call_threads)

    def _lane_of(self, account: Account, caller: Caller) -> Lane:
        return Lane(
            account=account,
            worker_id=self._worker_id,
            caller=caller,
            callback_url=self._providers.callback_url_for(account),
            claim_settings=self._claim_settings,
            lease=self._lease,
            transactions=self._transactions,
            known=self._known,
            clock=self._clock,
            gate=self._gate,
        )


class _OneProvider:
    """A single provider object, for the one account that the settings name (or the only one there is)."""

    def __init__(self, provider: TelephonyProvider, settings: SchedulerSettings) -> None:
        self._provider = provider
        self._settings = settings
        self.account_id: AccountId | None = None

    def provider_for(self, account: Account) -> TelephonyProvider:
        if account.id != self.account_id:
            raise UserError("this worker was given the provider of another account")
        return self._provider

    def callback_url_for(self, account: Account) -> str | None:  # noqa: ARG002 - one account, one URL
        return self._settings.callback_url


def _pause(claimed: Claimed) -> float:
    """How long to sleep unless woken, in seconds."""
    if claimed.next_due_at is None or claimed.at is None:
        return POLL_SECONDS
    until_due = (claimed.next_due_at - claimed.at).total_seconds()
    return min(POLL_SECONDS, max(RATE_PAUSE_SECONDS if claimed.held else 0.005, until_due))


def _is_same_connection(one: Account, other: Account) -> bool:
    keys = ("adapter", "base_url", "api_key_ref", "webhook_secret_ref", "options")
    return all(getattr(one, key) == getattr(other, key) for key in keys)


def _start(connection: sa.Connection, name: str) -> WorkerId:
    migrate.check(connection)
    return workers.start(connection, name, database_now(connection))


def _beat(connection: sa.Connection, worker_id: WorkerId, name: str) -> dict[WorkerId, int] | None:
    """Renew the lease; returns the counters of the others. None: our own is gone."""
    if not workers.beat(connection, worker_id, name, database_now(connection)):
        return None
    beats = workers.beats(connection)
    beats.pop(worker_id, None)
    return beats


def _find_dead(connection: sa.Connection, worker_id: WorkerId, beat: int) -> str | None:
    return workers.find_dead(connection, worker_id, beat, database_now(connection))


def _stop(connection: sa.Connection, worker_id: WorkerId) -> None:
    workers.stop(connection, worker_id, database_now(connection))
