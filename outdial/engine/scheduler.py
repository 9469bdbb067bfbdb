"""A pass: claim, dial, record, for one account; and `SchedulerService`, which runs one for whoever calls it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from outdial.clock import Clock, SystemClock
from outdial.domain.account import Account
from outdial.domain.answers import meaning_of
from outdial.domain.attempt import AttemptState
from outdial.domain.errors import NotFound, SettingsError, TelephonyProviderError
from outdial.domain.fences import Fence
from outdial.domain.ids import AttemptId, CallId, CampaignId, ContactId, WorkerId
from outdial.domain.patience import Patience
from outdial.domain.phone_numbers import normalize
from outdial.engine.after_failover import Comparison, reconcile_first
from outdial.engine.before_call import BeforeCall, Gate
from outdial.engine.call_ids import call_id_factory
from outdial.engine.claim import Claimed, ClaimSettings, claim, next_due
from outdial.engine.definitions import Definitions
from outdial.engine.dial import Dialer, DialResult
from outdial.engine.events import apply
from outdial.engine.lease import Lease
from outdial.engine.look_ups import look_up
from outdial.engine.on_settled import OnSettled
from outdial.engine.outage import Outage
from outdial.engine.probes import probe
from outdial.engine.reconcile import tidy
from outdial.engine.record import Released, released_unsent
from outdial.engine.transactions import Transactions
from outdial.engine.upkeep import keep_up
from outdial.files.rule_books import KeptRuleBook
from outdial.storage import accounts, attempts, buckets, contacts, deployment, workers
from outdial.storage.database import Database, database_now, may_pass, wake_schedulers
from outdial.telephony.caller import Caller, caller_for
from outdial.telephony.protocol import OutboundCallResponse, TelephonyProvider
from outdial.telephony.transport import AsyncTransport

log = logging.getLogger("outdial.scheduler")

MAX_BATCH: Final = 1000
LET_GO_AT_ONCE: Final = 1000
# What a pass is called among the workers.
WORKER_OF_A_RUN: Final = "pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """`callback_url` is where the provider sends its events, None where it is asked for them; `timezone` serves campaigns that were written without any
    zone; `account` names the account to dial for, and may be left out where there is only one.

    A database that has a name is only dialed from where `deployment` says the same. `dial_only`: the only numbers
    (E.164) that may be called; empty means all. `own_rules`: a file of calling rules beside the package's. `patience`:
    leases and time-outs, the same for every process on one database.
    """

    callback_url: str | None
    batch_size: int = 25
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    account: str | None = None
    deployment: str | None = None
    dial_only: frozenset[str] = frozenset()
    own_rules: Path | None = None
    patience: Patience = Patience()

    @property
    def fence(self) -> Fence:
        return Fence(deployment=self.deployment, dial_only=self.dial_only)

    def __post_init__(self) -> None:
        if self.callback_url is not None and not self.callback_url.startswith(("http://", "https://")):
            raise SettingsError(
                f"callback_url is {self.callback_url!r}: it must be an http:// or https:// URL that the provider reaches."
            )
        if not 1 <= self.batch_size <= MAX_BATCH:
            raise SettingsError(f"batch_size is {self.batch_size}: it must be from 1 to {MAX_BATCH}.")
        for number in sorted(self.dial_only):
            if normalize(number).e164 != number:
                raise SettingsError(f"dial_only has {number!r}: write it as {normalize(number).e164}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledAttempt:
    """One attempt of a pass. `state` is `accepted`, `in_doubt` or `ended`; `error` says why it was not accepted."""

    attempt_id: AttemptId
    call_id: CallId
    contact_id: ContactId
    campaign_id: CampaignId
    state: AttemptState
    provider_call_id: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerRunResult:
    """What a pass did.

    `skipped` counts contacts passed over by reason, `held` groups of due contacts (and whole accounts or campaigns)
    that wait, by reason. `capacity` is the free lines that it found. `next_due_at` (aware UTC): when the next pass
    can do something by itself, in the past if at once; None: only an event or a person can change that.
    """

    scheduled: Sequence[ScheduledAttempt] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    capacity: int = 0
    capacity_used_up: bool = False
    next_due_at: datetime | None = None


class Lane:
    """Claims and dials for one account on behalf of one worker."""

    def __init__(
        self,
        *,
        account: Account,
        worker_id: WorkerId,
        caller: Caller,
        callback_url: str | None,
        claim_settings: ClaimSettings,
        lease: Lease,
        transactions: Transactions,
        known: Definitions,
        clock: Clock,
        gate: Gate | None = None,
        comparison: Comparison | None = None,
    ) -> None:
        self.caller = caller
        self._account_id = account.id
        # Claims of which nobody knows whether their commit took effect.
        self._uncertain: set[str] = set()
        self._comparison = comparison or Comparison()
        self._worker_id = worker_id
        self._settings = claim_settings
        self._transactions = transactions
        self._known = known
        self._clock = clock
        self._is_stopped = False
        self._not_here: str | None = None
        self._dialer = Dialer(
            account=account,
            worker_id=worker_id,
            caller=caller,
            callback_url=callback_url,
            fence=claim_settings.fence,
            lease=lease,
            transactions=transactions,
            known=known,
            clock=clock,
            gate=gate,
        )

    @property
    def account(self) -> Account:
        """As it was when it was last read."""
        return self._dialer.account

    @account.setter
    def account(self, account: Account) -> None:
        self._dialer.account = account

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped

    def stop(self) -> None:
        """Claim and send nothing more: what was claimed is given back."""
        self._is_stopped = True
        self._dialer.stop()

    async def claim(self) -> Claimed:
        """One claim. Where nothing may be dialed from here, it says why, once."""
        await self._give_back_uncertain()
        claim_id = self._settings.new_call_id()
        try:
            claimed = await self._transactions.run(
                claim, self._account_id, self._worker_id, claim_id, self._settings, self._known, self._clock
            )
        except sa.exc.SQLAlchemyError as error:
            if may_pass(error):
                self._uncertain.add(claim_id)
            raise
        if claimed.other_timeline is not None:
            is_compared = await reconcile_first(
                self._transactions,
                self.account,
                self.caller,
                self._known,
                claimed.other_timeline,
                self._comparison,
                self._clock.monotonic(),
            )
            return replace(claimed, may_go_on=is_compared)
        if claimed.changed:
            # Before the note by which the change is known.
            while await self._transactions.run(_let_go, claimed.changed):
                pass
        if claimed.judgments:
            await self._transactions.run(buckets.judge, claimed.judgments)
        if claimed.not_here is not None and claimed.not_here != self._not_here:
            log.error("%s", claimed.not_here)
        self._not_here = claimed.not_here
        return claimed

    async def _give_back_uncertain(self) -> None:
        """The connection was lost in the commit of these claims: if it took effect after all, nobody dials their calls."""
        for claim_id in tuple(self._uncertain):
            if await self._transactions.run(_give_back, claim_id, self._known):
                log.info("a claim whose commit was cut off had taken effect: its calls are given back")
            self._uncertain.discard(claim_id)

    @property
    def is_full(self) -> bool:
        """Whether so many answers wait to be recorded that no call should be added."""
        return self._dialer.is_full

    async def next_due_at(self) -> datetime | None:
        """When the next claim can find something by itself (aware UTC); None: only an event or a person changes that."""
        return await self._transactions.run(next_due, self._account_id, self._settings, self._known)

    async def keep_up(self) -> None:
        """Begin, end and complete campaigns."""
        for campaign_id in await self._transactions.run(keep_up, self._account_id):
            log.info("campaign %s is completed", campaign_id, extra={"campaign": campaign_id})

    def dial(self, claimed: Claimed) -> list[asyncio.Task[DialResult]]:
        """Start dialing what was claimed; each task ends when its answer is recorded."""
        return [
            asyncio.create_task(
                self._dialer.dial(call, claimed.definitions[call.campaign_id], claimed.tolerance_seconds)
            )
            for call in claimed.calls
        ]


class SchedulerService:
    """One pass over one account, for a worker process of one's own: call `run` as often as you like, from anywhere.

    `session_factory` only lends its engine: the pass has short transactions of its own. `clock`, `new_call_id` and the
    provider are injected; `before_call` and `on_settled` are as for `Worker`.
    """

    def __init__(
        self,
        session_factory: sessionmaker[Session],
        telephony_provider: TelephonyProvider,
        settings: SchedulerSettings,
        *,
        clock: Clock | None = None,
        new_call_id: Callable[[], CallId] | None = None,
        before_call: BeforeCall | None = None,
        on_settled: OnSettled | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._database = Database(engine_of(session_factory), self._clock)
        self._provider = telephony_provider
        self._settings = settings
        self._new_call_id = new_call_id or call_id_factory(self._clock)
        self._known = Definitions(on_settled, KeptRuleBook(settings.own_rules), settings.patience)
        self._before_call = before_call
        # It takes longer than a pass.
        self._comparison = Comparison()
        # One row for all passes of this object: a pass every second would leave thousands a day.
        self._worker_id: WorkerId | None = None

    def run(self) -> SchedulerRunResult:
        """Claim what may be called now, place the calls, record the answers.

        Raises `NotFound` when the account is missing; provider failures are recorded and logged, not raised.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._pass())
        # Called from inside an event loop: the pass has a loop of its own, so it needs a thread of its own.
        found: list[SchedulerRunResult] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                found.append(asyncio.run(self._pass()))
            except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
                errors.append(error)

        thread = threading.Thread(target=run, name="outdial-pass")
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return found[0]

    async def _pass(self) -> SchedulerRunResult:
        outage = Outage(self._clock, log, "what the provider answered is kept until it does")
        transactions = Transactions(self._database, outage=outage)
        account = await transactions.run(the_account, self._settings.account)
        lease = Lease(self._clock, self._settings.patience)
        begun_at = self._clock.monotonic()
        worker_id = await transactions.run(_begin_pass, self._worker_id)
        lease.renewed(begun_at)
        self._worker_id = worker_id
        gate = None if self._before_call is None else Gate(self._before_call)
        try:
            async with AsyncTransport(
                timeout_seconds=self._settings.patience.post_timeout_seconds
            ) as transport:
                caller = caller_for(self._provider, transport, None)
                lane = Lane(
                    account=account,
                    worker_id=worker_id,
                    caller=caller,
                    callback_url=self._settings.callback_url,
                    claim_settings=ClaimSettings(
                        batch_size=self._settings.batch_size,
                        scheduler_time_zone=self._settings.timezone.key,
                        new_call_id=self._new_call_id,
                        fence=self._settings.fence,
                        patience=self._settings.patience,
                    ),
                    lease=lease,
                    transactions=transactions,
                    known=self._known,
                    clock=self._clock,
                    gate=gate,
                    comparison=self._comparison,
                )
                await tidy(transactions, self._known)
                await look_up(transactions, {account.id: caller}, self._known, {account.id: account})
                await probe(transactions, account.id, caller, self._new_call_id())
                await lane.keep_up()
                # The provider may have taken long to be asked.
                begun_at = self._clock.monotonic()
                await transactions.run(_begin_pass, worker_id)
                lease.renewed(begun_at)
                claimed = await lane.claim()
                dialed = await asyncio.gather(*lane.dial(claimed), return_exceptions=True)
                await lane.keep_up()
                next_due_at = await lane.next_due_at()
        finally:
            if gate is not None:
                gate.close()
            await transactions.run(_end_pass, worker_id)
        failures = [one for one in dialed if isinstance(one, BaseException)]
        for failure in failures:
            log.error("an answer could not be recorded; the attempt will be reconciled", exc_info=failure)
        return result_of(claimed, [one for one in dialed if isinstance(one, DialResult)], next_due_at)


