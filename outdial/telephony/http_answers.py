"""What the answers of all HTTP providers have in common."""

from __future__ import annotations

import math

from outdial.telephony.protocol import HttpResponse


def retry_after(response: HttpResponse) -> float | None:
    """The seconds of the header `Retry-After`; None where there is none, or a date."""
    try:
        seconds = float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
