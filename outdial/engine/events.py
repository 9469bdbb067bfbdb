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

from outdial.domain.attempt import CallEvent, Origin, Progress, advance
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.contact import Stage
from outdial.domain.exclusions import EVERYWHERE
from outdial.domain.ids import AccountId, AttemptId, CallingZoneId, CampaignId, ContactId
from outdial.domain.look_ups import Pace, next_look_up
from outdial.domain.settling import settlement
from outdial.domain.standing import stand
from outdial.engine.definitions import Definitions
from outdial.engine.on_settled import tell
from outdial.engine.restored import Lost, restore
from outdial.storage import attempts, buckets, call_events, contacts, exclusions, histories
from outdial.storage.attempts import Change, StoredAttempt
from outdial.storage.call_events import ReceivedEvent
from outdial.storage.database import database_now, wake_schedulers

log = logging.getLogger("outdial.events")

Step = Callable[[StoredAttempt, datetime], Progress]
"""What one thing that was learned makes of an attempt; the instant is the database's."""

LATE_ADOPTION: Final = timedelta(minutes=10)
ADOPTED_AT_ONCE: Final = 100
NOBODY: Final[Mapping[AccountId, Pace]] = {}


class Heard(StrEnum):
    """What became of a received event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    UNKNOWN_CALL = "unknown_call"


def receive(
    connection: sa.Connection,
    received: Sequence[ReceivedEvent],
    known: Definitions,
    paces: Mapping[AccountId, Pace] = NOBODY,
) -> list[Heard]:
    """Keep the events and apply those that are new, in the order given. Durable when the transaction commits."""
    owners = _owners(connection, received)
    restored = _restore(connection, received, owners)
    owners |= restored
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
    for account_id, ids in _provider_ids(received, restored).items():
        # What came of the call while its row was missing.
        for owner, event in call_events.adopt(connection, account_id, ids):
            steps.setdefault(owner, []).append(hear(event))
    apply(connection, steps, known, paces)
    return answers


def hear(event: CallEvent) -> Step:
    """The step that an event makes."""
    return lambda attempt, at: advance(attempt.progress, event, at)


def apply(
    connection: sa.Connection,
    steps: Mapping[AttemptId, Sequence[Step]],
    known: Definitions,
    paces: Mapping[AccountId, Pace] = NOBODY,
) -> None:
    """Take the steps of each attempt in turn, settle what is over, move contacts on, and wake the schedulers.

    `paces`: the accounts whose open calls are asked about more often than others', since they send no events.
    """
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
        definition = definitions[attempt.campaign_id]
        pace = paces.get(attempt.account_id)
        settled = settlement(
            progress,
            attempt.settled_at,
            definition,
            at,
            look_up_at=next_look_up(
                progress, attempt.timing, definition.call, at, pace=pace, patience=known.patience
            ),
            awaits_confirmation=attempt.awaits_confirmation,
        )
        pairs.append((attempt, Change(id=attempt.id, progress=progress, settlement=settled)))
    _write(connection, pairs, definitions, known, at)
    if known.host is not None:
        tell(connection, known.host, _to_tell(pairs), at)
    if any(change.progress.has_ended for _, change in pairs):
        wake_schedulers(connection)


def adopt_late(connection: sa.Connection, known: Definitions) -> None:
    """Apply events that came in the very instant in which we learned the provider's id of their call."""
    since = database_now(connection) - LATE_ADOPTION
    for account_id, owners in call_events.with_owner_now(connection, since, ADOPTED_AT_ONCE).items():
        steps: dict[AttemptId, list[Step]] = {}
        for attempt_id, event in call_events.adopt(connection, account_id, owners):
            steps.setdefault(attempt_id, []).append(hear(event))
        apply(connection, steps, known)


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
    known: Definitions,
    at: datetime,
) -> None:
    stored = [attempt for attempt, _ in pairs]
    changes = [change for _, change in pairs]
    attempts.write(connection, _without_taken_ids(connection, stored, changes))
    settled = [
        (attempt, change)
        for attempt, change in pairs
        if change.settlement.settled_at is not None
        and (attempt.settled_at is None or change.progress != attempt.progress)
    ]
    due = _move_contacts(connection, {attempt.contact_id for attempt, _ in settled}, definitions, known)
    # After the contacts, as whoever excludes by hand.
    _exclude_opted_out(connection, pairs, at)
    # After the contacts of these calls, which are locked in order: who waits for the number only if nobody has them.
    freed = {attempt.phone_number for attempt, change in settled if change.progress.has_ended}
    # All buckets in one statement, which locks them in order.
    buckets.add_due(connection, [*due, *contacts.release_held(connection, freed, at)])


