"""May this contact be called now? The one place that says yes with the facts, or no with the reason and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from outdial.domain.campaign import CampaignDefinition, UnknownZone
from outdial.domain.windows import state_of
from outdial.domain.zones import CallingZone, served_by, zone


class Reason(StrEnum):
    """Why a contact, or a whole bucket of them, is not called now."""

    WINDOW_CLOSED = "window_closed"
    UNKNOWN_ZONE = "unknown_zone"
    DESTINATION_BLOCKED = "destination_blocked"
    NO_CALLER_NUMBER = "no_caller_number"
    EXCLUDED = "excluded"
    NUMBER_BUSY = "number_busy"
    DEADLINE = "deadline"
    CAMPAIGN_LIMIT = "campaign_limit"
    STOPPED = "stopped"
    OTHER_DEPLOYMENT = "other_deployment"
    DIAL_ONLY = "dial_only"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_BACKING_OFF = "account_backing_off"
    RATE = "rate"
    LINES_BUSY = "lines_busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Calling in this zone is allowed until `until` (aware UTC; None: no end in sight)."""

    until: datetime | None
    zone: CallingZone

    def facts(self, at: datetime) -> dict[str, Any]:
        """What is stored with an attempt claimed at `at`."""
        return {
            "calling_zone": list(self.zone.time_zones),
            "zone_source": str(self.zone.source),
            "local_time": {name: at.astimezone(zone(name)).isoformat() for name in self.zone.time_zones},
            "open_until": None if self.until is None else self.until.isoformat(),
            "checked": ["window", "campaign", "account", "exclusions", "open call to the number"],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Not now. `until` (aware UTC) is when to ask again; None: only a change of the facts helps."""

    reason: Reason
    until: datetime | None


def zone_permit(
    definition: CampaignDefinition,
    calling_zone: CallingZone,
    at: datetime,
    *,
    scheduler_time_zone: str,
    blocked_countries: Mapping[str, str],
) -> Permit | Refusal:
    """Whether contacts of this campaign in this calling zone may be called at `at`.

    An unknown zone is served as `zones.served_by` says.
    """
    if calling_zone.country is not None and calling_zone.country in blocked_countries:
        return Refusal(reason=Reason.DESTINATION_BLOCKED, until=None)
    calling_zone = served_by(
        calling_zone,
        default_time_zone=definition.default_time_zone,
        use_default=definition.unknown_zone is UnknownZone.USE_DEFAULT,
        scheduler_time_zone=scheduler_time_zone,
    )
    if not calling_zone.time_zones:
        return Refusal(reason=Reason.UNKNOWN_ZONE, until=None)
    state = state_of(definition.window, calling_zone.time_zones, at)
    if not state.is_open:
        return Refusal(reason=Reason.WINDOW_CLOSED, until=state.until)
    ends = [until for until in (state.until, definition.ends_at) if until is not None]
    return Permit(until=min(ends, default=None), zone=calling_zone)
