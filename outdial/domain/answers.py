"""What an answer to the POST that places a call means, for the attempt, the contact and the account. The whole table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from outdial.domain.attempt import Ending, ErrorClass
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


class Effect(StrEnum):
    """What the answer does beyond the attempt itself."""

    NONE = "none"
    BACK_OFF_RATE = "back_off_rate"
    BACK_OFF_UNREACHABLE = "back_off_unreachable"
    REST_CALLER_NUMBER = "rest_caller_number"
    BLOCK_DESTINATION = "block_destination"
    SUSPEND_ACCOUNT = "suspend_account"
    COUNT_REJECTION = "count_rejection"
    COUNT_DOUBT = "count_doubt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """`ending` None: the attempt goes in doubt and holds its line."""

    ending: Ending | None
    error_class: ErrorClass | None
    effect: Effect = Effect.NONE


def _released(error_class: ErrorClass, effect: Effect = Effect.NONE) -> Meaning:
    return Meaning(ending=Ending.NOT_PLACED, error_class=error_class, effect=effect)


MEANINGS: Final[Mapping[type[TelephonyProviderError], Meaning]] = {
    NotPlaced: _released(ErrorClass.EXPIRED),
    ProviderUnreachable: _released(ErrorClass.UNREACHABLE, Effect.BACK_OFF_UNREACHABLE),
    RateLimited: _released(ErrorClass.RATE, Effect.BACK_OFF_RATE),
    NumberRejected: Meaning(ending=Ending.FAILED, error_class=ErrorClass.NUMBER),
    CallerRejected: _released(ErrorClass.CALLER, Effect.REST_CALLER_NUMBER),
    DestinationRejected: _released(ErrorClass.DESTINATION, Effect.BLOCK_DESTINATION),
    AccountRejected: _released(ErrorClass.ACCOUNT, Effect.SUSPEND_ACCOUNT),
    CallRejected: _released(ErrorClass.REQUEST, Effect.COUNT_REJECTION),
    InDoubt: Meaning(ending=None, error_class=None, effect=Effect.COUNT_DOUBT),
}

REJECTIONS_THAT_PAUSE: Final = 5
"""So many answers in a row that find our request wrong pause the campaign: a wrong setting must not burn a list."""


def meaning_of(error: BaseException) -> Meaning:
    """The row for `error`. What an adapter did not foresee may have placed a call, so it is in doubt."""
    for kind in type(error).__mro__:
        meaning = MEANINGS.get(kind)
        if meaning is not None:
            return meaning
    return MEANINGS[InDoubt]
