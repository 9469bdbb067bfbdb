"""When a contact may be called: a campaign's own window and every calling rule that holds there, all open at once.

Ask it with the functions of `windows`: `is_open`, `next_opening`, `next_closing`, `state_of`, `explain`. A date's hours
are worked out once and kept, so that asking for hundreds of zones at each pass is cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final

from outdial.domain.holiday_calendar import easter_sunday, holiday_on, subdivisions_of
from outdial.domain.rules import Blackout, EvePolicy, HolidayPolicy, HolidayScope, Rule
from outdial.domain.spans import Spans, common, holds, joined, without
from outdial.domain.windows import (
    DAY_NAMES,
    DAY_SECONDS,
    EPOCH_ORDINAL,
    CallingWindow,
    Schedule,
    WeeklyWindow,
)

SATURDAY: Final = 5
SUNDAY: Final = 6
_ONE_DAY: Final = timedelta(days=1)
# More than the horizon of `windows` has; beyond it the oldest questions are long past.
_MOST_DAYS_KEPT: Final = 2000


class LawfulHours:
    """A campaign's window and rules in one place (ISO 3166 country and subdivision, None: unknown).

    A window past midnight belongs to the day on which it starts; a holiday that is closed also closes the tail that
    runs into it, and the whole of a window that starts on it.
    """

    def __init__(
        self, window: CallingWindow, rules: Sequence[Rule], country: str | None, subdivision: str | None
    ) -> None:
        self._window = window
        self._rules = tuple(_RuleHours(rule, country, subdivision) for rule in rules)
        self._fixed = tuple(
            (hours, hours.rule.fixed_zones) for hours in self._rules if hours.rule.fixed_zones
        )
        self._kept: dict[int, Spans] = {}

    @property
    def is_always_open(self) -> bool:
        return not self._rules and self._window.is_always_open

    def parts(self, zones: tuple[str, ...]) -> Sequence[tuple[Schedule, tuple[str, ...]]]:
        return ((self, zones), *self._fixed)

    def spans(self, epoch_day: int) -> Spans:
        found = self._kept.get(epoch_day)
        if found is None:
            found = self._window.spans(epoch_day)
            for hours in self._rules:
                found = common(found, hours.spans(epoch_day))
            if len(self._kept) >= _MOST_DAYS_KEPT:
                self._kept.clear()
            self._kept[epoch_day] = found
        return found

    def shown(self, day: date) -> str:
        """The hours of that local date, as the zone's own clock has them: `10:00-13:00, 14:00-20:00`, or `none`."""
        return _shown(self.spans(_epoch_day(day)))

    def why_closed(self, at_local: datetime) -> str:
        for hours in self._rules:
            if not holds(hours.spans(_epoch_day(at_local.date())), _second_of_day(at_local)):
                return hours.why_closed(at_local)
        if self._rules:
            return f"{self._window.why_closed(at_local)} of the campaign"
        return self._window.why_closed(at_local)


@lru_cache(maxsize=4096)
def lawful_hours(
    window: CallingWindow, rules: tuple[Rule, ...], country: str | None, subdivision: str | None = None
) -> LawfulHours:
    """One object for equal questions: what it has worked out is kept. No rules leave the window as it is."""
    return LawfulHours(window, rules, country, subdivision)