def result_of(
    claimed: Claimed, results: Sequence[DialResult], next_due_at: datetime | None
) -> SchedulerRunResult:
    """What a pass tells of itself."""
    return SchedulerRunResult(
        scheduled=tuple(_scheduled(result) for result in results),
        skipped={str(reason): count for reason, count in claimed.skipped.items()},
        held={str(reason): count for reason, count in claimed.held.items()},
        capacity=claimed.free_lines,
        capacity_used_up=len(claimed.calls) >= claimed.free_lines,
        next_due_at=next_due_at,
    )


def check_deployment(database: Database, settings: SchedulerSettings) -> None:
    """Raises `SettingsError` where nothing may be dialed from this database with these settings."""
    why_not = settings.fence.why_not_here(database.run(deployment.load).name)
    if why_not is not None:
        raise SettingsError(why_not)


def engine_of(session_factory: sessionmaker[Session]) -> sa.Engine:
    """The engine behind a session factory. Raises `SettingsError` if it is bound to none."""
    with session_factory() as session:
        bind = session.get_bind()
    if isinstance(bind, sa.Connection):
        return bind.engine
    return bind


def _scheduled(result: DialResult) -> ScheduledAttempt:
    call, answer = result.call, result.answer
    state = AttemptState.ENDED
    error: str | None = "released"
    if isinstance(answer, Released) and answer.host is not None:
        error = f"before_call: {answer.why}"
    provider_call_id: str | None = None
    if isinstance(answer, OutboundCallResponse):
        state, error, provider_call_id = AttemptState.ACCEPTED, None, str(answer.provider_call_id)
    elif isinstance(answer, TelephonyProviderError):
        state = AttemptState.IN_DOUBT if meaning_of(answer).ending is None else AttemptState.ENDED
        error = f"{type(answer).__name__}: {answer}"
    return ScheduledAttempt(
        attempt_id=call.attempt_id,
        call_id=call.call_id,
        contact_id=call.contact.id,
        campaign_id=call.campaign_id,
        state=state,
        provider_call_id=provider_call_id,
        error=error,
    )


