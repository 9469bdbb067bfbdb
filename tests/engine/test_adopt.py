"""Calls that a provider lists and the database does not know: whose they are, and that each is written down once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from outdial.domain.attempt import CallEvent, Ending, EventKind, Origin, Source
from outdial.domain.audit import Check
from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState
from outdial.domain.errors import CannotList, InDoubt, RateLimited
from outdial.domain.fences import Fence
from outdial.domain.ids import CallId, ContactId, ProviderCallId
from outdial.domain.retries import RetryPolicy
from outdial.engine.adopt import Adopted, adopt_calls, adopt_unknown, confirm
from outdial.engine.transactions import Transactions
from outdial.files.rule_file import load_rule_book
from outdial.operations import doctor, recovery, why
from outdial.operations.audit import Asked, audit
from outdial.operations.audit_report import Report
from outdial.storage.tables import call_attempts, exclusion_list_entries
from outdial.telephony.caller import caller_for
from outdial.telephony.protocol import CallPage, ListedCall
from outdial.telephony.transport import AsyncTransport
from tests.support.excluded import exclude_numbers
from tests.support.world import RecordingProvider, World, number, refusing

NOW = datetime.now(UTC)
AGO = timedelta(minutes=20)
RETRY = RetryPolicy(max_attempts=3, default_delay=timedelta(hours=1))


def since_just_now() -> timedelta:
    return NOW - datetime.now(UTC)


def listed(
    name: str,
    to: str = number(1),
    *,
    kind: EventKind = EventKind.ENDED,
    age: timedelta = AGO,
    call_id: str | None = None,
    contact: ContactId | None = None,
    **facts: Any,
) -> ListedCall:
    """A call of that name at the provider; over after a minute, unless `kind` says otherwise."""
    started_at = NOW - age
    if kind is EventKind.ENDED:
        facts = {"ending": Ending.NO_ANSWER, **facts}
    event = CallEvent(
        kind=kind,
        event_id=f"lookup-{name}",
        at=started_at + timedelta(minutes=1),
        call_id=None if call_id is None else CallId(call_id),
        provider_call_id=ProviderCallId(name),
        source=Source.LOOKUP,
        **facts,
    )
    named = None if contact is None else str(contact)
    origin = Origin(to=to, from_number="+390612345678", contact_id=named, started_at=started_at)
    return ListedCall(event=event, origin=origin)


class ListingProvider(RecordingProvider):
    """A provider that lists `calls`, two on a page."""

    def __init__(self, *calls: ListedCall) -> None:
        super().__init__()
        self.calls: Sequence[ListedCall] = calls
        self.error: Exception | None = None
        self.fails_often = 0

    def list_calls(self, since: datetime, page: str | None) -> CallPage:
        if self.error is not None:
            raise self.error
        if self.fails_often and page is not None:
            self.fails_often -= 1
            raise RateLimited("too fast")
        begin = int(page or 0)
        left = begin + 2 < len(self.calls)
        return CallPage(calls=self.calls[begin : begin + 2], next_page=str(begin + 2) if left else None)


def take_in(
    world: World,
    provider: RecordingProvider,
    *,
    awaits_confirmation: bool = False,
    since: timedelta = 2 * AGO,
) -> Adopted:
    caller = caller_for(provider, AsyncTransport(), None)
    return asyncio.run(
        adopt_calls(
            Transactions(world.database),
            world.account_id,
            caller,
            NOW - since,
            world.known,
            because="test",
            awaits_confirmation=awaits_confirmation,
        )
    )


def counts(result: Adopted) -> tuple[int, int, int, int]:
    return result.listed, result.known, result.adopted, result.strangers


def test_an_unknown_call_becomes_an_attempt_with_the_times_of_the_call(world: World) -> None:
    (contact,) = world.add_contacts(world.add_campaign(retry=RETRY), [number(1)])
    assert counts(take_in(world, ListingProvider(listed("P1", call_id="ours", contact=contact)))) == (
        1,
        0,
        1,
        0,
    )
    (row,) = world.attempts()
    assert (row["call_id"], row["provider_call_id"], row["outcome"]) == ("ours", "P1", "no_answer")
    ended_at = NOW - AGO + timedelta(minutes=1)
    assert abs(row["ended_at"] - ended_at) < timedelta(seconds=1)
    assert row["permit"]["restored"]["found_by"] == "contact_id"
    shown = world.contact(contact)
    assert (shown["state"], shown["attempts_count"]) == (ContactState.PENDING, 1)
    assert abs(shown["next_attempt_at"] - ended_at - timedelta(hours=1)) < timedelta(seconds=1)


def test_taking_in_twice_or_at_once_writes_a_call_down_once(world: World) -> None:
    world.add_contacts(world.add_campaign(), map(number, range(6)))
    provider = ListingProvider(*(listed(f"P{n}", number(n)) for n in range(6)))
    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(lambda _: take_in(world, provider), range(3)))
    assert sum(one.adopted for one in results) == 6
    assert len(world.attempts()) == 6
    assert counts(take_in(world, provider)) == (6, 6, 0, 0)


def test_a_call_to_a_number_of_nobody_is_told_and_not_written(world: World) -> None:
    elsewhere = world.add_campaign("b", account_id=world.add_account("second"), account="second")
    world.add_contacts(elsewhere, [number(1)])
    assert counts(take_in(world, ListingProvider(listed("P1")))) == (1, 0, 0, 1)
    assert not world.attempts()


def test_what_began_before_the_instant_is_left_out(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    assert counts(take_in(world, ListingProvider(listed("P1")), since=AGO / 2)) == (0, 0, 0, 0)


def test_an_id_that_another_person_has_by_now_is_no_proof(world: World) -> None:
    somebody, called = world.add_contacts(world.add_campaign(), [number(2), number(1)])
    take_in(world, ListingProvider(listed("P1", number(1), contact=somebody)))
    (row,) = world.attempts()
    assert row["contact_id"] == called


def test_of_several_contacts_the_one_of_a_running_campaign_whose_turn_was_first(world: World) -> None:
    draft = world.add_campaign("draft", status=CampaignStatus.DRAFT)
    world.add_contacts(draft, [number(1)], due_in=-timedelta(days=3))
    over = {"state": ContactState.COMPLETED, "next_attempt_at": None}
    world.add_contacts(world.add_campaign("over"), [number(1)], **over)
    (later,) = world.add_contacts(world.add_campaign("later"), [number(1)])
    (first,) = world.add_contacts(world.add_campaign("first"), [number(1)], due_in=-timedelta(days=1))
    # The second call to the number is the other one's turn.
    take_in(world, ListingProvider(listed("P1"), listed("P2", age=AGO / 2)))
    assert [row["contact_id"] for row in world.attempts()] == [first, later]


def test_several_calls_to_one_person_are_all_written_in_their_order(world: World) -> None:
    (contact,) = world.add_contacts(world.add_campaign(retry=RETRY), [number(1)])
    calls = [listed(f"P{n}", age=AGO - timedelta(minutes=3 * n)) for n in range(3)]
    take_in(world, ListingProvider(*reversed(calls)))
    rows = world.attempts()
    assert [row["provider_call_id"] for row in rows] == ["P0", "P1", "P2"]
    assert [row["attempt_number"] for row in rows] == [1, 2, 3]
    assert {row["outcome"] for row in rows} == {"no_answer"}
    assert world.contact(contact)["state"] == ContactState.NOT_REACHED


def test_an_open_call_holds_its_line_and_its_number(world: World) -> None:
    (contact,) = world.add_contacts(world.add_campaign(), [number(1)])
    provider = ListingProvider(listed("P1", kind=EventKind.ANSWERED))
    assert take_in(world, provider).still_open == 1
    world.make_due()
    assert not world.run_pass(provider).scheduled
    assert world.contact(contact)["state"] == ContactState.IN_PROGRESS
    (row,) = world.attempts()
    assert (row["state"], row["ended_at"]) == ("answered", None)


def test_a_known_call_is_moved_on_by_what_the_list_says(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    provider = ListingProvider()
    (made,) = world.run_pass(provider).scheduled
    ended = {"ending": Ending.ANSWERED, "result": "refused"}
    provider.calls = [listed(f"P-{made.call_id}", call_id=made.call_id, age=since_just_now(), **ended)]
    assert counts(take_in(world, provider)) == (1, 1, 0, 0)
    assert world.attempts()[0]["outcome"] == "refused"


def test_a_call_in_doubt_is_not_written_a_second_time_where_no_id_of_ours_is_kept(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    provider = ListingProvider()
    provider.answer = refusing(InDoubt("time-out"))
    world.run_pass(provider)
    provider.calls = [listed("P1", age=since_just_now())]
    assert counts(take_in(world, provider)) == (1, 1, 0, 0)
    (row,) = world.attempts()
    assert (row["provider_call_id"], row["outcome"]) == ("P1", "no_answer")


def test_a_call_beside_another_to_its_number_has_a_row_too(world: World) -> None:
    """The other is settled later and decides about the contact; this one is what the provider says it is."""
    (contact,) = world.add_contacts(world.add_campaign(), [number(1)])
    provider = ListingProvider()
    world.run_pass(provider)
    provider.calls = [listed("P1", call_id="lost", ending=Ending.BUSY)]
    assert counts(take_in(world, provider)) == (1, 0, 1, 0)
    open_one, lost = world.attempts()
    assert (open_one["settled_at"], lost["outcome"]) == (None, "busy")
    assert world.contact(contact)["state"] == ContactState.IN_PROGRESS


@pytest.mark.parametrize(("error", "can_list"), [(CannotList("no list"), False), (InDoubt("time-out"), True)])
def test_a_provider_that_gives_no_list_says_why(world: World, error: Exception, can_list: bool) -> None:
    provider = ListingProvider()
    provider.error = error
    result = take_in(world, provider)
    assert (result.why_not, result.can_list) == (str(error), can_list)
    without = take_in(world, RecordingProvider())
    assert not without.can_list


def test_a_page_that_fails_for_a_moment_is_asked_for_again(world: World) -> None:
    world.add_contacts(world.add_campaign(), map(number, range(3)))
    provider = ListingProvider(*(listed(f"P{n}", number(n)) for n in range(3)))
    provider.fails_often = 2
    assert counts(take_in(world, provider)) == (3, 0, 3, 0)


def test_after_a_failover_every_account_is_asked(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    callers = {world.account_id: caller_for(ListingProvider(listed("P1")), AsyncTransport(), None)}
    transactions = Transactions(world.database)
    found = asyncio.run(adopt_unknown(transactions, callers, NOW - 2 * AGO, world.known))
    assert found[world.account_id].adopted == 1
    assert world.attempts()[0]["permit"]["restored"]["because"] == "failover"


def test_what_awaits_a_person_is_not_settled_and_not_called_before(world: World) -> None:
    (contact,) = world.add_contacts(world.add_campaign(retry=RETRY), [number(1)])
    provider = ListingProvider(listed("P1"))
    take_in(world, provider, awaits_confirmation=True)
    for _ in range(2):
        world.make_due()
        assert not world.run_pass(provider).scheduled
    (row,) = world.attempts()
    assert row["ended_at"] is not None
    assert (row["settled_at"], row["settle_at"]) == (None, None)
    assert world.contact(contact)["state"] == ContactState.IN_PROGRESS
    (said,) = world.database.run(why.why, number(1), why.Asked(book=load_rule_book(None)))
    assert "db recover --confirm" in said.sentence
    found = world.database.run(lambda c: list(doctor.check_installation(c, Fence(), lambda _: None, None)))
    (check,) = [one for one in found if one.name == "restore"]
    assert (check.verdict, check.says[:7]) == ("warn", "1 calls")
    waiting = world.database.run(recovery.awaiting)
    assert (waiting.attempts, waiting.still_open) == (1, 0)
    assert world.database.run(confirm, world.known, 10) == 1
    assert world.database.run(confirm, world.known, 10) == 0
    assert world.attempts()[0]["outcome"] == "no_answer"
    assert world.contact(contact)["state"] == ContactState.PENDING


def test_a_result_that_comes_late_is_kept_for_the_confirmation(world: World) -> None:
    (contact,) = world.add_contacts(world.add_campaign(), [number(1)])
    take_in(world, ListingProvider(listed("P1", ending=Ending.ANSWERED)), awaits_confirmation=True)
    said = CallEvent(
        kind=EventKind.RESULT,
        event_id="late",
        at=NOW,
        provider_call_id=ProviderCallId("P1"),
        result="refused",
    )
    world.hear(said)
    assert world.contact(contact)["state"] == ContactState.IN_PROGRESS
    world.database.run(confirm, world.known, 10)
    assert world.contact(contact)["state"] == ContactState.REFUSED


def test_what_was_open_at_the_backup_awaits_a_person_too(world: World) -> None:
    (contact,) = world.add_contacts(world.add_campaign(retry=RETRY), [number(1)])
    provider = ListingProvider()
    (made,) = world.run_pass(provider).scheduled
    world.database.run(recovery.begin, NOW)
    # The row is as old as the backup: sent since, as the provider knows.
    with world.database.begin() as connection:
        values = {"state": "dialing", "sent_at": None, "started_at": None, "provider_call_id": None}
        connection.execute(sa.update(call_attempts).values(values))
    provider.calls = [listed("P1", call_id=made.call_id, age=since_just_now())]
    take_in(world, provider, awaits_confirmation=True)
    (row,) = world.attempts()
    assert (row["ending"], row["settled_at"]) == ("no_answer", None)
    assert row["sent_at"] is not None
    world.database.run(confirm, world.known, 10)
    assert world.contact(contact)["attempts_count"] == 1


def audited(world: World) -> Report:
    return audit(world.database.begin_reading, Asked(book=load_rule_book(None)))


def test_the_audit_counts_what_was_written_down_later_and_accuses_nobody_of_it(world: World) -> None:
    campaign = world.add_campaign(retry=RETRY)
    world.add_contacts(campaign, map(number, range(4)))
    provider = ListingProvider()
    world.run_pass(provider, batch_size=1)
    (made,) = world.attempts()
    others = [n for n in range(4) if number(n) != made["phone_number"]]
    # Too soon one after the other, and too many at once, by what the campaign and the account say.
    calls = [listed(f"P{age}", number(others[0]), age=AGO - timedelta(minutes=age)) for age in range(5)]
    soon = timedelta(minutes=1)
    calls += [listed(f"Q{n}", number(n), kind=EventKind.ANSWERED, age=soon) for n in others[1:]]
    world.set_account(max_concurrent_calls=1, calls_per_second=1)
    provider.calls = calls
    take_in(world, provider)
    report = audited(world)
    assert (report.calls, report.restored) == (8, 7)
    assert not [one for one in report.broken if one.is_violation]


def test_the_audit_says_what_awaits_a_person(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    take_in(world, ListingProvider(listed("P1")), awaits_confirmation=True)
    (one,) = [one for one in audited(world).broken if one.check is Check.END]
    assert "db recover --confirm" in one.says
    assert not one.is_violation


def test_the_audit_knows_an_exclusion_that_a_lost_call_broke(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    before = NOW - 3 * AGO
    with world.database.begin() as connection:
        exclude_numbers(connection, [number(1)], reason="asked", source="test", at=before)
        connection.execute(sa.update(exclusion_list_entries).values(created_at=before))
    take_in(world, ListingProvider(listed("P1")))
    assert [one.check for one in audited(world).broken if one.is_violation] == [Check.EXCLUSION]
