"""Asks a provider which calls an account has made since an instant, and takes in those that the database does not know.

A call that is known is moved on by what the list says of it; one that is not gets an attempt (`engine/restored.py`).
Any number of processes may do it at once: a call is written down once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import sqlalchemy as sa

from outdial.clock import Clock
from outdial.domain.attempt import Ending, Progress, advance
from outdial.domain.errors import CannotList, InDoubt, RateLimited, TelephonyProviderError
from outdial.domain.ids import AccountId, AttemptId
from outdial.domain.look_ups import Pace
from outdial.engine.definitions import Definitions
from outdial.engine.events import Step, apply
from outdial.engine.restored import Lost, restore
from outdial.engine.transactions import Transactions
from outdial.storage import adopted, attempts
from outdial.storage.adopted import Unanswered
from outdial.storage.attempts import StoredAttempt
from outdial.telephony.caller import Caller
from outdial.telephony.protocol import CallPage, ListedCall

T = TypeVar("T")

log = logging.getLogger("outdial.adopt")

# Calls in one transaction, which holds the locks of their contacts.
AT_ONCE: Final = 50
TRIES: Final = 4
PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 30.0
# A list that goes on and on without anything new goes round in circles.
PAGES_WITHOUT_NEWS: Final = 50
# Where a provider keeps no id of ours: by how much the slot that a call was given and the time that the provider says
# may differ. It may have left late, and their seconds are whole.
LEFT_BEFORE: Final = timedelta(seconds=10)
LEFT_AFTER: Final = timedelta(seconds=75)
LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)

Told = Callable[[str], None]
"""Called with how far it has come, in words."""


@dataclass(slots=True, kw_only=True)
class Adopted:
    """What a list of calls has brought. `strangers`: to numbers that no contact of the account has.

    `why_not`: why there was no list; `can_list` False: there never is.
    """

    listed: int = 0
    known: int = 0
    adopted: int = 0
    strangers: int = 0
    still_open: int = 0
    why_not: str | None = None
    can_list: bool = True


@dataclass(slots=True, kw_only=True)
class _Found:
    """Calls of one account, as they were found. `because` is kept with those that are written down."""

    account_id: AccountId
    known: Definitions
    because: str
    awaits_confirmation: bool = False
    paces: Mapping[AccountId, Pace] = field(default_factory=dict)


async def adopt_unknown(
    transactions: Transactions,
    callers: Mapping[AccountId, Caller],
    since: datetime,
    known: Definitions,
) -> dict[AccountId, Adopted]:
    """After a failover: take in the calls that these accounts have made since (aware UTC) and that we do not know.

    Raises nothing for a provider that cannot be asked: `why_not` says so, and its calls are still unknown.
    """
    found = {}
    for account_id, caller in callers.items():
        found[account_id] = await adopt_calls(
            transactions, account_id, caller, since, known, because="failover"
        )
        if found[account_id].adopted:
            log.warning("%d calls that the database had lost are on record again", found[account_id].adopted)
    return found


async def adopt_calls(
    transactions: Transactions,
    account_id: AccountId,
    caller: Caller,
    since: datetime,
    known: Definitions,
    *,
    because: str,
    awaits_confirmation: bool = False,
    told: Told = lambda _: None,
) -> Adopted:
    """One account. `awaits_confirmation`: what is taken in is settled only when a person has said so."""
    pace = caller.capabilities.pace
    found = _Found(
        account_id=account_id,
        known=known,
        because=because,
        awaits_confirmation=awaits_confirmation,
        paces={} if pace is None else {account_id: pace},
    )
    result = Adopted()
    try:
        listed = await _list(caller, since, told, transactions.database.clock)
    except (TelephonyProviderError, CannotList) as error:
        result.why_not = str(error)
        result.can_list = not isinstance(error, CannotList)
        return result
    result.listed = len(listed)
    result.still_open = sum(1 for one in listed if one.event.ending is None)
    unknown: list[ListedCall] = []
    for batch in _batches(listed):
        left = await transactions.run(_move_on, batch, found)
        result.known += len(batch) - len(left)
        unknown += left
        told(f"{result.known + len(unknown):,} of {len(listed):,} calls compared, {len(unknown):,} unknown")
    last = {one.origin.to: place for place, one in enumerate(unknown)}
    marked = [
        (one, one.origin.to is not None and last[one.origin.to] != place) for place, one in enumerate(unknown)
    ]
    for pairs in _batches(marked):
        new, strangers = await transactions.run(_take_in, pairs, found)
        result.adopted += new
        result.strangers += strangers
        # Somebody else was first.
        result.known += len(pairs) - new - strangers
        told(f"{result.adopted:,} of {len(unknown):,} unknown calls taken in")
    return result


def confirm(connection: sa.Connection, known: Definitions, limit: int) -> int:
    """Settle the next attempts that await a person's word, by what is known of them now. Returns how many there were.

    An open call among them is settled when it has ended.
    """
    chosen = adopted.confirm(connection, limit)
    apply(connection, {attempt_id: [] for attempt_id in chosen}, known)
    return len(chosen)


async def _list(caller: Caller, since: datetime, told: Told, clock: Clock) -> list[ListedCall]:
    """All pages, each call once, in the order in which they were made."""
    calls: dict[str, ListedCall] = {}
    page: str | None = None
    without_news = 0
    while True:
        answer = await _page(caller, since, page, clock)
        before = len(calls)
        for one in answer.calls:
            started_at = one.origin.started_at
            if started_at is None or started_at >= since:
                calls[str(one.event.provider_call_id)] = one
        told(f"{len(calls):,} calls listed")
        without_news = 0 if len(calls) > before else without_news + 1
        if answer.next_page is None or without_news > PAGES_WITHOUT_NEWS:
            return sorted(calls.values(), key=lambda one: one.origin.started_at or LONG_AGO)
        page = answer.next_page


async def _page(caller: Caller, since: datetime, page: str | None, clock: Clock) -> CallPage:
    """A long list is not given up for one page: what may pass is tried again."""
    for tries_left in reversed(range(TRIES)):
        try:
            return await caller.list_calls(since, page)
        except (RateLimited, InDoubt) as error:
            if not tries_left:
                raise
            asked_for = error.retry_after if isinstance(error, RateLimited) else None
            await clock.sleep_async(
                min(LONGEST_PAUSE_SECONDS, asked_for or PAUSE_SECONDS * (TRIES - tries_left))
            )
    raise AssertionError("the last try returns or raises")


def _move_on(connection: sa.Connection, calls: Sequence[ListedCall], found: _Found) -> list[ListedCall]:
    """Those that are known are where the provider says; returns the others."""
    owners = _owners(connection, calls, found.account_id)
    undecided = adopted.undecided(connection, owners.values())
    told = {owner: calls[place] for place, owner in owners.items() if owner in undecided}
    sent = {owner: call.origin.started_at or call.event.at for owner, call in told.items()}
    adopted.note_sent(connection, sent)
    steps: dict[AttemptId, Sequence[Step]] = {owner: [_as_listed(call)] for owner, call in told.items()}
    apply(connection, steps, found.known, found.paces)
    return [one for place, one in enumerate(calls) if place not in owners]


def _take_in(
    connection: sa.Connection, pairs: Sequence[tuple[ListedCall, bool]], found: _Found
) -> tuple[int, int]:
    """How many were written down, and how many are of nobody's. Each with whether a later call to its number is known."""
    calls = [one for one, _ in pairs]
    lost = [
        Lost.of_event(one.event, one.origin, found.because, is_superseded=is_superseded)
        for one, is_superseded in pairs
    ]
    written = restore(connection, found.account_id, lost, awaits_confirmation=found.awaits_confirmation)
    steps = {owner: [_as_listed(calls[place])] for place, owner in written.attempts.items()}
    apply(connection, steps, found.known, found.paces)
    return len(written.attempts), len(written.strangers)


