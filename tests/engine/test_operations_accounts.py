"""Accounts as an operator sets them."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.pacing import Throttle
from outdial.operations.accounts import AccountSet, InvalidAccount, list_accounts, set_account
from outdial.storage import accounts, standing
from outdial.storage.database import database_now
from outdial.storage.tables import caller_numbers
from outdial.telephony.options import Option, seconds, yes_or_no
from tests.support.world import World

WHOLE: dict[str, Any] = {
    "adapter": "http",
    "base_url": "https://voice.example.net",
    "api_key": "env:TELEPHONY_API_KEY",
    "webhook_secret": "file:/run/secrets/hook",
    "max_concurrent_calls": 50,
    "calls_per_second": "0.2",
    "outbound_number": "+39 02 12345678",
}


def set_it(world: World, name: str, **values: Any) -> AccountSet:
    return world.database.run(set_account, name, known_adapters=("http",), **values)


def account(world: World, name: str) -> Account:
    found = world.database.run(accounts.by_name, name)
    assert found is not None
    return found


def test_new_account_is_as_it_was_set(world: World) -> None:
    done = set_it(world, "second", **WHOLE)
    found = account(world, "second")
    assert done.is_new
    assert (found.base_url, found.max_concurrent_calls) == ("https://voice.example.net", 50)
    assert (found.api_key_ref, found.webhook_secret_ref) == (
        "env:TELEPHONY_API_KEY",
        "file:/run/secrets/hook",
    )
    assert (found.rate.calls_per_second, found.outbound_number) == (0.2, "+390212345678")
    assert [one.name for one in world.database.run(list_accounts)] == ["main", "second"]


def test_new_account_without_a_rate_is_unlimited(world: World) -> None:
    set_it(world, "second", **{**WHOLE, "calls_per_second": None})
    assert account(world, "second").rate.calls_per_second is None


def test_new_account_says_what_it_still_needs(world: World) -> None:
    with pytest.raises(InvalidAccount, match="--base-url and --api-key and --max-concurrent-calls"):
        set_it(world, "second")


def test_setting_again_changes_only_what_is_given_and_tells_it(world: World) -> None:
    set_it(world, "second", **WHOLE)
    done = set_it(world, "second", max_concurrent_calls=20, calls_per_second=Decimal("0.20"))
    assert not done.is_new
    assert done.changes == ("max_concurrent_calls: 50 → 20",)
    assert account(world, "second").rate.calls_per_second == 0.2


def test_rate_becomes_unlimited_only_when_it_is_said(world: World) -> None:
    set_it(world, "second", **WHOLE)
    assert set_it(world, "second", calls_per_second="unlimited").changes == (
        "calls_per_second: 0.2 → unlimited",
    )
    assert account(world, "second").rate.calls_per_second is None


def test_setting_again_lifts_what_the_provider_brought_upon_the_account(world: World) -> None:
    def burden(connection: sa.Connection) -> None:
        at = database_now(connection)
        standing.suspend(connection, world.account_id, "HTTP 401", at, at)
        throttle = Throttle(
            factor=0.25, factor_at=at, not_before=at + timedelta(hours=1), unreachable_count=4
        )
        accounts.set_throttle(connection, world.account_id, throttle)
        accounts.update(connection, world.account_id, {"blocked_countries": {"CH": "HTTP 403"}})
        accounts.rest_number(connection, world.account_id, "+390612345678", "not verified", at)

    world.database.run(burden)
    done = set_it(world, "main")
    found = account(world, "main")
    assert found.suspended_at is None
    assert found.throttle == Throttle()
    assert found.blocked_countries == {}
    assert world.database.run(accounts.resting_numbers, world.account_id) == frozenset()
    assert done.changes == (
        "suspension lifted (it was: HTTP 401)",
        "back-off ended",
        "countries open again: CH",
        "caller numbers in use again: +390612345678",
    )
    assert set_it(world, "main").changes == ()


def test_number_of_the_account_is_listed_among_its_caller_numbers(world: World) -> None:
    set_it(world, "second", **WHOLE)
    with world.database.begin() as connection:
        query = sa.select(caller_numbers.c.phone_number, caller_numbers.c.country, caller_numbers.c.state)
        assert connection.execute(query).all() == [("+390212345678", "IT", "in_use")]


def test_setting_an_account_wakes_the_schedulers(world: World) -> None:
    woken: list[bool] = []
    world.database.on_wake(lambda: woken.append(True))
    set_it(world, "main", max_concurrent_calls=7)
    assert woken == [True]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"adapter": "fax"}, "--adapter is 'fax'"),
        ({"base_url": "voice.example.net"}, "--base-url must begin with http"),
        ({"base_url": "https://u:hunter2@voice.example.net"}, "must not hold a user name or password"),
        ({"api_key": "hunter2"}, "--api-key must say where"),
        ({"webhook_secret": "whsec_hunter2"}, "--webhook-secret must say where"),
        ({"max_concurrent_calls": -1}, "--max-concurrent-calls is -1"),
        ({"calls_per_second": "0"}, "--calls-per-second is 0"),
        ({"calls_per_second": "0.00001"}, "from 0.0001"),
        ({"calls_per_second": "NaN"}, "--calls-per-second is NaN"),
        ({"calls_per_second": "fast"}, "--calls-per-second is 'fast'"),
        ({"outbound_number": "0212345678"}, "--from is '0212345678', which has no country code"),
    ],
)
def test_impossible_value_is_refused_and_nothing_changes(
    world: World, values: dict[str, Any], words: str
) -> None:
    before = account(world, "main")
    with pytest.raises(InvalidAccount, match=words) as raised:
        set_it(world, "main", **values)
    assert "hunter2" not in str(raised.value)
    assert account(world, "main") == before


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "è", "a" * 101])
def test_name_must_fit_into_a_url(world: World, name: str) -> None:
    with pytest.raises(InvalidAccount, match="the name must be"):
        set_it(world, name, **WHOLE)


def test_everything_that_is_wrong_is_said_at_once(world: World) -> None:
    with pytest.raises(InvalidAccount) as raised:
        set_it(world, "main", max_concurrent_calls=-1, calls_per_second="x", base_url="x")
    assert len(raised.value.problems) == 3


OPTIONS = {
    "http": {"honours_not_after": Option(check=yes_or_no)},
    "other": {"sid": Option(check=str, is_required=True), "wait": Option(check=seconds)},
}


def set_options(world: World, name: str, options: dict[str, str], **values: Any) -> AccountSet:
    return world.database.run(
        set_account, name, known_adapters=tuple(OPTIONS), known_options=OPTIONS, options=options, **values
    )


def test_options_are_kept_changed_and_taken_away_one_by_one(world: World) -> None:
    whole = {**WHOLE, "adapter": "other"}
    set_options(world, "second", {"sid": "A", "wait": "2"}, **whole)
    assert account(world, "second").options == {"sid": "A", "wait": 2.0}
    done = set_options(world, "second", {"wait": ""})
    assert account(world, "second").options == {"sid": "A"}
    assert done.changes == ("options: sid=A, wait=2.0 → sid=A",)
    assert set_options(world, "second", {}).changes == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "the adapter other needs --option sid="),
        ({"sid": "A", "wiat": "2"}, "wiat is no option of the adapter other: known are sid, wait"),
        ({"sid": "A", "wait": "long"}, "wait='long' must be a number of seconds"),
    ],
)
def test_a_mistake_in_an_option_is_named_with_its_cure(
    world: World, options: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidAccount, match=message):
        set_options(world, "second", options, **{**WHOLE, "adapter": "other"})


def test_another_adapter_takes_only_the_options_that_it_knows(world: World) -> None:
    set_options(world, "second", {"sid": "A"}, **{**WHOLE, "adapter": "other"})
    set_options(world, "second", {}, adapter="http")
    assert account(world, "second").options == {}
