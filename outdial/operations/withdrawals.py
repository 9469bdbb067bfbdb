"""Contacts are taken back: the wrong list, or a person whom somebody does not want called after all.

Who waits is not called any more; who is about to be called is refused by the last check; a call under way runs on, and
its result is kept with the call. A call that was about to be sent at the commit may still leave; none does
`SETTLE_SECONDS` (operations/campaigns.py) later, so whoever reports success waits that long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa

from outdial.domain.contact import OPEN_STATES, ContactState
from outdial.domain.errors import NotFound
from outdial.domain.ids import ContactId
from outdial.operations.contact_lists import number_in
from outdial.storage import campaigns, contact_lists, imports
from outdial.storage.database import Database, database_now, wake_schedulers

AT_ONCE: Final = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """`waiting` were pending; `in_progress` had a call under way or about to be; `final` were so and stay as they are."""

    waiting: int = 0
    in_progress: int = 0
    final: int = 0

    @property
    def total(self) -> int:
        return self.waiting + self.in_progress


def withdraw_import(database: Database, import_id: int, *, by: str, reason: str) -> Withdrawn:
    """Take back all that an import has brought, batch by batch; one that still runs brings nobody more.

    Who was never called can be imported again. Repeated, it finishes what an interrupted one began. Raises NotFound.
    """
    final = database.run(_close_import, import_id, by)
    done = Withdrawn(final=final)
    after: ContactId | None = ContactId(0)
    while after is not None:
        batch, after = database.run(_withdraw_batch, import_id, after, reason)
        done = replace(
            done, waiting=done.waiting + batch.waiting, in_progress=done.in_progress + batch.in_progress
        )
    return done


def withdraw_contact(
    connection: sa.Connection, campaign_name: str, contact: str, *, reason: str, region: str | None = None
) -> Withdrawn:
    """Take one person out of a campaign, by number or external id, for good: another import brings nobody back.

    Raises NotFound and UnknownRegion. A number may stand in several contacts, who are then all taken out.
    """
    campaign = campaigns.by_name(connection, campaign_name)
    if campaign is None:
        raise NotFound("campaign", campaign_name, "`outdial campaign list` shows those that there are.")
    number = number_in(contact, region)
    found = contact_lists.with_number_or_id(
        connection, campaign.id, phone_number=number, external_contact_id=contact
    )
    if not found:
        raise NotFound(
            "contact",
            contact,
            f"No phone number and no external_contact_id of the campaign {campaign_name!r} is that; "
            "`outdial contacts list` shows some of them.",
        )
    ids = [contact_id for contact_id, state in found if state in OPEN_STATES]
    if ids:
        contact_lists.withdraw(connection, ids, reason, may_come_again=False)
        wake_schedulers(connection)
    return _counted(state for _, state in found)


def _close_import(connection: sa.Connection, import_id: int, by: str) -> int:
    """Returns how many of its contacts are final already."""
    found = imports.by_id(connection, import_id)
    if found is None:
        raise NotFound("import", str(import_id), "`outdial contacts imports` shows those that there are.")
    imports.withdraw(connection, import_id, by=by, at=database_now(connection))
    counts = contact_lists.count_of_import(connection, import_id)
    return sum(count for state, count in counts.items() if state not in OPEN_STATES)


def _withdraw_batch(
    connection: sa.Connection, import_id: int, after: ContactId, reason: str
) -> tuple[Withdrawn, ContactId | None]:
    """Returns what was done, and where to go on."""
    found = contact_lists.open_of_import(connection, import_id, after, AT_ONCE)
    ids = [contact_id for contact_id, _ in found]
    contact_lists.withdraw(connection, ids, reason, may_come_again=True)
    if len(found) < AT_ONCE:
        # A campaign that waited for these alone is complete now.
        wake_schedulers(connection)
        return _counted(state for _, state in found), None
    return _counted(state for _, state in found), ids[-1]


def _counted(states: Iterable[ContactState]) -> Withdrawn:
    counts = Counter(states)
    waiting, in_progress = counts[ContactState.PENDING], counts[ContactState.IN_PROGRESS]
    return Withdrawn(waiting=waiting, in_progress=in_progress, final=counts.total() - waiting - in_progress)
