"""What becomes of a contact after its attempts, over random histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from outdial.domain.attempt import ErrorClass
from outdial.domain.contact import FINAL_STATES, ContactState, Stage
from outdial.domain.day_parts import Hours
from outdial.domain.retries import (
    BAD_NUMBER_REPORTS,
    NOT_PLACED_DELAY_LIMIT,
    NextStep,
    PastAttempt,
    RetryPolicy,
    next_step,
)
from outdial.domain.settle import Outcome
from outdial.domain.windows import CallingWindow

BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DECIDED = {Outcome.COMPLETED: ContactState.COMPLETED, Outcome.REFUSED: ContactState.REFUSED}
UNDECIDED = sorted(set(Outcome) - set(DECIDED))
DELAYS = st.lists(st.integers(0, 300).map(lambda m: timedelta(minutes=m)), min_size=1, max_size=3).map(tuple)
POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 4),
    default_delay=st.sampled_from([timedelta(), HOUR]),
    delays=st.dictionaries(st.sampled_from(Outcome), DELAYS, max_size=4),
    limits=st.dictionaries(st.sampled_from(Outcome), st.integers(1, 3), max_size=2),
    max_network_retries=st.integers(0, 3),
    network_delays=st.one_of(st.just(()), DELAYS),
    max_callbacks=st.integers(0, 3),
)


# Beside its outcome: whether the provider took the call and the phone rang, what was wrong, and whether a wish came.
FACTS = [
    {"was_accepted": accepted, "has_rung": rung, "error_class": error, "callback_at": wished}
    for accepted, rung in ((True, True), (True, False), (False, False))
    for error in (None, *ErrorClass)
    for wished in (None, BEGIN + 12 * HOUR)
]


@st.composite
def histories(draw: st.DrawFn, outcomes: Sequence[Outcome] = tuple(Outcome)) -> list[PastAttempt]:
    """Attempts one after the other, as they may also look after late truth has rewritten some of them."""
    one = st.tuples(st.sampled_from(outcomes), st.integers(0, 120), st.sampled_from(FACTS))
    ended_at, history = BEGIN, []
    for outcome, minutes, facts in draw(st.lists(one, min_size=1, max_size=7)):
        ended_at += timedelta(minutes=minutes)
        history.append(PastAttempt(outcome=outcome, ended_at=ended_at, **facts))
    return history


def placed(history: Sequence[PastAttempt]) -> list[PastAttempt]:
    return [attempt for attempt in history if attempt.outcome is not Outcome.NOT_PLACED]


def past(outcome: Outcome, minutes: int = 0, **facts: object) -> PastAttempt:
    return PastAttempt(outcome=outcome, ended_at=BEGIN + timedelta(minutes=minutes), **facts)


def not_placed(error_class: ErrorClass, minutes: int = 0, **facts: object) -> PastAttempt:
    return past(Outcome.NOT_PLACED, minutes, was_accepted=False, error_class=error_class, **facts)


def step_after(*history: PastAttempt, max_attempts: int = 3, **policy: object) -> NextStep:
    return next_step(history, RetryPolicy(max_attempts=max_attempts, **policy))


@given(histories(), POLICIES)
def test_only_calls_that_were_placed_count(history: list[PastAttempt], policy: RetryPolicy) -> None:
    assert next_step(history, policy).attempts_count == len(placed(history))


@given(histories(), POLICIES)
def test_nobody_is_called_beyond_the_attempts_and_granted_callbacks(
    history: list[PastAttempt], policy: RetryPolicy
) -> None:
    callbacks = sum(1 for attempt in history if attempt.outcome is Outcome.CALLBACK)
    allowed = policy.max_attempts + min(callbacks, policy.max_callbacks) + policy.max_network_retries
    if next_step(history, policy).state is ContactState.PENDING:
        assert len(placed(history)) < allowed


@given(histories(), POLICIES)
def test_a_waiting_contact_knows_its_instant_and_a_final_one_its_reason(
    history: list[PastAttempt], policy: RetryPolicy
) -> None:
    step = next_step(history, policy)
    is_final = step.state in FINAL_STATES
    assert is_final or step.state is ContactState.PENDING
    assert (step.next_attempt_at is None, step.final_reason is not None) == (is_final, is_final)


@given(histories(), POLICIES)
def test_no_call_is_planned_before_the_last_one_has_ended(
    history: list[PastAttempt], policy: RetryPolicy
) -> None:
    step = next_step(history, policy)
    assert step.next_attempt_at is None or step.next_attempt_at >= history[-1].ended_at


@given(histories(), POLICIES)
def test_delays_count_from_the_end_of_the_last_placed_call(
    history: list[PastAttempt], policy: RetryPolicy
) -> None:
    calls = placed(history)
    step = next_step(history, policy)
    if calls and step.stage is Stage.RETRY and step.next_attempt_at is not None:
        last = calls[-1]
        times_before = sum(1 for attempt in calls[:-1] if attempt.outcome is last.outcome)
        listed = policy.delays.get(last.outcome, (policy.default_delay,))
        if last.reached_nobody and policy.network_delays:
            times_before = sum(1 for attempt in calls[:-1] if attempt.reached_nobody)
            listed = policy.network_delays
        delay = listed[times_before] if times_before < len(listed) else listed[-1]
        assert step.next_attempt_at >= last.ended_at + delay


@given(histories(), POLICIES)
def test_a_call_that_was_placed_waits_exactly_its_delay(
    history: list[PastAttempt], policy: RetryPolicy
) -> None:
    last = history[-1]
    step = next_step(history, replace(policy, delays={}, network_delays=()))
    if step.stage is Stage.RETRY and step.next_attempt_at and last.outcome is not Outcome.NOT_PLACED:
        assert step.next_attempt_at == last.ended_at + policy.default_delay


@given(histories(UNDECIDED), POLICIES, st.integers(-60, 600))
def test_no_call_is_planned_at_or_after_the_deadline(
    history: list[PastAttempt], policy: RetryPolicy, minutes: int
) -> None:
    deadline = history[-1].ended_at + timedelta(minutes=minutes)
    without, step = next_step(history, policy), next_step(history, policy, deadline)
    if without.next_attempt_at is not None and without.next_attempt_at >= deadline:
        reason = "callback_too_late" if without.stage is Stage.CALLBACK else "deadline"
        assert (step.state, step.final_reason) == (ContactState.EXPIRED, reason)
    else:
        assert step == without


@given(histories(UNDECIDED), POLICIES, st.integers(-60, 6000))
def test_no_call_is_planned_before_the_contacts_own_time(
    history: list[PastAttempt], policy: RetryPolicy, minutes: int
) -> None:
    call_after = history[-1].ended_at + timedelta(minutes=minutes)
    without, step = next_step(history, policy), next_step(history, policy, call_after=call_after)
    if without.next_attempt_at is not None:
        assert step == replace(without, next_attempt_at=max(without.next_attempt_at, call_after))


@given(histories(UNDECIDED), POLICIES)
def test_what_the_network_ended_spends_its_own_budget_first(
    history: list[PastAttempt], policy: RetryPolicy
) -> None:
    """More network retries never make a contact final that fewer would have called again."""
    more = replace(policy, max_network_retries=policy.max_network_retries + 1)
    if next_step(history, policy).state is ContactState.PENDING:
        assert next_step(history, more).state is ContactState.PENDING


@given(st.integers(1, 4), st.integers(0, 4))
def test_budgets_of_calls_and_of_the_network_add_up(max_attempts: int, max_network_retries: int) -> None:
    policy = RetryPolicy(max_attempts=max_attempts, max_network_retries=max_network_retries)
    history: list[PastAttempt] = []
    while not history or next_step(history, policy).state is ContactState.PENDING:
        history.append(past(Outcome.FAILED, len(history), has_rung=False))
    assert len(history) == max_attempts + max_network_retries


@given(histories(), POLICIES)
def test_a_decided_contact_is_never_called_again(history: list[PastAttempt], policy: RetryPolicy) -> None:
    decided = [attempt.outcome for attempt in history if attempt.outcome in DECIDED]
    if decided:
        assert next_step(history, policy).state is DECIDED[decided[-1]]


@given(histories(UNDECIDED), POLICIES, st.lists(st.sampled_from(ErrorClass), min_size=1, max_size=5))
def test_attempts_that_were_not_placed_never_bring_the_next_call_nearer(
    history: list[PastAttempt], policy: RetryPolicy, reasons: list[ErrorClass]
) -> None:
    before = next_step(history, policy)
    for minutes, error_class in enumerate(reasons, 1):
        at = history[-1].ended_at + timedelta(minutes=minutes)
        history = [*history, replace(not_placed(error_class), ended_at=at)]
    after = next_step(history, policy)
    if before.next_attempt_at is not None and after.next_attempt_at is not None:
        assert after.next_attempt_at >= before.next_attempt_at


@given(st.lists(st.sampled_from(UNDECIDED), min_size=40, max_size=40), POLICIES)
def test_a_contact_comes_to_an_end_whatever_happens(outcomes: list[Outcome], policy: RetryPolicy) -> None:
    outcomes = [outcome for outcome in outcomes if outcome is not Outcome.NOT_PLACED]
    called: list[PastAttempt] = []
    for minutes, outcome in enumerate(outcomes):
        called.append(past(outcome, minutes, callback_at=BEGIN + HOUR))
        if next_step(called, policy).state is not ContactState.PENDING:
            break
    assert len(called) <= policy.max_attempts + policy.max_callbacks + policy.max_network_retries


@pytest.mark.parametrize("outcome", DECIDED)
def test_a_decided_contact_keeps_its_state_when_a_later_call_finds_nobody(outcome: Outcome) -> None:
    step = step_after(past(outcome), past(Outcome.NO_ANSWER, 60), max_attempts=2)
    assert step.state is DECIDED[outcome]


def test_a_campaigns_own_code_is_the_reason_of_a_completed_contact() -> None:
    assert step_after(past(Outcome.COMPLETED, result="wants_brochure")).final_reason == "wants_brochure"


def test_a_contact_out_of_attempts_is_not_reached_by_what_the_last_one_met() -> None:
    step = step_after(past(Outcome.BUSY), past(Outcome.NO_ANSWER, 60), max_attempts=2)
    assert (step.state, step.final_reason) == (ContactState.NOT_REACHED, "no_answer")


def test_a_wished_callback_comes_first_and_at_its_hour() -> None:
    wished_at = BEGIN + 5 * HOUR
    step = step_after(past(Outcome.CALLBACK, callback_at=wished_at), max_attempts=1)
    assert (step.stage, step.next_attempt_at) == (Stage.CALLBACK, wished_at)


def test_wishes_for_callbacks_are_granted_twice() -> None:
    wishes = [past(Outcome.CALLBACK, minutes, callback_at=BEGIN) for minutes in range(4)]
    states = [step_after(*wishes[:count], max_attempts=1).state for count in range(1, 4)]
    assert states == [ContactState.PENDING, ContactState.PENDING, ContactState.NOT_REACHED]


def test_a_call_due_at_the_very_deadline_is_too_late() -> None:
    policy = RetryPolicy(max_attempts=2, default_delay=HOUR)
    assert next_step([past(Outcome.BUSY)], policy, BEGIN + HOUR).state is ContactState.EXPIRED


def test_a_call_that_was_not_placed_does_not_end_the_wait_after_the_one_before() -> None:
    step = step_after(past(Outcome.BUSY), not_placed(ErrorClass.RELEASED, 10), default_delay=HOUR)
    assert step.next_attempt_at == BEGIN + HOUR


def test_a_call_that_was_not_placed_does_not_reopen_what_is_used_up() -> None:
    step = step_after(past(Outcome.BUSY), not_placed(ErrorClass.RELEASED, 10), max_attempts=1)
    assert (step.state, step.final_reason) == (ContactState.NOT_REACHED, "busy")


def test_a_callback_that_was_not_placed_is_still_a_callback() -> None:
    wish = past(Outcome.CALLBACK, callback_at=BEGIN + HOUR)
    step = step_after(wish, not_placed(ErrorClass.RATE, 61), max_attempts=1)
    assert (step.stage, step.next_attempt_at) == (Stage.CALLBACK, BEGIN + timedelta(minutes=61))


def test_a_callback_without_an_hour_waits_like_a_retry() -> None:
    step = step_after(past(Outcome.CALLBACK), max_attempts=1, default_delay=HOUR)
    assert (step.stage, step.next_attempt_at) == (Stage.RETRY, BEGIN + HOUR)


def test_a_callback_wished_for_an_hour_that_has_passed_is_due_at_once() -> None:
    step = step_after(past(Outcome.CALLBACK, callback_at=BEGIN - HOUR))
    assert step.next_attempt_at == BEGIN


def test_who_was_never_called_stays_a_first_call() -> None:
    assert step_after(not_placed(ErrorClass.RATE)).stage is Stage.FIRST


@pytest.mark.parametrize("error_class", ["released", "rate", "caller", "account"])
def test_what_the_account_waits_for_the_contact_does_not_wait_for_too(error_class: str) -> None:
    assert step_after(not_placed(ErrorClass(error_class))).next_attempt_at == BEGIN


@pytest.mark.parametrize("error_class", ["expired", "unreachable"])
def test_waits_grow_while_nothing_is_placed_but_not_without_limit(error_class: str) -> None:
    history: list[PastAttempt] = []
    waits = []
    for _ in range(12):
        history.append(not_placed(ErrorClass(error_class)))
        waits.append(step_after(*history).next_attempt_at - BEGIN)
    assert waits[0] > timedelta()
    assert waits == sorted(waits)
    assert waits[-1] == NOT_PLACED_DELAY_LIMIT


def test_a_number_refused_at_the_door_is_bad() -> None:
    refused = past(
        Outcome.FAILED, was_accepted=False, error_class=ErrorClass.NUMBER, error_code="invalid_number"
    )
    step = step_after(refused)
    assert (step.state, step.final_reason) == (ContactState.UNREACHABLE, "invalid_number")


def test_a_number_that_failed_on_the_line_must_fail_so_twice() -> None:
    failed = [past(Outcome.FAILED, minutes, error_class=ErrorClass.NUMBER) for minutes in range(5)]
    states = [step_after(*failed[:count], max_attempts=9).state for count in range(1, 5)]
    assert states.index(ContactState.UNREACHABLE) + 1 == BAD_NUMBER_REPORTS


def test_a_wrong_person_is_unreachable() -> None:
    step = step_after(past(Outcome.FAILED, result="wrong_number"))
    assert (step.state, step.final_reason) == (ContactState.UNREACHABLE, "wrong_number")


def test_a_contact_that_the_provider_rejects_is_given_up_after_three_times() -> None:
    rejected = [not_placed(ErrorClass.REQUEST, minutes) for minutes in range(5)]
    states = [step_after(*rejected[:count]).state for count in range(1, 5)]
    assert states.index(ContactState.UNREACHABLE) + 1 == 3


# The contact's own faults, and a host that refused for good.
COSTS_A_CONTACT = {ErrorClass.REQUEST, ErrorClass.NUMBER, ErrorClass.HOST}


@pytest.mark.parametrize("error_class", sorted(set(ErrorClass) - COSTS_A_CONTACT))
def test_what_is_wrong_with_the_account_or_a_country_never_costs_a_contact(error_class: str) -> None:
    rejected = [not_placed(ErrorClass(error_class), minutes) for minutes in range(20)]
    assert step_after(*rejected).state is ContactState.PENDING


def test_rejections_of_different_kinds_do_not_add_up() -> None:
    kinds = [ErrorClass.DESTINATION, ErrorClass.REQUEST, ErrorClass.REQUEST]
    assert step_after(*map(not_placed, kinds)).state is ContactState.PENDING


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CANCELED])
def test_a_call_that_the_network_ended_is_repeated_beyond_the_attempts(outcome: Outcome) -> None:
    step = step_after(past(outcome, has_rung=False), max_attempts=1, default_delay=HOUR)
    assert (step.state, step.stage, step.next_attempt_at) == (ContactState.PENDING, Stage.RETRY, BEGIN + HOUR)


@pytest.mark.parametrize(
    "facts",
    [
        {"has_rung": True},
        {"has_rung": False, "result": "partial"},
        {"has_rung": False, "error_class": ErrorClass.NUMBER},
    ],
)
def test_a_call_that_failed_otherwise_spends_an_attempt(facts: dict[str, object]) -> None:
    assert step_after(past(Outcome.FAILED, **facts), max_attempts=1).state is ContactState.NOT_REACHED


@pytest.mark.parametrize("outcome", [Outcome.BUSY, Outcome.NO_ANSWER, Outcome.REJECTED, Outcome.UNKNOWN])
def test_only_the_network_has_a_budget_of_its_own(outcome: Outcome) -> None:
    assert step_after(past(outcome, has_rung=False), max_attempts=1).state is ContactState.NOT_REACHED


def test_the_network_has_waits_of_its_own() -> None:
    waits = (timedelta(minutes=1), timedelta(minutes=5))
    ended = [past(Outcome.FAILED, has_rung=False), past(Outcome.CANCELED, 10, has_rung=False)]
    first = step_after(ended[0], network_delays=waits, delays={Outcome.FAILED: (HOUR,)})
    assert first.next_attempt_at == BEGIN + timedelta(minutes=1)
    assert step_after(*ended, network_delays=waits).next_attempt_at == BEGIN + timedelta(minutes=15)


def test_an_outcome_may_have_a_limit_of_its_own() -> None:
    limits = {Outcome.VOICEMAIL: 2}
    met = [past(Outcome.VOICEMAIL), past(Outcome.BUSY, 60), past(Outcome.VOICEMAIL, 120)]
    steps = [step_after(*met[:count], max_attempts=9, limits=limits) for count in (1, 2, 3)]
    assert [step.state for step in steps] == [ContactState.PENDING] * 2 + [ContactState.NOT_REACHED]
    assert steps[-1].final_reason == "voicemail"


def test_a_new_budget_is_one_for_the_network_and_the_limits_too() -> None:
    policy = RetryPolicy(max_attempts=1, max_network_retries=1, limits={Outcome.FAILED: 1})
    before = [past(Outcome.FAILED, minutes, has_rung=False) for minutes in range(2)]
    assert next_step(before, policy).state is ContactState.NOT_REACHED
    again = [*before, past(Outcome.FAILED, 60, has_rung=False)]
    assert next_step(again, policy, renewed_at=BEGIN + timedelta(minutes=30)).state is ContactState.PENDING


def test_a_wish_beyond_a_year_is_taken_for_a_mistake() -> None:
    wish = past(Outcome.CALLBACK, callback_at=BEGIN + timedelta(days=4000))
    step = step_after(wish, max_attempts=1, default_delay=HOUR)
    assert (step.stage, step.next_attempt_at) == (Stage.RETRY, BEGIN + HOUR)


def test_a_wish_beyond_the_deadline_expires_with_its_reason() -> None:
    wish = past(Outcome.CALLBACK, callback_at=BEGIN + 3 * HOUR)
    step = next_step([wish], RetryPolicy(max_attempts=5), BEGIN + 2 * HOUR)
    assert (step.state, step.final_reason) == (ContactState.EXPIRED, "callback_too_late")


def test_another_time_of_day_is_only_for_the_outcomes_that_ask_for_it() -> None:
    policy = RetryPolicy(
        max_attempts=5, default_delay=HOUR, another_time_of_day=frozenset({Outcome.NO_ANSWER})
    )
    hours = Hours(window=CallingWindow(), time_zones=("UTC",))
    asked = next_step([past(Outcome.NO_ANSWER)], policy, hours=hours)
    assert asked.next_attempt_at == BEGIN + 3 * HOUR
    assert next_step([past(Outcome.BUSY)], policy, hours=hours).next_attempt_at == BEGIN + HOUR
