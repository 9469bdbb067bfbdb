"""`outdial doctor` as a person runs it: on what is broken, what is missing, and what is as it should be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from outdial.clock import SystemClock
from outdial.storage import migrate, workers
from outdial.storage.database import Database, create_engine, database_now
from tests.system.test_cli import ACCOUNT, CAMPAIGN, CONTACTS, Cli, Done, cli, cli_on, ok

__all__ = ["cli", "cli_on"]  # fixtures

SECRETS = {"TELEPHONY_API_KEY": "not-to-be-shown", "TELEPHONY_WEBHOOK_SECRET": "whsec_c2VjcmV0"}
WELL = {"OUTDIAL_PUBLIC_URL": "https://calls.example.com", **SECRETS}


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    (tmp_path / "spring.toml").write_text(CAMPAIGN)
    (tmp_path / "people.csv").write_text(CONTACTS)


def checks(done: Done) -> dict[str, dict[str, Any]]:
    assert "not-to-be-shown" not in done.stdout + done.stderr
    assert "393471234567" not in done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["is_well"] is (done.returncode == 0)
    for one in document["checks"]:
        assert (one["cure"] is None) is (one["verdict"] == "pass"), one
    return {one["name"]: one for one in document["checks"]}


def failed(done: Done) -> set[str]:
    return {name for name, one in checks(done).items() if one["verdict"] == "fail"}


@pytest.fixture
def at_work(cli: Cli, sqlite_url: str) -> Iterator[Database]:
    """A database with an account, and a worker that beat a moment ago."""
    ok(cli("db", "upgrade"))
    ok(cli("account", "set", "main", *ACCOUNT, "--api-key", "env:TELEPHONY_API_KEY", **WELL))
    engine = create_engine(sqlite_url)
    database = Database(engine, SystemClock())
    database.run(lambda connection: workers.start(connection, "w", database_now(connection)))
    yield database
    engine.dispose()


def test_all_is_well(cli: Cli, at_work: Database) -> None:
    done = cli("doctor", "--json", **WELL)
    assert {one["verdict"] for one in checks(done).values()} == {"pass"}
    said = cli("doctor", **WELL)
    assert said.returncode == 0
    assert "0 to look at, 0 to mend" in said.stdout


def test_broken_settings_are_named_without_their_values(cli: Cli) -> None:
    done = cli("doctor", "--json", SCHEDULER_TZ="EST", OUTDIAL_DIAL_ONLY="+393471234567x")
    assert failed(done) == {"settings"}
    assert "SCHEDULER_TZ, OUTDIAL_DIAL_ONLY" in checks(done)["settings"]["says"]


def test_a_database_that_is_not_there_is_not_made(cli: Cli, tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    done = cli("doctor", "--json", DATABASE_URL=f"sqlite:///{missing}")
    assert failed(done) == {"database"}
    assert not missing.exists()


def test_a_database_that_cannot_be_reached_fails_without_its_password(cli: Cli) -> None:
    done = cli("doctor", "--json", DATABASE_URL="postgresql://u:not-to-be-shown@127.0.0.1:9/d")
    assert failed(done) == {"database"}


def test_what_is_no_database_fails(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but a letter of more than a hundred characters " * 4)
    assert failed(cli("doctor", "--json", DATABASE_URL=f"sqlite:///{tmp_path / 'text.db'}")) == {"database"}


def test_an_old_schema_fails(cli: Cli, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    migrate.upgrade(url, "0001")
    assert failed(cli("doctor", "--json", DATABASE_URL=url)) == {"schema"}


def test_another_deployment_fails(cli: Cli, at_work: Database) -> None:
    ok(cli("init", "--deployment", "production"))
    assert failed(cli("doctor", "--json", **WELL)) == {"deployment"}
    assert not failed(cli("doctor", "--json", OUTDIAL_DEPLOYMENT="production", **WELL))


def test_an_account_without_its_secret_or_a_way_back_fails(cli: Cli, at_work: Database) -> None:
    assert failed(cli("doctor", "--json")) == {"account main"}
    assert failed(cli("doctor", "--json", **SECRETS)) == {"account main"}


def test_stops_and_the_want_of_workers_are_warnings(cli: Cli, at_work: Database) -> None:
    ok(cli("stop", "--all", "--reason", "+393471234567 asked"))
    at_work.run(lambda connection: connection.execute(sa.text("UPDATE workers SET beat_at = '2020-01-01'")))
    found = checks(done := cli("doctor", "--json", **WELL))
    assert done.returncode == 0
    assert found["stops"]["verdict"] == found["workers"]["verdict"] == "warn"


def test_who_waits_for_ever_is_counted(cli: Cli, at_work: Database, tmp_path: Path) -> None:
    (tmp_path / "free.csv").write_text("phone_number\n+18002345678\n+18002345679\n")
    ok(cli("campaign", "apply", "spring.toml"))
    ok(cli("contacts", "import", "free.csv", "--campaign", "spring"))
    ok(cli("campaign", "start", "spring"))
    found = checks(cli("doctor", "--json", **WELL))
    assert "2 contacts" in found["unknown zones"]["says"]
    (tmp_path / "spring.toml").write_text(CAMPAIGN.replace("[call]", 'unknown_zone = "use_default"\n[call]'))
    ok(cli("campaign", "apply", "spring.toml"))
    assert checks(cli("doctor", "--json", **WELL))["unknown zones"]["verdict"] == "pass"


def test_rules_of_ones_own_that_cannot_be_read_fail(cli: Cli, at_work: Database) -> None:
    assert failed(cli("doctor", "--json", OUTDIAL_RULES_FILE="/nowhere.toml", **WELL)) == {"own rules"}


def test_corrections_of_zones_are_shown_with_their_reasons(cli: Cli) -> None:
    [one] = json.loads(ok(cli("rules", "zones", "+18502345678", "--json")))
    assert one["zones"] == ["America/Chicago", "America/New_York"]
    assert "Panhandle" in one["reason"]
    assert "Casablanca" in ok(cli("rules", "zones"))
