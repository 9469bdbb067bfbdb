"""For whose calls an exclusion holds. The entries themselves are in `storage.exclusions`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from outdial.domain.ids import CampaignId

# There is one so far.
DEFAULT_WORKSPACE: Final = 1


class ExclusionScope(StrEnum):
    ALL = "all"
    WORKSPACE = "workspace"
    CAMPAIGN = "campaign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The calls that an exclusion forbids: all, those of the workspace's campaigns, or those of one campaign."""

    scope: ExclusionScope = ExclusionScope.ALL
    campaign_id: CampaignId | None = None
    workspace_id: int = DEFAULT_WORKSPACE

    def __post_init__(self) -> None:
        if (self.scope is ExclusionScope.CAMPAIGN) is (self.campaign_id is None):
            raise ValueError("a campaign belongs to the scope `campaign`, and to no other")


EVERYWHERE: Final = Reach()
