"""Campaign files: what is accepted, what is refused, and in which words."""

import tomllib
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from outdial.domain.campaign import AnswerType, CampaignDefinition, Purpose, Question, UnknownZone, WhenEmpty
from outdial.domain.errors import CampaignFileError
from outdial.domain.retries import RetryPolicy
from outdial.domain.settle import MachinePolicy, Outcome
from outdial.domain.windows import WeeklyWindow
from outdial.operations.campaign_changes import describe_changes, to_document
from outdial.operations.campaign_file import HOMES, load_campaign_file, parse_campaign, read_campaign

WHOLE = """
format = 1
name = "spring-survey"
purpose = "survey"
default_time_zone = "Europe/Rome"
language = "en"
max_concurrent_calls = 50
weight = 1
priority = 2
countries = ["IT"]
starts_at = 2027-03-01T08:00:00+01:00
ends_at = 2027-03-31T18:00:00+02:00
when_empty = "wait"
unique_by = "phone_number"
closed_dates = [2027-03-29]
[call]
account = "main"
from = ["+390212345678"]
ring_timeout_seconds = 25
max_duration_seconds = 300
machine = "leave_message"
result_timeout_seconds = 90
completed_after_seconds = 20
[[windows]]
days = ["mon-fri"]
start = "09:00"
end = "20:00"
[retry]
max_attempts = 3
retry_interval_minutes = 60
max_callbacks = 1
max_network_retries = 4
network = ["30s", "5m"]
busy = ["10m", "1h"]
no_answer = { delays = ["2h", "1d"], limit = 2, another_time_of_day = true }
[script]
intro = "Good day {name}, this is …"
[[script.questions]]
text = "How satisfied are you, from 1 to 10?"
answer_type = "scale"
"""
SHORTEST = """
format = 1
name = "notice"
purpose = "informational"
default_time_zone = "Europe/Rome"
[call]
account = "main"
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(CampaignFileError) as raised:
        parse_campaign(text, "c.toml")
    return raised.value.problems


def with_line(line: str, text: str = SHORTEST) -> str:
    return text.replace("format = 1\n", f"format = 1\n{line}\n", 1)


def with_tail(tail: str) -> str:
    return f"{SHORTEST}\n{tail}\n"


def test_whole_file_becomes_the_definition_it_says() -> None:
    definition = parse_campaign(WHOLE, "c.toml")
    assert (definition.name, definition.purpose, definition.account) == (
        "spring-survey",
        Purpose.SURVEY,
        "main",
    )
    assert definition.starts_at == datetime(2027, 3, 1, 7, tzinfo=UTC)
    assert definition.ends_at == datetime(2027, 3, 31, 16, tzinfo=UTC)
    assert definition.when_empty is WhenEmpty.WAIT
    assert (definition.max_concurrent_calls, definition.weight, definition.priority) == (50, 1.0, 2)
    assert (definition.countries, definition.caller_numbers) == (("IT",), ("+390212345678",))
    assert definition.call.machine is MachinePolicy.LEAVE_MESSAGE
    assert (definition.call.ring_timeout_seconds, definition.call.result_timeout_seconds) == (25, 90)
    assert definition.call.completed_after_seconds == 20
    assert definition.window.weekly == (
        WeeklyWindow(days=frozenset(range(5)), start_minute=540, end_minute=1200),
    )
    assert definition.window.closed_dates == {date(2027, 3, 29)}
    assert definition.retry == RetryPolicy(
        max_attempts=3,
        default_delay=timedelta(hours=1),
        delays={
            Outcome.BUSY: (timedelta(minutes=10), timedelta(hours=1)),
            Outcome.NO_ANSWER: (timedelta(hours=2), timedelta(days=1)),
        },
        limits={Outcome.NO_ANSWER: 2},
        another_time_of_day=frozenset({Outcome.NO_ANSWER}),
        max_network_retries=4,
        network_delays=(timedelta(seconds=30), timedelta(minutes=5)),
        max_callbacks=1,
    )
    assert definition.script.intro == "Good day {name}, this is …"
    assert definition.script.questions == (
        Question(position=1, text="How satisfied are you, from 1 to 10?", answer_type=AnswerType.SCALE),
    )


def test_what_a_file_leaves_out_gets_the_definition_s_own_defaults() -> None:
    expected = CampaignDefinition(
        name="notice", purpose=Purpose.INFORMATIONAL, account="main", default_time_zone="Europe/Rome"
    )
    assert parse_campaign(SHORTEST, "c.toml") == expected


@pytest.mark.parametrize("text", [WHOLE, SHORTEST])
def test_document_of_a_definition_is_read_back_as_the_same(text: str) -> None:
    definition = parse_campaign(text, "c.toml")
    assert read_campaign(to_document(definition), "again") == definition


@pytest.mark.parametrize(
    ("needed", "where"),
    [
        ("format", "format"),
        ("name", "name"),
        ("purpose", "purpose"),
        ("default_time_zone", "default_time_zone"),
        ("account", "call.account"),
    ],
)
def test_missing_key_is_named(needed: str, where: str) -> None:
    text = "\n".join(line for line in SHORTEST.splitlines() if not line.startswith(needed))
    [problem] = problems_of(text)
    assert problem.startswith(f"{where} is missing: write ")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("format = 2", ["format = 2", "must be 1"]),
        ('weight = "1"', ['weight = "1"', "number above 0"]),
        ("weight = 0", ["weight = 0", "above 0"]),
        ("weight = nan", ["weight", "above 0"]),
        ("weight = inf", ["weight", "above 0"]),
        ("max_concurrent_calls = 0", ["max_concurrent_calls = 0", "from 1"]),
        ("max_concurrent_calls = true", ["max_concurrent_calls = true", "whole number"]),
        ("max_concurrent_calls = 1.0", ["max_concurrent_calls = 1.0", "whole number"]),
        ("priority = 99999999999", ["priority = 99999999999", "1,000,000"]),
        ('purpose = "sales"', ['"telemarketing"', '"collections"']),
        ('when_empty = "stop"', ['"complete" or "wait"']),
        ('language = "english!"', ["language", '"it-IT"']),
        ('countries = ["it"]', ["'it'", "did you mean 'IT'?"]),
        ('countries = ["UK"]', ["'UK'", "did you mean 'GB'?"]),
        ('countries = ["XX"]', ["'XX' is no country"]),
        ('countries = "IT"', ["must be a list"]),
        ("starts_at = 2027-03-01T08:00:00", ["with its offset"]),
        ('starts_at = "2027-03-01T08:00:00+01:00"', ["without quotes"]),
        ("starts_at = 0001-01-01T00:00:00+14:00", ["years 2000 to"]),
        ("closed_dates = [2027-04-05T00:00:00Z]", ["no date"]),
        ('closed_dates = ["2027-04-05"]', ["without quotes"]),
        ('name = " x"', ["no space around it"]),
        ('name = "--help"', ["no dash before it"]),
        ('default_time_zone = "Rome"', ["'Rome' is not a time zone"]),
        ("call = 3", ["call = 3", "must be a table"]),
        ("windows = {}", ["windows", "must be a list of tables"]),
    ],
)
def test_impossible_value_is_named_with_what_is_allowed(line: str, words: list[str]) -> None:
    key = line.split(" ", maxsplit=1)[0]
    text = "\n".join(one for one in SHORTEST.splitlines() if not one.startswith(key))
    if key == "call":
        text = (
            text.replace('[call]\naccount = "main"', "").replace("[call]", "").replace('account = "main"', "")
        )
    problem = problems_of(f"{line}\n{text}" if key == "format" else with_line(line, text + "\n"))[0]
    assert problem.startswith(key)
    for word in words:
        assert word in problem


@pytest.mark.parametrize(
    ("tail", "place", "words"),
    [
        ('from = ["0212345678"]', "call.from", "has no country code"),
        ("from = []", "call.from", "must be a list of 1"),
        ("ring_timeout_seconds = 0", "call.ring_timeout_seconds", "from 5 to 600"),
        ("completed_after_seconds = -1", "call.completed_after_seconds", "from 0"),
        ('machine = "hangup"', "call.machine", '"hang_up"'),
        (
            '[[windows]]\ndays = ["mon"]\nstart = "9:00"\nend = "20:00"',
            "windows[1].start",
            "'9:00' is not a time",
        ),
        (
            '[[windows]]\ndays = ["mo"]\nstart = "09:00"\nend = "20:00"',
            "windows[1].days",
            "'mo' is not a day",
        ),
        ('[[windows]]\ndays = []\nstart = "09:00"\nend = "20:00"', "windows[1].days", "no days are named"),
        ('[[windows]]\ndays = ["mon"]\nstart = "24:00"\nend = "20:00"', "windows[1].start", "end of a day"),
        ('[[windows]]\ndays = ["mon"]\nstart = "09:00"\nend = "09:00"', "windows[1]", "00:00 to 24:00"),
        ('[[windows]]\ndays = ["mon"]\nstart = "09:00"', "windows[1].end", "is missing"),
        ("[retry]\nmax_attempts = 0", "retry.max_attempts", "from 1 to 100"),
        ('[retry]\nbusy = ["10m"]', "retry.max_attempts", "is missing"),
        ('[retry]\nmax_attempts = 2\nbusy = ["10 minutes"]', "retry.busy", '"90s", "10m"'),
        ('[retry]\nmax_attempts = 2\nbusy = ["0m"]', "retry.busy", "'0m' is no wait"),
        ('[retry]\nmax_attempts = 2\nbusy = ["999999999d"]', "retry.busy", "up to 365 days"),
        ("[retry]\nmax_attempts = 2\nretry_interval_minutes = 0", "retry.retry_interval_minutes", "above 0"),
        ('[retry]\nmax_attempts = 2\ncompleted = ["1h"]', "retry.completed", "is unknown"),
        ("[retry]\nmax_attempts = 2\nbusy = 3", "retry.busy", "waits such as"),
        ('[retry]\nmax_attempts = 2\nbusy.delays = ["x"]', "retry.busy.delays", "is no wait"),
        ("[retry]\nmax_attempts = 2\n[retry.busy]\nlimit = 0", "retry.busy.limit", "from 1 to 100"),
        ("[retry]\nmax_attempts = 2\nbusy.limits = 2", "retry.busy.limits", "did you mean limit?"),
        (
            '[retry]\nmax_attempts = 2\nno_answer.another_time_of_day = "yes"',
            "retry.no_answer.another_time_of_day",
            "true or false",
        ),
        (
            "[retry]\nmax_attempts = 2\nanother_time_of_day = true",
            "retry.another_time_of_day",
            "[retry.no_answer]",
        ),
        ("[retry]\nmax_attempts = 2\nmax_network_retries = -1", "retry.max_network_retries", "from 0"),
        ("[retry]\nmax_attempts = 2\nmax_callbacks = true", "retry.max_callbacks", "from 0"),
        ("[retry]\nmax_attempts = 2\nnetwork = []", "retry.network", "waits such as"),
        ('[[script.questions]]\nanswer_type = "scale"', "script.questions[1].text", "is missing"),
        (
            '[[script.questions]]\ntext = "a"\n[[script.questions]]\ntext = " "',
            "script.questions[2].text",
            "text in",
        ),
        ('[script]\nintro = "a\\u0000"', "script.intro", "NUL"),
        ('[script]\nquestions = ["a"]', "script.questions", "list of tables"),
    ],
)
def test_impossible_value_in_a_table_is_named_with_its_path(tail: str, place: str, words: str) -> None:
    [problem] = problems_of(with_tail(tail))
    assert problem.startswith(place)
    assert words in problem


def test_everything_that_is_wrong_is_said_at_once() -> None:
    found = problems_of('nam = "x"\nweight = -1\n[call]\nmachin = "off"\n[[windows]]\ndays = ["x"]\n')
    places = {problem.split(" ")[0] for problem in found}
    assert {"nam", "weight", "format", "purpose", "call.machin", "call.account", "windows[1].days"} <= places


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ('nme = "x"', "did you mean name?"),
        ('account = "main"', "it belongs in [call]"),
        ("max_attempts = 3", "it belongs in [retry]"),
        ("zzz = 1", "allowed are format, name, "),
    ],
)
def test_unknown_key_comes_with_what_was_meant(line: str, hint: str) -> None:
    [problem] = problems_of(with_line(line))
    assert "is unknown" in problem
    assert hint in problem


@pytest.mark.parametrize("name", ["auto", "none", "us-fl-telemarketing", "us-fl-telemarketing@2"])
def test_a_calling_rule_is_named(name: str) -> None:
    assert parse_campaign(with_line(f'rule = "{name}"'), "c").calling_rule == name


@pytest.mark.parametrize("name", ["", "US FL", "a@0", "a@b", "@1", "a--b"])
def test_what_is_no_name_of_a_rule_is_refused_with_the_cure(name: str) -> None:
    [problem] = problems_of(with_line(f'rule = "{name}"'))
    assert problem.startswith(f'rule = "{name}"')


def test_the_default_may_serve_those_whose_zone_nobody_knows() -> None:
    definition = parse_campaign(with_line('unknown_zone = "use_default"'), "c")
    assert definition.unknown_zone is UnknownZone.USE_DEFAULT


def test_unknown_zone_closed_is_how_it_is() -> None:
    assert parse_campaign(with_line('unknown_zone = "closed"'), "c") == parse_campaign(SHORTEST, "c")


def test_end_before_the_start_is_refused() -> None:
    times = "starts_at = 2027-03-02T08:00:00+01:00\nends_at = 2027-03-02T07:00:00Z"
    assert problems_of(with_line(times)) == ["ends_at = 2027-03-02T07:00:00+00:00: must be after starts_at"]


def test_numbers_and_countries_count_once_and_numbers_become_e164() -> None:
    text = with_line('countries = ["IT", "CH", "IT"]') + 'from = ["+39 02 1234 5678", "+390212345678"]\n'
    definition = parse_campaign(text, "c")
    assert definition.countries == ("IT", "CH")
    assert definition.caller_numbers == ("+390212345678",)


def test_fault_of_syntax_names_line_and_column() -> None:
    [problem] = problems_of("format = 1\nname = \n")
    assert "not valid TOML" in problem
    assert "line 2, column 8" in problem


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100_000, "a = 1" + "0" * 5000, "max_concurrent_calls = 0x" + "f" * 5000]
)
def test_monstrous_file_is_refused(text: str) -> None:
    assert problems_of(text)


def test_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SHORTEST.encode())
    assert load_campaign_file(path) == parse_campaign(SHORTEST, "c")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), (b"\xff\xfe", "not UTF-8"), (b"#" * 1_000_001, "larger than")],
)
def test_unreadable_file_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CampaignFileError, match=words) as raised:
        load_campaign_file(path)
    assert raised.value.file == str(path)


def test_changes_are_named_by_key_with_both_values() -> None:
    old = parse_campaign(WHOLE, "c")
    text = WHOLE.replace("max_attempts = 3", "max_attempts = 5").replace('"mon-fri"', '"mon", "wed-sat"')
    text = text.replace("max_concurrent_calls = 50\n", "").replace('busy = ["10m", "1h"]\n', "")
    text += '[[script.questions]]\ntext = "Why?"\n'
    assert describe_changes(old, parse_campaign(text, "c")) == [
        "windows[1].days: [mon-fri] → [mon, wed-sat]",
        "retry.max_attempts: 3 → 5",
        "script.questions[2].text: not set → Why?",
        "script.questions[2].answer_type: not set → free_text",
        "max_concurrent_calls: 50 → not set",
        "retry.busy: [10m, 1h] → not set",
    ]
    assert describe_changes(old, old) == []


KEYS = st.sampled_from(sorted({key for keys in HOMES.values() for key in keys})) | st.text(max_size=8)
TEXTS = st.text(max_size=12) | st.sampled_from(
    [
        "survey",
        "main",
        "Europe/Rome",
        "mon-fri",
        "09:00",
        "24:00",
        "10m",
        "+390212345678",
        "IT",
        "wait",
        "scale",
    ]
)
SCALARS = (
    TEXTS
    | st.integers()
    | st.integers(min_value=10**4400, max_value=10**4401)
    | st.floats()
    | st.booleans()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.dates()
    | st.times()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=12))
def test_any_mapping_gives_a_definition_or_a_campaign_file_error(document: dict[str, Any]) -> None:
    for candidate in (document, {**tomllib.loads(WHOLE), **document}):
        with suppress(CampaignFileError):
            definition = read_campaign(candidate, "c.toml")
            assert read_campaign(to_document(definition), "c.toml") == definition


@given(st.text(max_size=200))
def test_any_text_gives_a_definition_or_a_campaign_file_error(text: str) -> None:
    with pytest.raises(CampaignFileError):
        parse_campaign(text, "c.toml")
