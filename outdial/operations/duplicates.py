"""What a contact becomes when its list comes in again to be brought up to date. Pure.

What the list says replaces what was there, what it leaves empty stays as it was. Attempts stay what they are, and who is
final stays as a whole: an update brings nobody back. One thing does move a contact: a list that now says do not call.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from outdial.domain.consent import ConsentKind
from outdial.domain.contact import FINAL_STATES, ContactState, Stage
from outdial.domain.ids import CallingZoneId
from outdial.domain.zones import ZoneSource
from outdial.storage.duplicates import Known
from outdial.storage.new_contacts import NewContact, Origin

# An empty cell leaves what was there: the number alone does not move a contact whose number is as it was.
_SAID: Final = frozenset({ZoneSource.CONTACT, ZoneSource.REGION})


def updated(known: Known, new: NewContact, zone_id: CallingZoneId, origin: Origin, at: datetime) -> Known:
    """The contact with what `new` says of it; equal to `known` where that changes nothing."""
    if known.state in FINAL_STATES:
        return known
    said: dict[str, Any] = {
        "person_key": new.person_key,
        "email": new.email,
        "name": new.name,
        "language": new.language,
        "priority": new.priority,
        "call_after": new.call_after,
        "call_before": new.call_before,
    }
    changed = replace(
        known,
        attributes={**known.attributes, **json.loads(new.attributes_json)},
        **{name: value for name, value in said.items() if value is not None},
        **_consent(known, new, origin),
    )
    if new.do_not_call:
        return replace(changed, state=ContactState.EXCLUDED, final_reason="do_not_call", next_attempt_at=None)
    # A call under way goes to the number that it was claimed for.
    return _moved(known, changed, new, zone_id, at) if known.state is ContactState.PENDING else changed


def _consent(known: Known, new: NewContact, origin: Origin) -> dict[str, Any]:
    """What a row says of consent, as a whole: kind, instant and source are of one consent.

    A kind that is named replaces what was there, and a bare yes only nothing: it may be less than what is recorded.
    """
    kind = new.consent_kind or (
        ConsentKind.PRIOR
        if new.has_prior_consent and known.consent_kind in (None, ConsentKind.PRIOR)
        else None
    )
    if kind is None:
        return {}
    is_the_same = kind == known.consent_kind
    return {
        "consent_kind": str(kind),
        "consent_at": new.consent_at or (known.consent_at if is_the_same else origin.consent_at),
        "consent_source": new.consent_source
        or (known.consent_source if is_the_same else origin.consent_source),
    }


def _moved(known: Known, changed: Known, new: NewContact, zone_id: CallingZoneId, at: datetime) -> Known:
    due_at = known.next_attempt_at
    if changed.call_after is not None and changed.call_after != known.call_after:
        was_never_called = known.stage is Stage.FIRST and known.attempts_count == 0
        due_at = max(changed.call_after, at if was_never_called or due_at is None else due_at)
    is_elsewhere = new.phone_number != known.phone_number or new.calling_zone.source in _SAID
    return replace(
        changed,
        phone_number=new.phone_number,
        calling_zone_id=zone_id if is_elsewhere else known.calling_zone_id,
        next_attempt_at=due_at,
    )
