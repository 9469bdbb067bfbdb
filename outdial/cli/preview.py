"""How `outdial campaign preview` and `start` tell what a campaign is about to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from outdial.cli.context import Context
from outdial.cli.output import say
from outdial.cli.strip import signs_for, strip
from outdial.domain.callability import Block, Interval, When
from outdial.domain.permit import Reason
from outdial.domain.sufficiency import Forecast
from outdial.operations.preview import (
    MeasuredOn,
    Preview,
    Sufficiency,
    ZoneOutlook,
    look,
    tell,
)
from outdial.operations.why import Asked

BLOCK_WORDS: Final[Mapping[Block, str]] = {
    Block.COUNTRY_BLOCKED: "in a country that the account may not call",
    Block.UNKNOWN_ZONE: "in an unknown time zone",
    Block.NO_RULE: "in a place for which there is no calling rule",
    Block.NEVER_OPEN: "where the hours never open, or for too short a time",
    Block.DIAL_ONLY: "not among the numbers of OUTDIAL_DIAL_ONLY",
    Block.EXCLUDED: "excluded",
    Block.NO_CONSENT: "without the consent that is needed",
    Block.DEADLINE: "past their deadline, or it comes before they may be called",
    Block.NUMBER_BUSY: "whose number has an open call",
    Block.CAPPED: "called as often as their rule allows",
    Block.NOT_DUE: "not due yet",
    Block.DUPLICATE: "whose number waits here twice, or in a running campaign that comes first",
    Block.INVALID: "with a number that cannot be reached",
}
# Told by `hindrances` too, with what to do about it.
TOLD_WITH_THEIR_CURE: Final = frozenset(
    {Reason.ACCOUNT_SUSPENDED, Reason.BREAKER_OPEN, Reason.NO_CALLER_NUMBER}
)
MOST_INSTANTS: Final = 3


def preview_of(context: Context, name: str, asked: Asked) -> Preview:
    """Reads in one transaction, and works out the rest when that is over."""
    return tell(context.run(look, name, asked))


def say_preview(found: Preview) -> None:
    say(f"{found.campaign} ({found.status}) at {_instant(found.at)}: {found.total:,} contacts")
    say("")
    say_summary(found, in_full=True)
    if found.zones:
        say("")
        for line in strip(found, signs_for(sys.stdout.encoding)):
            say(line)


def say_summary(found: Preview, *, in_full: bool = False) -> None:
    for line in _counts(found, in_full=in_full):
        say(line)
    for line in _holding(found):
        say(f"Held: {line}")
    for line in sufficiency_in_words(found.sufficiency):
        say(line)


def as_document(found: Preview) -> dict[str, Any]:
    return {
        "campaign": found.campaign,
        "status": found.status,
        "at": found.at,
        "total": found.total,
        "callable": {str(one): count for one, count in found.callable.items()},
        "blocked": {str(one): found.blocked.get(one, 0) for one in Block},
        "calling": found.calling,
        "done": {str(state): count for state, count in found.done.items()},
        "capped_until": [{"until": one.until, "contacts": one.contacts} for one in found.capped_until],
        "rejected_rows": found.rejected_rows,
        "holds": [{"reason": one.reason, "says": one.says, "until": one.until} for one in found.holds],
        "hindrances": list(found.hindrances),
        "zones": [_zone(one) for one in found.zones],
        "sufficiency": _sufficiency(found.sufficiency),
    }


def sufficiency_in_words(found: Sufficiency) -> Iterator[str]:
    if not found.once.calls and not found.at_most.calls:
        return
    end = "when the campaign ends" if found.has_end else "which is as far as is looked ahead"
    yield f"With {_capacity(found)}:"
    yield f"  {_outcome(found.once, found.until, 'called once', end)};"
    yield f"  with every attempt that they have, {_outcome(found.at_most, found.until, 'made', end)}."


def _counts(found: Preview, *, in_full: bool) -> Iterator[str]:
    now, today, later = (found.callable[one] for one in When)
    yield f"{now:>11,}  callable now"
    yield f"{today:>11,}  later today, by their clocks"
    yield f"{later:>11,}  later"
    blocked = sum(found.blocked.values())
    if not in_full:
        words = ", ".join(f"{count:,} {one.replace('_', ' ')}" for one, count in found.blocked.items())
        yield f"{blocked:>11,}  blocked{f': {words}' if words else ''}"
        return
    yield f"{blocked:>11,}  blocked"
    for block, count in found.blocked.items():
        yield f"{'':>11}  {count:>9,}  {BLOCK_WORDS[block]}"
        if block is Block.CAPPED:
            yield from _capped(found)
    if found.calling:
        yield f"{found.calling:>11,}  in a call, or waiting for its result"
    for state, count in found.done.items():
        yield f"{count:>11,}  {state.replace('_', ' ')}"
    if found.rejected_rows:
        yield f"Besides, {found.rejected_rows:,} rows of imported files were rejected: they are no contacts."


def _capped(found: Preview) -> Iterator[str]:
    for one in found.capped_until[:MOST_INSTANTS]:
        yield f"{'':>24}{one.contacts:,} until {_instant(one.until)}"
    rest = found.capped_until[MOST_INSTANTS:]
    if rest:
        yield f"{'':>24}{sum(one.contacts for one in rest):,} later, the last until {_instant(rest[-1].until)}"


def _holding(found: Preview) -> Iterator[str]:
    for hold in found.holds:
        if hold.reason in TOLD_WITH_THEIR_CURE and found.hindrances:
            continue
        until = "" if hold.until is None else f", until {_instant(hold.until)}"
        yield f"{hold.says.removesuffix('.')}{until}."
    yield from found.hindrances


def _capacity(found: Sufficiency) -> str:
    capacity = found.capacity
    rate = "" if capacity.calls_per_second is None else f" and {capacity.calls_per_second:.3g} calls a second"
    source = {
        MeasuredOn.CAMPAIGN: "as its calls so far",
        MeasuredOn.ACCOUNT: "as the account's calls so far",
        MeasuredOn.ASSUMED: "assumed: too few have ended to measure it",
    }[found.measured_on]
    return f"{capacity.lines:,} lines to itself{rate}, {capacity.held_seconds:.0f} s a call ({source})"


def _outcome(found: Forecast, until: datetime, done: str, end: str) -> str:
    if not found.calls:
        return f"no call is left to be {done}"
    whom = f"all {found.calls:,} calls are made" if done == "made" else "everybody is called once"
    if found.done_at is not None:
        return f"{whom} by {_instant(found.done_at)}"
    return f"{found.left:,} of {found.calls:,} will not have been {done} by {_instant(until)}, {end}"


def _instant(instant: datetime) -> str:
    return f"{instant:%a %Y-%m-%d %H:%M} UTC"


def _zone(one: ZoneOutlook) -> dict[str, Any]:
    return {
        "time_zones": list(one.time_zones),
        "country": one.country,
        "waiting": one.waiting,
        "opens_at": one.opens_at,
        "blocked_by": one.blocked_by,
        "openings": [_interval(opening) for opening in one.openings],
    }


def _interval(one: Interval) -> dict[str, datetime]:
    return {"begin": one.begin, "end": one.end}


def _sufficiency(found: Sufficiency) -> dict[str, Any]:
    return {
        "lines": found.capacity.lines,
        "calls_per_second": found.capacity.calls_per_second,
        "held_seconds": found.capacity.held_seconds,
        "held_seconds_from": found.measured_on,
        "until": found.until,
        "has_end": found.has_end,
        "once": _forecast(found.once),
        "at_most": _forecast(found.at_most),
    }


def _forecast(found: Forecast) -> dict[str, Any]:
    return {
        "calls": found.calls,
        "left": found.left,
        "suffices": found.suffices,
        "done_at": found.done_at,
    }
