"""What an answer to the POST means: the design's table, row by row."""

from __future__ import annotations

import pytest

from outdial.domain.answers import meaning_of
from outdial.domain.errors import (
    AccountRejected,
    CallerRejected,
    CallRejected,
    DestinationRejected,
    InDoubt,
    NotPlaced,
    NumberRejected,
    ProviderUnreachable,
    RateLimited,
    TelephonyProviderError,
)

# The error, the attempt's ending (None: it stays open, in doubt), and what happens beyond the attempt.
TABLE = [
    (NotPlaced(), "not_placed", "none"),
    (ProviderUnreachable(), "not_placed", "back_off_unreachable"),
    (RateLimited(), "not_placed", "back_off_rate"),
    (NumberRejected(), "failed", "none"),
    (CallerRejected(), "not_placed", "rest_caller_number"),
    (DestinationRejected(), "not_placed", "block_destination"),
    (AccountRejected(), "not_placed", "suspend_account"),
    (CallRejected(), "not_placed", "count_rejection"),
    (InDoubt(), None, "count_doubt"),
]


@pytest.mark.parametrize(("error", "ending", "effect"), TABLE, ids=lambda value: type(value).__name__)
def test_each_error_means_what_the_table_says(
    error: TelephonyProviderError, ending: str | None, effect: str
) -> None:
    meaning = meaning_of(error)
    assert (meaning.ending, meaning.effect) == (ending, effect)


def test_every_error_of_the_tree_is_in_the_table() -> None:
    def below(kind: type[TelephonyProviderError]) -> set[type[TelephonyProviderError]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    ours = {kind for kind in below(TelephonyProviderError) if kind.__module__.startswith("outdial.")}
    assert ours - {TelephonyProviderError} == {type(error) for error, _, _ in TABLE}


def test_an_adapters_own_kind_of_error_means_what_its_parent_means() -> None:
    class NumberTooShort(NumberRejected):
        pass

    assert meaning_of(NumberTooShort()) == meaning_of(NumberRejected())


@pytest.mark.parametrize("error", [RuntimeError("boom"), TelephonyProviderError("what?"), TimeoutError()])
def test_what_nobody_foresaw_may_have_placed_a_call(error: Exception) -> None:
    assert meaning_of(error).ending is None
