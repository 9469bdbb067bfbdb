"""Asks the host's `before_call` about calls that are about to leave, and waits no longer than its time limit.

Promise: no answer is a no. A host that is slow or broken costs time, never a call that it would have refused.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from outdial.domain.veto import Allow, CallToMake, Refuse

log = logging.getLogger("outdial.before_call")

Answers = Sequence[Allow | Refuse]
BeforeCall = Callable[[Sequence[CallToMake]], Answers | Awaitable[Answers]]
"""Asked about calls of one account that leave within the next second; answers for each, in their order.

An `async` function runs in the worker's event loop, any other in a thread. It has `LIMIT_SECONDS` for all of them: a
time-out, an exception or an answer of another shape gives them all back, to be tried again later."""

LIMIT_SECONDS: Final = 0.5
# A function that never returns keeps its thread; when all are kept, every question times out.
THREADS: Final = 4
NO_ANSWER: Final = "before_call_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAnswer:
    """What the host said of one call; `answer` None: it did not say."""

    answer: Allow | Refuse | None

    @property
    def allows(self) -> bool:
        return isinstance(self.answer, Allow)

    @property
    def reason(self) -> str:
        return self.answer.reason.strip() if isinstance(self.answer, Refuse) else NO_ANSWER

    @property
    def until(self) -> datetime | None:
        return self.answer.until if isinstance(self.answer, Refuse) else None

    @property
    def facts(self) -> dict[str, Any]:
        """What is kept with the attempt's permit."""
        if self.answer is None:
            return {"answered": False}
        if isinstance(self.answer, Allow):
            return {"answered": True, "allowed": True, "note": self.answer.note}
        until = self.answer.until
        return {
            "answered": True,
            "allowed": False,
            "reason": self.reason,
            "until": None if until is None else until.isoformat(),
        }


class Gate:
    """Stands before the last check. `close` it when no more is asked."""

    def __init__(self, before_call: BeforeCall) -> None:
        self._before_call = before_call
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="outdial-before-call")

    async def ask(self, calls: Sequence[CallToMake]) -> list[HostAnswer]:
        """One answer for each call. Raises nothing."""
        asked = asyncio.ensure_future(self._ask(calls))
        done, _ = await asyncio.wait({asked}, timeout=LIMIT_SECONDS)
        if not done:
            asked.cancel()
            log.error(
                "before_call has not answered in %s s; %d calls are given back", LIMIT_SECONDS, len(calls)
            )
            return [HostAnswer(answer=None)] * len(calls)
        error = asked.exception()
        if error is not None:
            log.error("before_call failed; %d calls are given back", len(calls), exc_info=error)
            return [HostAnswer(answer=None)] * len(calls)
        return [HostAnswer(answer=answer) for answer in asked.result()]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, calls: Sequence[CallToMake]) -> Answers:
        answered: Any
        if inspect.iscoroutinefunction(self._before_call):
            answered = await self._before_call(calls)
        else:
            loop = asyncio.get_running_loop()
            answered = await loop.run_in_executor(self._threads, self._before_call, calls)
            if inspect.isawaitable(answered):
                answered = await answered
        answers = list(answered)
        if len(answers) != len(calls):
            raise ValueError(
                f"before_call was asked about {len(calls)} calls and answered {len(answers)} times"
            )
        for answer in answers:
            if not isinstance(answer, Allow | Refuse):
                raise TypeError(f"before_call answered {answer!r}: it must be an Allow or a Refuse")
        return answers
