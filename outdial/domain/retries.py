"""What happens to a contact when an attempt settles: called again, when, or final. Recomputed from all its attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from outdial.domain.attempt import ErrorClass
from outdial.domain.contact import ContactState, Stage
from outdial.domain.settle import Outcome, Result

MAX_CALLBACKS: Final = 2
MAX_REJECTIONS: Final = 3
BAD_NUMBER_REPORTS: Final = 2
NOT_PLACED_DELAY: Final = timedelta(seconds=2)
NOT_PLACED_DELAY_LIMIT: Final = timedelta(minutes=1)
LEAST_REFUSAL: Final = timedelta(seconds=1)

# Where the reason lies with us or with the account, the account waits, not the contact.
AT_ONCE: Final = frozenset({ErrorClass.RELEASED, ErrorClass.RATE, ErrorClass.CALLER, ErrorClass.ACCOUNT})
# A request that is wrong for this contact only, or a number in no country that could be held back as a whole.
REJECTED: Final = frozenset({ErrorClass.REQUEST, ErrorClass.DESTINATION})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """`delays` per outcome: the n-th retry after that outcome waits the n-th delay, later ones the last."""

    max_attempts: int = 1
    default_delay: timedelta = timedelta(hours=1)
    delays: Mapping[Outcome, tuple[timedelta, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """A settled attempt, as far as the next step cares. `was_accepted`: the provider took the call. Instants aware UTC."""

    outcome: Outcome
    ended_at: datetime
    was_accepted: bool = True
    error_class: ErrorClass | None = None
    error_code: str | None = None
    result: str | None = None
    callback_at: datetime | None = None
    refused_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """Where the contact stands now. `next_attempt_at` and `stage` only mean something while it is pending."""

    state: ContactState
    attempts_count: int
    final_reason: str | None = None
    next_attempt_at: datetime | None = None
    stage: Stage = Stage.FIRST


def next_step(
    history: Sequence[PastAttempt],
    policy: RetryPolicy,
    deadline: datetime | None = None,
    *,
    renewed_at: datetime | None = None,
) -> NextStep:
    """The contact's next step; `history` is oldest first and not empty.

    No call is planned at or after `deadline` (the earlier of the contact's `call_before` and the campaign's end). Only
    attempts that ended after `renewed_at` spend of the budget; all of them are history.
    """
    placed = [attempt for attempt in history if attempt.outcome is not Outcome.NOT_PLACED]
    final = _final(history)
    if final is not None:
        return NextStep(state=final[0], final_reason=final[1], attempts_count=len(placed))
    step = _again(history, placed, policy, renewed_at)
    if deadline is not None and step.next_attempt_at is not None and step.next_attempt_at >= deadline:
        return NextStep(state=ContactState.EXPIRED, final_reason="deadline", attempts_count=len(placed))
    return step


def delay_after(outcome: Outcome, policy: RetryPolicy) -> timedelta:
    """How long a contact with a new budget waits after a last call with this outcome, counted from its end."""
    return _delay((), outcome, policy)


def _final(history: Sequence[PastAttempt]) -> tuple[ContactState, str] | None:
    # Late truth may decide a contact whose next call was under way already: whatever that one met changes nothing.
    for attempt in reversed(history):
        if attempt.outcome is Outcome.COMPLETED:
            return ContactState.COMPLETED, attempt.result or "completed"
        if attempt.outcome is Outcome.REFUSED:
            return ContactState.REFUSED, "refused"
        if attempt.result == Result.WRONG_NUMBER and attempt.outcome is Outcome.FAILED:
            return ContactState.UNREACHABLE, "wrong_number"
    last = history[-1]
    # A number refused at the door is bad; one that only failed on the line must fail so twice: carriers report
    # unanswered calls that way too.
    if last.error_class is ErrorClass.NUMBER:
        reports = sum(1 for attempt in history if attempt.error_class is ErrorClass.NUMBER)
        if not last.was_accepted or reports >= BAD_NUMBER_REPORTS:
            return ContactState.UNREACHABLE, last.error_code or "invalid_number"
    if last.error_class is ErrorClass.HOST and last.refused_until is None:
        return ContactState.WITHDRAWN, last.error_code or "refused_by_host"
    rejections = sum(1 for attempt in history if attempt.error_class is last.error_class)
    if last.error_class in REJECTED and rejections >= MAX_REJECTIONS:
        return ContactState.UNREACHABLE, last.error_code or f"{last.error_class}_rejected"
    return None


def _again(
    history: Sequence[PastAttempt],
    placed: Sequence[PastAttempt],
    policy: RetryPolicy,
    renewed_at: datetime | None,
) -> NextStep:
    """A call that was not placed only delays what the calls before it asked for."""
    last = history[-1]
    if last.outcome is not Outcome.NOT_PLACED:
        return _after_call(placed, policy, renewed_at)
    due_at = last.ended_at + _not_placed_delay(history)
    if last.error_class is ErrorClass.HOST and last.refused_until is not None:
        # "Until now" would be a loop.
        due_at = max(last.refused_until, last.ended_at + LEAST_REFUSAL)
    if not placed:
        return NextStep(
            state=ContactState.PENDING, attempts_count=0, next_attempt_at=due_at, stage=Stage.FIRST
        )
    step = _after_call(placed, policy, renewed_at)
    if step.next_attempt_at is None:
        return step
    return replace(step, next_attempt_at=max(step.next_attempt_at, due_at))


def _after_call(placed: Sequence[PastAttempt], policy: RetryPolicy, renewed_at: datetime | None) -> NextStep:
    last, count = placed[-1], len(placed)
    spent = [attempt for attempt in placed if renewed_at is None or attempt.ended_at > renewed_at]
    callbacks = sum(1 for attempt in spent if attempt.outcome is Outcome.CALLBACK)
    granted = min(callbacks, MAX_CALLBACKS)
    if len(spent) >= policy.max_attempts + granted:
        return NextStep(state=ContactState.NOT_REACHED, final_reason=str(last.outcome), attempts_count=count)
    if last.outcome is Outcome.CALLBACK and last.callback_at is not None:
        due_at = max(last.callback_at, last.ended_at)
        return NextStep(
            state=ContactState.PENDING, attempts_count=count, next_attempt_at=due_at, stage=Stage.CALLBACK
        )
    due_at = last.ended_at + _delay(spent, last.outcome, policy)
    return NextStep(
        state=ContactState.PENDING, attempts_count=count, next_attempt_at=due_at, stage=Stage.RETRY
    )


def _delay(history: Sequence[PastAttempt], outcome: Outcome, policy: RetryPolicy) -> timedelta:
    delays = policy.delays.get(outcome)
    if not delays:
        return policy.default_delay
    earlier = sum(1 for attempt in history if attempt.outcome is outcome) - 1
    return delays[max(0, min(earlier, len(delays) - 1))]


def _not_placed_delay(history: Sequence[PastAttempt]) -> timedelta:
    if history[-1].error_class in AT_ONCE:
        return timedelta()
    in_a_row = 0
    for attempt in reversed(history):
        if attempt.outcome is not Outcome.NOT_PLACED:
            break
        in_a_row += 1
    doublings: int = min(in_a_row - 1, 10)
    return min(NOT_PLACED_DELAY * (1 << doublings), NOT_PLACED_DELAY_LIMIT)
