"""The claim: the one transaction in which contacts become attempts, under the lock of their account.

The lock is a statement of its own and the open calls are counted in the next: folded into one, the count would use
the snapshot from before the wait and pass the limit. Nothing is sent in here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from outdial.clock import Clock
from outdial.domain.account import Account, limits_facts
from outdial.domain.breaker import TRIAL, TRIAL_MARGIN, lines_in_trial
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.fair_share import Claimant, share
from outdial.domain.fences import Fence
from outdial.domain.frequency import PastCall
from outdial.domain.ids import AccountId, AttemptId, CallId, CampaignId, ContactId, WorkerId
from outdial.domain.order import Bucket, Plan
from outdial.domain.pacing import Slots, reserve
from outdial.domain.patience import NOT_AFTER, Patience
from outdial.domain.permit import (
    BUSY_NUMBER_DELAY,
    FATES,
    Case,
    Permit,
    Reason,
    Refusal,
    contact_facts,
    refusal_of,
)
from outdial.domain.whole_checks import (
    account_refusal,
    free_lines,
    limit_refusal,
    numbers_refusal,
    usable_numbers,
)
from outdial.engine.definitions import Definitions
from outdial.engine.look_around import BUCKETS_BEYOND, look_around
from outdial.engine.slots import Moment
from outdial.storage import (
    accounts,
    attempts,
    buckets,
    campaign_upkeep,
    contacts,
    deployment,
    due_contacts,
    past_calls,
    standing,
)
from outdial.storage.attempts import ClaimedRow, NewAttempt, OpenCalls
from outdial.storage.buckets import Judgment
from outdial.storage.campaigns import RunningCampaign
from outdial.storage.contacts import Move
from outdial.storage.database import database_now
from outdial.storage.deployment import Deployment
from outdial.storage.due_contacts import DueContact
from outdial.storage.timeline import timeline_of

# Contacts that are all passed over must not keep a claim, and the account's lock, for ever.
ROUNDS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSettings:
    """`scheduler_time_zone` serves campaigns that were written without any zone."""

    batch_size: int
    scheduler_time_zone: str
    new_call_id: Callable[[], CallId]
    fence: Fence = Fence()
    patience: Patience = Patience()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedCall:
    """An attempt that is ours to dial. `dial_at` and `deadline`, which is `not_after`, are in seconds of the worker's
    monotonic clock.
    """

    attempt_id: AttemptId
    call_id: CallId
    contact: DueContact
    campaign_id: CampaignId
    from_number: str
    dial_at: float
    deadline: float
    not_after: datetime
    # To be written again where a failover has lost it.
    row: ClaimedRow
    # The one call of a half-open breaker.
    is_tried: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a claim did. `free_lines` is what it found; `skipped` counts contacts, `held` buckets, by reason.

    `is_drained`: campaigns run but nobody waits. `may_go_on`: another claim right away may find more. `not_here`: why
    this worker may dial nothing from this database, in one sentence.
    `other_timeline`: the database has another history than when the account was last reconciled, so nobody is claimed
    (`after_failover.reconcile_first`). `judgments`: what it found out about zones, to be
    noted with `buckets.judge` so that the next claim need not ask; before that, who was held by the old rules of the
    campaigns in `changed` is to be let go (`contacts.release_capped`).
    """

    calls: Sequence[ClaimedCall] = ()
    definitions: Mapping[CampaignId, CampaignDefinition] = field(default_factory=dict)
    free_lines: int = 0
    skipped: Mapping[Reason, int] = field(default_factory=dict)
    held: Mapping[Reason, int] = field(default_factory=dict)
    next_due_at: datetime | None = None
    at: datetime | None = None
    tolerance_seconds: float = 0.0
    judgments: Sequence[Judgment] = ()
    changed: Set[CampaignId] = frozenset()
    is_drained: bool = False
    may_go_on: bool = False
    other_timeline: str | None = None
    not_here: str | None = None


