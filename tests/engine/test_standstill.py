"""A wrong caller number, a closed country, a wrong request: the campaign pauses, says what to do, and nobody is burned."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState
from outdial.domain.errors import (
    CallerRejected,
    CallRejected,
    DestinationRejected,
    TelephonyProviderError,
)
from outdial.domain.ids import CampaignId
from outdial.domain.zones import CallingZone, ZoneSource
from outdial.operations.accounts import set_account
from outdial.operations.caller_numbers import use
from outdial.operations.campaigns import resume
from outdial.operations.hindrances import hindrances
from outdial.storage import campaigns
from outdial.storage.campaigns import Campaign
from tests.support.world import RecordingProvider, World, number, refusing

OWN = "+390612345678"
FRANCE = CallingZone(time_zones=("Europe/Paris",), country="FR", source=ZoneSource.CONTACT)
FRENCH = "+33612345678"


def the(world: World, campaign: CampaignId) -> Campaign:
    with world.database.begin() as connection:
        return campaigns.load(connection, [campaign])[campaign]


def bring_back_the_number(world: World) -> None:
    world.database.run(use, "main", OWN)


def open_the_country(world: World) -> None:
    world.database.run(set_account, "main", known_adapters=("http",))


def nothing(_: World) -> None:
    """The provider's side was mended, ours was right."""


CASES = [
    (CallerRejected("not yours"), bring_back_the_number, f"outdial numbers use {OWN} --account main"),
    (DestinationRejected("no permission"), open_the_country, "outdial account set main"),
    (CallRejected("bad field"), nothing, "5 requests in a row wrong"),
]


@pytest.mark.parametrize("batch_size", [1, 25])
@pytest.mark.parametrize(("error", "cure", "words"), CASES, ids=["caller", "country", "request"])
def test_it_pauses_after_five_answers_at_most_and_goes_on_when_cured(
    world: World,
    error: TelephonyProviderError,
    cure: Callable[[World], None],
    words: str,
    batch_size: int,
) -> None:
    campaign = world.add_campaign()
    contacts = world.add_contacts(campaign, map(number, range(8)))
    refused = RecordingProvider(refusing(error))
    passes = 0
    while the(world, campaign).status is CampaignStatus.RUNNING:
        world.run_pass(refused, batch_size=batch_size)
        passes += 1
        assert passes <= 5
    paused = the(world, campaign)
    assert paused.paused_by == "outdial"
    reason = str(paused.paused_reason)
    assert str(error) in reason
    assert words in reason
    assert "outdial campaign resume survey" in reason
    world.make_due()
    assert not world.run_pass(RecordingProvider()).scheduled
    rows = [world.contact(contact) for contact in contacts]
    assert {(row["state"], row["attempts_count"]) for row in rows} == {(ContactState.PENDING, 0)}

    cure(world)
    world.database.run(resume, "survey")
    assert not world.database.run(hindrances, "survey")
    world.make_due()
    assert len(world.run_pass(RecordingProvider()).scheduled) == 8


@pytest.mark.parametrize(("error", "words"), [(case[0], case[2]) for case in CASES[:2]])
def test_resumed_without_the_cure_it_says_what_still_hinders_and_calls_nobody(
    world: World, error: TelephonyProviderError, words: str
) -> None:
    world.add_contacts(world.add_campaign(), map(number, range(3)))
    world.run_pass(RecordingProvider(refusing(error)))
    world.database.run(resume, "survey")
    (sentence,) = world.database.run(hindrances, "survey")
    assert str(error) in sentence
    assert words in sentence
    world.make_due()
    provider = RecordingProvider()
    world.run_pass(provider)
    assert not provider.requests


def test_however_often_a_closed_country_is_tried_again_nobody_is_given_up(world: World) -> None:
    (contact,) = world.add_contacts(world.add_campaign(), [number(1)])
    for _ in range(5):
        world.run_pass(RecordingProvider(refusing(DestinationRejected("no permission"))))
        open_the_country(world)
        world.database.run(resume, "survey")
        world.make_due()
    row = world.contact(contact)
    assert (row["state"], row["attempts_count"]) == (ContactState.PENDING, 0)


def test_a_number_of_no_country_that_may_not_be_called_is_given_up(world: World) -> None:
    """There is no country with which it could be held back, and it must not be tried for ever."""
    nowhere = CallingZone(time_zones=("UTC",), country=None, source=ZoneSource.CONTACT)
    (contact,) = world.add_contacts(world.add_campaign(), ["+80012345678"], zone=nowhere)
    for _ in range(3):
        world.run_pass(RecordingProvider(refusing(DestinationRejected("no permission"))))
        world.make_due()
    assert world.contact(contact)["state"] == ContactState.UNREACHABLE


def test_a_campaign_with_another_caller_number_or_country_goes_on(world: World) -> None:
    campaign = world.add_campaign(caller_numbers=(OWN, "+390222222222"))
    world.add_contacts(campaign, map(number, range(2)))
    world.add_contacts(campaign, [FRENCH], zone=FRANCE)
    world.run_pass(RecordingProvider(refusing(CallerRejected("not yours"))), batch_size=1)
    world.run_pass(RecordingProvider(refusing(DestinationRejected("no permission"))), batch_size=1)
    assert the(world, campaign).status is CampaignStatus.RUNNING
    assert len(world.database.run(hindrances, "survey")) == 2


def test_all_campaigns_that_show_only_the_refused_number_pause(world: World) -> None:
    first, second = world.add_campaign("first"), world.add_campaign("second")
    third = world.add_campaign("third", caller_numbers=("+390222222222",))
    for index, campaign in enumerate((first, second, third)):
        world.add_contacts(campaign, [number(index)], due_in=timedelta(hours=min(index, 1)))
    world.run_pass(RecordingProvider(refusing(CallerRejected("not yours"))))
    statuses = [the(world, one).status for one in (first, second, third)]
    assert statuses == [CampaignStatus.PAUSED, CampaignStatus.PAUSED, CampaignStatus.RUNNING]
