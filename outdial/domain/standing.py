"""Where a contact stands after its attempts. Late truth corrects its record, but never brings a final contact back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from outdial.domain.campaign import CampaignDefinition, UnknownZone
from outdial.domain.contact import FINAL_STATES, ContactState
from outdial.domain.day_parts import Hours
from outdial.domain.retries import NextStep, PastAttempt, next_step
from outdial.domain.zones import CallingZone, served_by

UNDECIDED: Final = frozenset({ContactState.PENDING, ContactState.NOT_REACHED, ContactState.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A contact as it stood so far. Instants aware UTC."""

    state: ContactState
    final_reason: str | None = None
    call_after: datetime | None = None
    call_before: datetime | None = None
    budget_renewed_at: datetime | None = None
    is_test: bool = False


def stand(
    standing: Standing,
    history: Sequence[PastAttempt | None],
    definition: CampaignDefinition,
    calling_zone: CallingZone,
) -> NextStep | None:
    """Where the contact stands now; None where that is as it was.

    `history` is oldest first; None in it is an attempt that is not settled. A campaign that was written without any time
    zone knows no other time of day for contacts of an unknown one.
    """
    settled = [past for past in history if past is not None]
    if not settled:
        return None
    if standing.is_test:
        # One call, whatever came of it, and counted nowhere.
        return NextStep(state=ContactState.COMPLETED, final_reason="test", attempts_count=len(settled))
    deadlines = [instant for instant in (standing.call_before, definition.ends_at) if instant is not None]
    served = served_by(
        calling_zone,
        default_time_zone=definition.default_time_zone,
        use_default=definition.unknown_zone is UnknownZone.USE_DEFAULT,
    )
    zones = served.time_zones
    step = next_step(
        settled,
        definition.retry,
        min(deadlines, default=None),
        renewed_at=standing.budget_renewed_at,
        call_after=standing.call_after,
        hours=Hours(window=definition.window, time_zones=zones) if zones else None,
    )
    if not _stays(standing, history, step):
        return step
    if standing.state is ContactState.PENDING:
        return None
    return replace(step, state=standing.state, final_reason=standing.final_reason, next_attempt_at=None)


def _stays(standing: Standing, history: Sequence[PastAttempt | None], step: NextStep) -> bool:
    """Whether only the account of its attempts changes."""
    if standing.state in {ContactState.WITHDRAWN, ContactState.EXCLUDED}:
        return True
    # While a newer attempt is under way, its own end decides, unless what is known now decides everything.
    if None in history and step.state in UNDECIDED:
        return True
    return standing.state in FINAL_STATES and step.state is ContactState.PENDING
