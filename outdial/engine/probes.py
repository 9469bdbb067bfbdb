"""Asks an account in trouble a free question that only a good account answers: suspended by its provider, or with an
open breaker. Whichever worker comes first asks, and waits longer each time that it was in vain.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.breaker import Breaker, probe_wait
from outdial.domain.errors import TelephonyProviderError
from outdial.domain.ids import AccountId, CallId
from outdial.engine.transactions import Transactions
from outdial.storage import accounts, standing
from outdial.storage.database import database_now, wake_schedulers
from outdial.telephony.caller import Caller

log = logging.getLogger("outdial.probes")


async def probe(transactions: Transactions, account_id: AccountId, caller: Caller, unused: CallId) -> None:
    """Ask, if it is time to. Where nobody can be asked, an open breaker lets one call try when its time has come; a
    suspension waits for a person.
    """
    account = await transactions.run(_take, account_id, caller.can_look_up)
    if account is None:
        return
    if caller.can_look_up:
        try:
            await caller.probe(unused)
        except TelephonyProviderError as error:
            log.info("account %s was asked whether it may dial again: %s", account.name, error)
            return
        except Exception:
            # A provider object of the host's own may raise anything.
            log.exception("account %s could not be asked whether it may dial again", account.name)
            return
    for sentence in await transactions.run(_relieve, account):
        log.warning(sentence)


def _take(connection: sa.Connection, account_id: AccountId, can_ask: bool) -> Account | None:
    """The account, if it is for us to ask now."""
    at = database_now(connection)
    account = accounts.by_id(connection, account_id)
    if account is None or (account.suspended_at is None and account.breaker is not Breaker.OPEN):
        return None
    if account.suspended_at is not None and not can_ask:
        return None
    if account.probe_at is not None and account.probe_at > at:
        return None
    wait = probe_wait(account.probes + 1, is_suspended=account.suspended_at is not None)
    return account if standing.take_probe(connection, account_id, at, at + wait) else None


def _relieve(connection: sa.Connection, account: Account) -> list[str]:
    said: list[str] = []
    if account.suspended_at is not None and standing.resume(connection, account.id):
        said.append(f"account {account.name} is in good standing again and is resumed")
    if account.breaker is Breaker.OPEN and standing.half_open(connection, account.id):
        said.append(f"account {account.name}: the provider answers questions again, one call is tried")
    wake_schedulers(connection)
    return said