def claim(
    connection: sa.Connection,
    account_id: AccountId,
    worker_id: WorkerId,
    claim_id: str,
    settings: ClaimSettings,
    known: Definitions,
    clock: Clock,
) -> Claimed:
    """Take what may be called now, as many as there are free lines and slots, and make attempts of them.

    What may be called is worked out before the account is locked, so that many zones and rules cost nobody a wait: a
    permit holds until its instant, and what a stop or an exclusion is exact by is the last check.
    """
    around = deployment.load(connection)
    account = accounts.by_id(connection, account_id)
    if account is None:
        return Claimed()
    at = database_now(connection)
    work = look_around(
        connection, account, around, at, known, settings.scheduler_time_zone, batch_size=settings.batch_size
    )
    found = Claimed(
        at=at,
        held=dict(work.planned.held),
        next_due_at=work.planned.next_due_at,
        definitions=work.definitions,
        tolerance_seconds=account.rate.tolerance().total_seconds(),
        is_drained=not work.is_anybody and bool(work.running),
        judgments=work.judgments,
        changed=work.changed,
        not_here=settings.fence.why_not_here(around.name),
    )
    if not work.planned.due:
        # Nothing to claim, and so nobody to keep waiting; the count is only told.
        open_calls = attempts.count_open(connection, account_id)
        return replace(
            found,
            at=open_calls.at,
            free_lines=free_lines(account, open_calls.total, open_calls.tests_waiting),
        )
    account = accounts.lock(connection, account_id)
    assert account is not None, "accounts are never deleted"
    timeline = timeline_of(connection)
    if timeline is not None and timeline != account.timeline:
        if account.timeline is not None:
            return replace(found, other_timeline=timeline)
        standing.accept_timeline(connection, account_id, timeline)
    # The database's instant, and a reading of our own clock that is surely not later.
    read_at = clock.monotonic()
    open_calls = attempts.count_open(connection, account_id)
    moment = Moment(at=open_calls.at, read_at=read_at)
    free = free_lines(account, open_calls.total, open_calls.tests_waiting)
    found = replace(found, at=moment.at, free_lines=free)
    refusal = _account_refusal(account, around, moment.at, free, found.not_here)
    if refusal is not None:
        return _held_by(found, refusal)
    in_trial = lines_in_trial(account.breaker, account.trial_until, moment.at)
    wanted = min(free, settings.batch_size, free if in_trial is None else in_trial)
    slots = reserve(account.rate, account.throttle, account.rate_cursor_at, moment.at, wanted)
    transaction = _Transaction(
        connection=connection,
        account=account,
        worker_id=worker_id,
        claim_id=claim_id,
        settings=settings,
        moment=moment,
        # The lock may have taken long to get.
        planned=work.planned.still_open(moment.at),
        definitions=work.definitions,
        revisions={campaign.id: campaign.revision for campaign in work.running},
        slots=slots,
        numbers=_caller_numbers(connection, work.definitions, account),
        cut=work.cut,
    )
    transaction.fill(work.running, open_calls)
    if in_trial is None:
        return transaction.close(found)
    if transaction.calls:
        patience = max(TRIAL, settings.patience.post_is_over + TRIAL_MARGIN)
        standing.begin_trial(connection, account_id, moment.at + patience)
    closed = transaction.close(found)
    tried = tuple(replace(call, is_tried=True) for call in closed.calls)
    return replace(closed, calls=tried, may_go_on=False)


def next_due(
    connection: sa.Connection, account_id: AccountId, settings: ClaimSettings, known: Definitions
) -> datetime | None:
    """When a claim can find something by itself: now, if it could at once. Reads without a lock."""
    account = accounts.by_id(connection, account_id)
    if account is None:
        return None
    open_calls = attempts.count_open(connection, account_id)
    at = open_calls.at
    around = deployment.load(connection)
    planned = look_around(
        connection, account, around, at, known, settings.scheduler_time_zone, batch_size=0
    ).planned
    is_due = bool(planned.due) or (planned.next_due_at is not None and planned.next_due_at <= at)
    instants = [campaign_upkeep.next_start(connection, account_id)]
    if not is_due:
        instants.append(planned.next_due_at)
    else:
        free = free_lines(account, open_calls.total, open_calls.tests_waiting)
        not_here = settings.fence.why_not_here(around.name)
        refusal = _account_refusal(account, around, at, free, not_here)
        instants.append(at if refusal is None else refusal.until)
        if refusal is not None and refusal.reason in {Reason.ACCOUNT_SUSPENDED, Reason.BREAKER_OPEN}:
            instants.append(account.probe_at)
    return min((instant for instant in instants if instant is not None), default=None)


