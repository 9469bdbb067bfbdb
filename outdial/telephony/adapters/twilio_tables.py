"""Twilio's words and codes in ours. From its API reference (Calls resource, 2010-04-01) and its error dictionary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from outdial.domain.attempt import AnsweredBy, Ending, EventKind
from outdial.domain.errors import (
    AccountRejected,
    CallerRejected,
    CallRejected,
    DestinationRejected,
    InDoubt,
    NumberRejected,
    RateLimited,
    TelephonyProviderError,
)

KIND_OF_STATUS: Final[Mapping[str, tuple[EventKind, Ending | None]]] = {
    "queued": (EventKind.INITIATED, None),
    "initiated": (EventKind.INITIATED, None),
    "ringing": (EventKind.RINGING, None),
    "in-progress": (EventKind.ANSWERED, None),
    "completed": (EventKind.ENDED, Ending.ANSWERED),
    "busy": (EventKind.ENDED, Ending.BUSY),
    "no-answer": (EventKind.ENDED, Ending.NO_ANSWER),
    "failed": (EventKind.ENDED, Ending.FAILED),
    "canceled": (EventKind.ENDED, Ending.CANCELED),
}

ANSWERED_BY: Final[Mapping[str, AnsweredBy]] = {
    "human": AnsweredBy.HUMAN,
    "machine_start": AnsweredBy.MACHINE,
    "machine_end_beep": AnsweredBy.MACHINE,
    "machine_end_silence": AnsweredBy.MACHINE,
    "machine_end_other": AnsweredBy.MACHINE,
    "fax": AnsweredBy.FAX,
    "unknown": AnsweredBy.UNKNOWN,
}


def _all(kind: type[TelephonyProviderError], codes: Iterable[int]) -> dict[int, type[TelephonyProviderError]]:
    return dict.fromkeys(codes, kind)


ERROR_OF_CODE: Final[Mapping[int, type[TelephonyProviderError]]] = {
    # The called number: missing a digit, not reachable, premium, on Twilio's block list.
    **_all(NumberRejected, (21211, 21214, 21217, 13223, 13224, 21202, 21216, 13225, 32203)),
    # Geographic permissions; a trial account that may call verified numbers only, which stops with the upgrade.
    **_all(DestinationRejected, (21215, 13227, 32205, 21203, 21219, 573005)),
    **_all(CallerRejected, (21210, 21212, 21213)),
    # 20404 answers a POST to an account that is not there.
    **_all(AccountRejected, (20003, 20005, 10001, 20006, 20403, 10002, 20404)),
    # 10004 and 86008: more calls at once than a trial or unapproved account may have.
    **_all(RateLimited, (20429, 10004, 86008)),
    **_all(CallRejected, (21201, 21205, 21206, 21208, 21209, 21218, 21220, 21262, 21263, 21609, 21626)),
    **_all(InDoubt, (20500,)),
}
ERROR_OF_STATUS: Final[Mapping[int, type[TelephonyProviderError]]] = {
    401: AccountRejected,
    403: AccountRejected,
    404: AccountRejected,
    429: RateLimited,
}
# Without a code of Twilio's it may be a proxy that speaks, which had passed the request on: in doubt, but for these.
ERROR_WITHOUT_CODE: Final[Mapping[int, type[TelephonyProviderError]]] = {
    401: AccountRejected,
    403: AccountRejected,
    429: RateLimited,
}
# Documented as not processed and safe to repeat. Without this code a 503 may be a proxy's that had passed the POST on.
UNAVAILABLE: Final = 20503
WRONG_CALL_STATE: Final = 21220
