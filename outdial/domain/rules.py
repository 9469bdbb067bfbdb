"""Calling rules: what a law, a regulator or an industry's code says on when and how often people may be called.

A rule is a sourced record. `RuleBook.choose` picks those that hold for a contact, `lawful_hours` says when these let
it be called, `frequency` how often. Nothing here is legal advice.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final

from outdial.domain.campaign import Purpose
from outdial.domain.consent import ConsentKind
from outdial.domain.errors import UserError
from outdial.domain.settle import Outcome
from outdial.domain.windows import WeeklyWindow

AUTO: Final = "auto"
NO_RULE: Final = "none"
CAVEAT: Final = "No legal advice: defaults collected from public texts, to be checked with counsel before anyone relies on them."


class HolidayPolicy(StrEnum):
    """What a public holiday does to a day's hours."""

    CLOSED = "closed"
    OPEN = "open"
    AS_SUNDAY = "as_sunday"


class EvePolicy(StrEnum):
    """What the day before a public holiday does: `AS_SATURDAY` leaves it only the hours that Saturday has as well."""

    AS_THE_DAY = "as_the_day"
    AS_SATURDAY = "as_saturday"


class HolidayScope(StrEnum):
    """Whose holidays a rule means where the contact's subdivision is unknown.

    `COUNTRY`: the text names the national list. `SUBDIVISION`: also those of the subdivision, so that, as long as that
    is unknown, those of every one count. Holidays of a subdivision that is known always count.
    """

    COUNTRY = "country"
    SUBDIVISION = "subdivision"


class Confidence(StrEnum):
    """`HIGH`: the text itself or the regulator's page was read. `LOW`: one secondary source, or recall."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Basis(StrEnum):
    LAW = "law"
    REGULATOR = "regulator"
    CODE = "code"
    GUIDANCE = "guidance"
    DERIVED = "derived"
    OWN = "own"


class Applies(StrEnum):
    """When `auto` takes a rule whose country, subdivision and purpose fit."""

    ALWAYS = "always"
    SUBDIVISION_UNKNOWN = "subdivision_unknown"
    NO_OTHER_RULE = "no_other_rule"
    LAST_RESORT = "last_resort"
    BY_NAME = "by_name"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


class CapCounts(StrEnum):
    ATTEMPTS = "attempts"
    CONNECTED = "connected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """At most `max_calls` in `hours` that passed on any clock, or in `days` local dates of which today is the last."""

    max_calls: int
    hours: int | None = None
    days: int | None = None
    counts: CapCounts = CapCounts.ATTEMPTS

    def __post_init__(self) -> None:
        if (self.hours is None) is (self.days is None):
            raise ValueError("a cap counts either by hours or by days: write one of the two")

    def __str__(self) -> str:
        what = "call" if self.counts is CapCounts.ATTEMPTS else "conversation"
        period = (
            _counted(self.hours or 0, "hour") if self.days is None else _counted(self.days, "calendar day")
        )
        return f"at most {_counted(self.max_calls, what)} in {period}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoolOff:
    """No call for so many whole local dates after a call with that outcome."""

    after: Outcome
    days: int

    def __str__(self) -> str:
        return f"none for {self.days} days after {self.after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyClosing:
    """A date of every year on which hours end at `end_minute` of the day."""

    month: int
    day: int
    end_minute: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraHoliday:
    """A holiday that the text names and the `holidays` package does not: a date of every year, or days after Easter."""

    name: str
    month: int | None = None
    day: int | None = None
    easter_days: int | None = None

    def __post_init__(self) -> None:
        is_date = self.month is not None and self.day is not None
        if is_date is (self.easter_days is not None) or (self.month is None) is not (self.day is None):
            raise ValueError("a holiday is either month and day, or easter_days: write one of the two")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackout:
    """Local wall times, naive, from the first to just before the second, at which nobody is called."""

    from_local: datetime
    until_local: datetime
    reason: str

    def __post_init__(self) -> None:
        if self.until_local <= self.from_local:
            raise ValueError("a blackout ends before it begins: write from and until in that order")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule in one version, as its file has it. No `country`: of any; no `subdivisions`: the whole country.

    `fixed_zones` must be open besides the contact's own, where a text names a clock. `automated_only`: it binds calls
    that a machine speaks. `requires_consent`: who has not given that much is not called; None: no rule of ours asks.
    `consent` (what the law says of automated calls) and what follows it are told to people and enforced elsewhere or
    not at all.
    """

    id: str
    version: int
    purposes: frozenset[Purpose]
    windows: tuple[WeeklyWindow, ...]
    holidays: HolidayPolicy
    source: str
    as_of: str
    confidence: Confidence
    basis: Basis
    country: str | None = None
    subdivisions: frozenset[str] = frozenset()
    applies: Applies = Applies.ALWAYS
    automated_only: bool = False
    holiday_eves: EvePolicy = EvePolicy.AS_THE_DAY
    holidays_of: HolidayScope = HolidayScope.SUBDIVISION
    more_holidays: tuple[ExtraHoliday, ...] = ()
    early_closings: tuple[EarlyClosing, ...] = ()
    blackouts: tuple[Blackout, ...] = ()
    fixed_zones: tuple[str, ...] = ()
    caps: tuple[Cap, ...] = ()
    cool_offs: tuple[CoolOff, ...] = ()
    valid_from: date | None = None
    valid_to: date | None = None
    requires_consent: ConsentKind | None = None
    consent: str | None = None
    max_abandoned_percent: float | None = None
    shows_caller_number: bool | None = None
    notes: str | None = None

    # Rules are keys of caches that a pass asks thousands of times.
    def __hash__(self) -> int:
        return hash((self.id, self.version))

    @property
    def name(self) -> str:
        """What a permit stores and a campaign may name: `it-telemarketing@1`."""
        return f"{self.id}@{self.version}"

    def is_in_force(self, on: date) -> bool:
        return (self.valid_from is None or self.valid_from <= on) and (
            self.valid_to is None or on <= self.valid_to
        )

    def covers(self, country: str | None, subdivision: str | None) -> bool:
        """Whether the place may lie in the rule's; an unknown one may."""
        if None not in (self.country, country) and self.country != country:
            return False
        return not self.subdivisions or subdivision is None or subdivision in self.subdivisions


