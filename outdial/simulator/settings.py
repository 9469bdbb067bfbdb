"""What a simulated provider can be told: who calls it, whom it reaches, its limits, and what goes wrong.

Everything wrong in the settings is reported at once, in sentences.
"""

import base64
import binascii
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Final, Self

_PROBABILITIES: Final = (
    "answer_rate",
    "completed_rate",
    "refuse_rate",
    "opt_out_share",
    "callback_share",
    "no_result_share",
    "lost_answer",
    "error_after",
    "slow_answer",
    "error_before",
    "bad_number",
    "webhook_lost",
    "webhook_doubled",
    "webhook_reordered",
)
_WEIGHTS: Final = ("no_answer_share", "busy_share", "voicemail_share", "failed_share")
_SECONDS: Final = (
    "talk_time_mean_seconds",
    "ring_time_mean_seconds",
    "answer_latency_seconds",
    "slow_answer_seconds",
    "late_result_seconds",
    "callback_after_seconds",
    "webhook_backoff_seconds",
    "webhook_backoff_max_seconds",
)
_POSITIVE: Final = ("time_scale", "webhook_timeout_seconds")
_EXCLUSIVE: Final = (
    ("completed_rate", "refuse_rate", "opt_out_share", "callback_share", "no_result_share"),
    ("lost_answer", "error_after", "slow_answer"),
    ("webhook_lost", "webhook_doubled", "webhook_reordered"),
)


