"""Where a contact stands after its attempts, over random ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, strategies as st

from outdial.domain.campaign import CampaignDefinition, Purpose
from outdial.domain.contact import FINAL_STATES, ContactState
from outdial.domain.retries import PastAttempt, RetryPolicy
from outdial.domain.settle import Outcome
from outdial.domain.standing import Standing, stand
from outdial.domain.zones import CallingZone, ZoneSource

BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ROME = CallingZone(time_zones=("Europe/Rome",), country="IT", source=ZoneSource.CONTACT)
UNKNOWN = CallingZone(time_zones=(), country=None, source=ZoneSource.UNKNOWN)
DECIDED = {ContactState.COMPLETED, ContactState.REFUSED, ContactState.UNREACHABLE}
OUT = {ContactState.WITHDRAWN, ContactState.EXCLUDED}
CAMPAIGN = CampaignDefinition(
    name="c",
    purpose=Purpose.SURVEY,
    account="a",
    ends_at=BEGIN + timedelta(hours=5),
    retry=RetryPolicy(max_attempts=3, another_time_of_day=frozenset({Outcome.NO_ANSWER})),
)
# None is an attempt that is not settled.
HISTORIES = st.lists(st.sampled_from([None, *Outcome]), min_size=1, max_size=5).map(
    lambda outcomes: [
        None if outcome is None else PastAttempt(outcome=outcome, ended_at=BEGIN + timedelta(hours=hour))
        for hour, outcome in enumerate(outcomes)
    ]
)
STATES = st.sampled_from(ContactState)
ZONES = st.sampled_from([ROME, UNKNOWN])


@given(HISTORIES, STATES, ZONES)
def test_who_is_final_is_never_called_again(
    history: list[PastAttempt | None], state: ContactState, zone: CallingZone
) -> None:
    step = stand(Standing(state=state, final_reason="why"), history, CAMPAIGN, zone)
    if step is not None and state in FINAL_STATES:
        assert step.state in FINAL_STATES


@given(HISTORIES, STATES, ZONES)
def test_whoever_waits_knows_when_and_nobody_else_does(
    history: list[PastAttempt | None], state: ContactState, zone: CallingZone
) -> None:
    step = stand(Standing(state=state), history, CAMPAIGN, zone)
    if step is not None:
        assert (step.state is ContactState.PENDING) == (step.next_attempt_at is not None)


@given(HISTORIES, st.sampled_from(sorted(OUT)))
def test_who_is_out_stays_out_with_the_reason_and_all_attempts_counted(
    history: list[PastAttempt | None], state: ContactState
) -> None:
    step = stand(Standing(state=state, final_reason="asked"), history, CAMPAIGN, ROME)
    settled = [past for past in history if past is not None]
    assert (step is None) == (not settled)
    if step is not None:
        assert (step.state, step.final_reason) == (state, "asked")
        assert step.attempts_count == sum(1 for past in settled if past.was_placed)


@given(HISTORIES)
def test_while_a_call_is_under_way_only_a_decision_ends_the_contact(
    history: list[PastAttempt | None],
) -> None:
    step = stand(Standing(state=ContactState.IN_PROGRESS), [*history, None], CAMPAIGN, ROME)
    assert step is None or step.state is ContactState.IN_PROGRESS or step.state in DECIDED


@given(HISTORIES)
def test_a_test_call_is_one_call_whatever_comes_of_it(history: list[PastAttempt | None]) -> None:
    step = stand(Standing(state=ContactState.IN_PROGRESS, is_test=True), history, CAMPAIGN, ROME)
    assert step is None or (step.state, step.final_reason) == (ContactState.COMPLETED, "test")
