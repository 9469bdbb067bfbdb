"""May somebody be called, by the calling rules alone? For a number or for zones, with the reason; needs no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

from outdial.domain.campaign import Purpose
from outdial.domain.errors import UserError
from outdial.domain.holiday_calendar import subdivisions_of
from outdial.domain.lawful_hours import lawful_hours
from outdial.domain.phone_numbers import normalize
from outdial.domain.rules import (
    AUTO,
    Basis,
    Choice,
    Confidence,
    HolidayPolicy,
    HolidayScope,
    Rule,
    RuleBook,
    joined,
)
from outdial.domain.windows import (
    CallingWindow,
    WeeklyWindow,
    explain,
    is_open,
    next_closing,
    next_opening,
    parse_days,
    parse_time,
)
from outdial.domain.zones import CallingZone, ZoneSource, calling_zone_of, zone
from outdial.files import file_values
from outdial.files.checked_table import WrongValue

OWN_WINDOW: Final = "window"


class CheckRefused(UserError, ValueError):
    """What was asked cannot be answered; the message says what to ask instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person asks: for a number or for zones, by a rule's name, by windows of their own, or by a purpose."""

    at: datetime
    number: str | None = None
    zones: Sequence[str] = ()
    purpose: Purpose | None = None
    rule: str | None = None
    windows: Sequence[str] = ()
    holidays: HolidayPolicy | None = None
    country: str | None = None
    subdivision: str | None = None
    is_automated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`next_opening` None: it is open, or never opens. `next_closing` of a closed zone is that of its next opening."""

    is_open: bool
    next_opening: datetime | None
    next_closing: datetime | None
    why: str
    zone: CallingZone
    choice: Choice
    notes: list[str] = field(default_factory=list)


def answer(book: RuleBook, question: Question) -> Answer:
    """Raises `UserError` for what is misspelt, missing or contradicts itself."""
    calling_zone = _zone_of(question)
    country = _country_of(question, calling_zone)
    chosen = [
        _choice(book, question, country, on) for on in _local_dates(question.at, calling_zone.time_zones)
    ]
    choice, notes = joined([one for one, _ in chosen]), chosen[0][1]
    country = country or next((rule.country for rule in choice.rules if rule.country is not None), None)
    _check_place(question, country, choice)
    if choice.refusal is not None:
        return Answer(
            is_open=False,
            next_opening=None,
            next_closing=None,
            why=f"closed, and never open: {choice.refusal}",
            zone=calling_zone,
            choice=choice,
            notes=notes,
        )
    hours = lawful_hours(CallingWindow(), choice.rules, country, question.subdivision)
    zones, at = calling_zone.time_zones, question.at
    why = explain(hours, zones, at) if zones else f"{explain(hours, zones, at)}, so it is never open"
    opens = next_opening(hours, zones, at)
    return Answer(
        is_open=is_open(hours, zones, at),
        next_opening=None if is_open(hours, zones, at) else opens,
        next_closing=None if opens is None else next_closing(hours, zones, opens),
        why=why.replace(f"{OWN_WINDOW}@1", "the window given"),
        zone=calling_zone,
        choice=choice,
        notes=notes,
    )


def parse_instant(text: str) -> datetime:
    """An instant with its offset, as aware UTC. Raises `CheckRefused`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or not 1970 < found.year < 2200:
        raise CheckRefused(
            f"{text!r} is no instant: write a date and time with its offset, such as 2026-11-23T18:00:00Z."
        )
    return found.astimezone(UTC)


def parse_window(text: str) -> WeeklyWindow:
    """`"mon-fri 09:00-20:00"`, with commas between several days. Raises `CheckRefused`."""
    days, _, hours = text.strip().rpartition(" ")
    start, dash, end = hours.partition("-")
    try:
        if not days or not dash:
            raise ValueError("days and hours are needed")
        return WeeklyWindow(
            days=parse_days([one.strip() for one in days.split(",")]),
            start_minute=parse_time(start),
            end_minute=parse_time(end),
        )
    except ValueError as error:
        raise CheckRefused(
            f"The window {text!r} cannot be read ({error}): write days and hours, such as 'mon-fri 09:00-20:00'."
        ) from error


