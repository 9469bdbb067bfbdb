"""Accounts by name, remembered for a few seconds: every webhook names one."""

from __future__ import annotations

from typing import Final

from outdial.clock import Clock
from outdial.domain.account import Account
from outdial.engine.transactions import Transactions
from outdial.storage import accounts

AGE_SECONDS: Final = 5.0


class KnownAccounts:
    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock
        self._found: dict[str, tuple[float, Account]] = {}

    async def by_name(self, name: str) -> Account | None:
        known = self._found.get(name)
        now = self._clock.monotonic()
        if known is not None and now - known[0] < AGE_SECONDS:
            return known[1]
        account = await self._transactions.run(accounts.by_name, name)
        if account is not None:
            self._found[name] = (now, account)
        return account
