"""What happens to a contact when an attempt settles: called again, when, or final. Recomputed from all its attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from outdial.domain.attempt import ErrorClass
from outdial.domain.contact import ContactState, Stage
from outdial.domain.day_parts import Hours, another_time_of_day
from outdial.domain.settle import Outcome, Result

# A wish for a later instant than that is taken for a mistake of whoever had the conversation.
LONGEST_CALLBACK: Final = timedelta(days=365)
MAX_REJECTIONS: Final = 3
BAD_NUMBER_REPORTS: Final = 2
NOT_PLACED_DELAY: Final = timedelta(seconds=2)
NOT_PLACED_DELAY_LIMIT: Final = timedelta(minutes=1)
LEAST_REFUSAL: Final = timedelta(seconds=1)

# Where the reason lies with us or with the account, the account waits, not the contact.
AT_ONCE: Final = frozenset({ErrorClass.RELEASED, ErrorClass.RATE, ErrorClass.CALLER, ErrorClass.ACCOUNT})
# What a carrier or the provider does to a call before the phone rings: congestion, a limit, canceled in a queue.
NETWORK_OUTCOMES: Final = frozenset({Outcome.FAILED, Outcome.CANCELED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """`delays` per outcome: the n-th retry after that outcome waits the n-th delay, later ones the last. `limits` per
    outcome: so many attempts that met it, and the contact is not called again. After outcomes of `another_time_of_day`
    the retry is planned in a part of the day in which the contact was called least.

    A call that ended before the phone rang spends of `max_network_retries`, and of `max_attempts` only when these are
    used up; it waits `network_delays`, or, where there are none, what its outcome waits.
    """

    max_attempts: int = 1
    default_delay: timedelta = timedelta(hours=1)
    delays: Mapping[Outcome, tuple[timedelta, ...]] = field(default_factory=dict)
    limits: Mapping[Outcome, int] = field(default_factory=dict)
    another_time_of_day: frozenset[Outcome] = frozenset()
    max_network_retries: int = 2
    network_delays: tuple[timedelta, ...] = ()
    max_callbacks: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """A settled attempt, as far as the next step cares. `was_accepted`: the provider took the call; `has_rung`: the
    phone rang, or nobody can say that it did not. Instants aware UTC.
    """

    outcome: Outcome
    ended_at: datetime
    was_accepted: bool = True
    has_rung: bool = True
    error_class: ErrorClass | None = None
    error_code: str | None = None
    result: str | None = None
    callback_at: datetime | None = None
    refused_until: datetime | None = None

    @property
    def was_placed(self) -> bool:
        return self.outcome is not Outcome.NOT_PLACED

    @property
    def reached_nobody(self) -> bool:
        """Whether the network ended it before the phone rang. A bad number is no matter of the network."""
        return (
            self.outcome in NETWORK_OUTCOMES
            and not self.has_rung
            and self.result is None
            and self.error_class is not ErrorClass.NUMBER
        )


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
    call_after: datetime | None = None,
    hours: Hours | None = None,
) -> NextStep:
    """The contact's next step; `history` is oldest first and not empty.

    No call is planned at or after `deadline` (the earlier of the contact's `call_before` and the campaign's end), nor
    before `call_after`. Only attempts that ended after `renewed_at` spend of the budgets; all of them are history.
    `hours`: when the contact's phone may ring, without which there is no other time of day.
    """
    placed = [attempt for attempt in history if attempt.was_placed]
    final = _final(history)
    if final is not None:
        return NextStep(state=final[0], final_reason=final[1], attempts_count=len(placed))
    step = _again(history, placed, policy, renewed_at)
    if step.next_attempt_at is None:
        return step
    due_at = step.next_attempt_at if call_after is None else max(step.next_attempt_at, call_after)
    if hours is not None and placed and _wants_another_time(step, placed, policy):
        called = [attempt.ended_at for attempt in _since(placed, renewed_at)]
        due_at = another_time_of_day(hours, due_at, called, deadline)
    if deadline is not None and due_at >= deadline:
        reason = "callback_too_late" if step.stage is Stage.CALLBACK else "deadline"
        return NextStep(state=ContactState.EXPIRED, final_reason=reason, attempts_count=len(placed))
    return replace(step, next_attempt_at=due_at)


def delay_after(outcome: Outcome, policy: RetryPolicy) -> timedelta:
    """How long a contact with a new budget waits after a last call with this outcome, counted from its end."""
    return _nth(policy.delays.get(outcome, ()), 0, policy)


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
    rejections = sum(1 for attempt in history if attempt.error_class is ErrorClass.REQUEST)
    if last.error_class is ErrorClass.REQUEST and rejections >= MAX_REJECTIONS:
        return ContactState.UNREACHABLE, last.error_code or "request_rejected"
    return None


def _again(
    history: Sequence[PastAttempt],
    placed: Sequence[PastAttempt],
    policy: RetryPolicy,
    renewed_at: datetime | None,
) -> NextStep:
    """A call that was not placed only delays what the calls before it asked for."""
    last = history[-1]
    if last.was_placed:
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
    recent = _since(placed, renewed_at)
    spent = _spent(recent, policy)
    granted = min(sum(1 for attempt in recent if attempt.outcome is Outcome.CALLBACK), policy.max_callbacks)
    met = sum(1 for attempt in spent if attempt.outcome is last.outcome)
    limit = policy.limits.get(last.outcome)
    if len(spent) >= policy.max_attempts + granted or (limit is not None and met >= limit):
        return NextStep(state=ContactState.NOT_REACHED, final_reason=str(last.outcome), attempts_count=count)
    wished_at = _wish(last)
    if wished_at is not None:
        return NextStep(
            state=ContactState.PENDING, attempts_count=count, next_attempt_at=wished_at, stage=Stage.CALLBACK
        )
    due_at = last.ended_at + _delay(recent, last, policy)
    return NextStep(
        state=ContactState.PENDING, attempts_count=count, next_attempt_at=due_at, stage=Stage.RETRY
    )


def _since(placed: Sequence[PastAttempt], renewed_at: datetime | None) -> list[PastAttempt]:
    return [attempt for attempt in placed if renewed_at is None or attempt.ended_at > renewed_at]


def _spent(recent: Sequence[PastAttempt], policy: RetryPolicy) -> list[PastAttempt]:
    """Those that spend of `max_attempts`: all but the first few that the network kept from anybody's ear."""
    spent: list[PastAttempt] = []
    network_retries = policy.max_network_retries
    for attempt in recent:
        if attempt.reached_nobody and network_retries > 0:
            network_retries -= 1
        else:
            spent.append(attempt)
    return spent


