"""The order of service of buckets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from outdial.domain.contact import Stage
from outdial.domain.ids import CallingZoneId, CampaignId
from outdial.domain.lawful_hours import lawful_hours
from outdial.domain.order import Bucket, Plan, plan
from outdial.domain.permit import Permit, Reason, Refusal
from outdial.domain.rules import Choice
from outdial.domain.windows import CallingWindow
from outdial.domain.zones import CallingZone, ZoneSource

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROME = CallingZone(time_zones=("Europe/Rome",), country="IT", source=ZoneSource.CONTACT)
BUCKET = Bucket(
    campaign_id=CampaignId(1),
    calling_zone_id=CallingZoneId(1),
    priority=0,
    stage=Stage.FIRST,
    next_due_at=AT - HOUR,
)
ANY_BUCKET = st.builds(
    Bucket,
    campaign_id=st.integers(1, 3),
    calling_zone_id=st.integers(1, 3),
    priority=st.integers(-1, 1),
    stage=st.sampled_from(Stage),
    next_due_at=st.sampled_from([AT - HOUR, AT, AT + HOUR]),
)


def permit(until: datetime | None = None) -> Permit:
    return Permit(
        until=until,
        closes_at=until,
        zone=ROME,
        choice=Choice(rules=(), why="none"),
        hours=lawful_hours(CallingWindow(), (), "IT"),
        guard=timedelta(),
        memory=timedelta(),
        rules_change_at=None,
    )


def planned(*buckets: Bucket, **answers: Permit | Refusal) -> Plan:
    """A plan in which the zone with id N has the answer `zone_N`, else a permit without end."""
    return plan(buckets, lambda _, zone_id: answers.get(f"zone_{zone_id}", permit()), AT)


EARLIER_AND_LATER = {
    "callbacks before a higher priority": (
        replace(BUCKET, stage=Stage.CALLBACK),
        replace(BUCKET, priority=9),
    ),
    "a higher priority before a zone that closes sooner": (
        replace(BUCKET, priority=1, calling_zone_id=CallingZoneId(2)),
        BUCKET,
    ),
    "a zone that closes sooner before first calls": (
        replace(BUCKET, stage=Stage.RETRY),
        replace(BUCKET, calling_zone_id=CallingZoneId(2)),
    ),
    "first calls before retries that wait longer": (
        BUCKET,
        replace(BUCKET, stage=Stage.RETRY, next_due_at=AT - 2 * HOUR),
    ),
    "who waits longest": (replace(BUCKET, next_due_at=AT - 2 * HOUR), BUCKET),
    "the smaller id where all is equal": (BUCKET, replace(BUCKET, campaign_id=CampaignId(2))),
}


@pytest.mark.parametrize(("first", "second"), EARLIER_AND_LATER.values(), ids=EARLIER_AND_LATER)
def test_order_of_service(first: Bucket, second: Bucket) -> None:
    closing = {"zone_1": permit(AT + HOUR), "zone_2": permit()}
    assert planned(second, first, **closing).due == [first, second]


@given(st.lists(ANY_BUCKET, max_size=8).flatmap(lambda b: st.tuples(st.just(b), st.permutations(b))))
def test_the_order_does_not_depend_on_how_buckets_are_read(both: tuple[list[Bucket], list[Bucket]]) -> None:
    assert planned(*both[0]).due == planned(*both[1]).due


def test_a_bucket_is_due_from_its_very_instant() -> None:
    assert planned(replace(BUCKET, next_due_at=AT)).due


def test_what_is_due_later_says_when() -> None:
    found = planned(replace(BUCKET, next_due_at=AT + 2 * HOUR), replace(BUCKET, next_due_at=AT + HOUR))
    assert (found.due, found.next_due_at) == ([], AT + HOUR)


def test_a_closed_zone_comes_due_when_it_opens() -> None:
    closed = Refusal(reason=Reason.WINDOW_CLOSED, until=AT + HOUR)
    assert planned(BUCKET, zone_1=closed).next_due_at == AT + HOUR


def test_a_retry_beyond_the_opening_comes_due_at_its_own_instant() -> None:
    closed = Refusal(reason=Reason.WINDOW_CLOSED, until=AT + HOUR)
    waiting = replace(BUCKET, next_due_at=AT + 2 * HOUR)
    assert planned(waiting, zone_1=closed).next_due_at == AT + 2 * HOUR


def test_only_due_contacts_are_held() -> None:
    closed = Refusal(reason=Reason.WINDOW_CLOSED, until=AT + HOUR)
    later = replace(BUCKET, next_due_at=AT + HOUR)
    assert planned(BUCKET, later, zone_1=closed).held == {Reason.WINDOW_CLOSED: 1}


def test_what_only_a_person_can_change_never_comes_due_by_itself() -> None:
    unknown = Refusal(reason=Reason.UNKNOWN_ZONE, until=None)
    assert planned(BUCKET, zone_1=unknown).next_due_at is None
