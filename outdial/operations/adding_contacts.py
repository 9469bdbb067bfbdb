"""A batch of contacts comes into a campaign, in the caller's transaction; and what would become of it, asked beforehand.

Every contact comes in once. What was done about one who is there already the campaign knows: whether its second coming
changes anything is for the caller to say (`OnDuplicate`), and never does it renew an attempt or bring back who is final.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState, OnDuplicate, Stage
from outdial.domain.errors import NotFound, UserError
from outdial.domain.ids import CallingZoneId, CampaignId
from outdial.operations.duplicates import updated
from outdial.storage import buckets, calling_zones, duplicates, excluded_contacts, new_contacts
from outdial.storage.database import database_now, wake_schedulers
from outdial.storage.excluded_contacts import Whom
from outdial.storage.new_contacts import NewContact, Origin, Receiver

TAKES_CONTACTS: Final = frozenset(CampaignStatus) - {CampaignStatus.COMPLETED, CampaignStatus.CANCELED}


class CampaignClosed(UserError):
    """A campaign that is over takes no contacts."""

    def __init__(self, name: str, status: CampaignStatus) -> None:
        self.name = name
        self.status = status
        super().__init__(
            f"The campaign {name!r} is {status} and takes no more contacts: create another one with "
            "`outdial campaign apply FILE.toml` under a new name, and import them there."
        )


class DuplicateContact(UserError):
    """A contact came in a second time where that was said to be an error. `line` None: it is of no file."""

    def __init__(self, contact: NewContact) -> None:
        self.line = contact.import_line
        self.identity_key = contact.identity_key
        kind, _, value = contact.identity_key.partition(":")
        of = "external_contact_id" if kind == "id" else "phone_number"
        place = "" if self.line is None else f"line {self.line}: "
        super().__init__(f"{place}the campaign has a contact with the {of} {value!r} already")


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What became of a batch: each of its contacts counts in exactly one field.

    `repeated` came earlier in the same import, `already_there` before it; both are left as they were.
    """

    pending: int = 0
    excluded: int = 0
    updated: int = 0
    already_there: int = 0
    repeated: int = 0


def add_contacts(
    connection: sa.Connection,
    campaign_id: CampaignId,
    new: Sequence[NewContact],
    origin: Origin,
    *,
    on_duplicate: OnDuplicate = OnDuplicate.SKIP,
    seen: Collection[str] = frozenset(),
) -> Added:
    """Bring contacts into a campaign, in the caller's transaction; pending ones are due at once, or at `call_after`.

    `seen`: identity keys that came earlier in the same import, where a duplicate is more than skipped.
    Raises CampaignClosed, NotFound for a campaign that does not exist, and DuplicateContact if that is an error.
    """
    receiver = receive(connection, campaign_id)
    if not new:
        return Added()
    at = database_now(connection)
    if on_duplicate is OnDuplicate.SKIP:
        return _insert(connection, receiver, campaign_id, new, origin, at)
    known = duplicates.known_keys(connection, campaign_id, {contact.identity_key for contact in new})
    # An earlier batch of the same import brought them, whoever remembers it.
    ours = {
        key for key, import_id in known.items() if import_id is not None and import_id == origin.import_id
    }
    sorted_out = _sort_out(new, known, seen, on_duplicate, ours)
    inserted = _insert(connection, receiver, campaign_id, sorted_out.fresh, origin, at)
    changed = _update(connection, receiver, campaign_id, sorted_out.again, origin, at)
    return Added(
        pending=inserted.pending,
        excluded=inserted.excluded,
        updated=changed,
        # Somebody else may have brought one of the fresh ones at this very moment.
        already_there=inserted.already_there + inserted.repeated + len(sorted_out.again) - changed,
        repeated=sorted_out.repeated,
    )


def preview(
    connection: sa.Connection,
    campaign_id: CampaignId,
    new: Sequence[NewContact],
    *,
    on_duplicate: OnDuplicate = OnDuplicate.SKIP,
    seen: Collection[str] = frozenset(),
) -> Added:
    """What `add_contacts` would answer, with nothing locked and nothing written. Raises as it does."""
    receiver = new_contacts.receiver(connection, campaign_id)
    _check_open(receiver, campaign_id)
    at = database_now(connection)
    keys = {contact.identity_key for contact in new}
    known = duplicates.load(connection, campaign_id, keys, lock=False)
    sorted_out = _sort_out(new, known, seen, on_duplicate)
    whom = {Whom(contact.phone_number, contact.person_key) for contact in sorted_out.fresh}
    on_list = excluded_contacts.among(connection, whom, campaign_id, at)
    excluded = sum(
        1 for one in sorted_out.fresh if one.do_not_call or (one.phone_number, one.person_key) in on_list
    )
    changed = 0
    if on_duplicate is OnDuplicate.UPDATE:
        zones = calling_zones.ids(connection, {contact.calling_zone.key for contact in sorted_out.again})
        nowhere = CallingZoneId(-1)
        nobody = Origin(consent_at=at, consent_source="import")
        changed = sum(
            updated(known[one.identity_key], one, zones.get(one.calling_zone.key, nowhere), nobody, at)
            != known[one.identity_key]
            for one in sorted_out.again
        )
    return Added(
        pending=len(sorted_out.fresh) - excluded,
        excluded=excluded,
        updated=changed,
        already_there=len(sorted_out.again) - changed,
        repeated=sorted_out.repeated,
    )