def _owners(
    connection: sa.Connection, calls: Sequence[ListedCall], account_id: AccountId
) -> dict[int, AttemptId]:
    """Whose the calls are, by their places: by our id, the provider's, or the only attempt that can be the one."""
    ours = {one.event.call_id for one in calls if one.event.call_id is not None}
    theirs = {str(one.event.provider_call_id) for one in calls}
    by_ours = attempts.ids_by_call_id(connection, account_id, ours)
    by_theirs = attempts.ids_by_provider_call_id(connection, account_id, theirs)
    nameless = {one.origin.to for one in calls if one.event.call_id is None and one.origin.to is not None}
    waiting = {one.phone_number: one for one in adopted.unanswered(connection, account_id, nameless)}
    owners: dict[int, AttemptId] = {}
    for place, one in enumerate(calls):
        event, started_at = one.event, one.origin.started_at
        owner = by_ours.get(event.call_id or "") or by_theirs.get(str(event.provider_call_id))
        candidate = waiting.get(one.origin.to or "") if event.call_id is None else None
        if owner is None and candidate is not None and _may_be(candidate, started_at):
            owner = waiting.pop(candidate.phone_number).id
        if owner is not None:
            owners[place] = owner
    return owners


def _may_be(candidate: Unanswered, started_at: datetime | None) -> bool:
    if started_at is None:
        return False
    return candidate.dial_at - LEFT_BEFORE <= started_at <= candidate.dial_at + LEFT_AFTER


def _as_listed(call: ListedCall) -> Step:
    """The state that the list says, with the call's own times where we learn of its end only now."""

    def step(attempt: StoredAttempt, at: datetime) -> Progress:
        before = attempt.progress
        now = advance(before, call.event, at)
        if before.ended_at is not None or now.ended_at is None:
            return now
        started_at = min(call.origin.started_at or now.started_at or attempt.sent_at or at, at)
        if not started_at <= call.event.at <= at:
            return now
        ended_at = call.event.at
        was_answered = now.ending is Ending.ANSWERED and now.answered_at is None
        talked = timedelta(seconds=now.duration_seconds or 0.0)
        return replace(
            now,
            started_at=now.started_at or started_at,
            ended_at=ended_at,
            answered_at=max(started_at, ended_at - talked) if was_answered else now.answered_at,
        )

    return step


def _batches(calls: Sequence[T]) -> Iterator[Sequence[T]]:
    for begin in range(0, len(calls), AT_ONCE):
        yield calls[begin : begin + AT_ONCE]