class _RuleHours:
    """One rule's hours by date."""

    def __init__(self, rule: Rule, country: str | None, subdivision: str | None) -> None:
        self.rule = rule
        self._country = rule.country or country
        self._subdivisions = _whose_holidays(rule, self._country, subdivision)
        self._by_weekday = tuple(_starting_on(rule.windows, weekday) for weekday in range(7))
        saturday = self._by_weekday[SATURDAY]
        self._eves = tuple(common(spans, saturday) for spans in self._by_weekday)
        self._ends = {(one.month, one.day): one.end_minute * 60 for one in rule.early_closings}

    def spans(self, epoch_day: int) -> Spans:
        day = date.fromordinal(epoch_day + EPOCH_ORDINAL)
        if self._is_closed(day):
            return ()
        own = [(start, min(end, DAY_SECONDS)) for start, end in self._starting(day)]
        tails = [(0, end - DAY_SECONDS) for _, end in self._starting(day - _ONE_DAY) if end > DAY_SECONDS]
        spans = joined(own + tails)
        for blackout in self.rule.blackouts:
            spans = without(spans, _seconds_of(blackout, day))
        return spans

    def why_closed(self, at_local: datetime) -> str:
        day, name = at_local.date(), self.rule.name
        holiday = self._holiday(day)
        if holiday is not None and self.rule.holidays is HolidayPolicy.CLOSED:
            return f"{holiday}, a holiday on which {name} allows no call"
        for blackout in self.rule.blackouts:
            if blackout.from_local <= at_local.replace(tzinfo=None) < blackout.until_local:
                return f"{blackout.reason}, a blackout of {name}"
        return f"outside the hours of {name} {self._shown_day(day, holiday)}"

    def _shown_day(self, day: date, holiday: str | None) -> str:
        weekday = DAY_NAMES[day.weekday()].capitalize()
        hours = _shown(self.spans(_epoch_day(day)))
        if holiday is not None and self.rule.holidays is HolidayPolicy.AS_SUNDAY:
            return f"on {holiday}, which counts as a Sunday: {hours}"
        next_holiday = self._holiday(day + _ONE_DAY)
        if next_holiday is not None and self.rule.holiday_eves is EvePolicy.AS_SATURDAY:
            return f"on the eve of {next_holiday}: {hours}"
        if (day.month, day.day) in self._ends:
            return f"on {day.day} {day:%B}: {hours}"
        return f"on {weekday}: {hours}"

    def _starting(self, day: date) -> Spans:
        """The windows that start on that date, in seconds of it, to their ends, which may lie in the next."""
        if self._is_closed(day):
            return ()
        weekday = day.weekday()
        if self.rule.holidays is HolidayPolicy.AS_SUNDAY and self._holiday(day) is not None:
            spans = self._by_weekday[SUNDAY]
        elif self.rule.holiday_eves is EvePolicy.AS_SATURDAY and self._holiday(day + _ONE_DAY) is not None:
            spans = self._eves[weekday]
        else:
            spans = self._by_weekday[weekday]
        end = self._ends.get((day.month, day.day))
        return spans if end is None else common(spans, ((0, end),))

    def _is_closed(self, day: date) -> bool:
        return self.rule.holidays is HolidayPolicy.CLOSED and self._holiday(day) is not None

    def _holiday(self, day: date) -> str | None:
        if self.rule.holidays is HolidayPolicy.OPEN and self.rule.holiday_eves is EvePolicy.AS_THE_DAY:
            return None
        found = holiday_on(self._country, self._subdivisions, day)
        return found if found is not None else _extra_holiday(self.rule, day)


def _whose_holidays(rule: Rule, country: str | None, subdivision: str | None) -> tuple[str, ...]:
    """The subdivisions whose holidays count besides the country's own: as many as may be meant."""
    if country is None:
        return ()
    known = subdivisions_of(country)
    if subdivision is not None and subdivision in known:
        return (subdivision,)
    if rule.subdivisions:
        return tuple(code for code in sorted(rule.subdivisions) if code in known)
    return known if rule.holidays_of is HolidayScope.SUBDIVISION and subdivision is None else ()


def _extra_holiday(rule: Rule, day: date) -> str | None:
    for extra in rule.more_holidays:
        if extra.easter_days is None:
            is_it = (day.month, day.day) == (extra.month, extra.day)
        else:
            is_it = day - easter_sunday(day.year) == timedelta(days=extra.easter_days)
        if is_it:
            return extra.name
    return None


def _starting_on(windows: Sequence[WeeklyWindow], weekday: int) -> Spans:
    return joined(
        (
            window.start_minute * 60,
            window.end_minute * 60 + (DAY_SECONDS if window.end_minute <= window.start_minute else 0),
        )
        for window in windows
        if weekday in window.days
    )


def _seconds_of(blackout: Blackout, day: date) -> tuple[int, int]:
    """What of that date it takes, in seconds of it; an empty span where it takes none."""
    midnight = datetime.combine(day, time())
    second = timedelta(seconds=1)
    start, end = (blackout.from_local - midnight) // second, (blackout.until_local - midnight) // second
    return max(start, 0), min(end, DAY_SECONDS)


def _shown(spans: Spans) -> str:
    return ", ".join(f"{_clock(start)}-{_clock(end)}" for start, end in spans) or "none"


def _epoch_day(day: date) -> int:
    return day.toordinal() - EPOCH_ORDINAL


def _second_of_day(at_local: datetime) -> int:
    return at_local.hour * 3600 + at_local.minute * 60 + at_local.second


def _clock(second: int) -> str:
    minutes, seconds = divmod(second, 60)
    shown = f"{minutes // 60:02}:{minutes % 60:02}"
    return f"{shown}:{seconds:02}" if seconds else shown
