"""The exclusion list: which numbers and which persons must never be called, by whose campaigns, why, and until when.

An exclusion holds from its commit on; it has taken effect everywhere once the last check of a call that was under way
is too old to be used, and only then may a command report success. A contact that it took out of the queue stays out:
to remove an entry lets the number be imported again elsewhere, and brings nobody back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.errors import NotFound, UserError
from outdial.domain.exclusions import EVERYWHERE, ExclusionScope, Reach
from outdial.domain.phone_numbers import normalize
from outdial.operations.contact_rows import LONGEST
from outdial.storage import campaigns, excluded_contacts, exclusions
from outdial.storage.database import database_now
from outdial.storage.exclusions import NUMBER, PERSON, Terms as EntryTerms

# A day is over everywhere when it is over here.
LAST_ZONE_OF_A_DAY: Final = timedelta(hours=12)
LONGEST_KEY: Final = LONGEST["person_key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How numbers are excluded: for one campaign, for those of the workspace, or for all; until an instant or (None)
    for good.
    """

    reason: str
    source: str
    campaign: str | None = None
    workspace: bool = False
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """`entries` are new on the list; `contacts` were pending and now are excluded."""

    entries: int
    contacts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the list says of a number or a person: the entries, oldest first, and which of them are in force.

    `person_keys` of a number are those of the contacts that have it. `removed`: how many entries were ended just now.
    """

    phone_number: str | None
    person_keys: Sequence[str]
    entries: Sequence[Mapping[str, Any]]
    in_force: Sequence[Mapping[str, Any]]
    removed: int = 0

    @property
    def summary(self) -> str:
        """One sentence: who may call there."""
        return _summary(self)


def add(
    connection: sa.Connection,
    phone_numbers: Iterable[str],
    terms: Terms,
    *,
    person_keys: Iterable[str] = (),
) -> Excluded:
    """Exclude numbers, and persons with all their numbers, and take their pending contacts out of the queue. Those
    excluded already stay so.

    Raises InvalidPhoneNumber, NotFound for the campaign, UserError for an end that has passed and a key that is none.
    """
    numbers = {normalize(number).e164 for number in phone_numbers}
    persons = {checked_person_key(key) for key in person_keys}
    if not numbers and not persons:
        raise UserError("Nobody is named: give a number, or a person's key with --person.")
    at = database_now(connection)
    check_end(terms.expires_at, at)
    reach = reach_of(connection, campaign=terms.campaign, workspace=terms.workspace)
    alike = EntryTerms(terms.reason, terms.source, at, terms.expires_at)
    contacts, added = add_entries(
        connection, dict.fromkeys(numbers, alike), dict.fromkeys(persons, alike), reach, at
    )
    return Excluded(entries=len(added), contacts=contacts)


def add_entries(
    connection: sa.Connection,
    numbers: Mapping[str, EntryTerms],
    persons: Mapping[str, EntryTerms],
    reach: Reach,
    at: datetime,
) -> tuple[int, set[tuple[str, str]]]:
    """Returns how many contacts were taken out of the queue, and which numbers and persons were not excluded before."""
    # Contacts before entries, as a call's end does that opts out.
    contacts = excluded_contacts.exclude_pending(connection, numbers, persons, reach)
    added = {
        (of, key)
        for of, listed in ((NUMBER, numbers), (PERSON, persons))
        for key in exclusions.add_each(connection, of, listed, reach=reach, at=at)
    }
    return contacts, added


def remove(
    connection: sa.Connection,
    phone_number: str | None = None,
    *,
    by: str,
    why: str,
    person_key: str | None = None,
    campaign: str | None = None,
    workspace: bool = False,
) -> Standing:
    """End the entries of the number, of the person or of both with this very reach, and say what the list still holds.

    Raises as `add` does.
    """
    if not why.strip():
        raise UserError("A removal is evidence: say with --reason why the number may be called again.")
    number, person = _meant(phone_number, person_key)
    removed = exclusions.remove(
        connection,
        phone_number=number,
        person_key=person,
        by=by,
        why=why,
        at=database_now(connection),
        reach=reach_of(connection, campaign=campaign, workspace=workspace),
    )
    return _standing(connection, number, person, removed)


def check(
    connection: sa.Connection, phone_number: str | None = None, *, person_key: str | None = None
) -> Standing:
    """What the list says of a number, and of the persons whose it is; or of a person."""
    return _standing(connection, *_meant(phone_number, person_key), removed=0)


def reach_of(connection: sa.Connection, *, campaign: str | None, workspace: bool) -> Reach:
    """Raises NotFound for the campaign, and UserError for both at once."""
    if campaign is not None and workspace:
        raise UserError(
            "An exclusion is for one campaign or for those of the workspace: give --campaign or --workspace, or neither."
        )
    if workspace:
        return Reach(scope=ExclusionScope.WORKSPACE)
    if campaign is None:
        return EVERYWHERE
    found = campaigns.by_name(connection, campaign)
    if found is None:
        raise NotFound("campaign", campaign, "`outdial campaign list` shows those that there are.")
    return Reach(scope=ExclusionScope.CAMPAIGN, campaign_id=found.id)


def check_end(expires_at: datetime | None, at: datetime) -> None:
    if expires_at is not None and expires_at <= at:
        raise UserError(
            f"The exclusion would have ended already, at {expires_at.isoformat()}: give a later end."
        )


def checked_person_key(text: str) -> str:
    """The key as contacts have it. Raises UserError for what none of them can have."""
    key = text.strip()
    if not key or len(key) > LONGEST_KEY or not key.isprintable():
        raise UserError(
            f"{text!r} is no person's key: write 1 to {LONGEST_KEY} printable characters, as the lists have it."
        )
    return key


def expiry_of(text: str) -> datetime:
    """The instant that a text means: one with its offset from UTC, or a date, which holds to its end in every zone."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return _instant_of(text)
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1) + LAST_ZONE_OF_A_DAY


