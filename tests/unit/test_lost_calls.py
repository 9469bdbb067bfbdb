"""Whose a call was that nobody has a row of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from outdial.domain.attempt import Origin
from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState
from outdial.domain.ids import CampaignId, ContactId
from outdial.domain.lost_calls import LIKELY, Candidate, whose

DUE = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
CALLED = "+393471234567"


def candidate(contact_id: int, **facts: Any) -> Candidate:
    given = {
        "campaign_id": CampaignId(1),
        "revision": 1,
        "status": CampaignStatus.RUNNING,
        "phone_number": CALLED,
        "state": ContactState.PENDING,
        "next_attempt_at": DUE,
        "is_test": False,
        "attempts": 0,
        **facts,
    }
    return Candidate(contact_id=ContactId(contact_id), **given)


def test_every_status_of_a_campaign_has_its_place() -> None:
    assert LIKELY.keys() == set(CampaignStatus)


# From who most likely was called to who least likely was.
BY_NUMBER = [
    candidate(9, next_attempt_at=DUE - timedelta(hours=1)),
    candidate(1),
    candidate(2),
    candidate(3, state=ContactState.IN_PROGRESS, next_attempt_at=None),
    candidate(4, status=CampaignStatus.PAUSED, next_attempt_at=DUE - timedelta(days=1)),
    candidate(5, state=ContactState.NOT_REACHED, next_attempt_at=None),
]


@pytest.mark.parametrize("place", range(len(BY_NUMBER)))
def test_by_the_number_whoever_was_most_likely_called(place: int) -> None:
    for listed in permutations(BY_NUMBER[place : place + 3]):
        assert whose(Origin(to=CALLED), listed) == BY_NUMBER[place]


def test_a_test_call_is_known_by_its_id_only() -> None:
    tested = candidate(1, is_test=True)
    assert whose(Origin(to=CALLED), [tested]) is None
    assert whose(Origin(to=CALLED, contact_id="1"), [tested]) == tested


@pytest.mark.parametrize(
    ("origin", "is_named"),
    [
        (Origin(contact_id="7"), True),
        (Origin(contact_id="7", campaign_id="1", to=CALLED), True),
        (Origin(contact_id="7", campaign_id="2"), False),
        (Origin(contact_id="7", to="+393470000000"), False),
        (Origin(contact_id="8"), False),
        (Origin(), False),
    ],
)
def test_the_id_names_a_contact_where_nothing_contradicts_it(origin: Origin, is_named: bool) -> None:
    assert whose(origin, [candidate(7)]) == (candidate(7) if is_named else None)


def test_who_is_named_comes_before_who_was_due_first() -> None:
    named = candidate(9, state=ContactState.COMPLETED, next_attempt_at=None)
    assert whose(Origin(to=CALLED, contact_id="9"), [candidate(1), named]) == named
