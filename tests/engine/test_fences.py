"""The fences: a copy of a database dials nobody, and a test machine dials only the numbers that it may."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from outdial.domain.contact import ContactState
from outdial.domain.errors import SettingsError, UserError
from outdial.engine.scheduler import SchedulerSettings, check_deployment
from outdial.operations.deployment import name_deployment
from outdial.storage import deployment
from outdial.storage.database import database_now
from tests.support.excluded import exclude_numbers
from tests.support.world import RecordingProvider, World, number


@pytest.mark.parametrize("own", [None, "staging"])
def test_a_database_of_another_deployment_is_not_dialed_from(
    world: World, own: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    world.database.run(name_deployment, "production")
    provider = RecordingProvider()
    with caplog.at_level(logging.ERROR):
        result = world.run_pass(provider, deployment=own)
    assert (provider.requests, result.held) == ([], {"other_deployment": 1})
    assert not world.attempts()
    (said,) = [record.message for record in caplog.records]
    assert "OUTDIAL_DEPLOYMENT=production" in said


def test_a_database_is_dialed_from_where_the_deployment_is_the_same(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    world.database.run(name_deployment, "production")
    assert len(world.run_pass(RecordingProvider(), deployment="production").scheduled) == 1


def test_a_database_without_a_name_asks_for_none(world: World) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    assert len(world.run_pass(RecordingProvider(), deployment="staging").scheduled) == 1


def test_a_worker_of_another_deployment_does_not_start(world: World) -> None:
    world.database.run(name_deployment, "production")
    settings = SchedulerSettings(callback_url="http://127.0.0.1:1/", deployment="staging")
    with pytest.raises(SettingsError, match="OUTDIAL_DEPLOYMENT is 'staging'"):
        check_deployment(world.database, settings)


def test_a_name_is_changed_only_when_that_is_said(world: World) -> None:
    assert world.database.run(name_deployment, "production")
    assert not world.database.run(name_deployment, "production")
    with pytest.raises(UserError, match="--rename"):
        world.database.run(name_deployment, "staging")
    assert world.database.run(deployment.load).name == "production"
    assert world.database.run(name_deployment, "staging", rename=True)
    assert world.database.run(deployment.load).name == "staging"


@pytest.mark.parametrize("name", ["", "a b", "-a", "è"])
def test_a_name_that_no_variable_could_hold_is_refused(world: World, name: str) -> None:
    with pytest.raises(UserError, match="must be 1 to 100"):
        world.database.run(name_deployment, name)


def test_naming_a_database_leaves_its_stop(world: World) -> None:
    world.database.run(lambda c: deployment.stop(c, "ada", "wrong list", database_now(c)))
    world.database.run(name_deployment, "production")
    assert world.database.run(deployment.load).stopped_by == "ada"


def test_only_the_numbers_of_the_fence_are_called_and_the_others_wait(world: World) -> None:
    campaign = world.add_campaign()
    held, called = world.add_contacts(campaign, [number(1), number(2)])
    provider = RecordingProvider()
    result = world.run_pass(provider, dial_only=frozenset({number(2)}))
    assert [request.to for request in provider.requests] == [number(2)]
    assert result.skipped == {"dial_only": 1}
    row = world.contact(held)
    assert (row["state"], row["attempts_count"]) == (ContactState.PENDING, 0)
    now = world.database.run(database_now)
    assert timedelta(seconds=50) < row["next_attempt_at"] - now <= timedelta(seconds=60)
    assert world.contact(called)["state"] == ContactState.IN_PROGRESS


def test_who_must_not_be_called_from_here_is_not_excluded_by_the_way(world: World) -> None:
    (contact,) = world.add_contacts(world.add_campaign(), [number(1)])
    world.database.run(
        lambda c: exclude_numbers(c, [number(1)], reason="asked", source="test", at=database_now(c))
    )
    world.run_pass(RecordingProvider(), dial_only=frozenset({number(2)}))
    assert world.contact(contact)["state"] == ContactState.PENDING


def test_a_number_that_is_not_written_in_full_is_no_fence() -> None:
    with pytest.raises(SettingsError, match=r"write it as \+393470000002"):
        SchedulerSettings(callback_url="http://127.0.0.1:1/", dial_only=frozenset({"+39 347 0000002"}))
