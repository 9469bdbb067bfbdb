"""Statements over `provider_configurations` and `caller_numbers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from outdial.domain.account import Account
from outdial.domain.breaker import Breaker
from outdial.domain.ids import AccountId
from outdial.domain.pacing import Rate, Throttle
from outdial.storage.tables import caller_numbers, provider_configurations

accounts = provider_configurations


def lock(connection: sa.Connection, account_id: AccountId) -> Account | None:
    """The account, locked until the transaction ends. A statement of its own: counts come after it, never with it.

    NO KEY UPDATE, since FOR UPDATE would block every insert of an attempt that refers to the account.
    """
    query = sa.select(accounts).where(accounts.c.id == account_id).with_for_update(key_share=True)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _account(row)


def by_id(connection: sa.Connection, account_id: AccountId) -> Account | None:
    row = connection.execute(sa.select(accounts).where(accounts.c.id == account_id)).mappings().one_or_none()
    return None if row is None else _account(row)


def by_name(connection: sa.Connection, name: str, workspace_id: int = 1) -> Account | None:
    query = sa.select(accounts).where(accounts.c.name == name, accounts.c.workspace_id == workspace_id)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _account(row)


def all_accounts(connection: sa.Connection) -> list[Account]:
    return [
        _account(row) for row in connection.execute(sa.select(accounts).order_by(accounts.c.id)).mappings()
    ]


def insert(connection: sa.Connection, values: dict[str, Any]) -> AccountId:
    return AccountId(
        connection.execute(sa.insert(accounts).values(**values).returning(accounts.c.id)).scalar_one()
    )


def update(connection: sa.Connection, account_id: AccountId, values: dict[str, Any]) -> None:
    connection.execute(sa.update(accounts).where(accounts.c.id == account_id).values(**values))


def move_cursor(connection: sa.Connection, account_id: AccountId, cursor_at: datetime) -> None:
    """The rate's next slot. Only under the account's lock."""
    update(connection, account_id, {"rate_cursor_at": cursor_at})


def set_throttle(connection: sa.Connection, account_id: AccountId, throttle: Throttle) -> None:
    """What the provider's answers did to the rate. Only under the account's lock."""
    values = {
        "rate_factor": throttle.factor,
        "rate_factor_at": throttle.factor_at,
        "not_before": throttle.not_before,
        "unreachable_count": throttle.unreachable_count,
    }
    update(connection, account_id, values)


def stop(connection: sa.Connection, account_id: AccountId, by: str, reason: str, at: datetime) -> bool:
    """A person's stop, which only a person ends; False if the account was stopped already: its first reason stays."""
    statement = (
        sa.update(accounts)
        .where(accounts.c.id == account_id, accounts.c.stopped_at.is_(None))
        .values(stopped_at=at, stopped_by=by, stopped_reason=reason)
    )
    return connection.execute(statement).rowcount > 0


def end_stop(connection: sa.Connection, account_id: AccountId) -> bool:
    """Let a stopped account dial again; False if it was not stopped."""
    statement = (
        sa.update(accounts)
        .where(accounts.c.id == account_id, accounts.c.stopped_at.is_not(None))
        .values(stopped_at=None, stopped_by=None, stopped_reason=None)
    )
    return connection.execute(statement).rowcount > 0


def resting_numbers(connection: sa.Connection, account_id: AccountId) -> frozenset[str]:
    """Caller numbers of the account that must not be shown."""
    query = sa.select(caller_numbers.c.phone_number).where(
        caller_numbers.c.account_id == account_id, caller_numbers.c.state != "in_use"
    )
    return frozenset(connection.execute(query).scalars())


def rest_number(
    connection: sa.Connection, account_id: AccountId, phone_number: str, reason: str, at: datetime
) -> None:
    """Stop showing a caller number, with the reason, until somebody uses it again. A retired one stays so."""
    add_numbers(connection, account_id, {phone_number: None}, at)
    connection.execute(
        sa.update(caller_numbers)
        .where(
            caller_numbers.c.account_id == account_id,
            caller_numbers.c.phone_number == phone_number,
            caller_numbers.c.state != "retired",
        )
        .values(state="resting", reason=reason, changed_at=at)
    )


