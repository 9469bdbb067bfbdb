"""Whose a call was of which the database has lost the row: by what we gave the provider along, else by the number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from outdial.domain.attempt import Origin
from outdial.domain.campaign import CampaignStatus
from outdial.domain.contact import FINAL_STATES, ContactState
from outdial.domain.ids import CampaignId, ContactId

# Who calls, before who could have called.
LIKELY: Final[Mapping[CampaignStatus, int]] = {
    CampaignStatus.RUNNING: 0,
    CampaignStatus.PAUSED: 1,
    CampaignStatus.SCHEDULED: 2,
    CampaignStatus.COMPLETED: 3,
    CampaignStatus.DRAFT: 4,
    CampaignStatus.CANCELED: 5,
}
NEVER_DUE: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A contact of a campaign on the account that made the call. `attempts`: how many of it are on record."""

    contact_id: ContactId
    campaign_id: CampaignId
    revision: int
    status: CampaignStatus
    phone_number: str
    state: ContactState
    next_attempt_at: datetime | None
    is_test: bool
    attempts: int

    def is_named_by(self, origin: Origin) -> bool:
        """By its id, if the number agrees: a restored database gives ids out again."""
        return (
            origin.contact_id == str(self.contact_id)
            and origin.campaign_id in {None, str(self.campaign_id)}
            and origin.to in {None, self.phone_number}
        )


def whose(origin: Origin, candidates: Iterable[Candidate]) -> Candidate | None:
    """The contact that was called, or the one that most likely was; None: it is nobody of ours.

    Of several contacts with the number: one that is not final, of a campaign that runs, whose turn came first.
    """
    found = list(candidates)
    named = [one for one in found if one.is_named_by(origin)]
    if named:
        return named[0]
    return min(
        (one for one in found if one.phone_number == origin.to and not one.is_test),
        key=lambda one: (
            one.state in FINAL_STATES,
            LIKELY[one.status],
            one.next_attempt_at or NEVER_DUE,
            one.contact_id,
        ),
        default=None,
    )
