"""The real command, as a process: what people and scripts see of it."""

import csv
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer.main

from outdial.cli import main
from outdial.cli.app import app
from outdial.clock import SystemClock
from outdial.operations.campaigns import SETTLE_SECONDS
from tests.support.processes import ROOT

CAMPAIGN = """
format = 1
name = "spring"
purpose = "survey"
default_time_zone = "Europe/Rome"
[call]
account = "main"
[[windows]]
days = ["mon-sun"]
start = "00:00"
end = "24:00"
[retry]
max_attempts = 3
"""
CONTACTS = "external_contact_id,phone_number,name\n1,+393471234567,=Ada\n2,+393471234568,Bob\n"
ACCOUNT = ("--base-url", "http://127.0.0.1:9", "--max-concurrent-calls", "5", "--from", "+390212345678")

Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Done]


def process_in(folder: Path, database_url: str) -> Cli:
    """`outdial …` as a process in that folder, on that database; `env` is added to the environment."""

    def run(*arguments: str, **env: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "outdial", *arguments],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "DATABASE_URL": database_url,
                "COLUMNS": "200",
                **env,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "OUTDIAL_DEBUG" in env or "Traceback" not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    (tmp_path / "spring.toml").write_text(CAMPAIGN)
    (tmp_path / "people.csv").write_text(CONTACTS)


@pytest.fixture
def cli_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[str], Cli]]:
    """The same without a process of its own, which takes a second each: the entry point, called here."""
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    monkeypatch.chdir(tmp_path)

    def on(database_url: str) -> Cli:
        def run(*arguments: str, **env: str) -> Done:
            with monkeypatch.context() as patched:
                for name, value in {"DATABASE_URL": database_url, "COLUMNS": "200", **env}.items():
                    patched.setenv(name, value)
                patched.setattr(sys, "argv", ["outdial", *arguments])
                with pytest.raises(SystemExit) as left:
                    main()
            said = capsys.readouterr()
            assert isinstance(left.value.code, int)
            return Done(arguments, left.value.code, said.out, said.err)

        return run

    yield on
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


@pytest.fixture
def cli(cli_on: Callable[[str], Cli], sqlite_url: str) -> Cli:
    return cli_on(sqlite_url)


