"""The switchboard: which calls are open, and the timer that takes each of them through its fate.

One timer per open call, no task. What a call's events are is decided in `fate`; sending them is left to
`webhooks`. Ended calls are kept for look-ups as long as the process lives.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from outdial.simulator.clock import now, to_rfc3339
from outdial.simulator.fate import (
    FINAL_STATUSES,
    PROGRESS_STATUSES,
    Fate,
    Step,
    billed_seconds,
    decide_fate,
)
from outdial.simulator.ledger_file import LedgerFile
from outdial.simulator.request import CallRequest
from outdial.simulator.settings import SimulatorSettings


@dataclass(slots=True, kw_only=True)
class Call:
    """A call as the provider knows it. `status` speaks the words of the events, and begins as `queued`."""

    request: CallRequest
    fate: Fate
    started_at: float = 0.0
    status: str = "queued"
    steps_done: int = 0
    events_sent: int = 0
    answered_at: float | None = None
    ended_at: float | None = None
    details: dict[str, object] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None

    @property
    def provider_call_id(self) -> str:
        return self.fate.provider_call_id

    def to_json(self) -> dict[str, object]:
        """The call as look-ups show it."""
        shown: dict[str, object] = {
            "provider_call_id": self.provider_call_id,
            "call_id": self.request.call_id,
            "status": self.status,
        }
        ended = {} if self.ended_at is None else {"ended_at": to_rfc3339(self.ended_at)}
        return shown | self.details | ended

    def to_list_json(self) -> dict[str, object]:
        """The call as a list shows it: with whose it is."""
        request = self.request
        told = {"to": request.to, "from": request.from_number, "started_at": to_rfc3339(self.started_at)}
        metadata = {} if request.metadata is None else {"metadata": request.metadata}
        return self.to_json() | told | metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One webhook to be: `body` is the JSON that is signed and sent, `is_last` that its call has no more."""

    event_id: str
    name: str
    call_id: str
    provider_call_id: str
    callback_url: str
    body: bytes
    is_last: bool


class Switchboard:
    def __init__(
        self, settings: SimulatorSettings, ledger: LedgerFile, send: Callable[[Event], None]
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._send = send
        self._by_call_id: dict[str, Call] = {}
        self._by_provider_call_id: dict[str, Call] = {}
        self.open_calls = 0

    def find(self, call_id: str) -> Call | None:
        return self._by_call_id.get(call_id)

    def find_by_provider_call_id(self, provider_call_id: str) -> Call | None:
        return self._by_provider_call_id.get(provider_call_id)

    def list_since(self, since: float, after: int, limit: int) -> tuple[list[Call], int | None]:
        """At most `limit` calls accepted since, oldest first, without the first `after` calls of all; and the `after` of
        the next page.
        """
        everything = list(self._by_call_id.values())
        found: list[Call] = []
        for place in range(after, len(everything)):
            if len(found) == limit:
                return found, place
            if everything[place].started_at >= since:
                found.append(everything[place])
        return found, None

    def accept(self, request: CallRequest, at: float) -> Call:
        """The call is open from now on; its first event is sent in the loop's next turn."""
        call = Call(request=request, fate=decide_fate(self._settings, request), started_at=at)
        self._by_call_id[request.call_id] = call
        self._by_provider_call_id[call.provider_call_id] = call
        self.open_calls += 1
        self._await_next_step(call)
        return call

    def hang_up(self, call: Call) -> None:
        """Ends the call: `completed` if it was answered, else `canceled`. Does nothing to an ended one."""
        if call.ended_at is not None:
            return
        if call.timer is not None:
            call.timer.cancel()
        at = now()
        self._record("hangup", call, at)
        self._take(call, self._hang_up_step(call, at), at, is_last=True)

    def stop(self) -> None:
        for call in self._by_call_id.values():
            if call.timer is not None:
                call.timer.cancel()

    def _hang_up_step(self, call: Call, at: float) -> Step:
        if call.answered_at is None:
            return Step(after_seconds=0, name="canceled")
        details: dict[str, object] = {
            "duration_seconds": billed_seconds(self._settings, at - call.answered_at)
        }
        if call.details.get("answered_by") != "machine":
            details |= {"answered_by": "human", "result": "partial"}
        return Step(after_seconds=0, name="completed", details=details)

    def _await_next_step(self, call: Call) -> None:
        step = call.fate.steps[call.steps_done]
        call.timer = asyncio.get_running_loop().call_later(step.after_seconds, self._next_step, call)

    def _next_step(self, call: Call) -> None:
        step = call.fate.steps[call.steps_done]
        call.steps_done += 1
        is_last = call.steps_done == len(call.fate.steps)
        call.timer = None
        self._take(call, step, now(), is_last=is_last)
        if not is_last:
            self._await_next_step(call)

    def _take(self, call: Call, step: Step, at: float, *, is_last: bool) -> None:
        call.details.update(step.details)
        if step.callback_after_seconds is not None:
            call.details["callback_at"] = to_rfc3339(at + step.callback_after_seconds)
        if step.name not in ("voicemail", "result"):
            call.status = step.name
        if step.name == "answered":
            call.answered_at = at
            self._record("answered", call, at)
        elif step.name in FINAL_STATUSES:
            call.ended_at = at
            self.open_calls -= 1
            self._record("ended", call, at, ending=step.name, **_told(call, "answered_by", "result"))
        if self._settings.progress_events or step.name not in PROGRESS_STATUSES:
            self._send(_event(call, step, at, is_last=is_last))

    def _record(self, kind: str, call: Call, at: float, **fields: object) -> None:
        request = call.request
        self._ledger.write(
            kind,
            at,
            call_id=request.call_id,
            provider_call_id=call.provider_call_id,
            to=request.to,
            **{"from": request.from_number},
            open=self.open_calls,
            **fields,
        )


def _told(call: Call, *names: str) -> dict[str, object]:
    return {name: call.details[name] for name in names if name in call.details}


def _event(call: Call, step: Step, at: float, *, is_last: bool) -> Event:
    call.events_sent += 1
    request = call.request
    event_id = f"{call.provider_call_id}-{call.events_sent}"
    fields: dict[str, object] = {
        "event": f"call.{step.name}",
        "event_id": event_id,
        "provider_call_id": call.provider_call_id,
        "call_id": request.call_id,
        "timestamp": to_rfc3339(at),
    }
    fields |= step.details
    if step.callback_after_seconds is not None:
        fields["callback_at"] = call.details["callback_at"]
    if step.name in FINAL_STATUSES:
        fields |= _told(call, "answered_by")
    fields |= {"to": request.to, "from": request.from_number}
    if request.metadata is not None:
        fields["metadata"] = request.metadata
    return Event(
        event_id=event_id,
        name=step.name,
        call_id=request.call_id,
        provider_call_id=call.provider_call_id,
        callback_url=request.callback_url,
        body=json.dumps(fields, separators=(",", ":")).encode(),
        is_last=is_last,
    )
