"""A campaign file (TOML) and the definition that it gives.

A file is accepted whole or refused with everything that is wrong in it: no key is ignored, and one whose feature does
not exist yet is refused, so that nobody relies on what does nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from outdial.domain.campaign import (
    AnswerType,
    CallOptions,
    CampaignDefinition,
    Purpose,
    Question,
    Script,
    UnknownZone,
    WhenEmpty,
)
from outdial.domain.consent import ConsentKind
from outdial.domain.contact import UniqueBy
from outdial.domain.errors import CampaignFileError
from outdial.domain.retries import RetryPolicy
from outdial.domain.rules import AUTO, NO_RULE
from outdial.domain.settle import MachinePolicy, Outcome
from outdial.domain.windows import (
    CallingWindow,
    WeeklyWindow,
    parse_days,
    parse_time,
)
from outdial.files import file_values as values
from outdial.files.checked_table import Key, WrongValue, read_table, shown

FORMAT: Final = 1
LARGEST_FILE_BYTES: Final = 1_000_000


def load_campaign_file(path: Path) -> CampaignDefinition:
    """Read and parse the file. Raises `CampaignFileError`."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE_BYTES + 1)
        if len(raw) > LARGEST_FILE_BYTES:
            raise CampaignFileError(str(path), ["is larger than a megabyte: this is no campaign file"])
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise CampaignFileError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise CampaignFileError(
            str(path), [f"is not UTF-8 text (byte {error.start + 1}): save it as UTF-8"]
        ) from error
    return parse_campaign(text, str(path))


def parse_campaign(text: str, file: str) -> CampaignDefinition:
    """The definition in a file's text. `file` is how its errors name it. Raises `CampaignFileError`."""
    try:
        document = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise CampaignFileError(file, [f"is not valid TOML: {error}"]) from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, and lists that are nested as deep.
        raise CampaignFileError(
            file, ["is not valid TOML: it holds a number or a nesting beyond all bounds"]
        ) from error
    return read_campaign(document, file)


def read_campaign(document: Mapping[str, Any], file: str) -> CampaignDefinition:
    """The definition in a parsed file, or in a mapping of the same shape. Raises `CampaignFileError`."""
    problems: list[str] = []
    fields = read_table(document, TOP, place="", problems=problems, elsewhere=_elsewhere(TOP))
    call = _section(document, "call", CALL, problems)
    retry = _section(document, "retry", RETRY, problems)
    script = _section(document, "script", SCRIPT, problems)
    rules = _outcome_rules(document, problems)
    weekly = tuple(_windows(document.get("windows", []), problems))
    questions = tuple(_questions(document, problems))
    if fields.get("starts_at") and fields.get("ends_at") and fields["ends_at"] <= fields["starts_at"]:
        problems.append(f"ends_at = {shown(document['ends_at'])}: must be after starts_at")
    if problems:
        raise CampaignFileError(file, problems)
    return CampaignDefinition(
        **{name: value for name, value in fields.items() if name not in NO_FIELDS},
        account=call.pop("account"),
        caller_numbers=call.pop("caller_numbers", ()),
        call=CallOptions(**call),
        window=CallingWindow(weekly=weekly, closed_dates=fields.get("closed_dates", frozenset())),
        retry=RetryPolicy(**retry, **rules),
        script=Script(**script, questions=questions),
    )


LONGEST_TEXT: Final = 10_000
RULE_NAME: Final = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*(?:@[1-9][0-9]*)?", re.ASCII)
LONGEST_CALL_SECONDS: Final = 86_400
MOST: Final = 1_000_000


def _format(value: Any) -> int:
    if value != FORMAT or isinstance(value, bool | float):
        raise WrongValue(f"must be {FORMAT}: this version of Outdial reads no other")
    return FORMAT


