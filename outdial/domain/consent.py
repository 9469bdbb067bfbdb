"""What kinds of consent people give to be called, and which of them is enough where one is asked for.

The order is ours, drawn from what the laws ask of each kind; whether a recorded consent is valid nobody can tell from
its name. No legal advice.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class ConsentKind(StrEnum):
    """From the weakest to the strongest, each with all that the one before it has.

    `PRIOR`: some consent from before the call, of which no more is known; all that a list's yes can mean.
    `EXPRESS`: the person said so, for calls like these (47 CFR 64.1200(a)(1)): there, to have given one's number knowingly
    may be enough (FCC 92-443, paragraph 31).
    `OPT_IN`: a specific and informed statement or clear act for such calls, not taken for granted from anything else
    (Directive 2002/58/EC art. 13(1), with GDPR art. 4(11) and 7).
    `WRITTEN`: besides in writing, signed, naming number and seller, after a clear disclosure (47 CFR 64.1200(f)(9)).
    """

    PRIOR = "prior"
    EXPRESS = "express"
    OPT_IN = "opt_in"
    WRITTEN = "written"


def satisfies(given: str | None, required: str) -> bool:
    """Whether who gave `given` (None: nothing) may be called where `required` is asked for.

    What is no kind of consent that we know neither is enough nor ever met.
    """
    if given not in _RANK or required not in _RANK:
        return False
    return _RANK[given] >= _RANK[required]


_RANK: Final[dict[str | None, int]] = {str(kind): rank for rank, kind in enumerate(ConsentKind)}
