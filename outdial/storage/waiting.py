"""Who waits in one campaign, in groups of those who are alike for every check of a call, and who has to be looked at alone.

Facts only, without a lock: what they mean is decided in the domain. A million contacts are a few dozen groups, since
what makes each of them its own case (earlier calls to the number, another contact with the same) is rare, or is asked
of them alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState
from outdial.domain.ids import AccountId, CallingZoneId, CampaignId
from outdial.domain.settle import Outcome
from outdial.storage.contacts import PENDING, busy_numbers, is_excluded
from outdial.storage.past_calls import calls_made, was_called
from outdial.storage.rows import Rows
from outdial.storage.tables import call_attempts, campaigns, contacts, imports
from outdial.storage.types import BigId, Instant

READ_AT_ONCE: Final = 5_000
# How long a call keeps its line is measured on the newest calls of all.
CALLS_MEASURED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Contacts who wait, `count` of them, with the facts that the checks ask for: a `Callee` for all of them.

    `phone_number` is any of theirs. `is_due`: at the instant that was asked about. `calls_left`: of them all together,
    not counting callbacks. `waits_elsewhere`: a campaign that comes first has the number. `may_be_capped` (their numbers
    had enough calls) and `shares_number` (with another contact of the campaign) make each of them a case of its own.
    """

    calling_zone_id: CallingZoneId
    phone_number: str
    is_excluded: bool
    is_busy: bool
    call_before: datetime | None
    consent_kind: str | None
    due_at: datetime
    is_first: bool
    waits_elsewhere: bool
    may_be_capped: bool
    may_be_blocked: bool
    shares_number: bool
    count: int
    calls_left: int

    # No check asks when and where it was given.
    @property
    def consent_at(self) -> None:
        return None

    @property
    def consent_source(self) -> None:
        return None

    @property
    def is_alone(self) -> bool:
        return self.may_be_capped or self.may_be_blocked or self.shares_number


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked about whom. `asked_at`: by zone, when its contacts may be called at the earliest.

    `fewest_calls`: by zone, how many calls to a number since `calls_since` may cap it; where none is given, none does.
    `open_elsewhere`: of the campaigns that have a number before this one, the zones that may be called now. `dial_only`:
    the only numbers that may be called; empty: all. `blocked_prefixes`: how numbers begin (`+39`) that the account may not
    call, perhaps: in `open_zones`, those that ever open, such numbers are looked at alone.
    """

    campaign_id: CampaignId
    at: datetime
    asked_at: Mapping[CallingZoneId, datetime]
    calls_since: datetime | None
    open_zones: Collection[CallingZoneId]
    fewest_calls: Mapping[CallingZoneId, int]
    open_elsewhere: Sequence[tuple[CampaignId, CallingZoneId]]
    blocked_prefixes: Sequence[str]
    max_attempts: int
    has_unique_numbers: bool
    dial_only: Collection[str]


@contextmanager
def room_for_large_reads(connection: sa.Connection) -> Iterator[None]:
    """Inside, statements over a whole list may take their time, and the memory that keeps them off the disk.

    Afterwards the transaction, which may be a host's, is as it was.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    shown = (sa.func.current_setting(name).label(name) for name in LARGE_READS)
    before = connection.execute(sa.select(*shown)).mappings().one()
    _set_locally(connection, LARGE_READS)
    yield
    # Not after an error: the end of the transaction, or of the savepoint, does it then.
    _set_locally(connection, before)


def groups(connection: sa.Connection, question: Question) -> list[Waiting]:
    """Everybody who waits, in groups; of those who are to be looked at alone, only how many they are."""
    rows, facts = _facts(connection.dialect.name, question)
    counted = facts.subquery("facts")
    keys = [counted.c[name] for name in KEYS]
    query: sa.Select[Any] = sa.select(
        *keys,
        sa.func.min(counted.c.phone_number).label("phone_number"),
        sa.func.min(counted.c.call_before).label("call_before"),
        sa.func.min(counted.c.due_at).label("due_at"),
        sa.func.count().label("contacts"),
        sa.func.sum(counted.c.calls_left).label("calls_left"),
    ).group_by(*keys)
    return [
        _waiting(row) for row in connection.execute(query, _params(rows, question, connection.dialect.name))
    ]


def alone(connection: sa.Connection, question: Question) -> Iterator[list[Waiting]]:
    """Those whom `groups` says to look at one by one, in batches, each a `Waiting` of its own."""
    rows, facts = _facts(connection.dialect.name, question)
    seen = facts.subquery("facts")
    query: sa.Select[Any] = sa.select(seen, sa.literal(1).label("contacts")).where(
        sa.or_(seen.c.may_be_capped, seen.c.may_be_blocked, seen.c.shares_number)
    )
    options = {"stream_results": True, "yield_per": READ_AT_ONCE}
    found = connection.execute(
        query, _params(rows, question, connection.dialect.name), execution_options=options
    )
    for batch in found.partitions():
        yield [_waiting(row) for row in batch]


