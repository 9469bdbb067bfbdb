"""What is said next in a call that asks questions, and what an answer is worth."""

from __future__ import annotations

import pytest

from outdial.domain.attempt import AnsweredBy
from outdial.domain.campaign import AnswerType, Question
from outdial.domain.conversation import HANG_UP, Reply, Turn, opening, reply_to, understood
from outdial.domain.settle import MachinePolicy, Result

SCALE = Question(position=1, text="How likely?", answer_type=AnswerType.SCALE)
TEXT = Question(position=2, text="Why?")
QUESTIONS = (SCALE, TEXT)
POLITE_END = Turn(is_polite=True)


def test_a_call_begins_with_the_intro_and_the_first_question() -> None:
    turn = opening("Hello", QUESTIONS, AnsweredBy.HUMAN, MachinePolicy.HANG_UP)
    assert (turn.say, turn.ask) == ("Hello", SCALE)


@pytest.mark.parametrize(
    ("by", "policy", "turn"),
    [
        (AnsweredBy.MACHINE, MachinePolicy.HANG_UP, HANG_UP),
        (AnsweredBy.FAX, MachinePolicy.LEAVE_MESSAGE, HANG_UP),
        (AnsweredBy.MACHINE, MachinePolicy.LEAVE_MESSAGE, Turn(say="Hello")),
        (AnsweredBy.MACHINE, MachinePolicy.TREAT_AS_HUMAN, Turn(say="Hello", ask=SCALE, is_polite=True)),
        (AnsweredBy.UNKNOWN, MachinePolicy.HANG_UP, Turn(say="Hello", ask=SCALE, is_polite=True)),
    ],
)
def test_a_machine_is_met_as_the_campaign_wants(by: AnsweredBy, policy: MachinePolicy, turn: Turn) -> None:
    assert opening("Hello", QUESTIONS, by, policy) == turn


def test_answers_are_kept_one_by_one_and_the_last_completes() -> None:
    first = reply_to(QUESTIONS, Reply(position=1, digits="8"), None)
    assert (first.result, first.turn.ask) == (Result.PARTIAL, TEXT)
    last = reply_to(QUESTIONS, Reply(position=2, speech="It works"), first.answers)
    assert (last.result, last.turn) == (Result.COMPLETED, POLITE_END)
    assert [one["answer"] for one in last.answers or ()] == [8, "It works"]


def test_an_answer_that_comes_twice_counts_once() -> None:
    first = reply_to(QUESTIONS, Reply(position=1, digits="8"), None)
    again = reply_to(QUESTIONS, Reply(position=1, digits="8"), first.answers)
    assert again == first


def test_who_is_not_understood_is_asked_three_times() -> None:
    silence = reply_to(QUESTIONS, Reply(position=1, tries=1), None)
    assert (silence.turn.ask, silence.turn.tries, silence.answers) == (SCALE, 2, None)
    assert reply_to(QUESTIONS, Reply(position=1, tries=3, speech="erm"), None).turn == POLITE_END


def test_a_question_that_is_no_longer_there_ends_the_call() -> None:
    assert reply_to(QUESTIONS, Reply(position=7, digits="1"), None).turn == POLITE_END


@pytest.mark.parametrize(
    ("kind", "said", "value"),
    [
        (AnswerType.SCALE, "7", 7),
        (AnswerType.SCALE, "7 out of 10", 7),
        (AnswerType.SCALE, "10.", 10),
        (AnswerType.SCALE, "0", 0),
        (AnswerType.SCALE, "11", None),
        (AnswerType.SCALE, "seven", None),
        (AnswerType.NUMERIC, "about 1200 or so", 1200),
        (AnswerType.NUMERIC, "", None),
        (AnswerType.FREE_TEXT, "  yes ", "yes"),
        (AnswerType.FREE_TEXT, " ", None),
    ],
)
def test_what_an_answer_is_worth(kind: AnswerType, said: str, value: object) -> None:
    assert (
        understood(Question(position=1, text="?", answer_type=kind), Reply(position=1, speech=said)) == value
    )
