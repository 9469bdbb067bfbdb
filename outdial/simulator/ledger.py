"""Reads a ledger back: what the simulated provider saw, and the greatest load that it saw.

A test compares this with what the database believes. Nothing here trusts the counts that the provider wrote
beside its lines: loads are counted again from the starts and the ends.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

POSTS: Final = frozenset({"start", "rejected", "duplicate_key"})
"""The kinds of lines that are a POST the provider read."""


@dataclass(slots=True, kw_only=True)
class LedgerCall:
    """A call that the provider accepted. Instants are Unix seconds; None has not happened."""

    call_id: str
    provider_call_id: str
    to: str
    from_number: str
    status: int
    """What the POST was answered, or was to be answered: see `fault`."""
    fault: str | None
    started_at: float
    answered_at: float | None = None
    ended_at: float | None = None
    ending: str | None = None
    result: str | None = None
    repeated_posts: int = 0
    events_delivered: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPost:
    at: float
    kind: str
    call_id: str | None
    to: str | None
    status: int
    code: str | None
    """The error code of a refusal."""
    over: tuple[str, ...]
    """The limits that an accepted call went over, where the provider does not enforce them."""


@dataclass(slots=True, kw_only=True)
class Ledger:
    """`calls` has the accepted calls by our `call_id`, the others are in the order of the file."""

    calls: dict[str, LedgerCall] = field(default_factory=dict)
    posts: list[LedgerPost] = field(default_factory=list)
    doubled_call_ids: set[str] = field(default_factory=set)
    """Accepted twice: only a provider that forgot a call, as by a restart, does that."""
    deliveries: Counter[str] = field(default_factory=Counter)
    _line_changes: list[tuple[str, int]] = field(default_factory=list)

    @property
    def accepted_call_ids(self) -> set[str]:
        return set(self.calls)

    @property
    def open_call_ids(self) -> set[str]:
        return {call.call_id for call in self.calls.values() if call.ended_at is None}

    @property
    def rejected(self) -> list[LedgerPost]:
        return [post for post in self.posts if post.kind == "rejected"]

    def max_concurrent(self) -> int:
        """The most calls that were open at one instant."""
        most = open_calls = 0
        for _, change in self._line_changes:
            open_calls += change
            most = max(most, open_calls)
        return most

    def max_starts_in_any_second(self, *, accepted_only: bool = False) -> int:
        """The most POSTs read in any sliding second, refused and repeated ones too unless `accepted_only`."""
        starts = [post.at for post in self.posts if not accepted_only or post.kind == "start"]
        return most_in_a_second(starts)

    def calls_per_number_overlap(self) -> set[str]:
        """The numbers that had two open calls at one instant."""
        open_by_number: Counter[str] = Counter()
        overlapping = set()
        for number, change in self._line_changes:
            open_by_number[number] += change
            if open_by_number[number] > 1:
                overlapping.add(number)
        return overlapping

    def repeated_numbers(self) -> dict[str, int]:
        """The numbers that were called more than once, with how often."""
        calls = Counter(call.to for call in self.calls.values())
        return {number: count for number, count in calls.items() if count > 1}

    def summary(self) -> dict[str, Any]:
        """All of it in numbers, as JSON can hold it."""
        return {
            "posts": len(self.posts),
            "accepted": len(self.calls),
            "rejected": len(self.rejected),
            "rejected_by_code": dict(Counter(post.code for post in self.rejected)),
            "duplicate_keys": sum(post.kind == "duplicate_key" for post in self.posts),
            "doubled_call_ids": len(self.doubled_call_ids),
            "over_limit": sum(bool(post.over) for post in self.posts),
            "open": len(self.open_call_ids),
            "ended": len(self.calls) - len(self.open_call_ids),
            "endings": dict(Counter(call.ending for call in self.calls.values() if call.ending)),
            "max_concurrent": self.max_concurrent(),
            "max_starts_in_any_second": self.max_starts_in_any_second(),
            "max_accepted_in_any_second": self.max_starts_in_any_second(accepted_only=True),
            "numbers_with_overlap": sorted(self.calls_per_number_overlap()),
            "repeated_numbers": len(self.repeated_numbers()),
            "deliveries": dict(self.deliveries),
        }


def read_ledger(path: str | Path) -> Ledger:
    """Reads a file that may still be written to: a last line without its end is left out.

    Raises OSError, and ValueError with the number of a line that is no JSON.
    """
    ledger = Ledger()
    for line in _lines(path):
        _enter(ledger, line)
    return ledger


def most_in_a_second(instants: Iterable[float]) -> int:
    """Over all sliding seconds that contain their end but not their beginning."""
    ordered = sorted(instants)
    most = first = 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def _lines(path: str | Path) -> Iterator[dict[str, Any]]:
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} of {path} is no line of a ledger: {error}") from error


def _enter(ledger: Ledger, line: dict[str, Any]) -> None:
    kind = line["kind"]
    if kind in POSTS:
        _enter_post(ledger, line)
    call = ledger.calls.get(line["call_id"])
    if call is None:
        return
    match kind:
        case "duplicate_key":
            call.repeated_posts += 1
        case "answered":
            call.answered_at = line["at"]
        case "ended":
            call.ended_at, call.ending, call.result = line["at"], line["ending"], line.get("result")
            ledger._line_changes.append((call.to, -1))
        case "webhook":
            ledger.deliveries[line["delivery"]] += 1
            call.events_delivered += line["delivery"] == "delivered"


def _enter_post(ledger: Ledger, line: dict[str, Any]) -> None:
    call_id = line["call_id"]
    post = LedgerPost(
        at=line["at"],
        kind=line["kind"],
        call_id=call_id,
        to=line.get("to"),
        status=line["status"],
        code=line.get("code"),
        over=tuple(line.get("over", ())),
    )
    ledger.posts.append(post)
    if post.kind != "start":
        return
    if call_id in ledger.calls:
        ledger.doubled_call_ids.add(call_id)
    ledger._line_changes.append((line["to"], +1))
    ledger.calls[call_id] = LedgerCall(
        call_id=call_id,
        provider_call_id=line["provider_call_id"],
        to=line["to"],
        from_number=line["from"],
        status=line["status"],
        fault=line.get("fault"),
        started_at=line["at"],
    )
