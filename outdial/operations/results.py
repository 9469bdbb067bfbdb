"""What a campaign gave: every contact with its outcome, its attempts and what was answered, as CSV or NDJSON.

Read page by page, each page in a transaction of its own, so that memory stays bounded and no transaction is held open
while a slow reader takes the lines. Each contact is as it stood when its page was read.

In CSV, `answer_1` answers the campaign's first question, and so on. Text from outside that a spreadsheet would take for
a formula (it begins with =, +, -, @, a tab or a line break) gets an apostrophe before it; phone numbers do not.
"""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.campaign import Question
from outdial.domain.errors import NotFound
from outdial.domain.ids import CampaignId, ContactId
from outdial.storage import campaigns, reports

Begin = Callable[[], AbstractContextManager[sa.Connection]]
"""Opens a transaction."""

PAGE: Final = 1000


class ResultsFormat(StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`answer` is as the provider gave it: text, a number, or None where the question was not answered."""

    position: int
    question: str
    answer: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactResult:
    """A contact's row, its attempts oldest first, and its answers in the order of the questions."""

    contact: sa.RowMapping
    attempts: Sequence[sa.RowMapping]
    answers: Sequence[Answer]


def export_results(begin: Begin, campaign: str, results_format: ResultsFormat) -> Iterator[str]:
    """The export, line by line, each with its line break. Raises `NotFound`."""
    with begin() as connection:
        found = campaigns.by_name(connection, campaign)
    if found is None:
        raise NotFound("campaign", campaign, "`outdial campaign list` shows all there are.")
    questions = found.definition.script.questions
    results = read_results(begin, found.id, questions)
    if results_format is ResultsFormat.NDJSON:
        return (json.dumps(_document(result), ensure_ascii=False, default=_json) + "\n" for result in results)
    return _csv_lines(results, len(questions))


def read_results(
    begin: Begin, campaign_id: CampaignId, questions: Sequence[Question]
) -> Iterator[ContactResult]:
    """Every contact of the campaign, in the order in which they came in."""
    after = ContactId(0)
    while True:
        with begin() as connection:
            page = reports.contacts_after(connection, campaign_id, after, PAGE)
            attempts = reports.attempts_of(connection, [ContactId(row["id"]) for row in page])
        by_contact: dict[int, list[sa.RowMapping]] = defaultdict(list)
        for attempt in attempts:
            by_contact[attempt["contact_id"]].append(attempt)
        for contact in page:
            tries = by_contact[contact["id"]]
            yield ContactResult(contact=contact, attempts=tries, answers=_answers(tries, questions))
        if len(page) < PAGE:
            return
        after = ContactId(page[-1]["id"])


CONTACT_COLUMNS: Final = (
    "external_contact_id",
    "phone_number",
    "name",
    "email",
    "language",
    "state",
    "final_reason",
    "last_outcome",
    "attempts_count",
    "last_attempt_at",
    "next_attempt_at",
)
# Of the last attempt, in CSV; NDJSON has them of each.
ATTEMPT_COLUMNS: Final = (
    "call_id",
    "provider_call_id",
    "from_number",
    "sent_at",
    "started_at",
    "ringing_at",
    "answered_at",
    "ended_at",
    "settled_at",
    "ending",
    "answered_by",
    "result",
    "outcome",
    "duration_seconds",
    "callback_at",
    "error_code",
    "sip_code",
    "cost",
)
MORE_OF_ATTEMPT: Final = ("attempt_number", "claimed_at", "artifacts")
# Checked to be E.164 when they came in.
PHONE_NUMBERS: Final = frozenset({"phone_number", "from_number"})
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def _answers(attempts: Sequence[sa.RowMapping], questions: Sequence[Question]) -> list[Answer]:
    """The answers of the latest attempt that has any."""
    given: Sequence[Mapping[str, Any]] = next(
        (attempt["answers"] for attempt in reversed(attempts) if attempt["answers"]), ()
    )
    by_position = {_position(answer, number): _said(answer) for number, answer in enumerate(given, 1)}
    return [
        Answer(position=question.position, question=question.text, answer=by_position.get(question.position))
        for question in questions
    ]


def _position(answer: Mapping[str, Any], number: int) -> int:
    """Providers that do not say which question was answered answer them in order."""
    position = answer.get("position")
    return position if isinstance(position, int) else number


def _said(answer: Mapping[str, Any]) -> Any:
    return answer.get("answer", answer.get("value"))


def _document(result: ContactResult) -> dict[str, Any]:
    columns = (*ATTEMPT_COLUMNS, *MORE_OF_ATTEMPT)
    return {
        **{name: result.contact[name] for name in CONTACT_COLUMNS},
        "attributes": result.contact["attributes"],
        "answers": [
            {"position": one.position, "question": one.question, "answer": one.answer}
            for one in result.answers
        ],
        "attempts": [{name: attempt[name] for name in columns} for attempt in result.attempts],
    }


def _csv_lines(results: Iterator[ContactResult], questions: int) -> Iterator[str]:
    answers = [f"answer_{position}" for position in range(1, questions + 1)]
    yield _csv_line([*CONTACT_COLUMNS, *ATTEMPT_COLUMNS, *answers, "attributes"])
    for result in results:
        last = result.attempts[-1] if result.attempts else None
        cells = [_cell(name, result.contact[name]) for name in CONTACT_COLUMNS]
        cells += [_cell(name, None if last is None else last[name]) for name in ATTEMPT_COLUMNS]
        cells += [_cell("answer", one.answer) for one in result.answers]
        yield _csv_line([*cells, _cell("attributes", result.contact["attributes"] or None)])


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    # A cell with a bare carriage return is only quoted where the line's end has one too.
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return str(_json(value))
    if isinstance(value, str):
        is_formula = value.startswith(FORMULA_STARTS) and name not in PHONE_NUMBERS
        return "'" + value if is_formula else value
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)
