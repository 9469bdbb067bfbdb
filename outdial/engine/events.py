"""The one door for whatever changes an attempt: answers, webhooks, look-ups and time-outs all come through `apply`.

It locks attempts in the order of their ids, moves them forward by the domain's rules, settles what is over, and moves
contacts on. In one transaction, which the caller owns.

A host's `on_settled` is told in it. Should it raise, its attempt ends, so that the line is free, but is not settled:
its contact waits, and it is told again until it takes it. A correction that it does not take is not written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import sqlalchemy as sa

from outdial.domain.attempt import AttemptState, CallEvent, Progress, advance
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.contact import FINAL_STATES, ContactState
from outdial.domain.errors import OnSettledFailed
from outdial.domain.ids import AccountId, AttemptId, CampaignId, ContactId
from outdial.domain.retries import NextStep, PastAttempt, next_step
from outdial.domain.settle import Outcome, awaits_result, settle
from outdial.engine.definitions import Definitions
from outdial.engine.on_settled import OnSettled, tell
from outdial.storage import attempts, buckets, call_events, contacts, exclusions
from outdial.storage.attempts import Change, StoredAttempt
from outdial.storage.call_events import ReceivedEvent
from outdial.storage.contacts import ContactRow
from outdial.storage.database import database_now, wake_schedulers

log = logging.getLogger("outdial.events")

Step = Callable[[StoredAttempt, datetime], Progress]
"""What one thing that was learned makes of an attempt; the instant is the database's."""

# How long after its expected next sign of life an open call is asked about.
LOOK_UP_MARGIN: Final = timedelta(seconds=10)
ANSWERED_LOOK_UP: Final = timedelta(seconds=60)
DOUBT_LOOK_UP: Final = timedelta(seconds=2)
LATE_ADOPTION: Final = timedelta(minutes=10)
ADOPTED_AT_ONCE: Final = 100
# How long an attempt stays unsettled that the host's `on_settled` did not take.
TELL_AGAIN: Final = timedelta(seconds=15)


class Heard(StrEnum):
    """What became of a received event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    UNKNOWN_CALL = "unknown_call"


def receive(connection: sa.Connection, received: Sequence[ReceivedEvent], known: Definitions) -> list[Heard]:
    """Keep the events and apply those that are new, in the order given. Durable when the transaction commits."""
    owners = _owners(connection, received)
    at = database_now(connection)
    kept = [replace(one, attempt_id=owners.get(index)) for index, one in enumerate(received)]
    new = call_events.insert(connection, kept, at)
    steps: dict[AttemptId, list[Step]] = {}
    answers: list[Heard] = []
    for index, one in enumerate(received):
        key = (one.account_id, one.event.event_id)
        owner = owners.get(index)
        if key not in new:
            answers.append(Heard.DUPLICATE)
            continue
        new.discard(key)
        answers.append(Heard.UNKNOWN_CALL if owner is None else Heard.APPLIED)
        if owner is not None:
            steps.setdefault(owner, []).append(hear(one.event))
    apply(connection, steps, known)
    return answers


def hear(event: CallEvent) -> Step:
    """The step that an event makes."""
    return lambda attempt, at: advance(attempt.progress, event, at)


def apply(connection: sa.Connection, steps: Mapping[AttemptId, Sequence[Step]], known: Definitions) -> None:
    """Take the steps of each attempt in turn, settle what is over, move contacts on, and wake the schedulers."""
    if not steps:
        return
    stored = attempts.lock(connection, list(steps))
    at = database_now(connection)
    definitions = known.current(connection, {attempt.campaign_id for attempt in stored})
    pairs: list[Pair] = []
    for attempt in stored:
        progress = attempt.progress
        for step in steps[attempt.id]:
            progress = step(_with(attempt, progress), at)
        pairs.append((attempt, _decide(attempt, progress, definitions[attempt.campaign_id], at)))
    if known.on_settled is None or not _to_tell(pairs):
        _write(connection, pairs, definitions, at)
    else:
        _write_and_tell(connection, known.on_settled, pairs, definitions, at)
    if any(change.progress.has_ended for _, change in pairs):
        wake_schedulers(connection)


def adopt_late(connection: sa.Connection, known: Definitions) -> None:
    """Apply events that came in the very instant in which we learned the provider's id of their call."""
    since = database_now(connection) - LATE_ADOPTION
    for account_id, owners in call_events.with_owner_now(connection, since, ADOPTED_AT_ONCE).items():
        for provider_call_id, owner in sorted(owners.items(), key=lambda one: one[1]):
            try:
                with connection.begin_nested():
                    adopted = call_events.adopt(connection, account_id, {provider_call_id: owner})
                    apply(connection, {owner: [hear(event) for _, event in adopted]}, known)
            except OnSettledFailed:
                # Logged where it was raised; its events wait for the next round, and the others do not wait for them.
                continue


