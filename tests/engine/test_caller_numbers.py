"""Caller numbers as an operator rests, uses and retires them."""

from __future__ import annotations

import pytest

from outdial.domain.errors import NotFound
from outdial.operations.accounts import set_account
from outdial.operations.caller_numbers import list_numbers, rest, retire, use
from outdial.storage import accounts
from outdial.storage.database import database_now
from tests.support.world import RecordingProvider, World, number

OWN = "+390612345678"
SECOND = "+390212345678"


@pytest.fixture(autouse=True)
def _own_number(world: World) -> None:
    world.database.run(use, "main", OWN)


def states(world: World) -> dict[str, tuple[str, str | None]]:
    rows = world.database.run(list_numbers, "main")
    return {row["phone_number"]: (row["state"], row["reason"]) for row in rows}


@pytest.mark.parametrize("put_away", [rest, retire], ids=["rest", "retire"])
def test_a_number_that_is_put_away_is_not_shown_until_it_is_used_again(
    world: World, put_away: object
) -> None:
    world.add_contacts(world.add_campaign(), [number(1)])
    assert callable(put_away)
    assert world.database.run(put_away, "main", OWN, "spam")
    assert not world.database.run(put_away, "main", "+39 06 12345678", "again")
    assert states(world)[OWN][1] == "spam"
    assert world.run_pass(RecordingProvider()).held == {"no_caller_number": 1}
    assert world.database.run(use, "main", OWN)
    assert not world.database.run(use, "main", OWN)
    assert len(world.run_pass(RecordingProvider()).scheduled) == 1


def test_setting_the_account_brings_back_what_rests_and_not_what_is_retired(world: World) -> None:
    world.database.run(use, "main", SECOND)
    world.database.run(rest, "main", OWN, "spam")
    world.database.run(retire, "main", SECOND, "given back")
    world.database.run(set_account, "main", known_adapters=("http",))
    assert states(world) == {OWN: ("in_use", None), SECOND: ("retired", "given back")}


def test_the_provider_does_not_wake_what_is_retired(world: World) -> None:
    world.database.run(retire, "main", OWN, "given back")
    world.database.run(
        lambda c: accounts.rest_number(c, world.account_id, OWN, "not verified", database_now(c))
    )
    assert states(world)[OWN] == ("retired", "given back")


def test_a_number_that_the_account_does_not_have_is_not_put_away(world: World) -> None:
    with pytest.raises(NotFound, match="outdial numbers list --account main"):
        world.database.run(rest, "main", SECOND, "spam")
    with pytest.raises(NotFound, match="no account 'nope'"):
        world.database.run(list_numbers, "nope")
