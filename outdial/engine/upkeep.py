"""What time alone changes of campaigns: they begin, they end, and they complete. Decided by a pass, never by a call's
end: two last calls would each see the other open.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from outdial.domain.contact import ContactState
from outdial.domain.ids import AccountId, CampaignId
from outdial.storage import campaign_upkeep, contacts
from outdial.storage.database import database_now, wake_schedulers

CLOSED_AT_ONCE: Final = 5000
EXPIRED_AT_ONCE: Final = 1000


def keep_up(connection: sa.Connection, account_id: AccountId) -> list[CampaignId]:
    """Start what is due, expire what is over, complete what is empty. Returns the campaigns that completed."""
    at = database_now(connection)
    if campaign_upkeep.start_due(connection, account_id, at):
        wake_schedulers(connection)
    contacts.expire_overdue(connection, at, EXPIRED_AT_ONCE)
    over = campaign_upkeep.past_end(connection, account_id, at)
    if over:
        contacts.close_pending(connection, over, ContactState.EXPIRED, "campaign_ended", CLOSED_AT_ONCE)
    # A call that was under way when its campaign was canceled may have brought its contact back.
    canceled = campaign_upkeep.canceled_with_waiting(connection, account_id)
    if canceled:
        contacts.close_pending(
            connection, canceled, ContactState.WITHDRAWN, "campaign_canceled", CLOSED_AT_ONCE
        )
    return campaign_upkeep.complete_empty(connection, account_id, at)
