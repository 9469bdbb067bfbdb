"""Which consent is enough where one is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from outdial.domain.consent import ConsentKind, satisfies
from outdial.files.rule_file import packaged_rules, parse_rules
from outdial.operations.campaign_changes import describe_changes, to_document
from outdial.operations.campaign_file import parse_campaign, read_campaign

KINDS = st.sampled_from(ConsentKind)
CAMPAIGN = """
format = 1
name = "c"
purpose = "survey"
default_time_zone = "Europe/Rome"
{line}
[call]
account = "main"
[retry]
max_attempts = 1
"""
RULE = """
format = 1
[[rule]]
id = "own"
version = 1
purposes = ["survey"]
holidays = "open"
confidence = "high"
as_of = "2026-01-01"
source = "our counsel"
{line}
[[rule.windows]]
days = ["mon-sun"]
start = "09:00"
end = "20:00"
"""


@given(KINDS, KINDS, KINDS)
def test_kinds_of_consent_have_one_order(one: ConsentKind, other: ConsentKind, third: ConsentKind) -> None:
    assert satisfies(one, one)
    assert satisfies(one, other) or satisfies(other, one)
    assert satisfies(one, other) is False or satisfies(other, one) is False or one is other
    if satisfies(one, other) and satisfies(other, third):
        assert satisfies(one, third)


def test_written_consent_is_always_enough_and_prior_only_for_prior() -> None:
    assert all(satisfies("written", kind) for kind in ConsentKind)
    assert [kind for kind in ConsentKind if satisfies("prior", kind)] == ["prior"]
    # To have handed out one's number is no specific act of consent.
    assert not satisfies("express", "opt_in")


@given(st.one_of(st.none(), st.text()), st.text())
def test_what_is_no_kind_of_consent_is_never_enough(given_text: str | None, required: str) -> None:
    known = set(ConsentKind)
    if given_text not in known or required not in known:
        assert not satisfies(given_text, required)


@pytest.mark.parametrize("kind", ConsentKind)
def test_a_campaign_and_a_rule_may_ask_for_each(kind: ConsentKind) -> None:
    definition = parse_campaign(CAMPAIGN.format(line=f'consent = "{kind}"'), "c")
    assert definition.required_consent == kind
    assert read_campaign(to_document(definition), "c") == definition
    (rule,) = parse_rules(RULE.format(line=f'requires_consent = "{kind}"'), "r")
    assert rule.requires_consent is kind


def test_a_change_of_consent_is_told() -> None:
    before, after = (parse_campaign(CAMPAIGN.format(line=line), "c") for line in ("", 'consent = "express"'))
    assert describe_changes(before, after) == ["consent: not set → express"]


def test_rules_of_the_package_ask_for_none() -> None:
    assert {rule.requires_consent for rule in packaged_rules()} == {None}
