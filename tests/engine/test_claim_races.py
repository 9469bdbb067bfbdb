"""Claims at once, over real connections. Postgres only: SQLite lets one writer in at a time."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from outdial.clock import SystemClock
from outdial.domain.attempt import Ending, EventKind
from outdial.domain.contact import ContactState, Stage
from outdial.domain.ids import AccountId, CallId, CallingZoneId, CampaignId, WorkerId
from outdial.domain.permit import Reason
from outdial.domain.retries import RetryPolicy
from outdial.domain.rules import RuleBook
from outdial.engine.claim import Claimed, ClaimSettings, claim
from outdial.engine.definitions import Definitions
from outdial.files.rule_file import parse_rules
from outdial.storage import buckets, workers
from outdial.storage.database import database_now
from outdial.storage.tables import buckets as bucket_table, call_attempts, contacts
from tests.support.world import RecordingProvider, World, event, number

THREADS = 4
SETTINGS = ClaimSettings(batch_size=25, scheduler_time_zone="UTC", new_call_id=lambda: CallId(str(uuid4())))


@pytest.fixture
def world(postgres_url: str) -> Iterator[World]:
    made = World(postgres_url)
    yield made
    made.close()


@pytest.fixture
def worker(world: World) -> WorkerId:
    return world.database.run(lambda c: workers.start(c, "test", database_now(c)))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool


def claim_once(world: World, account_id: AccountId, worker: WorkerId) -> Claimed:
    return world.database.run(claim, account_id, worker, str(uuid4()), SETTINGS, world.known, SystemClock())


def at_once(threads: ThreadPoolExecutor, bodies: Sequence[Callable[[], object]]) -> None:
    """Begin all together; raises what any of them raised."""
    start = threading.Barrier(len(bodies))

    def run(body: Callable[[], object]) -> None:
        start.wait()
        body()

    for done in [threads.submit(run, body) for body in bodies]:
        done.result()


def open_calls(world: World) -> Sequence[sa.Row[tuple[str, str]]]:
    with world.database.begin() as connection:
        query = sa.select(call_attempts.c.call_id, call_attempts.c.campaign_id)
        return connection.execute(query.where(call_attempts.c.ended_at.is_(None))).all()


def test_claims_at_once_fill_the_lines_and_never_pass_them(
    world: World, worker: WorkerId, threads: ThreadPoolExecutor
) -> None:
    lines, chance = 5, random.Random(1)
    world.set_account(max_concurrent_calls=lines)
    world.add_contacts(world.add_campaign(), map(number, range(1000)))
    for _ in range(15):
        at_once(threads, [lambda: claim_once(world, world.account_id, worker)] * THREADS)
        calls = open_calls(world)
        assert len(calls) == lines
        ended = chance.sample(calls, chance.randint(1, lines))
        world.hear(*(event(EventKind.ENDED, call.call_id, ending=Ending.BUSY) for call in ended))


def test_claims_at_once_never_pass_a_campaigns_own_limit(
    world: World, worker: WorkerId, threads: ThreadPoolExecutor
) -> None:
    small = world.add_campaign("small", max_concurrent_calls=3)
    large = world.add_campaign("large")
    world.add_contacts(small, map(number, range(500)))
    world.add_contacts(large, map(number, range(500, 1000)))
    for _ in range(10):
        at_once(threads, [lambda: claim_once(world, world.account_id, worker)] * THREADS)
        calls = open_calls(world)
        assert Counter(call.campaign_id for call in calls)[small] == 3
        world.hear(*(event(EventKind.ENDED, call.call_id, ending=Ending.BUSY) for call in calls))


def test_passes_at_once_never_send_more_calls_than_there_are_lines(
    world: World, threads: ThreadPoolExecutor
) -> None:
    world.set_account(max_concurrent_calls=7)
    world.add_contacts(world.add_campaign(), map(number, range(200)))
    provider = RecordingProvider()
    at_once(threads, [lambda: world.run_pass(provider)] * THREADS)
    assert len(provider.requests) == len({request.to for request in provider.requests}) == 7


def test_claims_at_once_never_share_a_slot(
    world: World, worker: WorkerId, threads: ThreadPoolExecutor
) -> None:
    world.set_account(calls_per_second=100)
    world.add_contacts(world.add_campaign(), map(number, range(500)))
    at_once(threads, [lambda: claim_once(world, world.account_id, worker)] * THREADS)
    slots = sorted(attempt["dial_at"] for attempt in world.attempts())
    assert slots
    assert min(later - earlier for earlier, later in itertools.pairwise(slots)) >= timedelta(milliseconds=10)


def test_a_number_that_two_accounts_claim_at_once_gets_one_call(
    world: World, worker: WorkerId, threads: ThreadPoolExecutor
) -> None:
    owners = [world.account_id, world.add_account("other")]
    campaigns = [world.add_campaign(f"of {owner}", account_id=owner) for owner in owners]
    for turn in range(10):
        numbers = [number(turn * 10 + index) for index in range(10)]
        for campaign in campaigns:
            world.add_contacts(campaign, random.Random(turn + campaign).sample(numbers, 10))
        at_once(threads, [lambda o=owner: claim_once(world, o, worker) for owner in owners])
        called = [attempt["phone_number"] for attempt in world.attempts()][-10:]
        assert sorted(called) == sorted(numbers)
    assert len(world.attempts()) == 100
    assert world.contacts_in(ContactState.PENDING) == 100


# Whether a bucket's hint is ever later than one of those who wait in it.


def pending_whom_no_hint_announces(world: World) -> int:
    announced = sa.and_(
        *(
            bucket_table.c[name] == contacts.c[name]
            for name in ("campaign_id", "calling_zone_id", "priority", "stage")
        ),
        bucket_table.c.next_due_at <= contacts.c.next_attempt_at,
    )
    query = (
        sa.select(sa.func.count())
        .select_from(contacts)
        .where(contacts.c.state == ContactState.PENDING, ~sa.exists().where(announced))
    )
    with world.database.begin() as connection:
        return connection.execute(query).scalar_one()


@pytest.mark.parametrize("seed", range(2))
def test_no_hint_is_late_after_any_interleaving(
    world: World, worker: WorkerId, threads: ThreadPoolExecutor, seed: int
) -> None:
    campaign = world.add_campaign(retry=RetryPolicy(max_attempts=5, default_delay=timedelta(milliseconds=20)))
    numbers = iter(range(1_000_000))

    def add(chance: random.Random) -> None:
        due_in = timedelta(milliseconds=chance.randint(-50, 50))
        count = chance.randint(1, 3)
        world.add_contacts(campaign, [number(next(numbers)) for _ in range(count)], due_in=due_in)

    def settle(chance: random.Random) -> None:
        calls = open_calls(world)
        ended = chance.sample(calls, min(len(calls), chance.randint(0, 5)))
        world.hear(*(event(EventKind.ENDED, call.call_id, ending=Ending.BUSY) for call in ended))

    def over_and_over(body: Callable[[random.Random], object], thread: int, times: int) -> None:
        chance = random.Random(seed * 10 + thread)
        for _ in range(times):
            body(chance)

    def claim_it(_: random.Random) -> Claimed:
        return claim_once(world, world.account_id, worker)

    at_once(
        threads,
        [
            lambda: over_and_over(add, 1, 40),
            lambda: over_and_over(settle, 2, 40),
            lambda: over_and_over(claim_it, 3, 60),
            lambda: over_and_over(claim_it, 4, 60),
        ],
    )
    assert pending_whom_no_hint_announces(world) == 0


class Bucketful:
    """One bucket whose only contact is due in an hour, and a claim that has read its hint."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.campaign: CampaignId = world.add_campaign()
        world.add_contacts(self.campaign, [number(1)], due_in=timedelta(hours=1))

    def add_due_now(self) -> None:
        self.world.add_contacts(self.campaign, [number(2)])

    def read(self, connection: sa.Connection) -> Sequence[buckets.Bucket]:
        return buckets.waiting(connection, {self.campaign: "facts"}, datetime.now(UTC), 10).to_ask


