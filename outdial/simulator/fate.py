"""What will happen to a call, decided when it is accepted, from the seed and its `call_id` alone.

So the fate of a call does not depend on which calls came before it, nor on who else is calling. Pure.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar

from outdial.simulator.answers import answer_questions
from outdial.simulator.request import CallRequest
from outdial.simulator.settings import SimulatorSettings

Choice = TypeVar("Choice")

FINAL_STATUSES: Final = frozenset({"completed", "no_answer", "busy", "failed", "canceled"})
PROGRESS_STATUSES: Final = frozenset({"initiated", "ringing", "answered"})
_SETUP_SHARE: Final = 0.1
"""The time until a phone rings, is busy or fails, as a share of the ring time."""
_UNANSWERED_RINGS: Final = 2.0
"""An unanswered phone rings so many times longer, unless the request's ring timeout is shorter."""


class AnswerFault(StrEnum):
    """What goes wrong with the answer to a POST after the call was accepted."""

    LOST = "lost_answer"
    ERROR = "error_after"
    SLOW = "slow_answer"


class WebhookFault(StrEnum):
    LOST = "webhook_lost"
    DOUBLED = "webhook_doubled"
    REORDERED = "webhook_reordered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One event of a call: `name` is the event's without `call.`; real seconds after the step before it."""

    after_seconds: float
    name: str
    details: Mapping[str, object] = field(default_factory=dict)
    callback_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    provider_call_id: str
    steps: tuple[Step, ...]
    answer_fault: AnswerFault | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """Real seconds, and the chance that the rest of the call is drawn from."""

    settings: SimulatorSettings
    request: CallRequest
    chance: random.Random
    ring_seconds: float
    talk_seconds: float

    @property
    def setup(self) -> Step:
        return Step(after_seconds=0, name="initiated")

    @property
    def ringing(self) -> Step:
        return Step(after_seconds=_SETUP_SHARE * self.ring_seconds, name="ringing")

    @property
    def answered(self) -> Step:
        return Step(after_seconds=self.ring_seconds, name="answered")


def decide_fate(settings: SimulatorSettings, request: CallRequest) -> Fate:
    chance = random.Random(f"{settings.seed}:call:{request.call_id}")
    # Drawn in one order, each by one draw, so that another setting changes only what it is about.
    provider_call_id = f"sim-{chance.getrandbits(64):016x}"
    fault = _choose(chance.random(), {fault: getattr(settings, fault) for fault in AnswerFault})
    line_draw = chance.random()
    scale = settings.time_scale
    ring = settings.ring_time_mean_seconds * chance.uniform(0.5, 1.5)
    talk = settings.talk_time_mean_seconds * chance.uniform(0.5, 1.5)
    line = _Line(
        settings=settings,
        request=request,
        chance=chance,
        ring_seconds=scale * min(ring, request.ring_timeout_seconds or math.inf),
        talk_seconds=scale * min(talk, request.max_duration_seconds or math.inf),
    )
    return Fate(provider_call_id=provider_call_id, steps=_steps_of(line, line_draw), answer_fault=fault)


def is_bad_number(settings: SimulatorSettings, number: str) -> bool:
    return _happens(settings, "bad_number", number)


def is_overloaded(settings: SimulatorSettings, call_id: str, earlier_refusals: int) -> bool:
    """Drawn afresh for each repetition of the same call, so that a refused one may be accepted later."""
    return _happens(settings, "error_before", f"{call_id}:{earlier_refusals}")


def webhook_fault(settings: SimulatorSettings, event_id: str) -> WebhookFault | None:
    shares: dict[WebhookFault, float] = {fault: getattr(settings, fault) for fault in WebhookFault}
    if not any(shares.values()):
        return None
    return _choose(random.Random(f"{settings.seed}:webhook:{event_id}").random(), shares)


def billed_seconds(settings: SimulatorSettings, real_seconds: float) -> int:
    """Whole seconds of the simulated world, rounded up, as carriers bill."""
    return math.ceil(round(real_seconds / settings.time_scale, 3))