def receive(connection: sa.Connection, campaign_id: CampaignId) -> Receiver:
    """The campaign, kept open for contacts until this transaction ends. Raises NotFound and CampaignClosed."""
    return _check_open(new_contacts.receiver(connection, campaign_id, lock=True), campaign_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SortedOut:
    """A batch: who is new, who was there before the import, and how many rows repeat one of the import itself."""

    fresh: Sequence[NewContact]
    again: Sequence[NewContact]
    repeated: int


def _check_open(receiver: Receiver | None, campaign_id: CampaignId) -> Receiver:
    if receiver is None:
        raise NotFound("campaign", str(campaign_id))
    if receiver.status not in TAKES_CONTACTS:
        raise CampaignClosed(receiver.name, receiver.status)
    return receiver


def _sort_out(
    new: Sequence[NewContact],
    known: Collection[str],
    seen: Collection[str],
    on_duplicate: OnDuplicate,
    ours: Collection[str] = frozenset(),
) -> _SortedOut:
    fresh: dict[str, NewContact] = {}
    again: list[NewContact] = []
    repeated = 0
    met: set[str] = set()
    for contact in new:
        key = contact.identity_key
        # Who is skipped was there before the import, in however many of its rows.
        is_repeated = (key in met or key in seen or key in ours) and not (
            on_duplicate is OnDuplicate.SKIP and key in known
        )
        if (is_repeated or key in known) and on_duplicate is OnDuplicate.ERROR:
            raise DuplicateContact(contact)
        met.add(key)
        if is_repeated:
            repeated += 1
        elif key in known:
            again.append(contact)
        else:
            fresh[key] = contact
    return _SortedOut(fresh=list(fresh.values()), again=again, repeated=repeated)


def _insert(
    connection: sa.Connection,
    receiver: Receiver,
    campaign_id: CampaignId,
    new: Sequence[NewContact],
    origin: Origin,
    at: datetime,
) -> Added:
    if not new:
        return Added()
    id_of = _zone_ids(connection, new)
    zone_ids = [id_of[id(contact.calling_zone)] for contact in new]
    inserted = new_contacts.insert(connection, campaign_id, new, zone_ids, origin, at)
    waiting = [group for group in inserted if group[2] is ContactState.PENDING]
    # With a `call_after` they are due later: a hint may be early.
    buckets.add_due(
        connection, [(campaign_id, zone, priority, Stage.FIRST, at) for zone, priority, _ in waiting]
    )
    if waiting and receiver.status is CampaignStatus.RUNNING:
        wake_schedulers(connection)
    pending = sum(inserted[group] for group in waiting)
    total = inserted.total()
    repeated = _count_repeated(connection, campaign_id, new, origin, total)
    return Added(
        pending=pending,
        excluded=total - pending,
        repeated=repeated,
        already_there=len(new) - total - repeated,
    )


def _update(
    connection: sa.Connection,
    receiver: Receiver,
    campaign_id: CampaignId,
    again: Sequence[NewContact],
    origin: Origin,
    at: datetime,
) -> int:
    """Returns how many contacts are other than they were."""
    if not again:
        return 0
    id_of = _zone_ids(connection, again)
    locked = duplicates.load(connection, campaign_id, {contact.identity_key for contact in again}, lock=True)
    changed = []
    for contact in again:
        # One that was there a moment ago, and whose import was taken back since, is left out.
        known = locked.get(contact.identity_key)
        if known is not None:
            now = updated(known, contact, id_of[id(contact.calling_zone)], origin, at)
            if now != known:
                changed.append(now)
    if not changed:
        return 0
    duplicates.write(connection, changed)
    buckets.add_due(
        connection,
        [
            (campaign_id, one.calling_zone_id, one.priority, one.stage, one.next_attempt_at)
            for one in changed
            if one.state is ContactState.PENDING and one.next_attempt_at is not None
        ],
    )
    if receiver.status is CampaignStatus.RUNNING:
        wake_schedulers(connection)
    return len(changed)


def _zone_ids(connection: sa.Connection, new: Sequence[NewContact]) -> Mapping[int, CallingZoneId]:
    """By identity: few zones stand in many contacts, and hashing each one takes as long as reading its row."""
    zones = {id(contact.calling_zone): contact.calling_zone for contact in new}
    ids = calling_zones.ensure(connection, zones.values())
    return {place: ids[zone.key] for place, zone in zones.items()}


def _count_repeated(
    connection: sa.Connection,
    campaign_id: CampaignId,
    new: Sequence[NewContact],
    origin: Origin,
    inserted: int,
) -> int:
    """Asked only where somebody was there already."""
    if inserted == len(new) or origin.import_id is None:
        return 0
    keys = [contact.identity_key for contact in new]
    return new_contacts.count_of_import(connection, campaign_id, origin.import_id, keys) - inserted