class InvalidSimulatorSettings(ValueError):
    """`problems` has one sentence for each thing that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """Raises InvalidSimulatorSettings, as its constructors do.

    Probabilities are shares of 1. `answer_rate` is the share of calls that a human answers; the weights
    `no_answer_share`, `busy_share`, `voicemail_share` and `failed_share` divide the rest between them. Of the
    calls that a human answers, `completed_rate`, `refuse_rate`, `opt_out_share` (refused, and "do not call me
    again"), `callback_share` and `no_result_share` say what they give; what is left ends as `partial`.

    Talk and ring times, and the request's own `ring_timeout_seconds` and `max_duration_seconds`, are seconds
    of the simulated world: one of them lasts `time_scale` real seconds. All other times are real seconds.
    """

    api_key: str
    webhook_secret: str
    """As Standard Webhooks writes it: `whsec_` and base64."""
    seed: int = 0
    ledger_path: str | None = None
    """An NDJSON file that is appended to; None keeps no ledger."""

    answer_rate: float = 0.6
    no_answer_share: float = 0.5
    busy_share: float = 0.2
    voicemail_share: float = 0.25
    failed_share: float = 0.05
    completed_rate: float = 0.8
    refuse_rate: float = 0.1
    opt_out_share: float = 0.0
    callback_share: float = 0.0
    no_result_share: float = 0.0

    time_scale: float = 1.0
    talk_time_mean_seconds: float = 3.0
    ring_time_mean_seconds: float = 0.5
    answer_latency_seconds: float = 0.02
    late_result_seconds: float = 0.0
    """0: the result comes with `call.completed`; else it follows as `call.result` so much later."""
    callback_after_seconds: float = 60.0
    """How long after the call a person who asks for a callback wants it."""

    honours_not_after: bool = True
    enforce_limits: bool = True
    """False: starts over a limit are accepted, and marked `over` in the ledger."""
    max_concurrent_calls: int | None = None
    calls_per_second: float | None = None
    """At most this many starts plus `rate_burst` in any sliding second; every POST counts, refused or not."""
    rate_burst: float = 1.0
    retry_after_seconds: int | None = 1
    """The Retry-After of 429 and 503; None sends none."""
    allowed_callers: tuple[str, ...] | None = None
    blocked_destinations: tuple[str, ...] = ()
    """Prefixes of called numbers, as "+39"."""
    bad_numbers: tuple[str, ...] = ()

    lost_answer: float = 0.0
    """Accepts the call, then closes the connection without an answer."""
    error_after: float = 0.0
    """Accepts the call, then answers 500."""
    slow_answer: float = 0.0
    """Accepts the call, then answers only after `slow_answer_seconds`."""
    slow_answer_seconds: float = 15.0
    error_before: float = 0.0
    """Answers 503 with the contract's JSON error and places nothing."""
    bad_number: float = 0.0
    """The share of numbers that are refused as `invalid_number`, the same ones each time."""
    webhook_lost: float = 0.0
    webhook_doubled: float = 0.0
    webhook_reordered: float = 0.0
    """An event is held back until the next one of its call has been sent; the last one never is."""

    lists_calls: bool = True
    """False: `GET /calls?since=…` is not known, as to gateways that keep no list."""
    list_page_size: int = 100

    progress_events: bool = True
    """False sends no `call.initiated`, `call.ringing` and `call.answered`: most of the cost of a call."""
    webhook_max_attempts: int = 10
    webhook_timeout_seconds: float = 10.0
    """For the connection, and again for the answer."""
    webhook_backoff_seconds: float = 0.25
    """Doubles with each attempt up to `webhook_backoff_max_seconds`."""
    webhook_backoff_max_seconds: float = 10.0
    webhook_max_in_flight: int = 256

    def __post_init__(self) -> None:
        if problems := list(_problems(self)):
            raise InvalidSimulatorSettings(problems)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """An object with the names of the fields as keys."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise InvalidSimulatorSettings([f"the settings are no JSON: {error}"]) from error
        if not isinstance(values, dict):
            raise InvalidSimulatorSettings(["the settings must be a JSON object"])
        return cls.from_mapping(values)

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> Self:
        """Unknown and missing keys are problems too."""
        known = {field.name for field in fields(cls)}
        problems = [f"{name} is not a setting of the simulator" for name in sorted(values.keys() - known)]
        problems += [f"{name} is required" for name in ("api_key", "webhook_secret") if name not in values]
        if problems:
            raise InvalidSimulatorSettings(problems)
        return cls(**{name: _tuple_if_list(value) for name, value in values.items()})


def _tuple_if_list(value: object) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _problems(settings: SimulatorSettings) -> Iterator[str]:
    yield from _problems_of_secrets(settings)
    numbers = (*_PROBABILITIES, *_WEIGHTS, *_SECONDS, *_POSITIVE, "rate_burst")
    wrong = [name for name in numbers if not _is_number(getattr(settings, name))]
    yield from (f"{name} must be a number, not {getattr(settings, name)!r}" for name in wrong)
    if wrong:
        return
    for name in _PROBABILITIES:
        if not 0 <= getattr(settings, name) <= 1:
            yield f"{name} must lie between 0 and 1, not {getattr(settings, name)}"
    for name in (*_WEIGHTS, *_SECONDS, "rate_burst"):
        if getattr(settings, name) < 0:
            yield f"{name} must not be negative, but is {getattr(settings, name)}"
    for name in _POSITIVE:
        if getattr(settings, name) <= 0:
            yield f"{name} must be above 0, not {getattr(settings, name)}"
    for names in _EXCLUSIVE:
        if (total := sum(getattr(settings, name) for name in names)) > 1 + 1e-9:
            yield f"{', '.join(names)} exclude each other and may add up to 1 at most, not {total:g}"
    if settings.answer_rate < 1 and sum(getattr(settings, name) for name in _WEIGHTS) <= 0:
        yield f"with an answer_rate below 1 one of {', '.join(_WEIGHTS)} must be above 0"
    yield from _problems_of_counts(settings)


def _problems_of_secrets(settings: SimulatorSettings) -> Iterator[str]:
    if not settings.api_key:
        yield "api_key must not be empty"
    if not settings.webhook_secret.startswith("whsec_"):
        yield "webhook_secret must start with whsec_"
        return
    try:
        if not base64.b64decode(settings.webhook_secret.removeprefix("whsec_") + "==", validate=False):
            yield "webhook_secret must hold at least one byte after whsec_"
    except binascii.Error:
        yield "webhook_secret must be base64 after whsec_"


def _problems_of_counts(settings: SimulatorSettings) -> Iterator[str]:
    counts = {
        "webhook_max_attempts": settings.webhook_max_attempts,
        "webhook_max_in_flight": settings.webhook_max_in_flight,
        "list_page_size": settings.list_page_size,
    }
    if settings.max_concurrent_calls is not None:
        counts["max_concurrent_calls"] = settings.max_concurrent_calls
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            yield f"{name} must be a whole number of 1 or more, not {count!r}"
    rate = settings.calls_per_second
    if rate is not None and (not _is_number(rate) or rate <= 0):
        yield f"calls_per_second must be a number above 0, or absent, not {rate!r}"
    for listed in ("allowed_callers", "blocked_destinations", "bad_numbers"):
        if isinstance(getattr(settings, listed), str):
            yield f"{listed} must be a list of numbers, not one text"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