def ok(done: Done) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def mistake(done: Done, exit_code: int = 2) -> str:
    """The one sentence that a mistake is answered with."""
    assert (done.returncode, done.stdout) == (exit_code, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_preview_fits_a_screen_and_an_output_without_blocks(
    cli: Cli, tmp_path: Path, sqlite_url: str
) -> None:
    ok(cli("account", "set", "main", *ACCOUNT))
    ok(cli("campaign", "apply", "spring.toml"))
    ok(cli("contacts", "import", "people.csv", "--campaign", "spring"))
    shown = ok(cli("campaign", "preview", "spring"))
    assert "2  callable now" in shown
    assert "Held: the campaign is draft." in shown
    assert "everybody is called once by" in shown
    assert "█" * 40 in shown
    assert max(map(len, shown.splitlines())) <= 100
    in_ascii = process_in(tmp_path, sqlite_url)
    plain = ok(in_ascii("campaign", "preview", "spring", PYTHONIOENCODING="ascii"))
    assert plain.isascii()
    assert "#" * 40 in plain


def test_campaign_from_its_file_to_its_results(cli_on: Callable[[str], Cli], database_url: str) -> None:
    cli = cli_on(database_url)
    assert "created" in ok(cli("account", "set", "main", *ACCOUNT))
    assert json.loads(ok(cli("account", "list", "--json")))[0]["max_concurrent_calls"] == 5
    assert "created, as a draft" in ok(cli("campaign", "apply", "spring.toml"))
    ok(cli("contacts", "import", "people.csv", "--campaign", "spring"))
    previewed = json.loads(ok(cli("campaign", "preview", "spring", "--json")))
    assert (previewed["callable"]["now"], previewed["total"]) == (2, 2)
    assert [hold["says"] for hold in previewed["holds"]] == ["the campaign is draft"]
    started = ok(cli("campaign", "start", "spring"))
    assert "is running." in started
    assert "2  callable now" in started
    assert "is paused." in ok(cli("campaign", "pause", "spring", "--reason", "lunch"))
    [listed] = json.loads(ok(cli("campaign", "list", "--json")))
    assert (listed["status"], listed["paused_reason"]) == ("paused", "lunch")
    assert listed["contacts"] == {"total": 2, "pending": 2}
    assert "is running." in ok(cli("campaign", "resume", "spring"))
    assert "2 contacts were withdrawn" in ok(cli("campaign", "cancel", "spring"))
    rows = list(csv.DictReader(ok(cli("results", "export", "spring")).splitlines()))
    assert [(row["phone_number"], row["name"], row["state"]) for row in rows] == [
        ("+393471234567", "'=Ada", "withdrawn"),
        ("+393471234568", "Bob", "withdrawn"),
    ]
    assert json.loads(ok(cli("calls", "list", "--json"))) == []


def test_database_without_a_schema_says_what_to_run(
    cli_on: Callable[[str], Cli], empty_database_url: str
) -> None:
    cli = cli_on(empty_database_url)
    assert "outdial db upgrade" in mistake(cli("db", "check"), exit_code=1)
    assert "outdial db upgrade" in mistake(cli("campaign", "list"))
    ok(cli("db", "upgrade"))
    assert "as it was" in ok(cli("db", "upgrade"))
    ok(cli("db", "check"))


def test_database_of_a_newer_program_says_so(cli: Cli, sqlite_url: str) -> None:
    engine = sa.create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE outdial_alembic_version SET version_num = '9999'")
    engine.dispose()
    assert "revision 9999" in mistake(cli("db", "check"), exit_code=1)
    assert "revision 9999" in mistake(cli("db", "upgrade"))
    assert "revision 9999" in mistake(cli("account", "list"))


@pytest.mark.parametrize(("command", "status"), [("pause", "paused"), ("cancel", "canceled")])
def test_stop_answers_only_when_its_commit_is_older_than_any_check_before_a_call(
    cli: Cli, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, command: str, status: str
) -> None:
    ok(cli("account", "set", "main", *ACCOUNT))
    ok(cli("campaign", "apply", "spring.toml"))
    ok(cli("contacts", "import", "people.csv", "--campaign", "spring"))
    ok(cli("campaign", "start", "spring"))
    waits: list[tuple[float, str]] = []

    def sleep(_: SystemClock, seconds: float) -> None:
        engine = sa.create_engine(sqlite_url)
        with engine.connect() as connection:
            waits.append((seconds, connection.exec_driver_sql("SELECT status FROM campaigns").scalar_one()))
        engine.dispose()

    monkeypatch.setattr(SystemClock, "sleep", sleep)
    ok(cli("campaign", command, "spring"))
    assert waits == [(SETTLE_SECONDS, status)]


def test_stop_is_shown_until_it_is_resumed(cli_on: Callable[[str], Cli], database_url: str) -> None:
    cli = cli_on(database_url)
    ok(cli("account", "set", "main", *ACCOUNT))
    ok(cli("campaign", "apply", "spring.toml"))
    assert ok(cli("stop", "--all", "--reason", "wrong list")).startswith("Stopped: everything.")
    assert "as it was" in ok(cli("stop", "--all"))
    assert "Stopped: the account 'main'." in ok(cli("stop", "--account", "main", "--reason", "lunch"))
    listed = cli("account", "list")
    assert "lunch" in ok(listed)
    assert "Everything is stopped" in listed.stderr
    [account] = json.loads(ok(cli("account", "list", "--json")))
    assert account["stopped_reason"] == "lunch"
    shown = ok(cli("campaign", "show", "spring"))
    assert "wrong list" in shown
    assert "lunch" in shown
    resumed = cli("resume", "--all")
    assert "Going on: everything." in ok(resumed)
    assert "outdial resume --account main" in resumed.stderr
    assert "Going on: the account 'main'." in ok(cli("resume", "--account", "main"))
    assert "as it was" in ok(cli("resume", "--account", "main"))
    assert json.loads(ok(cli("campaign", "show", "spring", "--json")))["stops"] == []


def test_stop_of_everything_waits_too_and_leaves_no_open_call_to_hang_up(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(SystemClock, "sleep", lambda _, seconds: waits.append(seconds))
    assert "Hung up: 0." in ok(cli("stop", "--all", "--hangup"))
    assert waits == [SETTLE_SECONDS]


@pytest.mark.parametrize(
    "arguments", [(), ("--all", "--account", "main"), ("--account", "a", "--campaign", "b")]
)
def test_stop_wants_to_know_what(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert "one of --all, --account NAME and --campaign NAME" in mistake(cli("stop", *arguments))
    assert "one of --all, --account NAME and --campaign NAME" in mistake(cli("resume", *arguments))


def test_init_makes_the_schema_and_names_the_database_once(
    cli_on: Callable[[str], Cli], empty_database_url: str
) -> None:
    cli = cli_on(empty_database_url)
    assert "Set OUTDIAL_DEPLOYMENT=production" in ok(cli("init", "--deployment", "production"))
    assert "as it did" in ok(cli("init", "--deployment", "production", OUTDIAL_DEPLOYMENT="production"))
    assert "--rename" in mistake(cli("init", "--deployment", "staging"))
    ok(cli("init", "--deployment", "staging", "--rename"))
    public = "http://127.0.0.1:1"
    assert "OUTDIAL_DEPLOYMENT is not set" in mistake(cli("run", OUTDIAL_PUBLIC_URL=public))
    assert "is 'production'" in mistake(
        cli("run", OUTDIAL_PUBLIC_URL=public, OUTDIAL_DEPLOYMENT="production")
    )


def test_account_check_says_what_is_wrong_and_exits_with_1(cli: Cli) -> None:
    ok(cli("account", "set", "main", *ACCOUNT))
    without_key = cli("account", "check", "main")
    assert (without_key.returncode, without_key.stderr) == (1, "")
    assert "The environment variable TELEPHONY_API_KEY" in without_key.stdout
    refused = cli(
        "account", "check", "main", TELEPHONY_API_KEY="k", TELEPHONY_WEBHOOK_SECRET="whsec_c2VjcmV0"
    )
    assert refused.returncode == 1
    assert "nobody listens at 127.0.0.1:9" in refused.stdout
    assert "no account 'nope'" in mistake(cli("account", "check", "nope"))


def test_numbers_and_retries_by_hand(cli: Cli) -> None:
    ok(cli("account", "set", "main", *ACCOUNT))
    ok(cli("campaign", "apply", "spring.toml"))
    own = ("+390212345678", "--account", "main")
    assert "rests." in ok(cli("numbers", "rest", *own, "--reason", "spam"))
    [number] = json.loads(ok(cli("numbers", "list", "--json")))
    assert (number["phone_number"], number["state"], number["reason"]) == (own[0], "resting", "spam")
    assert "is in use." in ok(cli("numbers", "use", *own))
    assert "is retired." in ok(cli("numbers", "retire", *own, "--reason", "given back"))
    assert "given back" in ok(cli("numbers", "list", "--account", "main"))
    assert "Waiting again: 0." in ok(
        cli("contacts", "retry", "--campaign", "spring", "--outcome", "no_answer,busy")
    )
    assert "--older-than is 'soon'" in mistake(cli("calls", "list", "--older-than", "soon"))
    assert json.loads(ok(cli("calls", "list", "--open", "--older-than", "10m", "--json"))) == []
    assert "There is no call" in mistake(cli("calls", "hangup", "nope", "--reason", "x"))
    assert "There is no call" in mistake(cli("calls", "end", "nope", "--reason", "x"))
    assert "No caller number" in mistake(cli("campaign", "test", "spring", "--to", "+393471234567", "--now"))
    ok(cli("numbers", "use", *own))
    assert "is not set" in mistake(cli("campaign", "test", "spring", "--to", "+393471234567", "--now"))


def test_changed_file_shows_what_changed(cli: Cli, tmp_path: Path) -> None:
    ok(cli("account", "set", "main", *ACCOUNT))
    ok(cli("campaign", "apply", "spring.toml"))
    (tmp_path / "spring.toml").write_text(CAMPAIGN.replace("max_attempts = 3", "max_attempts = 5"))
    assert "retry.max_attempts: 3 → 5" in ok(cli("campaign", "apply", "spring.toml"))
    shown = json.loads(ok(cli("campaign", "show", "spring", "--json")))
    assert (shown["revision"], shown["definition"]["retry"]["max_attempts"]) == (2, 5)
    assert "unchanged" in ok(cli("campaign", "apply", "spring.toml"))


def test_everything_wrong_in_a_file_is_one_line_each(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("format = 1\nnme = 3\nweight = -1\n")
    done = cli("campaign", "apply", "bad.toml")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) > 3
    assert all(line.startswith("error: bad.toml: ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("campaign", "apply", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("campaign", "apply", "spring.toml"), "outdial account set main"),
        (("campaign", "start", "nope"), "There is no campaign 'nope'"),
        (("campaign", "show", "nope"), "There is no campaign 'nope'"),
        (("calls", "list", "--campaign", "nope"), "There is no campaign 'nope'"),
        (("calls", "show", "nope"), "There is no call 'nope'"),
        (("results", "export", "nope"), "There is no campaign 'nope'"),
        (("account", "set", "main", "--api-key", "sk_live_hunter2"), "--api-key must say where"),
        (("account", "set", "a/b", *ACCOUNT), "the name must be"),
    ],
)
def test_mistake_is_one_sentence_and_exit_code_2(cli: Cli, arguments: tuple[str, ...], words: str) -> None:
    sentence = mistake(cli(*arguments))
    assert words in sentence
    assert "hunter2" not in sentence


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("campaign", "start"), ("calls", "list", "--limit", "0")]
)
def test_wrong_usage_is_exit_code_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments).returncode == 2