def _give_back(connection: sa.Connection, claim_id: str, known: Definitions) -> int:
    unsent = attempts.unsent_of_claim(connection, claim_id)
    apply(connection, {attempt_id: [released_unsent("claim_cut_off")] for attempt_id in unsent}, known)
    return len(unsent)


def _let_go(connection: sa.Connection, campaign_ids: Set[CampaignId]) -> bool:
    """Who is held by caps of other rules than now is asked about again. True: there may be more."""
    at = database_now(connection)
    released = contacts.release_capped(connection, campaign_ids, at, LET_GO_AT_ONCE)
    buckets.add_due(connection, released)
    if released:
        wake_schedulers(connection)
    return len(released) == LET_GO_AT_ONCE


def the_account(connection: sa.Connection, name: str | None) -> Account:
    """The account of this name, or the only one there is. Raises `NotFound`, or `SettingsError` where there are several."""
    if name is not None:
        account = accounts.by_name(connection, name)
        if account is None:
            raise NotFound("account", name, "Make it with `outdial account set`.")
        return account
    found = accounts.all_accounts(connection)
    if not found:
        raise NotFound("account", "default", "Make one with `outdial account set`.")
    if len(found) > 1:
        names = ", ".join(account.name for account in found)
        raise SettingsError(
            f"There are several accounts ({names}): name one in SchedulerSettings(account=…)."
        )
    return found[0]


def _begin_pass(connection: sa.Connection, worker_id: WorkerId | None) -> WorkerId:
    at = database_now(connection)
    if worker_id is None or not workers.beat(connection, worker_id, WORKER_OF_A_RUN, at):
        return workers.start(connection, WORKER_OF_A_RUN, at)
    return worker_id


def _end_pass(connection: sa.Connection, worker_id: WorkerId) -> None:
    workers.stop(connection, worker_id, database_now(connection))