def settle_overdue(connection: sa.Connection, known: Definitions, limit: int) -> int:
    """Settle ended attempts whose result did not come in time. Returns how many."""
    overdue = attempts.due_to_settle(connection, database_now(connection), limit)
    apply(connection, {attempt_id: [] for attempt_id in overdue}, known)
    return len(overdue)


Pair = tuple[StoredAttempt, Change]
"""An attempt as it is stored, and what is to be written of it."""


def _write(
    connection: sa.Connection,
    pairs: Sequence[Pair],
    definitions: Mapping[CampaignId, CampaignDefinition],
    at: datetime,
) -> None:
    stored = [attempt for attempt, _ in pairs]
    changes = [change for _, change in pairs]
    attempts.write(connection, _without_taken_ids(connection, stored, changes))
    _exclude_opted_out(connection, stored, changes, at)
    moved = {
        attempt.contact_id
        for attempt, change in pairs
        if change.settled_at is not None
        and (attempt.settled_at is None or change.progress != attempt.progress)
    }
    _move_contacts(connection, moved, definitions)


def _write_and_tell(
    connection: sa.Connection,
    on_settled: OnSettled,
    pairs: Sequence[Pair],
    definitions: Mapping[CampaignId, CampaignDefinition],
    at: datetime,
) -> None:
    """All at once; if the host takes one of them not, one by one, so that no single attempt stands in the way of all.

    Raises OnSettledFailed for a correction.
    """

    def try_to(some: Sequence[Pair]) -> None:
        with connection.begin_nested():
            _write(connection, some, definitions, at)
            tell(connection, on_settled, _to_tell(some))

    try:
        try_to(pairs)
        return
    except OnSettledFailed as error:
        if len(pairs) == 1:
            _not_taken(connection, error, pairs[0], definitions, at)
            return
    for pair in pairs:
        try:
            try_to([pair])
        except OnSettledFailed as error:
            _not_taken(connection, error, pair, definitions, at)


def _not_taken(
    connection: sa.Connection,
    error: OnSettledFailed,
    pair: Pair,
    definitions: Mapping[CampaignId, CampaignDefinition],
    at: datetime,
) -> None:
    attempt, change = pair
    names = {"call_id": attempt.call_id, "attempt_id": attempt.id}
    if attempt.settled_at is not None:
        log.error("on_settled raised; the correction is not written", exc_info=error.__cause__, extra=names)
        raise error
    log.error(
        "on_settled raised; the attempt has ended, stays unsettled, and is tried again in %d s",
        TELL_AGAIN.total_seconds(),
        exc_info=error.__cause__,
        extra=names,
    )
    waiting = replace(change, settle_at=at + TELL_AGAIN, settled_at=None, outcome=None)
    _write(connection, [(attempt, waiting)], definitions, at)


def _to_tell(pairs: Sequence[Pair]) -> dict[AttemptId, Outcome | None]:
    """Which attempts the host hears of: those settled now, and with what they were settled before, those corrected."""
    return {
        attempt.id: attempt.outcome if attempt.settled_at is not None else None
        for attempt, change in pairs
        if change.settled_at is not None
        and (
            attempt.settled_at is None
            or change.outcome != attempt.outcome
            # What comes of a call that came to life again is told when it has ended.
            or (change.progress.has_ended and change.progress.result != attempt.progress.result)
        )
    }


def _owners(connection: sa.Connection, received: Sequence[ReceivedEvent]) -> dict[int, AttemptId]:
    """Whose each event is, by its place: our own id in it decides, the provider's is the second choice."""
    owners: dict[int, AttemptId] = {}
    for account_id in sorted({one.account_id for one in received}):
        mine = {index: one.event for index, one in enumerate(received) if one.account_id == account_id}
        ours = {event.call_id for event in mine.values() if event.call_id is not None}
        theirs = {event.provider_call_id for event in mine.values() if event.provider_call_id is not None}
        by_ours = attempts.ids_by_call_id(connection, account_id, ours)
        by_theirs = attempts.ids_by_provider_call_id(connection, account_id, theirs)
        for index, event in mine.items():
            owner = by_ours.get(event.call_id or "") or by_theirs.get(event.provider_call_id or "")
            if owner is not None:
                owners[index] = owner
    return owners


def _decide(
    attempt: StoredAttempt, progress: Progress, definition: CampaignDefinition, at: datetime
) -> Change:
    """The pure decision on one attempt: is it settled, and if not, when is it looked at again."""
    policy = definition.settle_policy
    ending = progress.ending
    if ending is None:
        # A live event reopened an attempt that was settled already: it keeps its outcome until it ends anew.
        return Change(
            id=attempt.id,
            progress=progress,
            settle_at=None,
            settled_at=attempt.settled_at,
            # Settled by a guess that this event proves wrong; it keeps an outcome until it ends anew.
            outcome=Outcome.UNKNOWN if attempt.settled_at is not None else None,
            look_up_at=_look_up_at(progress, definition, at),
        )
    waits = awaits_result(ending=ending, result=progress.result, policy=policy)
    ended_at = progress.ended_at or at
    settle_at = ended_at + timedelta(seconds=definition.call.result_timeout_seconds) if waits else ended_at
    settled_at = attempt.settled_at or (at if settle_at <= at else None)
    outcome = settle(
        ending=ending,
        answered_by=progress.answered_by,
        result=progress.result,
        duration_seconds=progress.duration_seconds,
        policy=policy,
    )
    return Change(
        id=attempt.id,
        progress=progress,
        settle_at=settle_at,
        settled_at=settled_at,
        outcome=outcome if settled_at is not None else None,
        look_up_at=None,
    )