def test_process_answers_as_the_entry_point_does(empty_sqlite_url: str, tmp_path: Path) -> None:
    cli = process_in(tmp_path, empty_sqlite_url)
    assert "nowhere.toml" in mistake(cli("campaign", "apply", "nowhere.toml"))
    assert "outdial db upgrade" in mistake(cli("db", "check"), exit_code=1)
    assert "cannot be used" in mistake(cli("db", "check", DATABASE_URL="sqlite:////nowhere/x"), exit_code=3)
    ok(cli("db", "upgrade"))
    ok(cli("account", "set", "main", *ACCOUNT))
    assert "created, as a draft" in ok(cli("campaign", "apply", "spring.toml"))


def test_wrong_environment_is_said_in_full(cli: Cli) -> None:
    done = cli("campaign", "list", SCHEDULER_BATCH="0", SCHEDULER_TZ="Rome")
    assert done.returncode == 2
    assert [line.split(" is ")[0] for line in done.stderr.splitlines()] == [
        "error: SCHEDULER_BATCH",
        "error: SCHEDULER_TZ",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@127.0.0.1:1/outdial",
        "sqlite:////nowhere/at/all.sqlite3",
        "sqlite:///people.csv",
    ],
)
def test_unusable_database_is_exit_code_3_without_its_password(cli: Cli, url: str) -> None:
    sentence = mistake(cli("campaign", "list", DATABASE_URL=url), exit_code=3)
    assert "Check DATABASE_URL" in sentence
    assert "hunter2" not in sentence


