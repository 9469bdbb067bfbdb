"""The loop around the pass: claims whenever there may be work, for every account, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Protocol, Self, runtime_checkable

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from outdial.clock import Clock, SystemClock
from outdial.domain.account import Account
from outdial.domain.errors import TelephonyProviderError, UserError
from outdial.domain.ids import AccountId, CallId, WorkerId
from outdial.engine.before_call import BeforeCall, Gate
from outdial.engine.call_ids import call_id_factory
from outdial.engine.claim import Claimed, ClaimSettings
from outdial.engine.definitions import Definitions
from outdial.engine.dial import DialResult
from outdial.engine.on_settled import OnSettled
from outdial.engine.reconcile import look_up, tidy
from outdial.engine.scheduler import Lane, SchedulerSettings, engine_of, the_account
from outdial.engine.transactions import Transactions
from outdial.engine.wakeups import Wakeups
from outdial.files.rule_books import KeptRuleBook
from outdial.storage import accounts, migrate, workers
from outdial.storage.database import Database, database_now
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
ACCOUNTS_SECONDS: Final = 2.0
PROBE_SECONDS: Final = 30.0
TROUBLE_PAUSE_SECONDS: Final = 1.0
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
        )
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._known = Definitions(on_settled, KeptRuleBook(settings.own_rules))
        self._gate = None if before_call is None else Gate(before_call)
        self._wakeups = Wakeups(self._database, listen_url)
        self._lanes: dict[AccountId, tuple[Lane, asyncio.Task[None]]] = {}
        self._unserved: dict[AccountId, str] = {}
        self._calls: set[asyncio.Task[DialResult]] = set()
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
        self._transactions = Transactions(self._database, threads)
        try:
            self._worker_id = await self._transactions.run(_start, self._name)
            await self._choose_account()
            log.info("worker %s is at work", self._name)
            self._at_work.set()
            async with AsyncTransport() as transport, self._wakeups:
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
            threads.shutdown(wait=True)
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
        self.stop()
        for duty in duties:
            duty.cancel()
        lanes = [*(task for _, task in self._lanes.values()), *self._retired]
        await asyncio.gather(*duties, *lanes, return_exceptions=True)
        await asyncio.gather(*self._calls, return_exceptions=True)
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            await self._transactions.run(_stop, self._worker_id)

    async def _every(self, seconds: float, duty: Callable[[], Awaitable[None]]) -> None:
        """A duty of the background: an error is logged and does not end it."""
        while not self._stopping.is_set():
            try:
                await duty()
            except Exception:
                log.exception("%s failed; it is tried again", duty.__name__.strip("_"))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _work(self, lane: Lane) -> None:
        """Claim for one account again and again; sleep while nothing can be done."""
        woken = self._wakeups.subscribe()
        last_upkeep = float("-inf")
        while not lane.is_stopped:
            woken.clear()
            if lane.is_full:
                # Answers pile up faster than they can be recorded: no more calls until they are.
                await self._clock.sleep_async(TROUBLE_PAUSE_SECONDS)
                continue
            try:
                if self._clock.monotonic() - last_upkeep >= POLL_SECONDS:
                    await lane.keep_up()
                    last_upkeep = self._clock.monotonic()
                claimed = await lane.claim()
            except Exception:
                log.exception("a claim failed; it is tried again", extra={"account": lane.account.name})
                await self._clock.sleep_async(TROUBLE_PAUSE_SECONDS)
                continue
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
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an answer could not be recorded; the attempt will be reconciled", exc_info=error)

    async def _choose_account(self) -> None:
        """Which account a single provider object is for. Raises as `SchedulerService.run` does."""
        if isinstance(self._providers, _OneProvider):
            account = await self._transactions.run(the_account, self._settings.account)
            self._providers.account_id = account.id

    async def _beat(self) -> None:
        await self._transactions.run(_beat, self._worker_id)

    async def _tidy(self) -> None:
        await tidy(self._transactions, self._known)

    async def _look_up(self) -> None:
        """Only for accounts that this worker serves: of others it could not ask, and so must not conclude."""
        callers = {account_id: lane.caller for account_id, (lane, _) in self._lanes.items()}
        if callers:
            await look_up(self._transactions, callers, self._known)

    async def _probe(self) -> None:
        """Ask suspended accounts a free question that only a good account answers."""
        for account in await self._transactions.run(accounts.all_accounts):
            served = self._lanes.get(account.id)
            if account.suspended_at is None or served is None or not served[0].caller.can_look_up:
                continue
            try:
                await served[0].caller.probe(self._claim_settings.new_call_id())
            except TelephonyProviderError:
                continue
            if await self._transactions.run(accounts.resume, account.id):
                log.warning("account %s answers again and is resumed", account.name)
                self._database.wake()

    async def _refresh_accounts(self) -> None:
        """Serve accounts that are new or were changed since."""
        for account in await self._transactions.run(accounts.all_accounts):
            served = self._lanes.get(account.id)
            if served is not None and _is_same_connection(served[0].account, account):
                continue
            try:
                lane = self._lane_of(account, self._caller_of(account))
            except UserError as error:
                if self._unserved.get(account.id) != str(error):
                    self._unserved[account.id] = str(error)
                    log.warning("account %s is not served: %s", account.name, error)
                continue
            self._unserved.pop(account.id, None)
            if served is not None:
                served[0].stop()
                self._retired.add(served[1])
                served[1].add_done_callback(self._retired.discard)
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


def _beat(connection: sa.Connection, worker_id: WorkerId) -> None:
    workers.beat(connection, worker_id, database_now(connection))


def _stop(connection: sa.Connection, worker_id: WorkerId) -> None:
    workers.stop(connection, worker_id, database_now(connection))