@pytest.fixture
def bucketful(world: World) -> Bucketful:
    return Bucketful(world)


def test_a_claim_keeps_the_hint_of_who_came_after_it_had_read(world: World, bucketful: Bucketful) -> None:
    with world.database.begin() as claiming:
        read = bucketful.read(claiming)
        bucketful.add_due_now()
        buckets.refresh(claiming, read)
    assert pending_whom_no_hint_announces(world) == 0


def test_a_claim_keeps_the_hint_of_who_is_just_coming(world: World, bucketful: Bucketful) -> None:
    with world.database.begin() as adding:
        (bucket,) = bucketful.read(adding)
        key = (bucket.campaign_id, bucket.calling_zone_id, bucket.priority, bucket.stage)
        due_at = datetime.now(UTC)
        adding.execute(sa.insert(contacts).values(**columns_of(bucketful.campaign, key[1], due_at)))
        buckets.add_due(adding, [(*key, due_at)])
        with world.database.begin() as claiming:
            buckets.refresh(claiming, bucketful.read(claiming))
    assert pending_whom_no_hint_announces(world) == 0


def test_who_is_announced_after_a_claim_has_read_the_hint_brings_it_forward(
    world: World, bucketful: Bucketful
) -> None:
    with world.database.begin() as adding:
        (bucket,) = bucketful.read(adding)
        key = (bucket.campaign_id, bucket.calling_zone_id, bucket.priority, bucket.stage)
        due_at = datetime.now(UTC)
        adding.execute(sa.insert(contacts).values(**columns_of(bucketful.campaign, key[1], due_at)))
        with world.database.begin() as claiming:
            buckets.refresh(claiming, bucketful.read(claiming))
        buckets.add_due(adding, [(*key, due_at)])
    assert pending_whom_no_hint_announces(world) == 0


