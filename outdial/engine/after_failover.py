"""After a failover: what the promoted server may not have of the old one's is found again before anybody is claimed.

Where the standby was synchronous nothing is missing, and this finds nothing. Where it was not, the newest rows are gone:
calls that the provider has and no row knows. They are adopted from the provider's list of calls, where it has one.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.errors import InDoubt
from outdial.domain.ids import AccountId
from outdial.engine.adopt import adopt_unknown
from outdial.engine.definitions import Definitions
from outdial.engine.look_ups import look_up
from outdial.engine.reconcile import tidy
from outdial.engine.transactions import Transactions
from outdial.storage import lines, standing
from outdial.storage.database import database_now
from outdial.telephony.caller import Caller

log = logging.getLogger("outdial.failover")

# How much a standby that was not synchronous may have missed.
LOOK_BACK: Final = timedelta(minutes=15)
ROUNDS: Final = 20


async def reconcile_first(
    transactions: Transactions, account: Account, caller: Caller, known: Definitions, timeline: str
) -> None:
    """Adopt the calls that only the provider knows, and ask about every open one; then the account's claims go on.

    Raises what keeps it from doing so: nobody is claimed meanwhile.
    """
    log.warning(
        "the database was replaced by one with another history (a standby was promoted, or a backup restored): account %s "
        "claims nobody until its calls are compared with the provider's",
        account.name,
    )
    await tidy(transactions, known)
    callers = {account.id: caller}
    since = await transactions.run(database_now) - LOOK_BACK
    found = (await adopt_unknown(transactions, callers, since, known))[account.id]
    if found.why_not is not None and found.can_list:
        raise InDoubt(f"the provider of account {account.name} cannot list its calls now: {found.why_not}")
    await transactions.run(_ask_all, account.id)
    for _ in range(ROUNDS):
        if not await look_up(transactions, callers, known, {account.id: account}):
            break
    await transactions.run(standing.accept_timeline, account.id, timeline)
    if found.why_not is not None:
        log.warning("account %s: what the database lost may stay unknown: %s", account.name, found.why_not)
    log.warning(
        "account %s claims again; %d calls that the database had lost were adopted",
        account.name,
        found.adopted,
    )


def _ask_all(connection: sa.Connection, account_id: AccountId) -> None:
    lines.ask_now(connection, [account_id], database_now(connection))