def _look_up_at(progress: Progress, definition: CampaignDefinition, at: datetime) -> datetime:
    if progress.state is AttemptState.DIALING:
        return at + LOOK_UP_MARGIN
    if progress.state is AttemptState.IN_DOUBT:
        return at + DOUBT_LOOK_UP
    if progress.state is AttemptState.ANSWERED:
        return at + min(ANSWERED_LOOK_UP, timedelta(seconds=definition.call.max_duration_seconds))
    return at + timedelta(seconds=definition.call.ring_timeout_seconds) + LOOK_UP_MARGIN


def _move_contacts(
    connection: sa.Connection,
    contact_ids: Collection[ContactId],
    definitions: Mapping[CampaignId, CampaignDefinition],
) -> None:
    if not contact_ids:
        return
    rows = contacts.lock(connection, contact_ids)
    histories = attempts.histories(connection, contact_ids)
    steps = {}
    for row in rows:
        step = _step_of(row, histories[row.id], definitions[row.campaign_id])
        if step is not None:
            last = [past for past in histories[row.id] if past is not None][-1]
            steps[row.id] = (step, str(last.outcome), last.ended_at)
    contacts.write_steps(connection, steps)
    buckets.add_due(
        connection,
        [
            (row.campaign_id, row.calling_zone_id, row.priority, steps[row.id][0].stage, due_at)
            for row in rows
            if row.id in steps and (due_at := steps[row.id][0].next_attempt_at) is not None
        ],
    )


def _step_of(
    row: ContactRow, history: Sequence[PastAttempt | None], definition: CampaignDefinition
) -> NextStep | None:
    """Where the contact stands now. Late truth corrects its record, but never brings a final contact back."""
    settled = [past for past in history if past is not None]
    if not settled:
        return None
    if row.is_test:
        # One call, whatever came of it, and counted nowhere.
        return NextStep(state=ContactState.COMPLETED, final_reason="test", attempts_count=len(settled))
    deadlines = [instant for instant in (row.call_before, definition.ends_at) if instant is not None]
    step = next_step(
        settled, definition.retry, min(deadlines, default=None), renewed_at=row.budget_renewed_at
    )
    if row.state in FINAL_STATES and step.state is ContactState.PENDING:
        return None
    if row.state in {ContactState.WITHDRAWN, ContactState.EXCLUDED}:
        return None
    if None in history and step.state is ContactState.PENDING:
        # A newer attempt is under way: its own end decides.
        return None
    return step


def _without_taken_ids(
    connection: sa.Connection, stored: Sequence[StoredAttempt], changes: Sequence[Change]
) -> list[Change]:
    """A provider's id that stands at another attempt already is left out: it must not keep the rest from being written."""
    seen: set[tuple[AccountId, str]] = set()
    kept: list[Change] = []
    for account_id in sorted({attempt.account_id for attempt in stored}):
        told = {
            str(change.progress.provider_call_id)
            for attempt, change in zip(stored, changes, strict=True)
            if attempt.account_id == account_id
            and attempt.progress.provider_call_id is None
            and change.progress.provider_call_id is not None
        }
        if told:
            owners = attempts.ids_by_provider_call_id(connection, account_id, told)
            seen |= {(account_id, provider_call_id) for provider_call_id in owners}
    for attempt, change in zip(stored, changes, strict=True):
        key = (attempt.account_id, str(change.progress.provider_call_id))
        is_new = attempt.progress.provider_call_id is None and change.progress.provider_call_id is not None
        if is_new and key in seen:
            log.warning("the provider gave one id to two calls", extra={"call_id": attempt.call_id})
            kept.append(replace(change, progress=replace(change.progress, provider_call_id=None)))
        else:
            kept.append(change)
        seen.add(key)
    return kept


def _exclude_opted_out(
    connection: sa.Connection, stored: Sequence[StoredAttempt], changes: Sequence[Change], at: datetime
) -> None:
    for attempt, change in zip(stored, changes, strict=True):
        if change.progress.opt_out and not attempt.progress.opt_out:
            exclusions.add(
                connection,
                [attempt.phone_number],
                reason="opted_out",
                source=f"call {attempt.call_id}",
                at=at,
            )


def _with(attempt: StoredAttempt, progress: Progress) -> StoredAttempt:
    return attempt if progress is attempt.progress else replace(attempt, progress=progress)