def test_an_empty_bucket_is_no_longer_read(world: World, worker: WorkerId, bucketful: Bucketful) -> None:
    bucketful.add_due_now()
    world.make_due()
    claim_once(world, world.account_id, worker)
    with world.database.begin() as connection:
        assert not bucketful.read(connection)


def columns_of(campaign: CampaignId, zone: CallingZoneId, due_at: datetime) -> dict[str, object]:
    return {
        "campaign_id": campaign,
        "identity_key": "tel:2",
        "phone_number": number(2),
        "calling_zone_id": zone,
        "stage": int(Stage.FIRST),
        "next_attempt_at": due_at,
        "created_at": due_at,
        "attributes": {},
    }


# Caps: counted before the insert, two accounts could both pass one.

ONE_A_DAY = """
format = 1

[[rule]]
id = "house"
version = 1
purposes = ["survey"]
windows = [{ days = ["mon-sun"], start = "00:00", end = "24:00" }]
holidays = "open"
caps = [{ max_calls = 1, hours = 24, counts = "attempts" }]
source = "the house"
as_of = "2026-01-01"
confidence = "high"
"""


def call_over(connection: sa.Connection, call_id: CallId) -> None:
    """The call was sent, has ended and is settled: its number is free again."""
    at = database_now(connection)
    ended = {"sent_at": at, "state": "ended", "ended_at": at, "settled_at": at, "outcome": "no_answer"}
    connection.execute(sa.update(call_attempts).where(call_attempts.c.call_id == call_id).values(**ended))


def test_a_whole_call_of_another_account_between_count_and_insert_counts(
    world: World, worker: WorkerId
) -> None:
    book = RuleBook(parse_rules(ONE_A_DAY, "rules.toml"))
    world.known = Definitions(rule_books=lambda: book)
    other = world.add_account("other")
    for owner in (world.account_id, other):
        campaign = world.add_campaign(f"of {owner}", account_id=owner, calling_rule="house")
        world.add_contacts(campaign, [number(1)])
    overtaking: list[Claimed] = []

    def overtake(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO call_attempts") and not overtaking:
            overtaking.append(Claimed())
            claimed = claim_once(world, other, worker)
            overtaking.append(claimed)
            world.database.run(call_over, claimed.calls[0].call_id)

    sa.event.listen(world.engine, "before_cursor_execute", overtake)
    overtaken = claim_once(world, world.account_id, worker)
    assert len(overtaking[-1].calls) == 1
    assert not overtaken.calls
    assert len(world.attempts()) == 1
    # Looked at again, the contact waits for the cap.
    world.make_due()
    assert claim_once(world, world.account_id, worker).skipped == {Reason.CAPPED: 1}


@pytest.mark.parametrize("seed", range(2))
def test_claims_of_many_accounts_at_once_never_pass_a_cap(
    world: World, worker: WorkerId, threads: ThreadPoolExecutor, seed: int
) -> None:
    book = RuleBook(parse_rules(ONE_A_DAY.replace("max_calls = 1", "max_calls = 2"), "rules.toml"))
    world.known = Definitions(rule_books=lambda: book)
    owners = [world.account_id, *(world.add_account(f"account {index}") for index in range(THREADS - 1))]
    numbers = [number(index) for index in range(8)]
    for owner in owners:
        campaign = world.add_campaign(f"of {owner}", account_id=owner, calling_rule="house")
        world.add_contacts(campaign, random.Random(seed + owner).sample(numbers, len(numbers)))
    called: Counter[str] = Counter()

    def claim_and_call(owner: AccountId) -> None:
        for call in claim_once(world, owner, worker).calls:
            called[call.contact.phone_number] += 1
            world.database.run(call_over, call.call_id)

    for _ in range(6):
        world.make_due()
        at_once(threads, [lambda o=owner: claim_and_call(o) for owner in owners])
    assert max(called.values()) <= 2
    assert sum(called.values()) > len(numbers)
