"""The provider's own limits, and the other reasons for which it refuses a well-formed start."""

import re
from collections import Counter, deque
from typing import Final

from outdial.simulator.errors import Refusal
from outdial.simulator.fate import is_bad_number, is_overloaded
from outdial.simulator.request import CallRequest
from outdial.simulator.settings import SimulatorSettings

_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")


class StartRate:
    """Counts the POSTs of the last second, whatever they were answered."""

    def __init__(self) -> None:
        self._starts: deque[float] = deque()

    def count(self, at: float) -> int:
        """Adds a start, and says how many lie in the second that ends with it, itself included."""
        starts = self._starts
        starts.append(at)
        while starts[0] <= at - 1:
            starts.popleft()
        return len(starts)


class Admission:
    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._overloads: Counter[str] = Counter()

    def limits_passed(self, starts_in_second: int, open_calls: int) -> tuple[Refusal, ...]:
        """The limits over which one more call would go, whether or not they are enforced."""
        settings = self._settings
        cps, lines = settings.calls_per_second, settings.max_concurrent_calls
        passed = []
        if cps is not None and starts_in_second > cps + settings.rate_burst:
            message = f"{starts_in_second} starts in a second, {cps:g} are allowed"
            passed.append(Refusal(code="rate_limited", message=message))
        if lines is not None and open_calls >= lines:
            message = f"{open_calls} calls are open, {lines} are allowed"
            passed.append(Refusal(code="concurrency_exceeded", message=message))
        return tuple(passed)

    def refuse(self, request: CallRequest, at: float, passed: tuple[Refusal, ...]) -> Refusal | None:
        """None admits the call."""
        settings = self._settings
        if is_overloaded(settings, request.call_id, self._overloads[request.call_id]):
            self._overloads[request.call_id] += 1
            return Refusal(code="overloaded", message="too busy, nothing was placed")
        if passed and settings.enforce_limits:
            return passed[0]
        if settings.honours_not_after and request.not_after is not None and at > request.not_after:
            late = at - request.not_after
            return Refusal(code="expired", message=f"read {late:.3f} s after not_after")
        return self._refuse_number(request)

    def _refuse_number(self, request: CallRequest) -> Refusal | None:
        settings, to, caller = self._settings, request.to, request.from_number
        if not _E164.fullmatch(to):
            return Refusal(code="invalid_number", message=f"{to!r} is not a number as E.164 writes it")
        if settings.allowed_callers is not None and caller not in settings.allowed_callers:
            return Refusal(code="invalid_caller", message=f"the account may not call from {caller!r}")
        if to.startswith(settings.blocked_destinations):
            return Refusal(code="destination_not_allowed", message=f"the account may not call {to}")
        if to in settings.bad_numbers or is_bad_number(settings, to):
            return Refusal(code="invalid_number", message=f"{to} is not in service")
        return None
