"""The numbers that an account shows: which are in use, which rest and why, which are retired for good."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.errors import NotFound
from outdial.domain.phone_numbers import normalize
from outdial.operations.stops import find_account
from outdial.storage import accounts
from outdial.storage.database import database_now, wake_schedulers


def list_numbers(connection: sa.Connection, account: str | None = None) -> Sequence[sa.RowMapping]:
    """Raises `NotFound`."""
    account_id = None if account is None else find_account(connection, account).id
    return accounts.numbers(connection, account_id)


def rest(connection: sa.Connection, account: str, number: str, reason: str) -> bool:
    """Show it no more for now. `outdial account set` and `use` bring it back. False: it rested already."""
    return _set(connection, find_account(connection, account), number, "resting", reason)


def retire(connection: sa.Connection, account: str, number: str, reason: str) -> bool:
    """Show it no more; only `use` brings it back. False: it was retired already."""
    return _set(connection, find_account(connection, account), number, "retired", reason)


def use(connection: sa.Connection, account: str, number: str) -> bool:
    """Show it again; a number that the account does not have yet is added. False: it was in use already."""
    found = find_account(connection, account)
    e164 = normalize(number)
    at = database_now(connection)
    is_new = not any(row["phone_number"] == e164.e164 for row in accounts.numbers(connection, found.id))
    accounts.add_numbers(connection, found.id, {e164.e164: e164.country}, at)
    wake_schedulers(connection)
    return bool(accounts.set_number_state(connection, found.id, e164.e164, "in_use", None, at)) or is_new


def _set(connection: sa.Connection, account: Account, number: str, state: str, reason: str) -> bool:
    e164 = normalize(number).e164
    done = accounts.set_number_state(connection, account.id, e164, state, reason, database_now(connection))
    if done is None:
        raise NotFound(
            f"caller number of the account {account.name!r}",
            e164,
            f"`outdial numbers list --account {account.name}` shows those that there are.",
        )
    return done
