"""The audit's own reading of windows and calling rules: one wall-clock instant at a time, and nothing worked out ahead.

On purpose it shares no line with `windows` and `lawful_hours`, by which calls are permitted: a mistake there must not
be repeated here. Only the calendar of holidays is the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Final

from outdial.domain.holiday_calendar import easter_sunday, holiday_on, subdivisions_of
from outdial.domain.rules import EvePolicy, HolidayPolicy, HolidayScope, Rule
from outdial.domain.windows import CallingWindow, WeeklyWindow

_DAY: Final = timedelta(days=1)
_SATURDAY: Final = 5
_SUNDAY: Final = 6


def window_allows(window: CallingWindow, wall: datetime) -> bool:
    """Whether the campaign's window is open when the clock on the wall shows `wall` (any time zone it has is ignored)."""
    today = wall.date()
    if today in window.closed_dates:
        return False
    if not window.weekly:
        return True
    return any(
        begun_on not in window.closed_dates and _covers(window.weekly, begun_on.weekday(), begun_on, wall)
        for begun_on in (today, today - _DAY)
    )


def rule_allows(rule: Rule, country: str | None, subdivision: str | None, wall: datetime) -> bool:
    """Whether the rule lets somebody there be called when the clock on the wall shows `wall`."""
    naive = wall.replace(tzinfo=None)
    if any(one.from_local <= naive < one.until_local for one in rule.blackouts):
        return False
    today = wall.date()
    place = _Place(rule, country, subdivision)
    if place.is_closed(today):
        return False
    return any(_rule_covers(rule, place, begun_on, wall) for begun_on in (today, today - _DAY))


def _rule_covers(rule: Rule, place: _Place, begun_on: date, wall: datetime) -> bool:
    """Whether a window that begins on that date covers it."""
    if place.is_closed(begun_on):
        return False
    for early in rule.early_closings:
        is_then = (begun_on.month, begun_on.day) == (early.month, early.day)
        if is_then and _seconds_since(begun_on, wall) >= early.end_minute * 60:
            return False
    weekdays = {begun_on.weekday()}
    if rule.holidays is HolidayPolicy.AS_SUNDAY and place.is_holiday(begun_on):
        weekdays = {_SUNDAY}
    elif rule.holiday_eves is EvePolicy.AS_SATURDAY and place.is_holiday(begun_on + _DAY):
        weekdays.add(_SATURDAY)
    return all(_covers(rule.windows, weekday, begun_on, wall) for weekday in weekdays)


def _covers(weekly: Iterable[WeeklyWindow], weekday: int, begun_on: date, wall: datetime) -> bool:
    passed = _seconds_since(begun_on, wall)
    for window in weekly:
        end = window.end_minute + (0 if window.end_minute > window.start_minute else 24 * 60)
        if weekday in window.days and window.start_minute * 60 <= passed < end * 60:
            return True
    return False


def _seconds_since(day: date, wall: datetime) -> int:
    """From that date's midnight, as the wall clock counts."""
    return (wall.date() - day).days * 86_400 + wall.hour * 3600 + wall.minute * 60 + wall.second


class _Place:
    """Whose holidays count for a rule."""

    def __init__(self, rule: Rule, country: str | None, subdivision: str | None) -> None:
        self._rule = rule
        self._country = rule.country if rule.country is not None else country
        self._parts: tuple[str, ...] = ()
        known = () if self._country is None else subdivisions_of(self._country)
        if subdivision is not None and subdivision in known:
            self._parts = (subdivision,)
        elif rule.subdivisions:
            self._parts = tuple(one for one in known if one in rule.subdivisions)
        elif subdivision is None and rule.holidays_of is HolidayScope.SUBDIVISION:
            self._parts = known

    def is_closed(self, day: date) -> bool:
        return self._rule.holidays is HolidayPolicy.CLOSED and self.is_holiday(day)

    def is_holiday(self, day: date) -> bool:
        if holiday_on(self._country, self._parts, day) is not None:
            return True
        since_easter = (day - easter_sunday(day.year)).days
        return any(
            (extra.month, extra.day) == (day.month, day.day)
            if extra.easter_days is None
            else extra.easter_days == since_easter
            for extra in self._rule.more_holidays
        )
