"""What the commands answer, as a person and as a script sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from outdial.cli.contacts import app as contacts_app
from outdial.cli.exclusions import app as exclusions_app
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
def test_a_register_is_imported(file: Path) -> None:
    file.write_text(f"{number(1)}\n{number(2)}\n")
    answer = json.loads(exclusions("import", file, "--json").stdout)
    assert (answer["rows"], answer["newly_excluded"]) == (2, 2)
