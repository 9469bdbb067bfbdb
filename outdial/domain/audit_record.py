"""The audit of the record itself: can what is stored of a call be true? And what of it can be read at all.

Whoever changes rows by hand leaves them at odds with each other: a call that was answered and never sent, a contact
that counts more calls than there are. What cannot be read is said, and ends nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from outdial.domain.audit import Attempt, Call, Finding, Findings, utc
from outdial.domain.settle import Outcome
from outdial.domain.zones import is_zone_name

# What clocks that should be one, and the rounding of SQLite's, may differ by.
TOLERANCE: Final = timedelta(seconds=2)
_AS_WRITTEN: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}")
_LONGEST_SHOWN: Final = 40


def read_instant(stored: object) -> tuple[datetime | None, bool]:
    """The instant, aware UTC, and whether it is written as all are. Of what is no instant: None, False."""
    if stored is None:
        return None, True
    if not isinstance(stored, str):
        return None, False
    try:
        found = datetime.fromisoformat(stored)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None, False
    return found, _AS_WRITTEN.fullmatch(stored) is not None


def read_permit(stored: object) -> Mapping[str, Any] | None:
    """None: it is not what a permit can be."""
    permit = _from_json(stored)
    if not isinstance(permit, dict):
        return None
    is_well = all(is_what(permit[name]) for name, is_what in _SHAPES.items() if name in permit)
    return permit if is_well else None


def read_limits(stored: object) -> Mapping[str, float | None] | None:
    """Those of a permit; None: it has none, or they cannot be read."""
    limits = _from_json(stored)
    return limits if limits is not None and _are_limits(limits) else None


def read_zones(stored: object) -> tuple[str, ...] | None:
    zones = _from_json(stored)
    return tuple(zones) if _are_zones(zones) else None


def judge_record(call: Call, earlier: Sequence[Attempt]) -> Findings:
    """Whether what is stored of the call agrees with itself. `earlier`: all attempts of its contact before it."""
    return [
        *_malformed(call),
        *_send_time(call.attempt),
        *_outcome(call.attempt),
        *_contact(call),
        *_numbering(call, earlier),
    ]


def _malformed(call: Call) -> list[Finding]:
    return [
        Finding(says=f"its {name} is {_shown(text)}, which is not how instants are written")
        for name, text in call.attempt.malformed.items()
    ] + [
        Finding(
            says=f"its contact's {name} is {_shown(text)}, which is not how instants are written",
            is_violation=False,
        )
        for name, text in call.malformed.items()
    ]


def _send_time(attempt: Attempt) -> list[Finding]:
    if "sent_at" in attempt.malformed:
        return []
    sent_at = attempt.sent_at
    if sent_at is None:
        return [Finding(says=f"was never sent by its record, and yet {attempt.sign_of_a_call}")]
    if sent_at > attempt.read_at + TOLERANCE:
        return [Finding(says=f"was sent {utc(sent_at)} by its record, which is still to come")]
    if "claimed_at" not in attempt.malformed and sent_at < attempt.claimed_at - TOLERANCE:
        return [Finding(says=f"was sent {utc(sent_at)}, before it was claimed {utc(attempt.claimed_at)}")]
    for what, at in (("answered", attempt.answered_at), ("ended", attempt.ended_at)):
        if at is not None and sent_at > at + TOLERANCE:
            return [Finding(says=f"was sent {utc(sent_at)}, after it was {what} {utc(at)}")]
    return []


def _outcome(attempt: Attempt) -> list[Finding]:
    if attempt.outcome != Outcome.NOT_PLACED:
        return []
    return [
        Finding(
            says=f"was not placed by its outcome, and yet {attempt.sign_of_a_call}",
            # A result alone may come of a call that we gave up; that a phone rang, nothing explains.
            is_violation=attempt.has_rung,
        )
    ]


def _contact(call: Call) -> list[Finding]:
    if call.contact_number is None:
        return [Finding(says="its contact, or its campaign, is not on record any more")]
    if call.contact_number == call.attempt.phone_number:
        return []
    return [
        Finding(says="went to another number than its contact has", is_violation=not call.contact_may_differ)
    ]


def _numbering(call: Call, earlier: Sequence[Attempt]) -> list[Finding]:
    """Attempts are numbered by the placed ones before them, so that those given back share their number with the next:
    a number that is too small proves nothing, one that is too great proves an attempt that is gone.
    """
    if call.is_test:
        return []
    placed = [one for one in earlier if one.outcome != Outcome.NOT_PLACED]
    if call.attempt.attempt_number <= len(placed) + 1:
        return []
    return [
        Finding(
            says=f"is attempt {call.attempt.attempt_number} of its contact, and only {len(placed)} are on record before it",
            # One that counted then and was corrected since.
            is_violation=not any(one.is_heard_of for one in earlier if one.outcome == Outcome.NOT_PLACED),
        )
    ]


def _shown(text: object) -> str:
    return repr(text)[:_LONGEST_SHOWN]


def _from_json(stored: object) -> Any:
    if not isinstance(stored, str | bytes):
        return None
    try:
        return json.loads(stored)
    except (ValueError, RecursionError):
        return None


def _are_texts(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(one, str) for one in found)


def _are_named_texts(found: object) -> bool:
    return isinstance(found, dict) and all(isinstance(one, str) for one in found.values())


def _are_local_times(found: object) -> bool:
    if not isinstance(found, dict) or not _are_named_texts(found):
        return False
    return all(read_instant(one)[0] is not None for one in found.values())


def _are_zones(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(one, str) and is_zone_name(one) for one in found)


def _is_text(found: object) -> bool:
    return found is None or isinstance(found, str)


def _are_limits(found: object) -> bool:
    if not isinstance(found, dict) or not _is_number(found.get("account_calls")):
        return False
    return all(found.get(name) is None or _is_number(found[name]) for name in _LIMITS)


def _is_number(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)


_LIMITS: Final = ("account_calls_per_second", "account_burst", "campaign_calls")
_SHAPES: Final = {
    "rules": _are_texts,
    "rule_digests": _are_named_texts,
    "calling_zone": _are_zones,
    "zone_source": _is_text,
    "country": _is_text,
    "subdivision": _is_text,
    "local_time": _are_local_times,
    "zone_data": _is_text,
}
