"""What may be passed over without counting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from outdial.domain.frequency import PastCall, fewest_calls, held_by_frequency
from outdial.domain.rules import Rule
from outdial.domain.settle import Outcome
from outdial.files.rule_file import load_rule_book

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)
CAPPING = [rule for rule in load_rule_book().rules if fewest_calls([rule]) is not None]


@pytest.mark.parametrize("rule", CAPPING, ids=lambda rule: rule.name)
def test_fewer_calls_than_the_fewest_hold_nobody(rule: Rule) -> None:
    fewest = fewest_calls([rule])
    assert fewest is not None
    calls = [
        PastCall(at=AT - timedelta(minutes=minutes), is_connected=True, outcome=outcome)
        for minutes, outcome in enumerate([Outcome.REFUSED, *[Outcome.COMPLETED] * 50], start=1)
    ]
    assert held_by_frequency([rule], calls[: fewest - 1], ("Europe/Rome",), AT) is None
    assert held_by_frequency([rule], calls, ("Europe/Rome",), AT) is not None


def test_rules_without_caps_never_count() -> None:
    assert fewest_calls([]) is None
