"""A user's own rules: read like the package's, refused in sentences that say what to write, and chosen beside them."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from outdial.cli.app import app
from outdial.cli.rules import HolidayPolicyName, PurposeName
from outdial.domain.campaign import Purpose
from outdial.domain.lawful_hours import lawful_hours
from outdial.domain.rules import Cap, CapCounts, Confidence, HolidayPolicy, RuleBook, UnknownRule
from outdial.domain.windows import CallingWindow, is_open
from outdial.files.rule_file import RULE, RuleFileError, load_rule_book, parse_rules

TODAY = date(2026, 11, 23)
MINE = """
format = 1

[[rule]]
id = "acme"
version = 2
country = "IT"
purposes = ["survey"]
holidays = "closed"
holidays_of = "country"
confidence = "high"
as_of = "2026-11-01"
source = "our works council"
caps = [{ max_calls = 2, days = 1, counts = "attempts" }]
blackouts = [{ from = 2026-12-07, until = 2026-12-07, reason = "the patron of Milan" }]
[[rule.windows]]
days = ["mon-fri"]
start = "10:00"
end = "18:00"
"""


def own(folder: Path, text: str = MINE) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_own_rule_joins_those_of_the_package(tmp_path: Path) -> None:
    book = load_rule_book(own(tmp_path))
    assert len(book.rules) == 63
    rule = book.find("acme")
    assert rule.name == "acme@2"
    assert rule.caps == (Cap(max_calls=2, days=1, counts=CapCounts.ATTEMPTS),)
    chosen = book.choose("auto", purpose=Purpose.SURVEY, country="IT", on=TODAY)
    assert chosen.names == ("acme@2",)
    hours = lawful_hours(CallingWindow(), chosen.rules, "IT")
    monday = datetime(2026, 12, 7, 10, tzinfo=UTC)
    assert not is_open(hours, ("Europe/Rome",), monday)
    assert is_open(hours, ("Europe/Rome",), monday + timedelta(days=2))


def test_own_rule_without_a_country_joins_every_countrys(tmp_path: Path) -> None:
    book = load_rule_book(
        own(tmp_path, MINE.replace('country = "IT"\n', "").replace('"survey"', '"telemarketing"'))
    )
    italian = book.choose("auto", purpose=Purpose.TELEMARKETING, country="IT", on=TODAY)
    assert italian.names == ("acme@2", "it-telemarketing@1")
    german = book.choose("auto", purpose=Purpose.TELEMARKETING, country="DE", on=TODAY)
    assert german.names == ("acme@2", "zz-strictest@1")


def test_own_rule_of_the_same_id_takes_the_place_of_the_packages(tmp_path: Path) -> None:
    text = MINE.replace('id = "acme"', 'id = "it-telemarketing"').replace('"survey"', '"telemarketing"')
    book = load_rule_book(own(tmp_path, text))
    assert book.find("it-telemarketing").name == "it-telemarketing@2"
    assert book.find("it-telemarketing@1").source.startswith("Codice di condotta")
    chosen = book.choose("auto", purpose=Purpose.TELEMARKETING, country="IT", on=TODAY)
    assert chosen.names == ("it-telemarketing@2",)


@pytest.mark.parametrize(
    ("written", "instead", "expected"),
    [
        ("format = 1", "format = 2", "format = 2: must be 1"),
        ('holidays = "closed"', 'holidays = "shut"', 'rule[1].holidays = "shut": must be "closed"'),
        ('"survey"', '"debt"', "rule[1].purposes"),
        ('source = "our works council"', "", "rule[1].source is missing: write the law"),
        ("version = 2", 'version = "2"', "rule[1].version"),
        ('"10:00"', '"10am"', "rule[1].windows[1].start"),
        ('"10:00"', '"18:00"', "rule[1].windows[1]: a window that starts and ends at 18:00"),
        ("days = 1,", "days = 1, hours = 24,", "rule[1].caps[1]: a cap counts either by hours or by days"),
        ("days = 1,", "", "rule[1].caps[1]: a cap counts either by hours or by days"),
        ("max_calls = 2", "max_calls = 0", "rule[1].caps[1].max_calls = 0"),
        ('country = "IT"', 'country = "UK"', "did you mean 'GB'?"),
        ('country = "IT"', 'country = "IT"\nsubdivisions = ["XX"]', "'XX' is no subdivision of IT"),
        ('country = "IT"', 'subdivisions = ["MI"]', "needs a country beside it"),
        ('country = "IT"', 'county = "IT"', "did you mean country?"),
        (
            "until = 2026-12-07",
            "until = 2026-12-06",
            "rule[1].blackouts[1]: a blackout ends before it begins",
        ),
        ("until = 2026-12-07", "until = 2026-12-07T10:00:00Z", "rule[1].blackouts[1].until"),
        ('id = "acme"', 'id = "auto"', "rule[1].id"),
        ('id = "acme"', 'id = "a b"', "rule[1].id"),
        (
            'country = "IT"',
            "valid_from = 2026-01-02\nvalid_to = 2026-01-01",
            "rule[1].valid_to = 2026-01-01: is before",
        ),
        ('holidays = "closed"', 'holidays = "closed"\nfixed_zones = ["EST"]', "rule[1].fixed_zones"),
        (
            'holidays = "closed"',
            'holidays = "closed"\nmore_holidays = [{ name = "x", month = 1 }]',
            "rule[1].more_holidays[1]: a holiday is either month and day",
        ),
    ],
)
def test_mistake_is_named_with_its_cure(written: str, instead: str, expected: str) -> None:
    assert written in MINE
    with pytest.raises(RuleFileError) as refused:
        parse_rules(MINE.replace(written, instead, 1), "mine.toml")
    assert all(line.startswith("mine.toml: ") for line in str(refused.value).splitlines())
    assert expected in str(refused.value)


def test_all_mistakes_are_said_at_once() -> None:
    text = MINE.replace("version = 2", "version = 0").replace('"closed"', '"shut"')
    with pytest.raises(RuleFileError) as refused:
        parse_rules(text, "mine.toml")
    assert len(refused.value.problems) == 2


@pytest.mark.parametrize("text", ["", "rule = 1", "rule = []", "rule = [1]", "format = ", "format = 1"])
def test_what_is_no_file_of_rules_is_refused(text: str) -> None:
    with pytest.raises(RuleFileError):
        parse_rules(text, "mine.toml")


def test_the_same_rule_twice_is_refused() -> None:
    with pytest.raises(RuleFileError, match="there twice with version 2"):
        parse_rules(MINE + MINE.replace("format = 1", ""), "mine.toml")


def test_file_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RuleFileError, match="cannot be read: No such file"):
        load_rule_book(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# caff\xe8")
    with pytest.raises(RuleFileError, match="not UTF-8"):
        load_rule_book(tmp_path / "latin.toml")


# What a campaign may name

BOOK = load_rule_book()


@pytest.mark.parametrize("name", ["auto", "au-survey", "au-survey@1", "de-survey"])
def test_campaign_may_name_a_rule_for_its_purpose(name: str) -> None:
    BOOK.check_name(name, Purpose.SURVEY, TODAY)


@pytest.mark.parametrize(
    ("name", "purpose", "expected"),
    [
        ("nobodys", "survey", "There is no calling rule 'nobodys'"),
        ("au-survey@9", "survey", "There is no calling rule 'au-survey@9'"),
        ("it-telemarketing", "survey", "is for telemarketing, not for survey"),
        (
            "us-mi-telemarketing",
            "telemarketing",
            'is of low confidence: .* name it as "us-mi-telemarketing@1"',
        ),
    ],
)
def test_campaign_may_not_name_what_does_not_fit(name: str, purpose: str, expected: str) -> None:
    with pytest.raises(UnknownRule, match=expected):
        BOOK.check_name(name, Purpose(purpose), TODAY)


def test_rule_past_its_date_is_taken_only_by_its_full_name() -> None:
    (rule,) = parse_rules(MINE.replace('country = "IT"', "valid_to = 2026-11-22"), "mine.toml")
    book = RuleBook((rule,))
    with pytest.raises(UnknownRule, match="is not in force on 2026-11-23"):
        book.check_name("acme", Purpose.SURVEY, TODAY)
    book.check_name("acme", Purpose.SURVEY, TODAY - timedelta(days=1))
    book.check_name("acme@2", Purpose.SURVEY, TODAY)
    by_id = book.choose("acme", purpose=Purpose.SURVEY, country="IT", on=TODAY)
    assert by_id.refusal is not None
    assert book.choose("acme@2", purpose=Purpose.SURVEY, country="IT", on=TODAY).rules == (rule,)
    assert book.choose("auto", purpose=Purpose.SURVEY, country="IT", on=TODAY).rules == ()


def test_named_rule_serves_no_other_place() -> None:
    abroad = BOOK.choose("it-telemarketing", purpose=Purpose.TELEMARKETING, country="FR", on=TODAY)
    assert abroad.rules == ()
    assert abroad.refusal == ("The calling rule it-telemarketing@1 is for IT, and the number rings in FR.")
    elsewhere = BOOK.choose(
        "us-fl-telemarketing", purpose=Purpose.TELEMARKETING, country="US", subdivision="TX", on=TODAY
    )
    assert elsewhere.refusal is not None
    unknown = BOOK.choose("us-fl-telemarketing", purpose=Purpose.TELEMARKETING, country="US", on=TODAY)
    assert unknown.refusal is None


def test_rule_of_low_confidence_is_never_taken_by_auto() -> None:
    for rule in BOOK.rules:
        for purpose in Purpose:
            for subdivision in (None, *rule.subdivisions):
                choice = BOOK.choose(
                    "auto", purpose=purpose, country=rule.country, subdivision=subdivision, on=TODAY
                )
                assert all(one.confidence is not Confidence.LOW for one in choice.rules)
                assert all(one.holidays in HolidayPolicy for one in choice.rules)


# What the documentation shows

DOCUMENT = (Path(__file__).parents[2] / "docs" / "calling-rules.md").read_text(encoding="utf-8")


def test_documented_file_is_read() -> None:
    (shown,) = re.findall(r"```toml\n(format = 1.*?)```", DOCUMENT, re.DOTALL)
    (rule,) = parse_rules(shown, "docs")
    assert rule.blackouts[0].until_local.day == 3
    # Every key that is not described in a sentence instead.
    told = {"consent", "max_abandoned_percent", "shows_caller_number", "basis", "notes", "applies"}
    assert all(re.search(rf"^(\[\[rule\.)?{key}\b", shown, re.MULTILINE) for key in RULE.keys() - told)
    assert all(f"`{key}`" in DOCUMENT for key in told)


def test_documented_commands_answer() -> None:
    (shown,) = re.findall(r"```\n(outdial rules.*?)```", DOCUMENT, re.DOTALL)
    for line in shown.splitlines():
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == 0, line


def test_commands_know_every_purpose_and_policy() -> None:
    assert get_args(PurposeName) == tuple(Purpose)
    assert get_args(HolidayPolicyName) == tuple(HolidayPolicy)
