"""What ending, answered-by and result together mean: the outcome of an attempt. One table, one function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from outdial.domain.attempt import AnsweredBy, Ending


class Outcome(StrEnum):
    COMPLETED = "completed"
    REFUSED = "refused"
    CALLBACK = "callback"
    NO_RESULT = "no_result"
    VOICEMAIL = "voicemail"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELED = "canceled"
    NOT_PLACED = "not_placed"
    UNKNOWN = "unknown"


class Result(StrEnum):
    """What the conversation gave. A campaign may have codes of its own beside these."""

    COMPLETED = "completed"
    PARTIAL = "partial"
    REFUSED = "refused"
    CALLBACK = "callback"
    WRONG_NUMBER = "wrong_number"
    INELIGIBLE = "ineligible"


class MachinePolicy(StrEnum):
    """What a campaign wants done when an answering machine picks up."""

    HANG_UP = "hang_up"
    LEAVE_MESSAGE = "leave_message"
    TREAT_AS_HUMAN = "treat_as_human"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlePolicy:
    """`completed_after_seconds`: a person who listened that long is what the campaign wants, with no result needed."""

    machine: MachinePolicy = MachinePolicy.HANG_UP
    completed_after_seconds: float | None = None


ENDING_OUTCOME: Final[Mapping[Ending, Outcome]] = {
    Ending.NO_ANSWER: Outcome.NO_ANSWER,
    Ending.BUSY: Outcome.BUSY,
    Ending.REJECTED: Outcome.REJECTED,
    Ending.BLOCKED: Outcome.REJECTED,
    Ending.FAILED: Outcome.FAILED,
    Ending.CANCELED: Outcome.CANCELED,
    Ending.NOT_PLACED: Outcome.NOT_PLACED,
    Ending.UNKNOWN: Outcome.UNKNOWN,
}

# A partial conversation is worth another call; whatever code a campaign made up itself is a result it wanted.
RESULT_OUTCOME: Final[Mapping[str, Outcome]] = {
    Result.COMPLETED: Outcome.COMPLETED,
    Result.REFUSED: Outcome.REFUSED,
    Result.CALLBACK: Outcome.CALLBACK,
    Result.WRONG_NUMBER: Outcome.FAILED,
    Result.INELIGIBLE: Outcome.COMPLETED,
}

# Nobody talks on a line that was busy or rang out: a result beside such an ending is only its echo.
CONVERSATION_POSSIBLE: Final = frozenset({Ending.ANSWERED, Ending.FAILED, Ending.CANCELED, Ending.UNKNOWN})


def settle(
    *,
    ending: Ending,
    answered_by: AnsweredBy | None,
    result: str | None,
    duration_seconds: float | None,
    policy: SettlePolicy,
) -> Outcome:
    """The outcome. A decisive result beats everything else; "answered" without one is no success by itself."""
    decisive = result is not None and result != Result.PARTIAL
    if decisive and ending in CONVERSATION_POSSIBLE:
        return RESULT_OUTCOME.get(str(result), Outcome.COMPLETED)
    if ending is not Ending.ANSWERED:
        return ENDING_OUTCOME[ending]
    is_machine = answered_by in {AnsweredBy.MACHINE, AnsweredBy.FAX}
    if is_machine and policy.machine is not MachinePolicy.TREAT_AS_HUMAN:
        return Outcome.VOICEMAIL
    wanted = policy.completed_after_seconds
    if wanted is not None and duration_seconds is not None and duration_seconds >= wanted:
        return Outcome.COMPLETED
    return Outcome.NO_RESULT


def awaits_result(*, ending: Ending, result: str | None, policy: SettlePolicy) -> bool:
    """Whether more may come after the hang-up, so that the outcome is not final yet.

    Voice-agent providers report the conversation, or that it was a voicemail after all, minutes later.
    """
    return ending is Ending.ANSWERED and result is None and policy.completed_after_seconds is None
