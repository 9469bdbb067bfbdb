"""What a simulated person says to the questions of a survey: plausible, and drawn from the call's own chance."""

import random
from collections.abc import Callable, Sequence
from typing import Final

from outdial.simulator.request import Question

_REMARKS: Final = (
    "It was fine, nothing to add.",
    "The waiting time was too long.",
    "Very friendly, I would recommend it.",
    "I do not remember.",
    "It could be cheaper.",
)
_ANSWER: Final[dict[str, Callable[[random.Random], int | str]]] = {
    "scale": lambda chance: min(10, max(1, round(chance.gauss(7.5, 2)))),
    "numeric": lambda chance: chance.randrange(0, 100),
    "free_text": lambda chance: chance.choice(_REMARKS),
}


def answer_questions(questions: Sequence[Question], chance: random.Random) -> list[dict[str, object]]:
    """Numbers for `scale` (1 to 10) and `numeric` (0 to 99), text for `free_text`."""
    return [
        {
            "position": question.position,
            "text": question.text,
            "answer": _ANSWER[question.answer_type](chance),
        }
        for question in questions
    ]
