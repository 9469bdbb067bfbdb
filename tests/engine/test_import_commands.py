"""What the commands answer, as a person and as a script sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from outdial.cli.contacts import app as contacts_app
from outdial.cli.exclusions import app as exclusions_app
from outdial.domain.errors import UserError
from tests.support.world import World, number


@pytest.fixture
def world(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    made = World(sqlite_url)
    made.add_campaign()
    made.close()
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def contacts(*arguments: object) -> Result:
    return CliRunner().invoke(contacts_app, [str(argument) for argument in arguments])


def exclusions(*arguments: object) -> Result:
    return CliRunner().invoke(exclusions_app, [str(argument) for argument in arguments])


@pytest.mark.usefixtures("world")
def test_an_import_says_what_became_of_each_row(file: Path, tmp_path: Path) -> None:
    file.write_text("phone_number\n" + "\n".join([number(1), number(1), *["12"] * 25]))
    done = contacts("import", file, "--campaign", "survey", "--rejects", tmp_path / "rejects.csv")
    assert done.exit_code == 0
    assert done.stdout.count("phone_number '12'") == 20
    assert "and 5 more" in done.stdout
    assert len((tmp_path / "rejects.csv").read_text().splitlines()) == 26


@pytest.mark.usefixtures("world")
def test_an_import_answers_scripts_in_json_alone(file: Path) -> None:
    file.write_text(f"phone_number\n{number(1)}\n12\n")
    answer = json.loads(contacts("import", file, "--campaign", "survey", "--json").stdout)
    assert (answer["rows"], answer["accepted"], answer["rejected"]) == (2, 1, 1)
    assert [one["line"] for one in answer["rejections"]] == [3]


@pytest.mark.usefixtures("world")
def test_an_import_fails_only_where_every_row_was_rejected(file: Path) -> None:
    file.write_text("phone_number\n12\n")
    assert contacts("import", file, "--campaign", "survey").exit_code == 1
    file.write_text("phone_number\n")
    assert contacts("import", file, "--campaign", "survey").exit_code == 0


@pytest.mark.usefixtures("world")
def test_an_exclusion_is_added_checked_and_removed() -> None:
    assert exclusions("add", number(1), number(2), "--reason", "asked").exit_code == 0
    assert json.loads(exclusions("check", number(1), "--json").stdout)["is_excluded"]
    assert exclusions("remove", number(1), "--reason", "consented").exit_code == 0
    assert not json.loads(exclusions("check", number(1), "--json").stdout)["is_excluded"]
    assert json.loads(exclusions("check", number(2), "--json").stdout)["is_excluded"]


@pytest.mark.usefixtures("world")
def test_a_person_is_excluded_shown_and_let_be_called_again() -> None:
    assert exclusions("add", "--person", "crm-1", number(1), "--workspace").exit_code == 0
    shown = json.loads(exclusions("show", "--person", "crm-1", "--json").stdout)
    assert (shown["is_excluded"], shown["person_keys"]) == (True, ["crm-1"])
    assert "any campaign of this workspace" in shown["summary"]
    assert [one["scope"] for one in shown["entries"]] == ["workspace"]
    missed = exclusions("remove", "--person", "crm-1", "--reason", "consented").stdout
    assert "No such entry" in missed
    assert "`outdial exclusions remove --person crm-1 --workspace --reason …`" in missed
    done = exclusions("remove", "--person", "crm-1", "--workspace", "--reason", "consented").stdout
    assert "Entries ended: 1" in done
    assert "may be called" in done
    again = json.loads(exclusions("show", "--person", "crm-1", "--json").stdout)
    assert [(one["removed_why"], bool(one["removed_by"])) for one in again["entries"]] == [
        ("consented", True)
    ]
    assert json.loads(exclusions("show", number(1), "--json").stdout)["is_excluded"]


@pytest.mark.usefixtures("world")
def test_a_register_with_columns_of_its_own_is_tried_and_imported(file: Path, tmp_path: Path) -> None:
    file.write_text("Nummer;Grund\n347 0000001;mail\n12;mail\n")
    rejects = tmp_path / "bad.csv"
    mine = ("import", file, "--map", "phone_number=Nummer", "--region", "IT", "--rejects", rejects)
    tried = exclusions(*mine, "--dry-run")
    assert "nothing has been written" in tried.stdout
    assert not json.loads(exclusions("show", number(1), "--json").stdout)["entries"]
    answer = json.loads(exclusions(*mine, "--json").stdout)
    assert (answer["newly_excluded"], answer["rejected"]) == (1, 1)
    assert rejects.read_text().startswith("Nummer,Grund,rejected_line,rejected_reason")


@pytest.mark.usefixtures("world")
def test_a_register_is_imported(file: Path) -> None:
    file.write_text(f"{number(1)}\n{number(2)}\n")
    answer = json.loads(exclusions("import", file, "--json").stdout)
    assert (answer["rows"], answer["newly_excluded"]) == (2, 2)


@pytest.mark.usefixtures("world")
def test_a_list_with_columns_of_its_own_is_tried_imported_looked_at_and_taken_back(file: Path) -> None:
    file.write_text(f"Nome;Cellulare\nAda;347 0000001\nBob;{number(2)}\nEva;12\n")
    mine = ("import", file, "--campaign", "survey", "--region", "IT", "--map", "phone_number=Cellulare")
    tried = contacts(*mine, "--dry-run")
    assert tried.exit_code == 0
    assert "nothing has been written" in tried.stdout
    assert json.loads(contacts("list", "--campaign", "survey", "--json").stdout) == []
    done = json.loads(contacts(*mine, "--map", "name=Nome", "--json").stdout)
    assert (done["accepted"], done["rejected"]) == (2, 1)
    shown = json.loads(contacts("list", "--campaign", "survey", "--import", done["import"], "--json").stdout)
    assert [one["name"] for one in shown] == ["Ada", "Bob"]
    [record] = json.loads(contacts("imports", "--json").stdout)
    assert (record["id"], record["file"], record["counts"]["pending"]) == (done["import"], "list.csv", 2)
    assert "list.csv" in contacts("imports").stdout
    back = json.loads(contacts("withdraw", "--import", done["import"], "--json").stdout)
    assert back == {"waiting": 2, "in_progress": 0, "final": 0}
    listed = contacts("list", "--campaign", "survey", "--state", "withdrawn").stdout
    assert listed.count("withdrawn by hand") == 2


@pytest.mark.usefixtures("world")
def test_one_contact_is_added_and_taken_out() -> None:
    add = (
        "add",
        "347 0000001",
        "--campaign",
        "survey",
        "--region",
        "IT",
        "--name",
        "Ada",
        "--person",
        "crm-1",
        "--consent-kind",
        "express",
        "--attribute",
        "city=Rome",
    )
    assert "waits to be called" in contacts(*add).stdout
    assert "as it was" in contacts(*add).stdout
    assert "brought up to date" in contacts(*add[:-1], "city=Milan", "--on-duplicate", "update").stdout
    [shown] = json.loads(contacts("list", "--campaign", "survey", "--json").stdout)
    assert (shown["phone_number"], shown["attributes"]) == (number(1), {"city": "Milan"})
    assert (shown["person_key"], shown["consent_kind"]) == ("crm-1", "express")
    assert (
        json.loads(contacts("withdraw", number(1), "--campaign", "survey", "--json").stdout)["waiting"] == 1
    )


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["withdraw"], "Say whom"),
        (["withdraw", number(1)], "Say whom"),
        (["withdraw", number(1), "--campaign", "survey", "--import", "1"], "Say whom"),
        (["withdraw", "--import", "7"], "contacts imports"),
        (["withdraw", number(1), "--campaign", "survey"], "contacts list"),
        (["withdraw", "347", "--campaign", "survey", "--region", "XX"], "'XX' is no country"),
        (["add", number(1), "--campaign", "survey", "--region", "XX"], "'XX' is no country"),
        (["add", "12", "--campaign", "survey"], "phone_number '12'"),
        (["add", number(1), "--campaign", "no-such"], "campaign list"),
        (["add", number(1), "--campaign", "survey", "--attribute", "city"], "NAME=VALUE"),
        (["add", number(1), "--campaign", "survey", "--attribute", "name=x"], "option of its own"),
        (["add", number(1), "--campaign", "survey", "--call-before", "2020-01-01"], "has passed"),
    ],
)
def test_a_mistake_is_answered_by_a_sentence(arguments: list[str], words: str) -> None:
    done = contacts(*arguments)
    assert isinstance(done.exception, UserError)
    assert words in str(done.exception)
