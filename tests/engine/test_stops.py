"""The stop button: what it stops, who sees it, and that it may be pressed twice."""

from __future__ import annotations

import pytest

from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import ContactState
from outdial.domain.errors import NotFound
from outdial.domain.ids import CampaignId
from outdial.operations import stops
from outdial.operations.accounts import set_account
from outdial.operations.stops import Scope, Switched
from outdial.storage import accounts, campaigns, deployment
from tests.support.world import RecordingProvider, World, number

EVERYTHING = Scope()
ACCOUNT = Scope(account="main")
CAMPAIGN = Scope(campaign="survey")
SCOPES = [EVERYTHING, ACCOUNT, CAMPAIGN]


def stop(world: World, scope: Scope, reason: str = "wrong list") -> Switched:
    return world.database.run(stops.stop, scope, by="ada", reason=reason)


def resume(world: World, scope: Scope) -> Switched:
    return world.database.run(stops.resume, scope)


@pytest.fixture
def campaign(world: World) -> CampaignId:
    made = world.add_campaign()
    world.add_contacts(made, map(number, range(3)))
    return made


@pytest.mark.parametrize("scope", SCOPES, ids=["all", "account", "campaign"])
@pytest.mark.usefixtures("campaign")
def test_no_call_starts_while_stopped_and_nobody_loses_anything(world: World, scope: Scope) -> None:
    assert stop(world, scope).has_changed
    provider = RecordingProvider()
    world.run_pass(provider)
    assert not provider.requests
    assert not world.attempts()
    assert world.contacts_in(ContactState.PENDING) == 3


@pytest.mark.parametrize("scope", [EVERYTHING, ACCOUNT], ids=["all", "account"])
@pytest.mark.usefixtures("campaign")
def test_a_pass_tells_that_a_stop_is_what_holds(world: World, scope: Scope) -> None:
    stop(world, scope)
    assert world.run_pass(RecordingProvider()).held == {"stopped": 1}


@pytest.mark.parametrize("scope", [EVERYTHING, ACCOUNT], ids=["all", "account"])
@pytest.mark.usefixtures("campaign")
def test_calls_start_again_after_the_same_is_resumed(world: World, scope: Scope) -> None:
    stop(world, scope)
    assert resume(world, scope).has_changed
    assert len(world.run_pass(RecordingProvider()).scheduled) == 3


@pytest.mark.parametrize("scope", SCOPES, ids=["all", "account", "campaign"])
@pytest.mark.usefixtures("campaign")
def test_stopping_twice_succeeds_and_keeps_the_first_reason(world: World, scope: Scope) -> None:
    stop(world, scope)
    assert not stop(world, scope, "lunch").has_changed
    around = world.database.run(deployment.load)
    account = world.database.run(accounts.by_name, "main")
    survey = world.database.run(campaigns.by_name, "survey")
    assert account is not None
    assert survey is not None
    reasons = {around.stopped_reason, account.stopped_reason, survey.paused_reason}
    assert reasons == {"wrong list", None}


@pytest.mark.parametrize("scope", [EVERYTHING, ACCOUNT], ids=["all", "account"])
def test_resuming_what_goes_on_succeeds(world: World, scope: Scope) -> None:
    assert not resume(world, scope).has_changed


@pytest.mark.usefixtures("campaign")
def test_resuming_everything_leaves_the_stop_of_an_account_and_says_so(world: World) -> None:
    stop(world, EVERYTHING)
    stop(world, ACCOUNT)
    done = resume(world, EVERYTHING)
    assert any("outdial resume --account main" in note for note in done.notes)
    assert not world.run_pass(RecordingProvider()).scheduled


@pytest.mark.usefixtures("campaign")
def test_setting_an_account_does_not_end_its_stop(world: World) -> None:
    stop(world, ACCOUNT)
    world.database.run(set_account, "main", known_adapters=("http",))
    assert not world.run_pass(RecordingProvider()).scheduled


def test_stopping_one_account_leaves_the_other(world: World) -> None:
    second = world.add_account("second")
    world.add_contacts(world.add_campaign("other", account_id=second, account="second"), [number(1)])
    stop(world, ACCOUNT)
    assert len(world.run_pass(RecordingProvider(), account="second").scheduled) == 1


def test_stopping_a_campaign_that_does_not_run_says_so(world: World) -> None:
    world.add_campaign(status=CampaignStatus.DRAFT)
    done = stop(world, CAMPAIGN)
    assert not done.has_changed
    assert "starts no calls" in done.notes[0]


@pytest.mark.parametrize("scope", [Scope(account="nope"), Scope(campaign="nope")])
def test_what_is_not_there_cannot_be_stopped(world: World, scope: Scope) -> None:
    with pytest.raises(NotFound):
        stop(world, scope)