def standing(
    connection: sa.Connection, campaign_id: CampaignId
) -> dict[tuple[ContactState, str | None], int]:
    """How many contacts stand where, and why if that is final. Those of test calls are left out."""
    keys = (contacts.c.state, contacts.c.final_reason)
    query = (
        sa.select(*keys, sa.func.count())
        .where(contacts.c.campaign_id == campaign_id, ~contacts.c.is_test)
        .group_by(*keys)
    )
    return {(ContactState(row[0]), row[1]): row[2] for row in connection.execute(query)}


def rejected_rows(connection: sa.Connection, campaign_id: CampaignId) -> int:
    """Rows of imported files of which no contact could be made; of a file that was read again, only the last time."""
    query = (
        sa.select(imports.c.checksum, imports.c.id, imports.c.counts)
        .where(imports.c.campaign_id == campaign_id, imports.c.withdrawn_at.is_(None))
        .order_by(imports.c.id)
    )
    last = {row.checksum or row.id: row.counts.get("rejected", 0) for row in connection.execute(query)}
    return sum(last.values())


def running(connection: sa.Connection, at: datetime) -> dict[CampaignId, int]:
    """The campaigns of all accounts that run and have begun, with their priorities."""
    query = sa.select(campaigns.c.id, campaigns.c.priority).where(
        campaigns.c.status == CampaignStatus.RUNNING,
        sa.or_(campaigns.c.starts_at.is_(None), campaigns.c.starts_at <= at),
        sa.or_(campaigns.c.ends_at.is_(None), campaigns.c.ends_at > at),
    )
    return {CampaignId(row.id): row.priority for row in connection.execute(query)}


def held_seconds(
    connection: sa.Connection, campaign_id: CampaignId, account_id: AccountId
) -> tuple[list[float], list[float]]:
    """For how long the campaign's last calls, and its account's, kept their lines. Test calls are left out."""
    newest = (
        sa.select(call_attempts)
        .where(call_attempts.c.account_id == account_id)
        .order_by(call_attempts.c.id.desc())
        .limit(CALLS_MEASURED)
        .subquery("newest")
    )
    query = (
        sa.select(newest.c.campaign_id, newest.c.sent_at, newest.c.ended_at)
        .join_from(newest, contacts, contacts.c.id == newest.c.contact_id)
        .where(
            newest.c.sent_at.is_not(None),
            newest.c.ended_at.is_not(None),
            sa.func.coalesce(newest.c.outcome, "") != Outcome.NOT_PLACED,
            ~contacts.c.is_test,
        )
    )
    rows = connection.execute(query).all()
    seconds = [(row.campaign_id, max(0.0, (row.ended_at - row.sent_at).total_seconds())) for row in rows]
    return [held for whose, held in seconds if whose == campaign_id], [held for _, held in seconds]


LARGE_READS: Final = {"statement_timeout": "120s", "work_mem": "64MB"}


def _set_locally(connection: sa.Connection, settings: Mapping[Any, str]) -> None:
    # True: until the transaction ends.
    connection.execute(
        sa.select(*(sa.func.set_config(name, value, True) for name, value in settings.items()))
    )


KEYS: Final = (
    "calling_zone_id",
    "is_due",
    "is_overdue",
    "may_be_dialed",
    "is_excluded",
    "consent_kind",
    "is_busy",
    "is_first",
    "may_be_capped",
    "may_be_blocked",
    "shares_number",
    "waits_elsewhere",
)