def set_number_state(
    connection: sa.Connection,
    account_id: AccountId,
    phone_number: str,
    state: str,
    reason: str | None,
    at: datetime,
) -> bool | None:
    """A person's word on a caller number; False if it stood so already, None if the account has no such number."""
    known = connection.execute(
        sa.select(caller_numbers.c.state)
        .where(caller_numbers.c.account_id == account_id, caller_numbers.c.phone_number == phone_number)
        .with_for_update()
    ).scalar_one_or_none()
    if known is None or known == state:
        return None if known is None else False
    connection.execute(
        sa.update(caller_numbers)
        .where(caller_numbers.c.account_id == account_id, caller_numbers.c.phone_number == phone_number)
        .values(state=state, reason=reason, changed_at=at)
    )
    return True


def numbers(connection: sa.Connection, account_id: AccountId | None = None) -> Sequence[sa.RowMapping]:
    """The caller numbers of the account, or of all, with their account's name."""
    query = (
        sa.select(caller_numbers, accounts.c.name.label("account"))
        .join(accounts)
        .order_by(accounts.c.name, caller_numbers.c.phone_number)
    )
    if account_id is not None:
        query = query.where(caller_numbers.c.account_id == account_id)
    return connection.execute(query).mappings().all()


def use_numbers(connection: sa.Connection, account_id: AccountId, at: datetime) -> list[str]:
    """All resting caller numbers of the account may be shown again. Returns them."""
    statement = (
        sa.update(caller_numbers)
        .where(caller_numbers.c.account_id == account_id, caller_numbers.c.state == "resting")
        .values(state="in_use", reason=None, changed_at=at)
        .returning(caller_numbers.c.phone_number)
    )
    return sorted(connection.execute(statement).scalars())


def add_numbers(
    connection: sa.Connection, account_id: AccountId, countries: Mapping[str, str | None], at: datetime
) -> None:
    """Caller numbers with their countries; those that are there already stay as they are, resting ones too."""
    if not countries:
        return
    insert: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(
        insert(caller_numbers).on_conflict_do_nothing(index_elements=["account_id", "phone_number"]),
        [
            {"account_id": account_id, "phone_number": number, "country": country, "changed_at": at}
            for number, country in sorted(countries.items())
        ],
    )


def _account(row: sa.RowMapping) -> Account:
    cps: Decimal | None = row["calls_per_second"]
    options = dict(row["options"])
    return Account(
        id=AccountId(row["id"]),
        name=row["name"],
        adapter=row["adapter"],
        base_url=row["base_url"],
        api_key_ref=row["api_key_ref"],
        webhook_secret_ref=row["webhook_secret_ref"],
        options=options,
        outbound_number=row["outbound_number"],
        max_concurrent_calls=row["max_concurrent_calls"],
        rate=Rate(
            calls_per_second=None if cps is None else float(cps),
            burst=row["burst"],
            margin=float(options.get("pacing_margin", 0.02)),
        ),
        throttle=Throttle(
            factor=row["rate_factor"],
            factor_at=row["rate_factor_at"],
            not_before=row["not_before"],
            unreachable_count=row["unreachable_count"],
        ),
        rate_cursor_at=row["rate_cursor_at"],
        suspended_at=row["suspended_at"],
        suspended_reason=row["suspended_reason"],
        breaker=None if row["breaker"] is None else Breaker(row["breaker"]),
        breaker_at=row["breaker_at"],
        breaker_reason=row["breaker_reason"],
        trial_until=row["trial_until"],
        probe_at=row["probe_at"],
        probes=row["probes"],
        webhooks_missing_at=row["webhooks_missing_at"],
        timeline=row["timeline"],
        blocked_countries=dict(row["blocked_countries"]),
        stopped_at=row["stopped_at"],
        stopped_by=row["stopped_by"],
        stopped_reason=row["stopped_reason"],
    )