def _meant(phone_number: str | None, person_key: str | None) -> tuple[str | None, str | None]:
    if phone_number is None and person_key is None:
        raise UserError("Nobody is named: give a number, or a person's key with --person.")
    return (
        None if phone_number is None else normalize(phone_number).e164,
        None if person_key is None else checked_person_key(person_key),
    )


def _standing(
    connection: sa.Connection, number: str | None, person_key: str | None, removed: int
) -> Standing:
    at = database_now(connection)
    known = [] if number is None else excluded_contacts.persons_of(connection, number)
    person_keys = list(dict.fromkeys([*([] if person_key is None else [person_key]), *known]))
    names = {campaign.id: campaign.definition.name for campaign in campaigns.all_campaigns(connection)}
    entries = [
        {**entry, "campaign": names.get(entry["campaign_id"])}
        for entry in exclusions.entries_of(connection, number, person_keys)
    ]
    return Standing(
        phone_number=number,
        person_keys=person_keys,
        entries=entries,
        in_force=[entry for entry in entries if _is_in_force(entry, at)],
        removed=removed,
    )


def _is_in_force(entry: Mapping[str, Any], at: datetime) -> bool:
    return entry["removed_at"] is None and (entry["expires_at"] is None or entry["expires_at"] > at)


def _summary(standing: Standing) -> str:
    number = standing.phone_number
    who = number or f"The person {standing.person_keys[0]}"
    if not standing.in_force:
        ended = " any more" if standing.entries else ""
        return f"{who} may be called: no exclusion is in force{ended}."
    by_scope = {
        scope: [entry for entry in standing.in_force if entry["scope"] == scope] for scope in ExclusionScope
    }
    forbidding = next(entries for entries in by_scope.values() if entries)
    if by_scope[ExclusionScope.ALL]:
        caller = "anybody"
    elif by_scope[ExclusionScope.WORKSPACE]:
        caller = "any campaign of this workspace"
    else:
        names = sorted({entry["campaign"] for entry in forbidding})
        caller = f"the campaign{'s' * (len(names) > 1)} {', '.join(names)}"
    # The last to end is the one that counts.
    entry = max(forbidding, key=lambda one: one["expires_at"] or datetime.max.replace(tzinfo=UTC))
    until = "" if entry["expires_at"] is None else f" until {entry['expires_at'].isoformat()}"
    is_anothers = number is not None and entry["phone_number"] != number
    owner = f", for the person {entry['person_key']} is excluded" if is_anothers else ""
    others = "; by others it may" if entry["scope"] == ExclusionScope.CAMPAIGN else ""
    return (
        f"{who} may not be called by {caller}{until}{others}{owner} ({entry['reason']}, {entry['source']})."
    )


def _instant_of(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise UserError(
            f"{text!r} is no end of an exclusion: write a date such as 2027-12-31, or an instant with its offset such "
            "as 2027-12-31T18:00:00+01:00."
        )
    return instant.astimezone(UTC)