def _zone_of(question: Question) -> CallingZone:
    try:
        zones = tuple(sorted({zone(name).key for name in question.zones}))
    except ValueError as error:
        raise CheckRefused(f"The zone {error}.") from error
    if question.number is None:
        if not zones:
            raise CheckRefused("Nobody to check: write a phone number, or a time zone with --zone.")
        return CallingZone(time_zones=zones, country=question.country, source=ZoneSource.CONTACT)
    found = calling_zone_of(normalize(question.number).e164)
    if not zones:
        return found
    return CallingZone(time_zones=zones, country=found.country, source=ZoneSource.CONTACT)


def _country_of(question: Question, calling_zone: CallingZone) -> str | None:
    if question.country is None:
        return calling_zone.country
    try:
        (country,) = file_values.countries([question.country])
    except WrongValue as error:
        raise CheckRefused(f"The country {error}.") from error
    if question.number is not None and calling_zone.country not in (None, country):
        raise CheckRefused(
            f"{question.number} is a number of {calling_zone.country}, not of {country}: leave --country out."
        )
    return country


def _choice(book: RuleBook, question: Question, country: str | None, on: date) -> tuple[Choice, list[str]]:
    if question.windows:
        if question.rule is not None:
            raise CheckRefused("--rule and --window are both given: write one of the two.")
        return Choice(rules=(_own_rule(question, country),), why="the window that is given"), []
    if question.holidays is not None:
        raise CheckRefused("--holidays goes with --window: a rule has its own holidays.")
    if question.rule is not None and question.rule != AUTO:
        return _named(book, question, question.rule, country, on)
    if question.purpose is None:
        raise CheckRefused(
            "What hangs on the law is missing: write why people are called with --purpose, "
            "or name a rule with --rule or hours with --window."
        )
    choice = book.choose(
        AUTO,
        purpose=question.purpose,
        country=country,
        subdivision=question.subdivision,
        on=on,
        is_automated=question.is_automated,
    )
    return choice, []


def _named(
    book: RuleBook, question: Question, name: str, country: str | None, on: date
) -> tuple[Choice, list[str]]:
    """As a campaign's own choice, but a doubtful rule is only noted: nobody is called by this answer."""
    rule = book.find(name)
    purpose = question.purpose or min(rule.purposes)
    choice = book.choose(rule.name, purpose=purpose, country=country, subdivision=question.subdivision, on=on)
    doubt = book.doubt_about(rule, on)
    if doubt is None:
        return choice, []
    return choice, [f'{rule.name} {doubt}: a campaign takes it only as rule = "{rule.name}".']


def _own_rule(question: Question, country: str | None) -> Rule:
    policy = question.holidays or HolidayPolicy.OPEN
    if policy is not HolidayPolicy.OPEN and country is None:
        raise CheckRefused(f"--holidays {policy} needs to know whose: write --country, such as --country IT.")
    return Rule(
        id=OWN_WINDOW,
        version=1,
        purposes=frozenset(Purpose),
        windows=tuple(parse_window(text) for text in question.windows),
        holidays=policy,
        holidays_of=HolidayScope.COUNTRY,
        source="given",
        as_of="now",
        confidence=Confidence.HIGH,
        basis=Basis.OWN,
    )


def _check_place(question: Question, country: str | None, choice: Choice) -> None:
    if question.subdivision is None:
        return
    if country is None:
        raise CheckRefused("--subdivision needs a country: write it with --country, such as --country US.")
    named = {code for rule in choice.rules for code in rule.subdivisions}
    known = subdivisions_of(country)
    if question.subdivision not in named.union(known):
        allowed = ", ".join(known) if known else "none, so leave it out"
        raise CheckRefused(f"{question.subdivision!r} is no subdivision of {country}: {allowed}.")


def _local_dates(at: datetime, names: Sequence[str]) -> list[date]:
    """On which dates it is asked: zones may be a day apart."""
    return sorted({at.astimezone(zone(name)).date() for name in names}) or [at.astimezone(UTC).date()]
