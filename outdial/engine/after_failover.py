"""After a failover: what the promoted server may not have of the old one's is found again before anybody is claimed.

Where the standby was synchronous nothing is missing, and this finds nothing. Where it was not, the newest rows are gone:
calls that the provider has and no row knows, which are adopted from its list of calls, where it has one; and what was
noted last of rows that are there. So one that looks unsent may have been sent, and is in doubt.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.engine.adopt import adopt_unknown
from outdial.engine.definitions import Definitions
from outdial.engine.look_ups import look_up
from outdial.engine.transactions import Transactions
from outdial.storage import lines, standing
from outdial.storage.database import database_now
from outdial.telephony.caller import Caller

log = logging.getLogger("outdial.failover")

# How much a standby may have missed before the newest call that it knows of, and how far back is asked where it knows none.
LOOK_BACK: Final = timedelta(minutes=15)
LOOK_BACK_WITHOUT_CALLS: Final = timedelta(hours=24)
# A request that is still on its way is in no list: it is placed until its `not_after`, and listed some seconds later.
ON_ITS_WAY_SECONDS: Final = 20.0


@dataclass(slots=True)
class Comparison:
    """One account's, for as long as a process serves it. `since`: when it was found to be due, by the process's own
    monotonic clock; None: it is not.
    """

    since: float | None = None


async def reconcile_first(
    transactions: Transactions,
    account: Account,
    caller: Caller,
    known: Definitions,
    timeline: str,
    comparison: Comparison,
    now: float,
) -> bool:
    """Adopt the calls that only the provider knows; then the account's claims go on. Open calls hold their lines, and
    are asked about as the rate of look-ups allows.

    `now`: the process's monotonic clock. False: it is too early to ask, or the provider could not list its calls now;
    nobody may be claimed before it has.
    """
    if comparison.since is None:
        comparison.since = now
        log.warning(
            "the database was replaced by one with another history (a standby was promoted, or a backup restored): account %s "
            "claims nobody until its calls are compared with the provider's",
            account.name,
        )
        await transactions.run(_doubt, account)
    if caller.can_list and now - comparison.since < ON_ITS_WAY_SECONDS:
        return False
    since = await transactions.run(_missing_since, account)
    callers = {account.id: caller}
    found = (await adopt_unknown(transactions, callers, since, known))[account.id]
    if found.why_not is not None and found.can_list:
        log.info("account %s: its provider cannot list its calls now: %s", account.name, found.why_not)
        return False
    await look_up(transactions, callers, known, {account.id: account})
    await transactions.run(standing.accept_timeline, account.id, timeline)
    comparison.since = None
    if found.why_not is not None:
        log.warning("account %s: what the database lost may stay unknown: %s", account.name, found.why_not)
    log.warning(
        "account %s claims again; %d calls that the database had lost were adopted",
        account.name,
        found.adopted,
    )
    return True


def _doubt(connection: sa.Connection, account: Account) -> None:
    """What looks unsent is in doubt, and all open calls are asked about."""
    at = database_now(connection)
    lines.doubt_unsent(connection, account.id, at)
    lines.ask_now(connection, [account.id], at)


def _missing_since(connection: sa.Connection, account: Account) -> datetime:
    at = database_now(connection)
    newest = lines.newest_claim(connection, account.id)
    return at - LOOK_BACK_WITHOUT_CALLS if newest is None else min(newest, at) - LOOK_BACK
