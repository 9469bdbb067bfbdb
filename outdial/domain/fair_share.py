"""How free lines are shared among campaigns: weighted max-min (water-filling), strict priorities above weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from outdial.domain.ids import CampaignId


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """A campaign that has work. `open_calls` are its lines now; `limit` bounds them, None means no limit of its own."""

    campaign_id: CampaignId
    open_calls: int = 0
    weight: float = 1.0
    priority: int = 0
    limit: int | None = None
    wanted: int | None = None


def share(free: int, claimants: Sequence[Claimant]) -> dict[CampaignId, int]:
    """How many of `free` lines each may take now, so that lines in use approach the weights. Sums to at most `free`."""
    shares = {claimant.campaign_id: 0 for claimant in claimants}
    ordered = sorted(claimants, key=lambda c: (-c.priority, c.campaign_id))
    for _, same_priority in groupby(ordered, key=lambda c: c.priority):
        free -= _fill(free, list(same_priority), shares)
    return shares


def _fill(free: int, claimants: list[Claimant], shares: dict[CampaignId, int]) -> int:
    """Give line by line to the campaign that is furthest below its weight. Returns how many were given."""
    room = {c.campaign_id: _room(c) for c in claimants}
    given = 0
    while given < free:
        open_to_more = [c for c in claimants if room[c.campaign_id] > shares[c.campaign_id]]
        if not open_to_more:
            break
        neediest = min(
            open_to_more,
            key=lambda c: ((c.open_calls + shares[c.campaign_id] + 1) / c.weight, c.campaign_id),
        )
        shares[neediest.campaign_id] += 1
        given += 1
    return given


def _room(claimant: Claimant) -> int:
    own = claimant.limit - claimant.open_calls if claimant.limit is not None else 1 << 30
    return max(0, min(own, claimant.wanted if claimant.wanted is not None else own))