@dataclass(slots=True, kw_only=True)
class _Transaction:
    """What a claim has taken so far."""

    connection: sa.Connection
    account: Account
    worker_id: WorkerId
    claim_id: str
    settings: ClaimSettings
    moment: Moment
    planned: Plan
    definitions: Mapping[CampaignId, CampaignDefinition]
    revisions: Mapping[CampaignId, int]
    slots: Slots
    numbers: Mapping[CampaignId, Sequence[str]]
    calls_since: datetime = field(init=False)
    slots_used: int = 0
    queues: dict[CampaignId, list[Bucket]] = field(default_factory=dict)
    # Whose queue holds only the first of its buckets.
    cut: Set[CampaignId] = frozenset()
    is_more_in_queue: bool = False
    calls: list[ClaimedCall] = field(default_factory=list)
    skipped: Counter[Reason] = field(default_factory=Counter)
    held: Counter[Reason] = field(default_factory=Counter)
    read: list[Bucket] = field(default_factory=list)
    calls_before: Mapping[str, tuple[PastCall, ...]] = field(default_factory=dict)
    facts: dict[ContactId, dict[str, Any]] = field(default_factory=dict)

    def fill(self, running: Sequence[RunningCampaign], open_calls: OpenCalls) -> None:
        """Share the slots among the campaigns that have due contacts; what one cannot use goes to the others."""
        for bucket in self.planned.due:
            self.queues.setdefault(bucket.campaign_id, []).append(bucket)
        left = set(self.queues)
        for campaign_id in sorted(left):
            no_number = numbers_refusal(self.numbers[campaign_id])
            if no_number is not None:
                self.held[no_number.reason] += 1
                left.discard(campaign_id)
        for _ in range(ROUNDS):
            taken = Counter(call.campaign_id for call in self.calls)
            claimants = [
                Claimant(
                    campaign_id=campaign.id,
                    open_calls=open_calls.by_campaign.get(campaign.id, 0) + taken[campaign.id],
                    weight=campaign.weight,
                    priority=campaign.priority,
                    limit=campaign.max_concurrent_calls,
                )
                for campaign in running
                if campaign.id in left
            ]
            shares = {
                c: n for c, n in share(len(self.slots.instants) - self.slots_used, claimants).items() if n
            }
            for claimant in claimants:
                at_limit = limit_refusal(self.definitions[claimant.campaign_id], claimant.open_calls)
                if at_limit is not None:
                    self.held[at_limit.reason] += 1
                    left.discard(claimant.campaign_id)
            if not shares:
                return
            self._round(shares)
            done = {campaign_id for campaign_id in shares if not self.queues[campaign_id]}
            # Its buckets were read and their hints brought forward, so that the next claim reads those behind them.
            self.is_more_in_queue |= not done.isdisjoint(self.cut)
            left -= done
        self.is_more_in_queue |= bool(left)

    def _round(self, shares: Mapping[CampaignId, int]) -> None:
        """Take, insert, move."""
        heads = {c: self.queues[c][: wanted + BUCKETS_BEYOND] for c, wanted in shares.items()}
        due = [bucket for head in heads.values() for bucket in head]
        found = due_contacts.take_due(self.connection, due, shares, self.moment.at)
        for campaign_id, head in heads.items():
            self._note_read(
                head, [one for one in found if one.campaign_id == campaign_id], shares[campaign_id]
            )
        passed_over = self._refusals(found)
        callable_now = [contact for contact in found if contact.id not in passed_over]
        inserted = self._insert(callable_now)
        # Another account took the number between our look and our insert, or it stands twice in this batch.
        busy = Refusal(reason=Reason.NUMBER_BUSY, until=self.moment.at + BUSY_NUMBER_DELAY)
        passed_over |= {contact.id: busy for contact in callable_now if contact.id not in inserted}
        contacts.begin_attempts(self.connection, list(inserted))
        contacts.move(self.connection, [_moved(contact_id, why) for contact_id, why in passed_over.items()])
        self.skipped.update(refusal.reason for refusal in passed_over.values())

    def _note_read(self, head: Sequence[Bucket], found: Sequence[DueContact], wanted: int) -> None:
        """Which of a campaign's buckets were read: all, or up to the one that filled its share."""
        if len(found) < wanted:
            self.read.extend(head)
            del self.queues[head[0].campaign_id][: len(head)]
            return
        hit = {(one.calling_zone_id, one.priority, one.stage) for one in found}
        places = [i for i, one in enumerate(head) if (one.calling_zone_id, one.priority, one.stage) in hit]
        self.read.extend(head[: max(places) + 1])

    def _refusals(self, found: Sequence[DueContact]) -> dict[ContactId, Refusal]:
        # As far back as the longest memory: what is older, a shorter one has forgotten by itself.
        self.calls_since = self.moment.at - max(
            (self._permit(contact).memory for contact in found), default=timedelta()
        )
        self.calls_before = self._calls_to(found)
        refusals: dict[ContactId, Refusal] = {}
        for contact in found:
            case = self._case(contact)
            refusal = refusal_of(case)
            if refusal is None:
                self.facts[contact.id] = case.permit.facts(self.moment.at) | contact_facts(case)
            else:
                refusals[contact.id] = refusal
        return refusals

    def _calls_to(self, found: Sequence[DueContact]) -> Mapping[str, tuple[PastCall, ...]]:
        """The calls so far to the numbers of those whose rules count them."""
        counted = {contact.phone_number for contact in found if self._permit(contact).memory}
        if not counted:
            return {}
        return past_calls.of_numbers(self.connection, counted, self.calls_since)

    def _case(self, contact: DueContact) -> Case:
        return Case(
            callee=contact,
            definition=self.definitions[contact.campaign_id],
            permit=self._permit(contact),
            fence=self.settings.fence,
            blocked_countries=self.account.blocked_countries,
            calls=self.calls_before.get(contact.phone_number, ()),
            at=self.moment.at,
        )

    def _permit(self, contact: DueContact) -> Permit:
        return self.planned.permits[contact.campaign_id, contact.calling_zone_id]

    def _insert(self, callable_now: Sequence[DueContact]) -> Mapping[ContactId, AttemptId]:
        if not callable_now:
            return {}
        slots = self.slots.instants[self.slots_used : self.slots_used + len(callable_now)]
        self.slots_used += len(callable_now)
        new = [self._attempt(contact, dial_at) for contact, dial_at in zip(callable_now, slots, strict=True)]
        taken = attempts.insert(
            self.connection, new, claim_id=self.claim_id, worker_id=self.worker_id, at=self.moment.at
        )
        inserted = self._without_overtaken(callable_now, taken)
        for contact, attempt in zip(callable_now, new, strict=True):
            if contact.id in inserted:
                self.calls.append(
                    ClaimedCall(
                        attempt_id=inserted[contact.id],
                        call_id=attempt.call_id,
                        contact=contact,
                        campaign_id=contact.campaign_id,
                        from_number=attempt.from_number,
                        dial_at=self.moment.monotonic(attempt.dial_at),
                        deadline=self.moment.monotonic(attempt.not_after),
                        not_after=attempt.not_after,
                        row=ClaimedRow(new=attempt, claim_id=self.claim_id, worker_id=self.worker_id),
                    )
                )
        return inserted

    def _without_overtaken(
        self, contacts_of: Sequence[DueContact], inserted: Mapping[ContactId, AttemptId]
    ) -> Mapping[ContactId, AttemptId]:
        """Caps are counted again now that the inserted rows hold the numbers: what was counted before, another account
        may have overtaken. Whoever it did is given back, to be looked at again.
        """
        counted = [one for one in contacts_of if one.id in inserted and self._permit(one).memory]
        now = self._calls_to(counted)
        overtaken = [
            one.id for one in counted if now[one.phone_number] != self.calls_before[one.phone_number]
        ]
        attempts.take_back(self.connection, [inserted[contact_id] for contact_id in overtaken])
        return {one: attempt_id for one, attempt_id in inserted.items() if one not in overtaken}

    def _attempt(self, contact: DueContact, dial_at: datetime) -> NewAttempt:
        permit = self._permit(contact)
        dial_at = max(dial_at, self.moment.at)
        ends = (dial_at + NOT_AFTER, permit.until, contact.call_before)
        numbers = self.numbers[contact.campaign_id]
        definition = self.definitions[contact.campaign_id]
        return NewAttempt(
            contact_id=contact.id,
            campaign_id=contact.campaign_id,
            campaign_revision=self.revisions[contact.campaign_id],
            account_id=self.account.id,
            phone_number=contact.phone_number,
            from_number=numbers[contact.id % len(numbers)],
            attempt_number=contact.attempts_count + 1,
            call_id=self.settings.new_call_id(),
            dial_at=dial_at,
            not_after=min(end for end in ends if end is not None),
            look_up_at=dial_at + self.settings.patience.unsent,
            permit=self.facts[contact.id] | limits_facts(self.account, definition.max_concurrent_calls),
        )

    def close(self, found: Claimed) -> Claimed:
        """Write the cursor and the hints, and say what was done."""
        cursor = self.slots.cursor_after(self.slots_used)
        if cursor is not None and self.slots.interval:
            accounts.move_cursor(self.connection, self.account.id, cursor)
        buckets.refresh(self.connection, list(dict.fromkeys(self.read)))
        # Slots were left although contacts were passed over, or every slot of this batch was used: look again at once.
        is_full = self.slots_used == len(self.slots.instants)
        return replace(
            found,
            calls=tuple(self.calls),
            skipped=dict(self.skipped),
            held=dict(Counter(found.held) + self.held),
            may_go_on=(bool(self.calls) and is_full) or bool(self.skipped) or self.is_more_in_queue,
        )


