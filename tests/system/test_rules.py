"""`outdial rules`, as a process with no database to be had."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outdial.cli.app import app
from outdial.domain.errors import UserError
from tests.system.test_cli import Done, process_in

Rules = Callable[..., Done]
ANSWER = {"open", "next_opening", "next_closing", "why"}


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    run = process_in(tmp_path, "postgresql://nobody@127.0.0.1:9/none")
    return lambda *arguments, **env: run("rules", *arguments, **env)


def test_check_answers_for_zones_and_a_window(rules: Rules) -> None:
    window = ("--zone", "America/New_York", "--window", "sun 02:30-03:30")
    done = rules("check", *window, "--at", "2026-03-08T07:00:00Z", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == ANSWER
    assert found["open"] is True
    assert found["next_opening"] is None
    assert found["next_closing"] == "2026-03-08T07:30:00Z"
    closed = json.loads(rules("check", *window, "--at", "2026-03-08T07:30:00Z", "--json").stdout)
    assert closed["open"] is False
    assert closed["next_opening"] == "2026-03-15T06:30:00Z"
    assert closed["next_closing"] == "2026-03-15T07:30:00Z"


def test_check_says_never_where_it_never_opens(rules: Rules) -> None:
    zones = ("--zone", "America/Los_Angeles", "--zone", "Asia/Kolkata")
    done = rules("check", *zones, "--window", "mon-sun 09:00-17:00", "--json")
    found = json.loads(done.stdout)
    assert (found["open"], found["next_opening"], found["next_closing"]) == (False, None, None)
    assert "never open" in found["why"]


def test_check_answers_for_a_number_and_a_purpose(rules: Rules) -> None:
    asked = ("check", "+390212345678", "--purpose", "telemarketing", "--at", "2026-12-25T10:00:00Z")
    done = rules(*asked)
    assert "Christmas Day" in done.stdout
    assert "it-telemarketing@1" in done.stdout
    found = json.loads(rules(*asked, "--json").stdout)
    assert found["next_opening"] == "2026-12-28T08:00:00Z"


def test_check_knows_holidays_of_a_subdivision(rules: Rules) -> None:
    asked = ("check", "--zone", "Europe/Paris", "--rule", "fr-telemarketing", "--at", "2026-04-03T09:00:00Z")
    assert json.loads(rules(*asked, "--json").stdout)["open"] is True
    assert json.loads(rules(*asked, "--subdivision", "57", "--json").stdout)["open"] is False
    window = ("check", "--zone", "Europe/Paris", "--window", "fri 00:00-24:00", "--holidays", "closed")
    at = ("--at", "2026-04-03T09:00:00Z", "--json")
    assert json.loads(rules(*window, "--country", "FR", *at).stdout)["open"] is True
    assert json.loads(rules(*window, "--country", "FR", "--subdivision", "57", *at).stdout)["open"] is False


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "write a phone number, or a time zone with --zone"),
        (("+390212345678",), "write why people are called with --purpose"),
        (("+39",), "The phone number '+39'"),
        (("--zone", "Rome", "--purpose", "survey"), "'Rome' is not a time zone"),
        (("--zone", "Europe/Rome", "--rule", "nobodys"), "There is no calling rule 'nobodys'"),
        (("--zone", "Europe/Rome", "--window", "late"), "such as 'mon-fri 09:00-20:00'"),
        (("--zone", "Europe/Rome", "--window", "mon 9-17"), "'9' is not a time of day"),
        (("--zone", "Europe/Rome", "--window", "mon 09:00-17:00", "--rule", "auto"), "write one of the two"),
        (("--zone", "Europe/Rome", "--window", "mon 09:00-17:00", "--holidays", "closed"), "--country IT"),
        (
            ("--zone", "Europe/Rome", "--rule", "it-debt", "--subdivision", "XX"),
            "'XX' is no subdivision of IT",
        ),
        (("--zone", "Europe/Rome", "--rule", "it-debt", "--at", "2026-01-01"), "is no instant"),
    ],
)
def test_check_refuses_in_one_sentence(arguments: tuple[str, ...], expected: str) -> None:
    # In this process: a dozen of them would take a minute to start.
    done = CliRunner().invoke(app, ["rules", "check", *arguments])
    assert isinstance(done.exception, UserError)
    assert expected in str(done.exception)
    assert len(str(done.exception).splitlines()) == 1


def test_refusal_is_an_error_on_stderr(rules: Rules) -> None:
    done = rules("check")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""


def test_list_shows_rules_and_how_new_the_data_are(rules: Rules) -> None:
    done = rules("list", "--country", "it")
    assert "it-telemarketing@1" in done.stdout
    assert "us-" not in done.stdout
    assert "tzdata 20" in done.stdout
    assert "No legal advice" in done.stdout
    found = json.loads(rules("list", "--json").stdout)
    assert len(found["rules"]) == 62
    assert all(rule["source"] for rule in found["rules"])


def test_show_gives_the_source(rules: Rules) -> None:
    assert "Garante" in rules("show", "it-telemarketing").stdout
    assert json.loads(rules("show", "it-debt@1", "--json").stdout)["caps"][0].startswith("at most 1")
    assert "There is no calling rule" in rules("show", "nobodys").stderr


def test_own_rules_are_read_from_a_file(rules: Rules, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("format = 1\n[[rule]]\nid = 'mine'\n")
    by_option = rules("list", "--rules", str(file))
    assert "rule[1].version is missing: write version = 1" in by_option.stderr
    assert rules("list", OUTDIAL_RULES_FILE=str(file)).stderr == by_option.stderr