def _to_tell(pairs: Sequence[Pair]) -> list[AttemptId]:
    """Which attempts the host hears of: those settled now, and those corrected."""
    return [
        attempt.id
        for attempt, change in pairs
        if change.settlement.settled_at is not None
        and (
            attempt.settled_at is None
            or change.settlement.outcome != attempt.outcome
            # What comes of a call that came to life again is told when it has ended.
            or (change.progress.has_ended and change.progress.result != attempt.progress.result)
        )
    ]


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


def _restore(
    connection: sa.Connection, received: Sequence[ReceivedEvent], owners: Mapping[int, AttemptId]
) -> dict[int, AttemptId]:
    """Attempts written again for calls that we made and have no row of, by the places of their events.

    An event that is merely early is of no such call: its row was there before its POST left.
    """
    restored: dict[int, AttemptId] = {}
    for account_id in sorted({one.account_id for one in received}):
        places: dict[str, list[int]] = {}
        for index, one in enumerate(received):
            event = one.event
            is_ours = event.origin is not None and (event.call_id or event.origin.contact_id) is not None
            if one.account_id == account_id and index not in owners and is_ours:
                places.setdefault(str(event.call_id or event.provider_call_id), []).append(index)
        if not places:
            continue
        events = [received[indexes[0]].event for indexes in places.values()]
        lost = [Lost.of_event(event, event.origin or Origin(), "webhook") for event in events]
        written = restore(connection, account_id, lost).attempts
        for place, (call, indexes) in enumerate(places.items()):
            if place in written:
                log.warning("a call that the database had lost is on record again", extra={"call_id": call})
                restored |= dict.fromkeys(indexes, written[place])
    return restored


def _provider_ids(
    received: Sequence[ReceivedEvent], restored: Mapping[int, AttemptId]
) -> dict[AccountId, dict[str, AttemptId]]:
    found: dict[AccountId, dict[str, AttemptId]] = {}
    for index, attempt_id in restored.items():
        one = received[index]
        if one.event.provider_call_id is not None:
            found.setdefault(one.account_id, {})[str(one.event.provider_call_id)] = attempt_id
    return found


def _move_contacts(
    connection: sa.Connection,
    contact_ids: Collection[ContactId],
    definitions: Mapping[CampaignId, CampaignDefinition],
    known: Definitions,
) -> list[tuple[CampaignId, CallingZoneId, int, Stage, datetime]]:
    """Where they stand now; returns whom it made due, and when."""
    if not contact_ids:
        return []
    rows = contacts.lock(connection, contact_ids)
    known_history = histories.load(connection, contact_ids)
    zones = known.of_zones(connection, {row.calling_zone_id for row in rows})
    steps = {}
    for row in rows:
        history = known_history[row.id]
        step = stand(row.standing, history, definitions[row.campaign_id], zones[row.calling_zone_id])
        if step is not None:
            settled = [past for past in history if past is not None]
            last = next((past for past in reversed(settled) if past.was_placed), settled[-1])
            steps[row.id] = (step, str(last.outcome), last.ended_at)
    contacts.write_steps(connection, steps)
    return [
        (row.campaign_id, row.calling_zone_id, row.priority, steps[row.id][0].stage, due_at)
        for row in rows
        if row.id in steps and (due_at := steps[row.id][0].next_attempt_at) is not None
    ]


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


def _exclude_opted_out(connection: sa.Connection, pairs: Sequence[Pair], at: datetime) -> None:
    """Never again this number, nor any other of the same person."""
    opted_out = [
        attempt for attempt, change in pairs if change.progress.opt_out and not attempt.progress.opt_out
    ]
    if not opted_out:
        return
    person_keys = contacts.person_keys(connection, {attempt.contact_id for attempt in opted_out})
    numbers: dict[str, exclusions.Terms] = {}
    persons: dict[str, exclusions.Terms] = {}
    for attempt in opted_out:
        terms = exclusions.Terms("opted_out", f"call {attempt.call_id}", at)
        numbers.setdefault(attempt.phone_number, terms)
        person_key = person_keys.get(attempt.contact_id)
        if person_key is not None:
            persons.setdefault(person_key, terms)
    exclusions.add_each(connection, exclusions.NUMBER, numbers, reach=EVERYWHERE, at=at)
    exclusions.add_each(connection, exclusions.PERSON, persons, reach=EVERYWHERE, at=at)


def _with(attempt: StoredAttempt, progress: Progress) -> StoredAttempt:
    return attempt if progress is attempt.progress else replace(attempt, progress=progress)