def _facts(dialect: str, question: Question) -> tuple[Rows, sa.Select[Any]]:
    """One row for each contact who waits. Built anew each time: what need not be asked is not in it."""
    places = Rows(
        dialect,
        "z",
        {"calling_zone_id": BigId, "asked_at": Instant, "fewest_calls": sa.Integer, "is_open": sa.Boolean},
    )
    source: Any = contacts.join(places.source, places.c.calling_zone_id == contacts.c.calling_zone_id)
    busy = busy_numbers().subquery("busy")
    source = source.outerjoin(busy, busy.c.phone_number == contacts.c.phone_number)
    shares_number: sa.ColumnElement[bool] = sa.false()
    if not question.has_unique_numbers:
        shared = _shared_numbers(question.campaign_id)
        source = source.outerjoin(shared, shared.c.phone_number == contacts.c.phone_number)
        shares_number = shared.c.phone_number.is_not(None)
    waits_elsewhere: sa.ColumnElement[bool] = sa.false()
    if question.open_elsewhere:
        elsewhere = _numbers_elsewhere(dialect, question)
        source = source.outerjoin(elsewhere, elsewhere.c.phone_number == contacts.c.phone_number)
        waits_elsewhere = elsewhere.c.phone_number.is_not(None)
    number, since = contacts.c.phone_number, question.calls_since
    at = sa.literal(question.at, Instant)
    left = question.max_attempts - contacts.c.attempts_count
    query: sa.Select[Any] = (
        sa.select(
            contacts.c.calling_zone_id,
            number,
            contacts.c.call_before,
            contacts.c.next_attempt_at.label("due_at"),
            (contacts.c.next_attempt_at <= places.c.asked_at).label("is_due"),
            sa.func.coalesce(contacts.c.call_before <= places.c.asked_at, sa.false()).label("is_overdue"),
            (number.in_(sorted(question.dial_only)) if question.dial_only else sa.true()).label(
                "may_be_dialed"
            ),
            # The campaign and the instant as constants: Postgres then reads the exclusions once, not once a contact.
            is_excluded(number, contacts.c.person_key, sa.literal(question.campaign_id, BigId), at).label(
                "is_excluded"
            ),
            contacts.c.consent_kind,
            busy.c.phone_number.is_not(None).label("is_busy"),
            (contacts.c.attempts_count == 0).label("is_first"),
            (sa.false() if since is None else _had_calls(places, since)).label("may_be_capped"),
            sa.and_(
                places.c.is_open == sa.true(),
                sa.or_(sa.false(), *(number.startswith(one) for one in question.blocked_prefixes)),
            ).label("may_be_blocked"),
            shares_number.label("shares_number"),
            waits_elsewhere.label("waits_elsewhere"),
            sa.case((left < 1, 1), else_=left).label("calls_left"),
        )
        .select_from(source)
        .where(contacts.c.campaign_id == question.campaign_id, contacts.c.state == PENDING)
    )
    return places, query


def _params(places: Rows, question: Question, dialect: str) -> dict[str, Any]:
    asked = [
        (one, asked_at, question.fewest_calls.get(one), one in question.open_zones)
        for one, asked_at in sorted(question.asked_at.items())
    ]
    elsewhere = _open_elsewhere(dialect).params(sorted(question.open_elsewhere))
    return {**places.params(asked), **(elsewhere if question.open_elsewhere else {})}


def _open_elsewhere(dialect: str) -> Rows:
    return Rows(dialect, "e", {"campaign_id": BigId, "calling_zone_id": BigId})


def _had_calls(places: Rows, since: datetime) -> sa.ColumnElement[bool]:
    """Whether the number had enough calls to be capped. One call is asked about first: that is a cheap question."""
    number, fewest = contacts.c.phone_number, places.c.fewest_calls
    return sa.case(
        (fewest.is_(None), sa.false()),
        (~was_called(number, since), sa.false()),
        (fewest <= 1, sa.true()),
        else_=calls_made(number, since) >= fewest,
    )


def _shared_numbers(campaign_id: CampaignId) -> sa.Subquery:
    """Which stand in the campaign more than once."""
    return (
        sa.select(contacts.c.phone_number)
        .where(contacts.c.campaign_id == campaign_id, contacts.c.state == PENDING)
        .group_by(contacts.c.phone_number)
        .having(sa.func.count() > 1)
        .subquery("shared")
    )


def _numbers_elsewhere(dialect: str, question: Question) -> sa.Subquery:
    """Which are due in a campaign that comes first. A join, so that the database begins with whichever list is short."""
    mine, other = contacts.alias("mine"), contacts.alias("other")
    open_there = _open_elsewhere(dialect)
    is_open = sa.and_(
        open_there.c.campaign_id == other.c.campaign_id,
        open_there.c.calling_zone_id == other.c.calling_zone_id,
    )
    return (
        sa.select(mine.c.phone_number)
        .join_from(mine, other, other.c.phone_number == mine.c.phone_number)
        .join(open_there.source, is_open)
        .where(
            mine.c.campaign_id == question.campaign_id,
            mine.c.state == PENDING,
            other.c.state == PENDING,
            other.c.next_attempt_at <= sa.literal(question.at, Instant),
        )
        .distinct()
        .subquery("elsewhere")
    )


def _waiting(row: sa.Row[Any]) -> Waiting:
    # By name and without a loop: there may be hundreds of thousands.
    return Waiting(
        calling_zone_id=row.calling_zone_id,
        phone_number=row.phone_number,
        is_excluded=bool(row.is_excluded),
        is_busy=bool(row.is_busy),
        call_before=row.call_before,
        consent_kind=row.consent_kind,
        due_at=row.due_at,
        is_first=bool(row.is_first),
        waits_elsewhere=bool(row.waits_elsewhere),
        may_be_capped=bool(row.may_be_capped),
        may_be_blocked=bool(row.may_be_blocked),
        shares_number=bool(row.shares_number),
        count=row.contacts,
        calls_left=int(row.calls_left),
    )
