"""SIP final responses that say more of a call's end than "failed"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from outdial.domain.attempt import Ending

# 603 declined, 607 unwanted (RFC 8197), 608 rejected by an analytics engine (RFC 8688).
ENDING_OF_SIP: Final[Mapping[int, Ending]] = {
    486: Ending.BUSY,
    600: Ending.BUSY,
    408: Ending.NO_ANSWER,
    480: Ending.NO_ANSWER,
    603: Ending.REJECTED,
    607: Ending.REJECTED,
    608: Ending.BLOCKED,
}
# These name the number as what is wrong.
NUMBER_SIP_CODES: Final = frozenset({404, 410, 484, 604})
