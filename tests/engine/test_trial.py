"""A test call: one call, past every fence, and counted nowhere."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from outdial.clock import SystemClock
from outdial.domain.attempt import Ending, EventKind, Source
from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState
from outdial.domain.errors import NotFound
from outdial.domain.fences import Fence
from outdial.domain.ids import CallId
from outdial.domain.retries import RetryPolicy
from outdial.domain.windows import CallingWindow, WeeklyWindow
from outdial.engine import trial as engine
from outdial.engine.dial import DialResult
from outdial.engine.record import Released
from outdial.engine.transactions import Transactions
from outdial.engine.trial import NotCallable, Trial, follow, place, prepare
from outdial.operations import exclusions, stops
from outdial.operations.campaigns import campaign_progress
from outdial.operations.exclusions import Terms
from outdial.operations.results import ResultsFormat, export_results
from outdial.operations.stops import Scope
from outdial.storage import accounts, deployment, test_calls
from outdial.storage.database import database_now
from outdial.storage.tables import contacts
from outdial.telephony.caller import caller_for
from outdial.telephony.protocol import OutboundCallResponse
from tests.support.world import RecordingProvider, World, event, number

NOBODY = Fence()


def line_up(world: World, *, fence: Fence = NOBODY, now: bool = False, to: str = number(1)) -> Trial:
    return world.database.run(prepare, "survey", to, fence, scheduler_time_zone="UTC", now=now)


def call(world: World, trial: Trial, provider: Any, fence: Fence = NOBODY) -> DialResult:
    return asyncio.run(
        place(
            trial,
            caller_for(provider, None, None),  # type: ignore[arg-type] - no transport: a plain provider object
            Transactions(world.database),
            fence,
            "http://127.0.0.1:1/",
            lambda: CallId(str(uuid4())),
            SystemClock(),
        )
    )


def try_out(world: World, provider: Any = None) -> DialResult:
    return call(world, line_up(world), provider or RecordingProvider())


def closed() -> CallingWindow:
    yesterday = (datetime.now(UTC).weekday() - 2) % 7
    return CallingWindow(
        weekly=(WeeklyWindow(days=frozenset({yesterday}), start_minute=600, end_minute=601),)
    )


@pytest.mark.parametrize("status", [CampaignStatus.DRAFT, CampaignStatus.PAUSED, CampaignStatus.RUNNING])
def test_a_campaign_can_be_tested_before_and_while_it_runs(world: World, status: CampaignStatus) -> None:
    world.add_campaign(status=status)
    provider = RecordingProvider()
    done = try_out(world, provider)
    assert isinstance(done.answer, OutboundCallResponse)
    assert [(one.to, one.from_number) for one in provider.requests] == [(number(1), "+390612345678")]
    assert world.attempts()[0]["permit"]["is_test"]


@pytest.mark.parametrize("ending", [Ending.ANSWERED, Ending.NO_ANSWER, Ending.BUSY])
def test_a_test_call_is_counted_nowhere_and_made_once(world: World, ending: Ending) -> None:
    world.add_campaign(retry=RetryPolicy(max_attempts=3, default_delay=timedelta()))
    done = try_out(world)
    during = world.database.run(campaign_progress, "survey")
    world.hear(event(EventKind.ENDED, done.call.call_id, ending=ending, result="completed"))
    world.make_due()
    provider = RecordingProvider()
    world.run_pass(provider)
    assert not provider.requests
    assert during.contacts == world.database.run(campaign_progress, "survey").contacts == {}
    exported = list(export_results(world.database.begin_reading, "survey", ResultsFormat.NDJSON))
    assert exported == []
    row = world.contact(done.call.contact.id)
    assert (row["is_test"], row["state"], row["final_reason"]) == (True, ContactState.COMPLETED, "test")


def test_a_test_call_does_not_keep_its_campaign_open(world: World) -> None:
    campaign = world.add_campaign()
    world.add_contacts(campaign, [number(5)])
    (scheduled,) = world.run_pass(RecordingProvider()).scheduled
    try_out(world)
    world.hear(event(EventKind.ENDED, scheduled.call_id, ending=Ending.ANSWERED, result="completed"))
    world.run_pass(RecordingProvider())
    assert world.database.run(campaign_progress, "survey").campaign.status is CampaignStatus.COMPLETED


def test_a_test_call_holds_a_line_and_the_next_free_one_is_its(world: World) -> None:
    world.set_account(max_concurrent_calls=2)
    world.add_contacts(world.add_campaign(), map(number, range(10, 20)))
    trial = line_up(world)
    assert len(world.run_pass(RecordingProvider()).scheduled) == 1, "the other line is kept"
    call(world, trial, RecordingProvider())
    assert world.run_pass(RecordingProvider()).capacity == 0


def test_a_test_call_that_gives_up_gives_its_line_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE", timedelta(seconds=0.2))
    world.set_account(max_concurrent_calls=0)
    world.add_campaign()
    trial = line_up(world)
    with pytest.raises(NotCallable, match=r"No line came free .*lines_busy"):
        call(world, trial, RecordingProvider())
    assert world.contact(trial.contact_id)["state"] == ContactState.WITHDRAWN
    assert not world.attempts()


def test_a_test_call_that_nobody_waits_for_any_more_keeps_no_line(world: World) -> None:
    world.set_account(max_concurrent_calls=1)
    world.add_contacts(world.add_campaign(), [number(9)])
    trial = line_up(world)
    assert not world.run_pass(RecordingProvider()).scheduled

    def let_time_pass(connection: sa.Connection) -> None:
        past = database_now(connection) - timedelta(seconds=1)
        of_trial = contacts.c.id == trial.contact_id
        connection.execute(sa.update(contacts).where(of_trial).values(call_before=past))

    world.database.run(let_time_pass)
    assert len(world.run_pass(RecordingProvider()).scheduled) == 1


def test_a_test_call_obeys_the_rate(world: World) -> None:
    slot_at = datetime.now(UTC) + timedelta(seconds=0.8)
    world.set_account(calls_per_second=1, rate_cursor_at=slot_at)
    world.add_campaign()
    try_out(world)
    (row,) = world.attempts()
    assert row["sent_at"] >= slot_at - timedelta(milliseconds=100)
    account = world.database.run(accounts.by_name, "main")
    assert account is not None
    assert account.rate_cursor_at is not None
    assert account.rate_cursor_at > slot_at


def stop_everything(world: World) -> None:
    world.database.run(stops.stop, Scope(), by="ada", reason="wrong list")


def stop_the_account(world: World) -> None:
    world.database.run(stops.stop, Scope(account="main"), by="ada", reason="wrong list")


def exclude(world: World) -> None:
    world.database.run(exclusions.add, [number(1)], Terms(reason="asked", source="test"))


def suspend(world: World) -> None:
    world.set_account(suspended_at=datetime.now(UTC), suspended_reason="no credit")


def name_the_database(world: World) -> None:
    world.database.run(deployment.set_name, "production")


def rest_the_number(world: World) -> None:
    world.database.run(
        lambda c: accounts.rest_number(c, world.account_id, "+390612345678", "spam", database_now(c))
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (stop_everything, "Calls are stopped"),
        (stop_the_account, "Calls are stopped"),
        (exclude, "is excluded"),
        (suspend, "is suspended"),
        (name_the_database, "OUTDIAL_DEPLOYMENT"),
        (rest_the_number, "No caller number"),
    ],
)
def test_what_holds_for_every_call_holds_for_tests(world: World, change: Any, words: str) -> None:
    world.add_campaign()
    change(world)
    with pytest.raises(NotCallable, match=words):
        line_up(world)


@pytest.mark.parametrize("change", [stop_everything, exclude, name_the_database])
def test_what_changes_while_it_waits_stops_a_test_call(world: World, change: Any) -> None:
    world.add_campaign()
    trial = line_up(world)
    change(world)
    provider = RecordingProvider()
    try:
        done = call(world, trial, provider)
    except NotCallable:
        pass
    else:
        assert isinstance(done.answer, Released)
    assert not provider.requests


def test_only_the_numbers_of_the_fence_are_tested(world: World) -> None:
    world.add_campaign()
    with pytest.raises(NotCallable, match="OUTDIAL_DIAL_ONLY"):
        line_up(world, fence=Fence(dial_only=frozenset({number(2)})))


def test_outside_the_windows_it_must_be_meant(world: World) -> None:
    world.add_campaign(window=closed())
    with pytest.raises(NotCallable, match=r"closed in Europe/Rome.*add --now"):
        line_up(world)
    provider = RecordingProvider()
    call(world, line_up(world, now=True), provider)
    assert len(provider.requests) == 1


def test_a_number_with_an_open_call_is_not_called_twice(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    world.run_pass(RecordingProvider())
    trial = line_up(world)
    with pytest.raises(NotCallable, match="has an open call"):
        call(world, trial, RecordingProvider())
    assert len(world.attempts()) == 1


def test_a_campaign_that_is_over_is_not_tested(world: World) -> None:
    world.add_campaign(status=CampaignStatus.CANCELED)
    with pytest.raises(NotCallable, match="is canceled"):
        line_up(world)
    with pytest.raises(NotFound):
        world.database.run(prepare, "nope", number(1), NOBODY, scheduler_time_zone="UTC", now=False)


class Telling(RecordingProvider):
    """A provider that sends no events, and tells when it is asked."""

    def look_up_call(self, call_id: CallId) -> Any:
        return [
            event(EventKind.ENDED, call_id, ending=Ending.ANSWERED, result="completed", source=Source.LOOKUP)
        ]


def test_it_is_followed_to_its_end_even_where_no_event_comes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ASK_SECONDS", 0.1)
    world.add_campaign()
    provider = Telling()
    done = try_out(world, provider)

    async def watch() -> list[str]:
        caller = caller_for(provider, None, None)  # type: ignore[arg-type] - as above
        rows = follow(done.call.attempt_id, caller, Transactions(world.database), SystemClock())
        return [row["state"] async for row in rows]

    assert asyncio.run(watch()) == ["accepted", "ended"]
    assert world.attempts()[0]["outcome"] == "completed"


def test_giving_up_leaves_a_call_that_is_under_way(world: World) -> None:
    world.add_campaign()
    done = try_out(world)
    world.database.run(test_calls.give_up, done.call.contact.id)
    assert world.contact(done.call.contact.id)["state"] == ContactState.IN_PROGRESS


def test_a_window_that_closes_while_it_waits_for_a_line_stops_a_test_call(world: World) -> None:
    world.add_campaign()
    trial = line_up(world)
    soon = world.database.run(database_now) - timedelta(seconds=1)
    provider = RecordingProvider()
    with pytest.raises(NotCallable, match="window closed"):
        call(world, replace(trial, permitted_until=soon), provider)
    assert not provider.requests


def test_a_campaign_that_is_canceled_while_it_waits_stops_a_test_call(world: World) -> None:
    campaign = world.add_campaign()
    trial = line_up(world)
    world.set_status(campaign, CampaignStatus.CANCELED)
    provider = RecordingProvider()
    assert isinstance(call(world, trial, provider).answer, Released)
    assert not provider.requests