@lru_cache(maxsize=4096)
def rule_digest(rule: Rule) -> str:
    """A short text that is another where anything of the rule is, and the same in every process."""
    return hashlib.sha256(_in_order(rule).encode()).hexdigest()[:16]


def _in_order(value: object) -> str:
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_in_order, value)))}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_in_order, value))})"
    if is_dataclass(value):
        return f"({', '.join(_in_order(getattr(value, one.name)) for one in fields(value))})"
    return repr(value)


class UnknownRule(UserError):
    """A campaign or a person names a rule that there is not, or that may not be used like that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The rules that all hold, and why these. `refusal`: why none may be applied, and so nobody called."""

    rules: tuple[Rule, ...]
    why: str
    refusal: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(rule.name for rule in self.rules)


def joined(choices: Sequence[Choice]) -> Choice:
    """What holds where all of several choices do, such as those of the dates that it is in several zones."""
    if len(choices) == 1:
        return choices[0]
    together = {rule.name: rule for choice in choices for rule in choice.rules}
    refusals = [choice.refusal for choice in choices if choice.refusal is not None]
    return Choice(
        rules=tuple(together.values()), why=choices[0].why, refusal=refusals[0] if refusals else None
    )


@dataclass(frozen=True, slots=True)
class RuleBook:
    """All rules that are known, each id possibly in several versions, of which the newest counts where none is named."""

    rules: tuple[Rule, ...]
    _by_name: Mapping[str, Rule] = field(init=False, repr=False, compare=False)
    _newest: Mapping[str, Rule] = field(init=False, repr=False, compare=False)
    _changes: Sequence[date] = field(init=False, repr=False, compare=False)
    _choices: dict[tuple[object, ...], Choice] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {rule.name: rule for rule in self.rules})
        ordered = sorted(self.rules, key=lambda rule: rule.version)
        object.__setattr__(self, "_newest", {rule.id: rule for rule in ordered})
        begin = {rule.valid_from for rule in self.rules if rule.valid_from is not None}
        end = {rule.valid_to + timedelta(days=1) for rule in self.rules if rule.valid_to is not None}
        object.__setattr__(self, "_changes", sorted(begin | end))

    def find(self, name: str) -> Rule:
        """By `id` (its newest version) or `id@version`. Raises `UnknownRule`."""
        found = self._by_name.get(name) or self._newest.get(name)
        if found is None:
            raise UnknownRule(f"There is no calling rule {name!r}: `outdial rules list` shows all.")
        return found

    def find_for(self, name: str, on: date) -> Rule:
        """As `find`, but of an id the newest version that is in force on that date, where one is. Raises `UnknownRule`."""
        found = self.find(name)
        if found.name == name or found.is_in_force(on):
            return found
        versions = [rule for rule in self.rules if rule.id == found.id and rule.is_in_force(on)]
        return max(versions, key=lambda rule: rule.version, default=found)

    def next_change(self, on: date) -> date | None:
        """The first date after `on` from which a rule may be in force that was not, or not be any more."""
        found = bisect_right(self._changes, on)
        return self._changes[found] if found < len(self._changes) else None

    def check_name(self, name: str, purpose: Purpose, on: date) -> None:
        """Whether a campaign of that purpose may name `auto` or that rule on that day. Raises `UnknownRule`."""
        if name == AUTO:
            return
        rule = self.find_for(name, on)
        if purpose not in rule.purposes:
            meant = ", ".join(sorted(rule.purposes))
            raise UnknownRule(
                f'The calling rule {rule.name} is for {meant}, not for {purpose}: name another, or "auto".'
            )
        doubt = self.doubt_about(rule, on)
        if doubt is not None and name != rule.name:
            raise UnknownRule(
                f"The calling rule {rule.id} {doubt}: check it, and if you take it nevertheless, name it as "
                f'"{rule.name}".'
            )

    @staticmethod
    def doubt_about(rule: Rule, on: date) -> str | None:
        """Why the rule is only taken by its full name, as the rest of "The rule …"; None: it may be taken."""
        if rule.confidence is Confidence.LOW:
            return "is of low confidence"
        if not rule.is_in_force(on):
            return f"is not in force on {on.isoformat()} ({_validity(rule)})"
        return None

    def choose(
        self,
        name: str,
        *,
        purpose: Purpose,
        country: str | None,
        on: date,
        subdivision: str | None = None,
        is_automated: bool = True,
    ) -> Choice:
        """The rules for a contact there, on that local date, under a campaign that names `auto`, `id` or `id@version`.

        `auto` never comes out empty: what no country's rule covers falls to rules that are stricter than all known.
        `is_automated`: a machine speaks, as an AI voice does. Raises `UnknownRule`.
        """
        key = (name, purpose, country, subdivision, on, is_automated)
        known = self._choices.get(key)
        if known is None:
            if len(self._choices) >= _MOST_CHOICES_KEPT:
                self._choices.clear()
            if name == AUTO:
                known = self._by_place(purpose, country, subdivision, on, is_automated=is_automated)
            else:
                known = self._by_own_name(name, purpose, country, subdivision, on)
            self._choices[key] = known
        return known

    def _by_own_name(
        self, name: str, purpose: Purpose, country: str | None, subdivision: str | None, on: date
    ) -> Choice:
        rule = self.find_for(name, on)
        try:
            self.check_name(name, purpose, on)
        except UnknownRule as error:
            return Choice(rules=(), why=f"{rule.name} is named", refusal=str(error))
        if not rule.covers(country, subdivision):
            where = "-".join(filter(None, (country, subdivision)))
            return Choice(
                rules=(),
                why=f"{rule.name} is named",
                refusal=f"The calling rule {rule.name} is for {place_of(rule)}, and the number rings in {where}.",
            )
        return Choice(rules=(rule,), why=f"{rule.name} is named")

    def _by_place(
        self,
        purpose: Purpose,
        country: str | None,
        subdivision: str | None,
        on: date,
        *,
        is_automated: bool,
    ) -> Choice:
        usable = [
            rule
            for rule in self._newest_in_force(on)
            if purpose in rule.purposes and (is_automated or not rule.automated_only)
        ]
        if country is None:
            return _choice(_stand_ins(usable, Applies.LAST_RESORT), "the country is unknown")
        local = [rule for rule in usable if rule.country == country and rule.covers(country, subdivision)]
        chosen = [rule for rule in local if rule.applies is Applies.ALWAYS]
        where = country if subdivision is None else f"{country}-{subdivision}"
        why = f"{purpose} in {where}"
        if subdivision is None:
            stand_ins = [rule for rule in local if rule.applies is Applies.SUBDIVISION_UNKNOWN]
            if stand_ins:
                # They were composed to be as strict as any subdivision's own.
                chosen = [rule for rule in chosen if not rule.subdivisions] + stand_ins
            if stand_ins or any(rule.subdivisions for rule in chosen):
                why += ", the subdivision being unknown"
        # A rule of the user's own that names no country joins those of every country.
        chosen += [rule for rule in usable if rule.country is None and rule.applies is Applies.ALWAYS]
        if any(rule.country is not None for rule in chosen):
            return _choice(chosen, why)
        fallback = _stand_ins(usable, Applies.NO_OTHER_RULE) or _stand_ins(usable, Applies.LAST_RESORT)
        return _choice([*chosen, *fallback], f"no rule is known for {why}")

    def _newest_in_force(self, on: date) -> Iterator[Rule]:
        newest: dict[str, Rule] = {}
        for rule in sorted(self.rules, key=lambda rule: rule.version):
            if self.doubt_about(rule, on) is None:
                newest[rule.id] = rule
        yield from newest.values()


def place_of(rule: Rule) -> str:
    """`US`, `US-AL`, `anywhere`."""
    if rule.country is None:
        return "anywhere"
    return ", ".join(f"{rule.country}-{code}" for code in sorted(rule.subdivisions)) or rule.country


_MOST_CHOICES_KEPT: Final = 4096


def _stand_ins(rules: Iterable[Rule], applies: Applies) -> list[Rule]:
    return [rule for rule in rules if rule.country is None and rule.applies is applies]


def _choice(rules: Iterable[Rule], why: str) -> Choice:
    chosen = tuple(sorted(rules, key=lambda rule: rule.id))
    if not chosen:
        return Choice(rules=(), why=why, refusal=f"No calling rule fits: {why}.")
    return Choice(rules=chosen, why=why)


def _validity(rule: Rule) -> str:
    since = f"from {rule.valid_from.isoformat()}" if rule.valid_from is not None else ""
    until = f"until {rule.valid_to.isoformat()}" if rule.valid_to is not None else ""
    return " ".join(filter(None, (since, until)))