def _table(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise WrongValue("must be a table")
    return value


def _tables(value: Any) -> Any:
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise WrongValue(
            "must be a list of tables: put each under its name in double brackets, such as [[windows]]"
        )
    return value


def _rule(value: Any) -> str:
    name = values.text_up_to(values.LONGEST_NAME)(value)
    if not RULE_NAME.fullmatch(name):
        raise WrongValue(
            f'must be "{AUTO}", "{NO_RULE}", or the name of a calling rule such as "us-fl-telemarketing" or '
            '"us-fl-telemarketing@1": `outdial rules list` shows all'
        )
    return name


TOP: Final[Mapping[str, Key]] = {
    "format": Key(check=_format, needed=f"write format = {FORMAT}"),
    "name": Key(
        check=values.name_of("the campaign"), needed='write the name of the campaign, such as "spring-survey"'
    ),
    "purpose": Key(
        check=values.one_of(Purpose),
        needed=f"write why people are called: {values.any_of(Purpose)}",
    ),
    "default_time_zone": Key(check=values.time_zone, needed='write a time zone such as "Europe/Rome"'),
    "language": Key(check=values.language),
    "max_concurrent_calls": Key(check=values.whole_number(1, MOST)),
    "weight": Key(check=values.number(above=0, most=MOST)),
    "priority": Key(check=values.whole_number(-MOST, MOST)),
    "countries": Key(check=values.countries),
    "starts_at": Key(check=values.instant),
    "ends_at": Key(check=values.instant),
    "when_empty": Key(check=values.one_of(WhenEmpty)),
    "unique_by": Key(check=values.one_of(UniqueBy)),
    "closed_dates": Key(check=values.dates),
    "rule": Key(check=_rule, field="calling_rule"),
    "guard_before_closing_seconds": Key(
        check=values.whole_number(0, LONGEST_CALL_SECONDS), field="guard_seconds"
    ),
    "consent": Key(check=values.one_of(ConsentKind), field="required_consent"),
    "unknown_zone": Key(check=values.one_of(UnknownZone)),
    "call": Key(check=_table, needed="write a table [call] that names the account"),
    "windows": Key(check=_tables),
    "retry": Key(check=_table),
    "script": Key(check=_table),
}
# What the whole file's keys give besides the definition's own fields.
NO_FIELDS: Final = frozenset({"format", "closed_dates", "call", "windows", "retry", "script"})

CALL: Final[Mapping[str, Key]] = {
    "account": Key(
        check=values.name_of("the account"),
        needed="write the name that the account was given by `outdial account set`",
    ),
    "from": Key(check=values.phone_numbers, field="caller_numbers"),
    "ring_timeout_seconds": Key(check=values.whole_number(5, 600)),
    "max_duration_seconds": Key(check=values.whole_number(1, LONGEST_CALL_SECONDS)),
    "machine": Key(check=values.one_of(MachinePolicy)),
    "result_timeout_seconds": Key(check=values.number(least=0, most=LONGEST_CALL_SECONDS)),
    "completed_after_seconds": Key(check=values.number(least=0, most=LONGEST_CALL_SECONDS)),
}

WINDOW: Final[Mapping[str, Key]] = {
    "days": Key(check=lambda value: parse_days(values.texts(value)), needed='write days such as ["mon-fri"]'),
    "start": Key(
        check=lambda value: _start(values.text(value)),
        field="start_minute",
        needed='write a time such as "09:00"',
    ),
    "end": Key(
        check=lambda value: parse_time(values.text(value)),
        field="end_minute",
        needed='write a time such as "20:00"',
    ),
}

# The other outcomes end a contact, or were never placed and so have a short wait of their own.
RETRIED: Final = (
    Outcome.NO_ANSWER,
    Outcome.BUSY,
    Outcome.VOICEMAIL,
    Outcome.REJECTED,
    Outcome.NO_RESULT,
    Outcome.FAILED,
    Outcome.CALLBACK,
    Outcome.CANCELED,
    Outcome.UNKNOWN,
)
OUTCOME: Final[Mapping[str, Key]] = {
    "delays": Key(check=values.delays),
    "limit": Key(check=values.whole_number(1, 100)),
    "another_time_of_day": Key(check=values.yes_or_no),
}


def _delays_or_table(value: Any) -> Any:
    return value if isinstance(value, Mapping) else values.delays(value)


RETRY: Final[Mapping[str, Key]] = {
    "max_attempts": Key(
        check=values.whole_number(1, 100),
        needed="write how often a contact is called at most, the first call included",
    ),
    "retry_interval_minutes": Key(check=values.minutes, field="default_delay"),
    "max_callbacks": Key(check=values.whole_number(0, 100)),
    "max_network_retries": Key(check=values.whole_number(0, 100)),
    "network": Key(check=values.delays, field="network_delays"),
    **{str(outcome): Key(check=_delays_or_table) for outcome in RETRIED},
}

SCRIPT: Final[Mapping[str, Key]] = {
    "intro": Key(check=values.text_up_to(LONGEST_TEXT)),
    "questions": Key(check=_tables),
}
QUESTION: Final[Mapping[str, Key]] = {
    "text": Key(check=values.text_up_to(LONGEST_TEXT), needed="write what is asked"),
    "answer_type": Key(check=values.one_of(AnswerType)),
}

HOMES: Final[Mapping[str, Mapping[str, Key]]] = {
    "at the top of the file, before the first table": TOP,
    "in [call]": CALL,
    "in [[windows]]": WINDOW,
    "in [retry]": RETRY,
    "in the table of an outcome, such as [retry.no_answer]": OUTCOME,
    "in [script]": SCRIPT,
    "in [[script.questions]]": QUESTION,
}


def _elsewhere(here: Mapping[str, Key]) -> dict[str, Mapping[str, Key]]:
    return {home: keys for home, keys in HOMES.items() if keys is not here}


def _section(
    document: Mapping[str, Any], name: str, keys: Mapping[str, Key], problems: list[str]
) -> dict[str, Any]:
    table = document.get(name)
    if not isinstance(table, Mapping):
        return {}
    fields = read_table(table, keys, place=name, problems=problems, elsewhere=_elsewhere(keys))
    # What has tables of its own is read by itself.
    return {
        field: value for field, value in fields.items() if field != "questions" and field not in set(RETRIED)
    }


def _outcome_rules(document: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """What [retry] says of single outcomes: the waits alone, or a table; by the policy's fields."""
    retry = document.get("retry")
    said = retry if isinstance(retry, Mapping) else {}
    delays: dict[Outcome, tuple[timedelta, ...]] = {}
    limits: dict[Outcome, int] = {}
    another_time: set[Outcome] = set()
    for outcome in (outcome for outcome in RETRIED if outcome in said):
        given = said[outcome]
        # A wrong list of waits was refused with the rest of [retry].
        table = given if isinstance(given, Mapping) else {"delays": given}
        place, unsaid = f"retry.{outcome}", [] if table is not given else problems
        fields = read_table(table, OUTCOME, place=place, problems=unsaid, elsewhere=_elsewhere(OUTCOME))
        if "delays" in fields:
            delays[outcome] = fields["delays"]
        if "limit" in fields:
            limits[outcome] = fields["limit"]
        if fields.get("another_time_of_day"):
            another_time.add(outcome)
    return {"delays": delays, "limits": limits, "another_time_of_day": frozenset(another_time)}


def _windows(listed: Any, problems: list[str]) -> Iterator[WeeklyWindow]:
    for number, table in _numbered(listed):
        place = f"windows[{number}]"
        fields = read_table(table, WINDOW, place=place, problems=problems, elsewhere=_elsewhere(WINDOW))
        if len(fields) == len(WINDOW):
            try:
                yield WeeklyWindow(**fields)
            except ValueError as error:
                problems.append(f"{place}: {error}")


def _start(text: str) -> int:
    minute = parse_time(text)
    if minute == parse_time("24:00"):
        raise WrongValue(
            '"24:00" is the end of a day: a window that starts there starts at "00:00" of the next day'
        )
    return minute


def _questions(document: Mapping[str, Any], problems: list[str]) -> Iterator[Question]:
    script = document.get("script")
    listed = script.get("questions", []) if isinstance(script, Mapping) else []
    for number, table in _numbered(listed):
        place = f"script.questions[{number}]"
        fields = read_table(table, QUESTION, place=place, problems=problems, elsewhere=_elsewhere(QUESTION))
        if "text" in fields:
            yield Question(position=number, **fields)


def _numbered(listed: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """A list's tables, counted from 1; what is no list of tables was refused already."""
    if isinstance(listed, list) and all(isinstance(one, Mapping) for one in listed):
        yield from enumerate(listed, 1)