def _happens(settings: SimulatorSettings, fault: str, what: str) -> bool:
    share: float = getattr(settings, fault)
    return share > 0 and random.Random(f"{settings.seed}:{fault}:{what}").random() < share


def _choose(draw: float, shares: Mapping[Choice, float]) -> Choice | None:
    """None for a draw beyond all shares."""
    for choice, share in shares.items():
        if draw < share:
            return choice
        draw -= share
    return None


def _steps_of(line: _Line, draw: float) -> tuple[Step, ...]:
    settings = line.settings
    if draw < settings.answer_rate:
        return _human(line)
    weights: dict[Callable[[_Line], tuple[Step, ...]], float] = {
        _no_answer: settings.no_answer_share,
        _busy: settings.busy_share,
        _voicemail: settings.voicemail_share,
        _failed: settings.failed_share,
    }
    rest = (draw - settings.answer_rate) / (1 - settings.answer_rate) * sum(weights.values())
    fate = _choose(rest, weights) or max(weights, key=weights.__getitem__)  # a draw at the edge, rounded
    return fate(line)


def _human(line: _Line) -> tuple[Step, ...]:
    settings = line.settings
    conversation, callback_after = _conversation(line)
    end = {"duration_seconds": billed_seconds(settings, line.talk_seconds), "answered_by": "human"}
    if settings.late_result_seconds == 0 or not conversation:
        completed = Step(
            after_seconds=line.talk_seconds,
            name="completed",
            details=end | conversation,
            callback_after_seconds=callback_after,
        )
        return line.setup, line.ringing, line.answered, completed
    completed = Step(after_seconds=line.talk_seconds, name="completed", details=end)
    result = Step(
        after_seconds=settings.late_result_seconds,
        name="result",
        details={"answered_by": "human"} | conversation,
        callback_after_seconds=callback_after,
    )
    return line.setup, line.ringing, line.answered, completed, result


def _conversation(line: _Line) -> tuple[dict[str, object], float | None]:
    """The fields of its result (none for a conversation without one), and when a callback is wanted."""
    settings, questions = line.settings, line.request.questions
    shares = {
        "completed": settings.completed_rate,
        "refused": settings.refuse_rate,
        "opt_out": settings.opt_out_share,
        "callback": settings.callback_share,
        "none": settings.no_result_share,
    }
    match _choose(line.chance.random(), shares):
        case "completed":
            answers = answer_questions(questions, line.chance)
            return {"result": "completed"} | ({"answers": answers} if answers else {}), None
        case "refused":
            return {"result": "refused"}, None
        case "opt_out":
            return {"result": "refused", "opt_out": True}, None
        case "callback":
            return {"result": "callback"}, settings.callback_after_seconds
        case "none":
            return {}, None
        case _:
            answers = answer_questions(questions[: len(questions) // 2], line.chance)
            return {"result": "partial"} | ({"answers": answers} if answers else {}), None


def _voicemail(line: _Line) -> tuple[Step, ...]:
    end = {"duration_seconds": billed_seconds(line.settings, line.talk_seconds), "answered_by": "machine"}
    detected = Step(
        after_seconds=0.3 * line.talk_seconds, name="voicemail", details={"answered_by": "machine"}
    )
    completed = Step(after_seconds=0.7 * line.talk_seconds, name="completed", details=end)
    return line.setup, line.ringing, line.answered, detected, completed


def _no_answer(line: _Line) -> tuple[Step, ...]:
    timeout = line.settings.time_scale * (line.request.ring_timeout_seconds or math.inf)
    rings = min(_UNANSWERED_RINGS * line.ring_seconds, timeout)
    return line.setup, line.ringing, Step(after_seconds=rings, name="no_answer", details={"sip_code": 480})


def _busy(line: _Line) -> tuple[Step, ...]:
    after = _SETUP_SHARE * line.ring_seconds
    return line.setup, Step(after_seconds=after, name="busy", details={"sip_code": 486})


def _failed(line: _Line) -> tuple[Step, ...]:
    after = _SETUP_SHARE * line.ring_seconds
    details = {"error_code": "network_failure", "sip_code": 503}
    return line.setup, Step(after_seconds=after, name="failed", details=details)
