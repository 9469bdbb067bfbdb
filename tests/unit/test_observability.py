"""Logs: found again by their fields, and without a phone number or a secret in clear."""

import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st

from outdial.observability import configure_logging, redact

log = logging.getLogger("outdial.test")


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_line_carries_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json")
    log.info(
        "call %s",
        "placed",
        extra={"call_id": "c-1", "attempt_id": 7, "account": "main", "campaign": "spring"},
    )
    line = json.loads(capsys.readouterr().err)
    assert line["message"] == "call placed"
    assert (line["level"], line["logger"]) == ("INFO", "outdial.test")
    assert (line["call_id"], line["attempt_id"], line["account"], line["campaign"]) == (
        "c-1",
        7,
        "main",
        "spring",
    )
    assert line["at"].endswith("Z")


def test_text_line_carries_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "text")
    log.info("placed", extra={"call_id": "c-1", "campaign": "spring"})
    line = capsys.readouterr().err
    assert "outdial.test: placed call_id=c-1 campaign=spring\n" in line


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nothing_leaves_in_clear(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", log_format)
    try:
        raise ValueError("bad answer for +390212345678")
    except ValueError:
        log.exception("calling %s with Bearer sk_1", "+390212345678", extra={"campaign": "to +390212345678"})
    written = capsys.readouterr().err
    assert "0212345" not in written
    assert "sk_1" not in written
    assert "+39********78" in written
    assert "ValueError" in written


def test_json_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("three\nmore")
    [line] = capsys.readouterr().err.splitlines()
    assert "two\nlines" in json.loads(line)["exception"]


def test_level_is_kept_and_configuring_again_writes_no_line_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "text")
    configure_logging("WARNING", "text")
    log.info("quiet")
    log.warning("loud")
    written = capsys.readouterr().err
    assert "quiet" not in written
    assert written.count("loud") == 1


def test_libraries_that_tell_every_request_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "text")
    logging.getLogger("httpx").info("HTTP Request: POST")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("to +390212345678 now", "to +39********78 now"),
        ("to=%2B390212345678&x", "to=+39********78&x"),
        ("+39 02 1234-5678", "+39********78"),
        ("+123456", "+123456"),
        ("2027-03-01T08:00:00+01:00", "2027-03-01T08:00:00+01:00"),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer ***"),
        ("secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw=", "secret whsec_***"),
        ("postgresql://u:p%40ss@host/db", "postgresql://u:***@host/db"),
    ],
)
def test_what_is_masked(text: str, expected: str) -> None:
    assert redact(text) == expected


@given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True), st.text(max_size=20), st.text(max_size=20))
def test_no_number_in_e164_form_is_ever_left(number: str, before: str, after: str) -> None:
    assert number not in redact(f"{before} {number} {after}")
