"""Twilio's call resource as its lists and look-ups show it (API 2010-04-01), in our words. Without IO."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Final

from pydantic import BaseModel, Field

from outdial.domain.attempt import CallEvent, Origin, Source
from outdial.domain.ids import CallId, ProviderCallId
from outdial.telephony.adapters.twilio_tables import ANSWERED_BY, KIND_OF_STATUS
from outdial.telephony.protocol import ListedCall, LookUp

MADE_BY_US: Final = "outbound-api"
NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
# By its clock and ours, around our POST: their seconds are whole, and clocks differ. A POST that we gave up may still
# be read a while later.
CREATED_BEFORE: Final = timedelta(seconds=10)
CREATED_AFTER: Final = timedelta(seconds=60)


class TwilioCall(BaseModel):
    sid: str
    status: str
    to: str | None = None
    from_: str | None = Field(default=None, alias="from")
    direction: str | None = None
    date_created: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    duration: str | None = None
    answered_by: str | None = None
    price: str | None = None
    price_unit: str | None = None


class TwilioCalls(BaseModel):
    calls: list[TwilioCall]
    next_page_uri: str | None = None


def may_be(call: TwilioCall, query: LookUp) -> bool:
    created = instant(call.date_created)
    if created is None or query.sent_at is None or call.status not in KIND_OF_STATUS:
        return False
    is_between_them = (call.to, call.from_, call.direction) == (query.to, query.from_number, MADE_BY_US)
    return is_between_them and -CREATED_BEFORE <= created - query.sent_at <= CREATED_AFTER


def looked_up(call: TwilioCall, call_id: CallId | None) -> CallEvent:
    """The resource has no SIP code: a refusal looks like a phone that rang out."""
    kind, ending = KIND_OF_STATUS[call.status]
    facts = json.dumps([call.sid, call.status, call.answered_by])
    return CallEvent(
        kind=kind,
        event_id="lookup-" + hashlib.sha256(facts.encode()).hexdigest()[:32],
        at=instant(call.end_time) or NEVER,
        call_id=call_id,
        provider_call_id=ProviderCallId(call.sid),
        source=Source.LOOKUP,
        ending=ending,
        answered_by=ANSWERED_BY.get(call.answered_by or ""),
        duration_seconds=whole(call.duration),
        raw_status=call.status,
        cost=_cost(call),
    )


def listed_call(call: TwilioCall) -> ListedCall:
    """Of its own, Twilio keeps nothing of ours: only the numbers and the time say whose the call is."""
    started_at = instant(call.date_created) or instant(call.start_time)
    origin = Origin(to=call.to, from_number=call.from_, started_at=started_at)
    return ListedCall(event=looked_up(call, None), origin=origin)


def origin_of(form: Mapping[str, str]) -> Origin | None:
    """Only of calls that we have made: others may be told of at the same URL."""
    if form.get("Direction") != MADE_BY_US:
        return None
    at = instant(form.get("Timestamp"))
    seconds = whole(form.get("CallDuration")) or 0
    return Origin(
        to=form.get("To"),
        from_number=form.get("From"),
        started_at=None if at is None else at - timedelta(seconds=seconds),
    )


def whole(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,9}", text) else None


def instant(text: str | None) -> datetime | None:
    """RFC 2822, as all of Twilio's dates; one without a zone is UTC."""
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _cost(call: TwilioCall) -> str | None:
    """Twilio writes what is taken from the balance: negative."""
    try:
        return f"{abs(Decimal(call.price or ''))} {call.price_unit or 'USD'}"
    except InvalidOperation:
        return None
