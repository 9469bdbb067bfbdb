"""The answers that the packaged rules must give: the vectors of tests/data, and what the composed rules claim."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from outdial.domain.campaign import Purpose
from outdial.domain.frequency import PastCall, held_by_frequency, longest_memory
from outdial.domain.lawful_hours import LawfulHours, lawful_hours
from outdial.domain.rules import Applies, Basis, Confidence, HolidayPolicy, Rule, RuleBook
from outdial.domain.settle import Outcome
from outdial.domain.spans import common
from outdial.domain.windows import (
    EPOCH_ORDINAL,
    CallingWindow,
    WeeklyWindow,
    explain,
    is_open,
    next_closing,
    next_opening,
    parse_days,
    parse_time,
)
from outdial.files.rule_file import load_rule_book, packaged_rules

VECTORS = tomllib.loads(
    (Path(__file__).parents[1] / "data" / "calling_rules.toml").read_text(encoding="utf-8")
)
BOOK = load_rule_book()
AT_ALL_TIMES = CallingWindow()


def named(kind: str) -> list[Any]:
    return [pytest.param(vector, id=vector["id"]) for vector in VECTORS[kind]]


def hours_of(vector: Mapping[str, Any]) -> LawfulHours:
    rule = BOOK.find(vector["rule"]) if "rule" in vector else own_rule(vector)
    return lawful_hours(AT_ALL_TIMES, (rule,), vector.get("country"), vector.get("subdivision"))


def own_rule(vector: Mapping[str, Any]) -> Rule:
    return Rule(
        id="own",
        version=1,
        purposes=frozenset(Purpose),
        windows=tuple(
            WeeklyWindow(
                days=parse_days(one["days"]),
                start_minute=parse_time(one["start"]),
                end_minute=parse_time(one["end"]),
            )
            for one in vector["windows"]
        ),
        holidays=HolidayPolicy(vector["holidays"]),
        source="a test",
        as_of="2026",
        confidence=Confidence.HIGH,
        basis=Basis.OWN,
    )


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize("vector", named("window"))
def test_window_vector(vector: Mapping[str, Any]) -> None:
    hours, zones, at = hours_of(vector), tuple(vector["zones"]), instant(vector["at"])
    assert is_open(hours, zones, at) is vector["is_open"], explain(hours, zones, at)
    assert explain(hours, zones, at).startswith("open" if vector["is_open"] else "closed")


@pytest.mark.parametrize("vector", named("next"))
def test_next_opening_vector(vector: Mapping[str, Any]) -> None:
    hours, zones, at = hours_of(vector), tuple(vector["zones"]), instant(vector["at"])
    expected = instant(vector["opens_at"]) if vector["opens_at"] else None
    assert next_opening(hours, zones, at) == expected
    assert ("never open" in explain(hours, zones, at)) is (expected is None)


@pytest.mark.parametrize("vector", named("cap"))
def test_cap_vector(vector: Mapping[str, Any]) -> None:
    rule, zones, at = BOOK.find(vector["rule"]), tuple(vector["zones"]), instant(vector["at"])
    calls = [PastCall(at=instant(one["at"]), is_connected=one["connected"]) for one in vector["calls"]]
    held = held_by_frequency([rule], calls, zones, at)
    assert (held is None) is vector["is_allowed"], held
    if held is not None:
        assert held_by_frequency([rule], calls, zones, held.until) is None
        assert held_by_frequency([rule], calls, zones, held.until - timedelta(seconds=1)) is not None
        assert rule.name in held.by


def test_refusal_rests_the_person_for_the_days_that_the_law_says() -> None:
    rule = BOOK.find("fr-telemarketing")
    refused = PastCall(at=instant("2026-03-02T10:00:00Z"), is_connected=True, outcome=Outcome.REFUSED)
    zones = ("Europe/Paris",)
    held = held_by_frequency([rule], [refused], zones, instant("2026-05-01T10:00:00Z"))
    assert held is not None
    # 2 March and sixty whole dates: 2 May begins in Paris at 22:00 UTC of the day before.
    assert held.until == instant("2026-05-01T22:00:00Z")
    assert held_by_frequency([rule], [refused], zones, held.until) is None
    assert longest_memory([rule]) > timedelta(days=61)


def test_no_call_is_held_by_rules_without_caps() -> None:
    rule = BOOK.find("it-telemarketing")
    calls = [PastCall(at=instant("2026-03-02T10:00:00Z"))] * 50
    assert held_by_frequency([rule], calls, ("Europe/Rome",), instant("2026-03-02T10:00:01Z")) is None
    assert longest_memory([rule]) == timedelta()


# What is composed keeps its promise: it is as strict as all that it stands in for.


def spans_of_week(rule: Rule, country: str | None, subdivision: str | None) -> list[Any]:
    hours = LawfulHours(AT_ALL_TIMES, (rule,), country, subdivision)
    monday = date(2026, 11, 9).toordinal() - EPOCH_ORDINAL
    return [hours.spans(monday + day) for day in range(14)]


def stood_in_for(composed: Rule) -> list[Rule]:
    is_live = not composed.automated_only
    return [
        rule
        for rule in packaged_rules()
        if rule.basis is not Basis.DERIVED
        and rule.applies is Applies.ALWAYS
        and rule.confidence is not Confidence.LOW
        and (composed.country is None or rule.country == composed.country)
        and rule.purposes & composed.purposes
        and (composed.applies is Applies.LAST_RESORT or not (is_live and rule.automated_only))
    ]


@pytest.mark.parametrize("name", ["us-strictest", "us-strictest-automated", "zz-strictest"])
def test_composed_rule_is_as_strict_as_those_it_stands_in_for(name: str) -> None:
    composed = BOOK.find(name)
    others = stood_in_for(composed)
    assert len(others) > 10
    for other in others:
        subdivision = next(iter(sorted(other.subdivisions)), None)
        strict = spans_of_week(composed, other.country, subdivision)
        loose = spans_of_week(other, other.country, subdivision)
        assert [common(a, b) for a, b in zip(strict, loose, strict=True)] == strict, other.name


def test_every_rule_opens_within_a_fortnight_and_closes_within_a_day() -> None:
    at = instant("2026-11-23T00:00:00Z")
    for rule in packaged_rules():
        hours = lawful_hours(AT_ALL_TIMES, (rule,), rule.country or "IT")
        opens = next_opening(hours, ("Europe/Rome",), at)
        assert opens is not None, rule.name
        assert opens - at < timedelta(days=14), rule.name
        closes = next_closing(hours, ("Europe/Rome",), opens)
        assert closes is not None, rule.name
        assert closes - opens < timedelta(days=1), rule.name


def test_every_rule_has_its_source_and_a_name_of_its_own() -> None:
    rules = packaged_rules()
    assert len(rules) == 62
    assert len({rule.name for rule in rules}) == 62
    assert all(rule.source and rule.as_of and rule.purposes for rule in rules)


# Which rules hold


TODAY = date(2026, 11, 23)


def chosen(
    purpose: str, country: str | None, subdivision: str | None = None, *, book: RuleBook = BOOK, **rest: Any
) -> tuple[str, ...]:
    choice = book.choose(
        rest.pop("name", "auto"),
        purpose=Purpose(purpose),
        country=country,
        subdivision=subdivision,
        on=rest.pop("on", TODAY),
        **rest,
    )
    assert (choice.refusal is None) is bool(choice.rules)
    return tuple(rule.id for rule in choice.rules)


@pytest.mark.parametrize(
    ("purpose", "country", "subdivision", "expected"),
    [
        ("telemarketing", "IT", None, {"it-telemarketing"}),
        ("telemarketing", "US", "FL", {"us-federal-telemarketing", "us-fl-telemarketing"}),
        (
            "telemarketing",
            "US",
            None,
            {"us-federal-telemarketing", "us-strictest", "us-strictest-automated"},
        ),
        ("collections", "US", "MA", {"us-federal-debt", "us-ma-debt"}),
        ("collections", "US", None, {"us-federal-debt", "us-ma-debt", "us-ok-automated"}),
        ("telemarketing", "BR", None, {"br-telemarketing", "br-rj-telemarketing"}),
        ("telemarketing", "BR", "SP", {"br-telemarketing"}),
        ("survey", "IT", None, {"zz-survey-courtesy"}),
        ("collections", "GB", None, {"zz-strictest"}),
        ("survey", None, None, {"zz-strictest"}),
        # All there is for these is of low confidence, or past its date.
        ("telemarketing", "DE", None, {"zz-strictest"}),
        ("telemarketing", "IE", None, {"zz-strictest"}),
        ("telemarketing", "US", "MI", {"us-federal-telemarketing"}),
    ],
)
def test_auto_takes_every_rule_that_holds(
    purpose: str, country: str | None, subdivision: str | None, expected: set[str]
) -> None:
    assert set(chosen(purpose, country, subdivision)) == expected


def test_a_person_who_speaks_is_not_bound_by_rules_for_machines() -> None:
    assert chosen("survey", "US", "KY", is_automated=False) == ("zz-survey-courtesy",)
    assert set(chosen("survey", "US", "KY")) == {"us-federal-prerecorded-informational", "us-ky-automated"}


def test_every_place_and_purpose_has_rules() -> None:
    places = {(rule.country, code) for rule in packaged_rules() for code in (None, *rule.subdivisions)}
    for country, subdivision in [*places, ("XK", None), ("IT", "MI"), (None, None)]:
        for purpose in Purpose:
            for is_automated in (True, False):
                assert chosen(purpose, country, subdivision, is_automated=is_automated)


def test_a_rule_that_is_named_by_its_id_holds_in_the_version_that_is_in_force() -> None:
    courtesy = load_rule_book().find("zz-survey-courtesy")
    first = replace(courtesy, version=1, valid_to=date(2026, 12, 31))
    second = replace(courtesy, version=2, valid_from=date(2027, 1, 1))
    book = RuleBook((first, second))
    chosen = [
        book.choose(courtesy.id, purpose=Purpose.SURVEY, country=None, on=on).names
        for on in (date(2026, 12, 31), date(2027, 1, 1))
    ]
    assert chosen == [(first.name,), (second.name,)]