def test_unexpected_error_is_short_and_its_traceback_is_to_be_had(cli: Cli, sqlite_url: str) -> None:
    ok(cli("account", "set", "main", *ACCOUNT))
    ok(cli("campaign", "apply", "spring.toml"))
    engine = sa.create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE campaigns SET retry_policy = '{}'")
    engine.dispose()
    done = cli("campaign", "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: unexpected")
    assert "OUTDIAL_DEBUG=1" in done.stderr
    told = cli("campaign", "list", OUTDIAL_DEBUG="1")
    assert told.returncode == 1
    assert "Traceback" in told.stderr


def test_export_to_a_file_is_whole_or_not_there(cli: Cli, tmp_path: Path) -> None:
    ok(cli("account", "set", "main", *ACCOUNT))
    ok(cli("campaign", "apply", "spring.toml"))
    ok(cli("contacts", "import", "people.csv", "--campaign", "spring"))
    ok(cli("results", "export", "spring", "--output", "out.ndjson"))
    documents = [json.loads(line) for line in (tmp_path / "out.ndjson").read_text().splitlines()]
    assert [one["name"] for one in documents] == ["=Ada", "Bob"]
    assert "Cannot write" in mistake(cli("results", "export", "spring", "--output", "no/such/folder.csv"))
    assert not list(tmp_path.glob("*.part"))