# By what may end sooner than it says: by the end of a call to the number, or by another rule.
HELD: Final = frozenset({Reason.NUMBER_BUSY, Reason.CAPPED})


def _moved(contact_id: ContactId, refusal: Refusal) -> Move:
    if refusal.reason in FATES:
        state, reason = FATES[refusal.reason]
        return Move(id=contact_id, state=state, final_reason=reason)
    return Move(
        id=contact_id,
        next_attempt_at=refusal.until,
        is_held=refusal.reason in HELD,
    )


def _account_refusal(
    account: Account, around: Deployment, at: datetime, free: int, not_here: str | None
) -> Refusal | None:
    return account_refusal(account, at, not_here=not_here, everything_stopped_at=around.stopped_at, free=free)


def _held_by(found: Claimed, refusal: Refusal) -> Claimed:
    """The whole account is held: its due buckets wait until then, or for a wake-up."""
    instants = [instant for instant in (found.next_due_at, refusal.until) if instant is not None]
    held = {**found.held, refusal.reason: found.held.get(refusal.reason, 0) + 1}
    return replace(found, held=held, next_due_at=min(instants, default=None))


def _caller_numbers(
    connection: sa.Connection, definitions: Mapping[CampaignId, CampaignDefinition], account: Account
) -> dict[CampaignId, Sequence[str]]:
    resting = accounts.resting_numbers(connection, account.id)
    return {
        campaign_id: usable_numbers(definition, account, resting)
        for campaign_id, definition in definitions.items()
    }
