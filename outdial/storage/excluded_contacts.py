"""Where the exclusion list meets the contacts: which of many are on it, and whom it takes out of the queue."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from outdial.domain.contact import ContactState
from outdial.domain.exclusions import EVERYWHERE, ExclusionScope, Reach
from outdial.domain.ids import CampaignId
from outdial.storage.contacts import PENDING, is_excluded
from outdial.storage.rows import Rows
from outdial.storage.tables import campaigns, contacts
from outdial.storage.types import BigId, Instant


class Whom(NamedTuple):
    """Whom a call would reach: a number in E.164 form, and the person whose it is, where that is known."""

    phone_number: str
    person_key: str | None = None


def among(
    connection: sa.Connection, whom: Collection[Whom], campaign_id: CampaignId, at: datetime
) -> frozenset[Whom]:
    """Those whom an exclusion in force at `at` forbids to this campaign."""
    rows, query = _among(connection.dialect.name)
    params = {**rows.params(whom), "campaign_id": campaign_id, "at": at}
    return frozenset(Whom(*row) for row in connection.execute(query, params))


def exclude_pending(
    connection: sa.Connection,
    phone_numbers: Collection[str],
    person_keys: Collection[str] = (),
    reach: Reach = EVERYWHERE,
) -> int:
    """Pending contacts with these numbers, or of these persons, become `excluded`. Returns how many."""
    if not phone_numbers and not person_keys:
        return 0
    chosen, params = _waiting(connection, phone_numbers, person_keys, reach)
    return connection.execute(_exclude_pending(chosen), params).rowcount


def count_pending(
    connection: sa.Connection,
    phone_numbers: Collection[str],
    person_keys: Collection[str] = (),
    reach: Reach = EVERYWHERE,
) -> int:
    """How many `exclude_pending` would exclude."""
    if not phone_numbers and not person_keys:
        return 0
    chosen, params = _waiting(connection, phone_numbers, person_keys, reach)
    count: int = connection.execute(_count_pending(chosen), params).scalar_one()
    return count


def persons_of(connection: sa.Connection, phone_number: str) -> list[str]:
    """The persons whose number it is, as contacts of any campaign say."""
    query = (
        sa.select(contacts.c.person_key)
        .where(contacts.c.phone_number == phone_number, contacts.c.person_key.is_not(None))
        .distinct()
        .order_by(contacts.c.person_key)
    )
    return list(connection.execute(query).scalars())


@cache
def _among(dialect: str) -> tuple[Rows, sa.Select[Any]]:
    rows = Rows(dialect, "n", {"phone_number": sa.Text, "person_key": sa.Text})
    campaign, at = sa.bindparam("campaign_id", type_=BigId), sa.bindparam("at", type_=Instant)
    number, person = rows.c.phone_number, rows.c.person_key
    return rows, sa.select(number, person).where(is_excluded(number, person, campaign, at))


class _Chosen(NamedTuple):
    """Which statement chooses the contacts: a list that is empty is not asked for."""

    dialect: str
    by_number: bool
    by_person: bool
    scope: ExclusionScope


def _waiting(
    connection: sa.Connection, phone_numbers: Collection[str], person_keys: Collection[str], reach: Reach
) -> tuple[_Chosen, dict[str, Any]]:
    chosen = _Chosen(connection.dialect.name, bool(phone_numbers), bool(person_keys), reach.scope)
    numbers, persons = _numbers(chosen.dialect), _persons(chosen.dialect)
    params: dict[str, Any] = {}
    if phone_numbers:
        params |= numbers.params((number,) for number in sorted(phone_numbers))
    if person_keys:
        params |= persons.params((key,) for key in sorted(person_keys))
    if reach.scope is ExclusionScope.CAMPAIGN:
        params["campaign"] = reach.campaign_id
    if reach.scope is ExclusionScope.WORKSPACE:
        params["workspace"] = reach.workspace_id
    return chosen, params


@cache
def _numbers(dialect: str) -> Rows:
    return Rows(dialect, "n", {"phone_number": sa.Text})


@cache
def _persons(dialect: str) -> Rows:
    return Rows(dialect, "p", {"person_key": sa.Text})


@cache
def _ids(chosen: _Chosen) -> sa.SelectBase:
    """The pending contacts' ids; one that is meant twice may come twice."""
    found = []
    if chosen.by_number:
        found.append(_ids_by(chosen, "phone_number", _numbers(chosen.dialect)))
    if chosen.by_person:
        found.append(_ids_by(chosen, "person_key", _persons(chosen.dialect)))
    return found[0] if len(found) == 1 else sa.union_all(*found)


def _ids_by(chosen: _Chosen, column: str, rows: Rows) -> sa.Select[Any]:
    meant = contacts.alias()
    query = (
        sa.select(meant.c.id)
        .join(rows.source, meant.c[column] == rows.c[column])
        .where(meant.c.state == PENDING)
    )
    if chosen.scope is ExclusionScope.CAMPAIGN:
        query = query.where(meant.c.campaign_id == sa.bindparam("campaign", type_=BigId))
    if chosen.scope is ExclusionScope.WORKSPACE:
        of_workspace = campaigns.c.workspace_id == sa.bindparam("workspace", type_=BigId)
        query = query.where(meant.c.campaign_id.in_(sa.select(campaigns.c.id).where(of_workspace)))
    return query


@cache
def _count_pending(chosen: _Chosen) -> sa.Select[Any]:
    ids = _ids(chosen).subquery()
    return sa.select(sa.func.count(sa.distinct(ids.c.id)))


@cache
def _exclude_pending(chosen: _Chosen) -> sa.Update:
    # Locked in the order of their ids, as everybody does.
    held = contacts.alias("held")
    locked = (
        sa.select(held.c.id)
        .where(held.c.id.in_(_ids(chosen)), held.c.state == PENDING)
        .order_by(held.c.id)
        .with_for_update(of=held, key_share=True)
    )
    return (
        sa.update(contacts)
        .where(contacts.c.id.in_(locked), contacts.c.state == PENDING)
        .values(state=ContactState.EXCLUDED, final_reason="exclusion_list", next_attempt_at=None)
    )