def _wish(last: PastAttempt) -> datetime | None:
    """When the person asked to be called; an instant that has passed means at once."""
    if last.outcome is not Outcome.CALLBACK or last.callback_at is None:
        return None
    is_far = last.callback_at > last.ended_at + LONGEST_CALLBACK
    return None if is_far else max(last.callback_at, last.ended_at)


def _wants_another_time(step: NextStep, placed: Sequence[PastAttempt], policy: RetryPolicy) -> bool:
    last = placed[-1]
    return (
        step.stage is Stage.RETRY and not last.reached_nobody and last.outcome in policy.another_time_of_day
    )


def _delay(recent: Sequence[PastAttempt], last: PastAttempt, policy: RetryPolicy) -> timedelta:
    if last.reached_nobody and policy.network_delays:
        alike = sum(1 for attempt in recent if attempt.reached_nobody)
        return _nth(policy.network_delays, alike - 1, policy)
    alike = sum(1 for attempt in recent if attempt.outcome is last.outcome)
    return _nth(policy.delays.get(last.outcome, ()), alike - 1, policy)


def _nth(delays: Sequence[timedelta], place: int, policy: RetryPolicy) -> timedelta:
    """The last one for all places beyond. `place` is negative after late truth about a call before a renewal."""
    return delays[max(0, min(place, len(delays) - 1))] if delays else policy.default_delay


def _not_placed_delay(history: Sequence[PastAttempt]) -> timedelta:
    if history[-1].error_class in AT_ONCE:
        return timedelta()
    in_a_row = 0
    for attempt in reversed(history):
        if attempt.was_placed:
            break
        in_a_row += 1
    doublings: int = min(in_a_row - 1, 10)
    return min(NOT_PLACED_DELAY * (1 << doublings), NOT_PLACED_DELAY_LIMIT)