def test_reader_who_leaves_early_is_no_error(cli: Cli, sqlite_url: str, tmp_path: Path) -> None:
    ok(cli("account", "set", "main", *ACCOUNT))
    ok(cli("campaign", "apply", "spring.toml"))
    people = "".join(f"{index},+39347{index:07d},Ada\n" for index in range(2000))
    (tmp_path / "many.csv").write_text("external_contact_id,phone_number,name\n" + people)
    ok(cli("contacts", "import", "many.csv", "--campaign", "spring"))
    export = subprocess.Popen(
        [sys.executable, "-m", "outdial", "results", "export", "spring"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": sqlite_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert export.stdout is not None
    assert export.stderr is not None
    with export.stdout:
        first_line = export.stdout.readline()
    with export.stderr:
        said = export.stderr.read()
    export.wait(60)
    assert first_line.startswith("external_contact_id,")
    assert said == ""


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, sub in getattr(command, "commands", {}).items():
        if hasattr(sub, "commands"):
            yield from commands(sub, (*path, name))
        else:
            yield (*path, name), sub


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_every_command_is_there() -> None:
    groups = {
        "db": ("upgrade", "check"),
        "account": ("set", "list", "check"),
        "campaign": ("apply", "list", "show", "preview", "start", "pause", "resume", "cancel", "test"),
        "contacts": ("import", "retry"),
        "exclusions": ("add", "remove", "show", "import"),
        "dnc": ("add", "remove", "show", "import"),
        "calls": ("list", "show", "hangup", "end"),
        "numbers": ("list", "rest", "use", "retire"),
        "results": ("export",),
        "rules": ("list", "show", "check"),
    }
    expected = {(group, name) for group, names in groups.items() for name in names}
    expected |= {("audit",), ("demo",), ("init",), ("run",), ("serve",), ("stop",), ("resume",)}
    assert expected <= set(COMMANDS)


@pytest.mark.parametrize("path", sorted(COMMANDS), ids=" ".join)
def test_help_of_every_command_has_an_example(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    text = f"{command.help} {command.epilog}"
    name = " ".join(path).replace("dnc", "exclusions")
    assert "Example: " in text
    assert f"outdial {name}" in text.split("Example: ")[1]


def test_help_starts_without_what_only_commands_need() -> None:
    heavy = ["sqlalchemy", "pydantic", "fastapi", "aiohttp", "alembic", "phonenumbers", "holidays", "httpx"]
    code = f"import sys, outdial.cli.app; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
