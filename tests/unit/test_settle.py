"""The outcome for every input that there is, against a table of rules in the words of the design."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

from outdial.domain.attempt import AnsweredBy, Ending
from outdial.domain.settle import MachinePolicy, Outcome, Result, SettlePolicy, awaits_result, settle

OWN_CODE = "wants_brochure"
ENOUGH_SECONDS = 10.0


class Case(NamedTuple):
    ending: Ending
    answered_by: AnsweredBy | None
    result: str | None
    duration_seconds: float | None
    policy: SettlePolicy

    @property
    def somebody_may_have_talked(self) -> bool:
        return self.ending in {"answered", "failed", "canceled", "unknown"}

    @property
    def is_answered(self) -> bool:
        return self.ending == "answered"

    @property
    def is_machine(self) -> bool:
        return self.answered_by in {"machine", "fax"} and self.policy.machine != "treat_as_human"

    @property
    def lasted_long_enough(self) -> bool:
        wanted, lasted = self.policy.completed_after_seconds, self.duration_seconds
        return wanted is not None and lasted is not None and lasted >= wanted


Rule = tuple[Callable[[Case], bool], str]


def says(result: str) -> Callable[[Case], bool]:
    return lambda case: case.somebody_may_have_talked and case.result == result


def line(ending: str) -> Callable[[Case], bool]:
    return lambda case: case.ending == ending


# The first rule that fits decides.
RULES: list[Rule] = [
    (says("completed"), "completed"),
    (says("refused"), "refused"),
    (says("callback"), "callback"),
    (says("wrong_number"), "failed"),
    (says("ineligible"), "completed"),
    (says(OWN_CODE), "completed"),
    (line("no_answer"), "no_answer"),
    (line("busy"), "busy"),
    (line("rejected"), "rejected"),
    (line("blocked"), "rejected"),
    (line("failed"), "failed"),
    (line("canceled"), "canceled"),
    (line("not_placed"), "not_placed"),
    (line("unknown"), "unknown"),
    (lambda case: case.is_machine, "voicemail"),
    (lambda case: case.lasted_long_enough, "completed"),
    (lambda case: case.is_answered, "no_result"),
]


def policies() -> Iterator[SettlePolicy]:
    for machine, wanted in product(MachinePolicy, (None, 0.0, ENOUGH_SECONDS)):
        yield SettlePolicy(machine=machine, completed_after_seconds=wanted)


def cases() -> Iterator[Case]:
    results = [None, *Result, OWN_CODE]
    durations = [None, 0.0, ENOUGH_SECONDS - 0.1, ENOUGH_SECONDS, 3600.0]
    for values in product(Ending, [None, *AnsweredBy], results, durations, policies()):
        yield Case(*values)


def outcome_of(case: Case) -> Outcome:
    return settle(**case._asdict())


def test_every_input_has_the_outcome_that_the_rules_say() -> None:
    wrong = [
        (case, outcome_of(case), expected)
        for case in cases()
        if outcome_of(case) != (expected := next(outcome for applies, outcome in RULES if applies(case)))
    ]
    assert not wrong, f"{len(wrong)} inputs, the first: {wrong[0]}"


def test_every_outcome_comes_from_some_input() -> None:
    assert {outcome_of(case) for case in cases()} == set(Outcome)


def test_only_an_answered_call_without_result_awaits_one() -> None:
    for ending, result, policy in product(Ending, [None, *Result, OWN_CODE], policies()):
        may_come = ending == "answered" and result is None and policy.completed_after_seconds is None
        assert awaits_result(ending=ending, result=result, policy=policy) == may_come
