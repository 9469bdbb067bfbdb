"""What time alone changes of campaigns: they begin, they end, and they complete. Decided by a pass, never by a call's
end: two last calls would each see the other open.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from outdial.domain.ids import AccountId, CampaignId
from outdial.storage import campaigns, contacts
from outdial.storage.database import database_now

EXPIRED_AT_ONCE: Final = 5000


def keep_up(connection: sa.Connection, account_id: AccountId) -> list[CampaignId]:
    """Start what is due, expire what is over, complete what is empty. Returns the campaigns that completed."""
    at = database_now(connection)
    campaigns.start_due(connection, account_id, at)
    over = campaigns.past_end(connection, account_id, at)
    if over:
        contacts.expire_pending(connection, over, EXPIRED_AT_ONCE)
    return campaigns.complete_empty(connection, account_id, at)


def next_start(connection: sa.Connection, account_id: AccountId) -> datetime | None:
    """When the account's next scheduled campaign begins (aware UTC)."""
    return campaigns.next_start(connection, account_id)
