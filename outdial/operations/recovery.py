"""What `outdial db recover` does to the database itself: stop everything, hold what may be lost, and say how it stands.

Asking the providers is `engine/adopt.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.campaign import CampaignStatus
from outdial.domain.errors import UserError
from outdial.domain.ids import AccountId
from outdial.operations.stops import Scope, Switched, stop
from outdial.storage import accounts, adopted, campaigns
from outdial.storage.database import database_now

BY: Final = "db recover"
# Clocks differ, and a backup takes its time: what was called shortly before its instant is asked about as well.
MARGIN: Final = timedelta(minutes=10)
LOST: Final = (
    "people who were put on the exclusion list since, by hand or by an import: import those lists again",
    "results and opt-outs that the provider told by webhook only: look at its own records of the calls taken in",
    "contacts and campaigns that came in since: import and apply their files again",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaiting:
    """Attempts that are not settled before a person says so; `still_open` of them are open calls."""

    attempts: int
    still_open: int


def instant_of(text: str, at: datetime) -> datetime:
    """The instant of the backup, aware UTC. Raises `UserError` for one without an offset, or after `at`."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UserError(
            f"--since is {text!r}: write the instant of the backup with its offset, such as 2026-11-23T18:00:00Z."
        )
    if found > at:
        raise UserError(f"--since is {text!r}, which is still to come: it is now {at:%Y-%m-%dT%H:%M:%SZ}.")
    return found.astimezone(UTC)


def begin(connection: sa.Connection, since: datetime) -> Switched:
    """Stop everything, and let nothing that is not settled be settled by itself. Repeating changes nothing."""
    reason = (
        f"the database was restored as of {since:%Y-%m-%d %H:%M:%S} UTC; when `outdial db recover --confirm` is done, "
        "`outdial resume --all` goes on"
    )
    switched = stop(connection, Scope(), by=BY, reason=reason)
    adopted.await_confirmation(connection)
    return switched


def pause_campaigns(connection: sa.Connection, account_id: AccountId, since: datetime) -> list[str]:
    """No campaign of an account goes on of whose calls nobody can say which were made. Returns the names."""
    at = database_now(connection)
    reason = (
        f"the database was restored as of {since:%Y-%m-%d %H:%M:%S} UTC, and the provider cannot list the calls made "
        "since: exclude or withdraw who was called by the provider's own records, then `outdial campaign resume`"
    )
    return [
        campaign.definition.name
        for campaign in campaigns.all_campaigns(connection)
        if campaign.account_id == account_id
        and campaigns.move_to(
            connection, campaign.id, CampaignStatus.PAUSED, at, paused_by=BY, paused_reason=reason
        )
    ]


def all_accounts(connection: sa.Connection) -> Sequence[Account]:
    return accounts.all_accounts(connection)


def awaiting(connection: sa.Connection) -> Awaiting:
    waiting, still_open = adopted.awaiting(connection)
    return Awaiting(attempts=waiting, still_open=still_open)
