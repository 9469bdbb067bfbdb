"""Lines shared among campaigns, against water poured into vessels of which each is as wide as its weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import floor

from hypothesis import given, strategies as st

from outdial.domain.fair_share import Claimant, share
from outdial.domain.ids import CampaignId

PLENTY = 10_000


@st.composite
def claimants(draw: st.DrawFn) -> list[Claimant]:
    count = draw(st.integers(0, 5))
    return [
        Claimant(
            campaign_id=CampaignId(campaign_id),
            open_calls=draw(st.integers(0, 12)),
            weight=draw(st.sampled_from([1.0, 2.0, 3.0, 5.0])),
            priority=draw(st.integers(0, 2)),
            limit=draw(st.none() | st.integers(0, 15)),
            wanted=draw(st.none() | st.integers(0, 15)),
        )
        for campaign_id in draw(st.permutations(range(1, count + 1)))
    ]


FREE = st.integers(0, 40)


def room_of(one: Claimant) -> int:
    """How many lines more it could use."""
    below_its_limit = PLENTY if one.limit is None else max(0, one.limit - one.open_calls)
    return min(below_its_limit, PLENTY if one.wanted is None else one.wanted)


def by_water_filling(free: int, of_one_priority: Sequence[Claimant]) -> dict[CampaignId, int]:
    """Try every level that the water can have; what is left over goes to the first of those who would be next."""

    def filled_to(level: Fraction) -> dict[CampaignId, int]:
        return {
            one.campaign_id: min(room_of(one), max(0, floor(level * Fraction(one.weight)) - one.open_calls))
            for one in of_one_priority
        }

    levels = sorted(
        {
            Fraction(lines) / Fraction(one.weight)
            for one in of_one_priority
            for lines in range(one.open_calls + min(room_of(one), free) + 1)
        }
    )
    shares = {one.campaign_id: 0 for one in of_one_priority}
    for level in levels:
        filled = filled_to(level)
        left = free - sum(shares.values())
        if sum(filled.values()) <= free:
            shares = filled
            continue
        rising = sorted(campaign for campaign in filled if filled[campaign] > shares[campaign])
        return {campaign: lines + (campaign in rising[:left]) for campaign, lines in shares.items()}
    return shares


def by_hand(free: int, all_claimants: Sequence[Claimant]) -> dict[CampaignId, int]:
    shares: dict[CampaignId, int] = {}
    for priority in (2, 1, 0):
        left = free - sum(shares.values())
        shares |= by_water_filling(left, [one for one in all_claimants if one.priority == priority])
    return shares


@given(FREE, claimants())
def test_shares_are_those_of_water_filling(free: int, all_claimants: list[Claimant]) -> None:
    assert share(free, all_claimants) == by_hand(free, all_claimants)


@given(FREE, claimants())
def test_shares_add_up_to_all_free_lines_or_to_all_that_can_be_used(
    free: int, all_claimants: list[Claimant]
) -> None:
    assert sum(share(free, all_claimants).values()) == min(free, sum(map(room_of, all_claimants)))


@given(FREE, claimants())
def test_nobody_gets_more_than_its_limit_and_its_wish(free: int, all_claimants: list[Claimant]) -> None:
    shares = share(free, all_claimants)
    assert all(0 <= shares[one.campaign_id] <= room_of(one) for one in all_claimants)


@given(FREE, claimants())
def test_a_higher_priority_is_served_before_all_below(free: int, all_claimants: list[Claimant]) -> None:
    shares = share(free, all_claimants)
    for higher in all_claimants:
        if shares[higher.campaign_id] < room_of(higher):
            assert all(
                not shares[lower.campaign_id] for lower in all_claimants if lower.priority < higher.priority
            )


@given(st.integers(0, 60), st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=5))
def test_lines_in_use_follow_the_weights_within_one_line(free: int, weights: list[float]) -> None:
    fresh = [Claimant(campaign_id=CampaignId(i), weight=weight) for i, weight in enumerate(weights)]
    shares = share(free, fresh)
    for one in fresh:
        for other in fresh:
            with_one_more = (shares[one.campaign_id] + 1) / one.weight
            assert shares[other.campaign_id] / other.weight <= with_one_more


@given(FREE, claimants())
def test_shares_do_not_depend_on_the_order_of_the_campaigns(free: int, all_claimants: list[Claimant]) -> None:
    assert share(free, all_claimants) == share(free, all_claimants[::-1])


def test_who_has_more_lines_open_gets_fewer_new_ones() -> None:
    busy = Claimant(campaign_id=CampaignId(1), open_calls=6)
    assert share(10, [busy, replace(busy, campaign_id=CampaignId(2), open_calls=0)]) == {1: 2, 2: 8}


def test_a_campaign_above_its_lowered_limit_gets_nothing() -> None:
    assert share(10, [Claimant(campaign_id=CampaignId(1), open_calls=6, limit=3)]) == {1: 0}
