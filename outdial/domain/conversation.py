"""A call that asks a script's questions one by one: what is said next, and what an answer is worth. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outdial.domain.attempt import AnsweredBy
from outdial.domain.campaign import AnswerType, Question
from outdial.domain.settle import MachinePolicy, Result

# Who is not understood three times will not be the fourth time.
MAX_TRIES: Final = 3
SCALE: Final = range(11)
NUMBER: Final = re.compile(r"(?<![\d.,])-?\d{1,15}(?![\d.,]*\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What is said next: `say`, then the question `ask` for the `tries`-th time. Without a question the call ends,
    with a goodbye if `is_polite`.
    """

    say: str | None = None
    ask: Question | None = None
    tries: int = 1
    is_polite: bool = False


HANG_UP: Final = Turn()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a person answered to the question at `position`: spoken, or by the keypad, or nothing."""

    position: int
    tries: int = 1
    speech: str | None = None
    digits: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """`answers` is all that the call has answered so far; None: the reply was no answer."""

    turn: Turn
    answers: Sequence[Mapping[str, Any]] | None = None
    result: Result | None = None


def opening(
    intro: str | None, questions: Sequence[Question], answered_by: AnsweredBy | None, policy: MachinePolicy
) -> Turn:
    """How the call begins, by who picked up."""
    if answered_by in {AnsweredBy.MACHINE, AnsweredBy.FAX}:
        if policy is MachinePolicy.HANG_UP or answered_by is AnsweredBy.FAX:
            return HANG_UP
        if policy is MachinePolicy.LEAVE_MESSAGE:
            return Turn(say=intro)
    return Turn(say=intro, ask=_first(questions, 0), is_polite=True)


def reply_to(
    questions: Sequence[Question], reply: Reply, answers: Sequence[Mapping[str, Any]] | None
) -> Learned:
    """What `reply` adds to the answers so far, and what is asked next."""
    question = next((one for one in questions if one.position == reply.position), None)
    if question is None:
        # The campaign's questions were changed in the middle of the call.
        return Learned(turn=Turn(is_polite=True))
    value = understood(question, reply)
    if value is None:
        again = reply.tries < MAX_TRIES
        return Learned(
            turn=Turn(ask=question, tries=reply.tries + 1) if again else Turn(is_polite=True),
        )
    given = {one.get("position"): one for one in answers or ()}
    given[question.position] = {"position": question.position, "text": question.text, "answer": value}
    is_complete = all(one.position in given for one in questions)
    return Learned(
        turn=Turn(ask=_first(questions, question.position), is_polite=True),
        answers=[given[position] for position in sorted(given, key=_order)],
        result=Result.COMPLETED if is_complete else Result.PARTIAL,
    )


def understood(question: Question, reply: Reply) -> int | str | None:
    """The answer's value; None: it was none to this question."""
    said = (reply.digits or reply.speech or "").strip()
    if question.answer_type is AnswerType.FREE_TEXT:
        return said or None
    found = NUMBER.findall(said)
    # "Seven out of ten" comes as "7 out of 10": the first number is the answer.
    value = int(found[0]) if found else None
    if question.answer_type is AnswerType.SCALE and value not in SCALE:
        return None
    return value


def _first(questions: Sequence[Question], after: int) -> Question | None:
    return min((one for one in questions if one.position > after), key=lambda one: one.position, default=None)


def _order(position: object) -> tuple[bool, int]:
    return (False, position) if isinstance(position, int) else (True, 0)
