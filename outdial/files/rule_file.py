"""A file of calling rules (TOML), the package's own and a user's alike, and the rule book that they make.

A file is taken whole or refused with everything that is wrong in it, one sentence for each mistake.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from outdial.domain.campaign import Purpose
from outdial.domain.consent import ConsentKind
from outdial.domain.errors import UserError
from outdial.domain.holiday_calendar import subdivisions_of
from outdial.domain.rules import (
    Applies,
    Basis,
    Blackout,
    Cap,
    CapCounts,
    Confidence,
    CoolOff,
    EarlyClosing,
    EvePolicy,
    ExtraHoliday,
    HolidayPolicy,
    HolidayScope,
    Rule,
    RuleBook,
)
from outdial.domain.settle import Outcome
from outdial.domain.windows import WeeklyWindow, parse_days, parse_time
from outdial.files import file_values as values
from outdial.files.checked_table import Key, WrongValue, path_to, read_table, shown

FORMAT: Final = 1
LARGEST_FILE_BYTES: Final = 1_000_000
LONGEST_TEXT: Final = 2_000


class RuleFileError(UserError):
    """A file of rules is refused; `problems` holds one sentence for each thing that is wrong."""

    def __init__(self, file: str, problems: list[str]) -> None:
        self.file = file
        self.problems = problems
        super().__init__("\n".join(f"{file}: {problem}" for problem in problems))


def load_rule_book(own: Path | None = None) -> RuleBook:
    """The package's rules, and those of a user's own file. One with the same id and version takes the package's place.

    Raises `RuleFileError`.
    """
    rules = {rule.name: rule for rule in packaged_rules()}
    if own is not None:
        rules |= {rule.name: rule for rule in parse_rules(_text_of(own), str(own))}
    return RuleBook(tuple(rules.values()))


@lru_cache(maxsize=1)
def packaged_rules() -> tuple[Rule, ...]:
    """All that come with the package, in the order of their files' names."""
    files = sorted(resources.files("outdial.rules").iterdir(), key=lambda file: file.name)
    return tuple(
        rule
        for file in files
        if file.name.endswith(".toml") and file.name not in NOT_RULES
        for rule in parse_rules(file.read_text("utf-8"), file.name)
    )


def parse_rules(text: str, file: str) -> tuple[Rule, ...]:
    """The rules in a file's text. `file` is how its errors name it. Raises `RuleFileError`."""
    try:
        document = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise RuleFileError(file, [f"is not valid TOML: {error}"]) from error
    except (ValueError, RecursionError) as error:
        raise RuleFileError(
            file, ["is not valid TOML: it holds a number or a nesting beyond all bounds"]
        ) from error
    problems: list[str] = []
    read_table(document, TOP, place="", problems=problems)
    listed = document.get("rule")
    tables = listed if isinstance(listed, list) else []
    rules = [_rule(table, f"rule[{number}]", problems) for number, table in enumerate(tables, 1)]
    names: set[str] = set()
    for number, rule in enumerate(rules, 1):
        if rule is not None and rule.name in names:
            problems.append(f'rule[{number}].id = "{rule.id}": is there twice with version {rule.version}')
        names |= {rule.name} if rule is not None else set()
    if problems:
        raise RuleFileError(file, problems)
    return tuple(rule for rule in rules if rule is not None)


NOT_RULES: Final = frozenset({"time_zones.toml", "regions.toml"})


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE_BYTES + 1)
        if len(raw) > LARGEST_FILE_BYTES:
            raise RuleFileError(str(path), ["is larger than a megabyte: this is no file of calling rules"])
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise RuleFileError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise RuleFileError(
            str(path), [f"is not UTF-8 text (byte {error.start + 1}): save it as UTF-8"]
        ) from error


def _format(value: Any) -> int:
    if value != FORMAT or isinstance(value, bool | float):
        raise WrongValue(f"must be {FORMAT}: this version of Outdial reads no other")
    return FORMAT


def _tables(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not value or not all(isinstance(one, Mapping) for one in value):
        raise WrongValue("must be a list of tables, of at least one")
    return value


def _id(value: Any) -> str:
    is_name = isinstance(value, str) and value.replace("-", "").replace("_", "").isalnum() and value.isascii()
    if not is_name or value == "auto" or len(value) > values.LONGEST_NAME:
        raise WrongValue(
            'must be letters, digits and dashes in quotes, such as "acme-survey", and not "auto"'
        )
    return str(value)


def _date(value: Any) -> date:
    (found,) = values.dates([value])
    return found


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise WrongValue("must be true or false, without quotes")
    return value


def _country(value: Any) -> str:
    (found,) = values.countries([value])
    return found


def _start(value: Any) -> int:
    minute = parse_time(values.text(value))
    if minute == parse_time("24:00"):
        raise WrongValue(
            '"24:00" is the end of a day: a window that starts there starts at "00:00" of the next day'
        )
    return minute


def _local(value: Any) -> datetime:
    """A date, or a date and time, on the local clock."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time())
    raise WrongValue("must be a date, or a date and local time, without quotes or offset, such as 2027-04-05")


def _local_end(value: Any) -> datetime:
    """As `_local`; a date alone is meant to its end."""
    return _local(value) if isinstance(value, datetime) else _local(value) + timedelta(days=1)


def _listed(check: Callable[[Any], Any], what: str, *, most: int = 100) -> Callable[[Any], list[Any]]:
    return values.list_of(check, least=1, most=most, what=what)


_text = values.text_up_to(LONGEST_TEXT)

TOP: Final[Mapping[str, Key]] = {
    "format": Key(check=_format, needed=f"write format = {FORMAT}"),
    "rule": Key(check=_tables, needed="write at least one table [[rule]]"),
}
RULE: Final[Mapping[str, Key]] = {
    "id": Key(check=_id, needed='write a name such as "acme-survey"'),
    "version": Key(check=values.whole_number(1, 1_000_000), needed="write version = 1"),
    "country": Key(check=_country),
    "subdivisions": Key(
        check=_listed(values.text, 'codes of ISO 3166-2 without the country, such as ["FL"]')
    ),
    "purposes": Key(
        check=_listed(values.one_of(Purpose), 'purposes such as ["survey"]'),
        needed=f"write what it binds: {values.any_of(Purpose)}",
    ),
    "automated_only": Key(check=_yes_or_no),
    "applies": Key(check=values.one_of(Applies)),
    "holidays": Key(check=values.one_of(HolidayPolicy), needed=f"write {values.any_of(HolidayPolicy)}"),
    "holidays_of": Key(check=values.one_of(HolidayScope)),
    "holiday_eves": Key(check=values.one_of(EvePolicy)),
    "more_holidays": Key(check=_tables),
    "early_closings": Key(check=_tables),
    "blackouts": Key(check=_tables),
    "fixed_zones": Key(check=_listed(values.time_zone, 'zones such as ["Etc/GMT+6"]')),
    "caps": Key(check=_tables),
    "cool_offs": Key(check=_tables),
    "windows": Key(check=_tables, needed="write the hours as tables [[rule.windows]]"),
    "requires_consent": Key(check=values.one_of(ConsentKind)),
    "consent": Key(check=_text),
    "max_abandoned_percent": Key(check=values.number(least=0, most=100)),
    "shows_caller_number": Key(check=_yes_or_no),
    "valid_from": Key(check=_date),
    "valid_to": Key(check=_date),
    "basis": Key(check=values.one_of(Basis)),
    "confidence": Key(check=values.one_of(Confidence), needed=f"write {values.any_of(Confidence)}"),
    "as_of": Key(check=_text, needed='write the date of the text, such as "2026-11-23"'),
    "source": Key(check=_text, needed="write the law, code or decision that it comes from"),
    "notes": Key(check=_text),
}
WINDOW: Final[Mapping[str, Key]] = {
    "days": Key(check=lambda value: parse_days(values.texts(value)), needed='write days such as ["mon-fri"]'),
    "start": Key(check=_start, field="start_minute", needed='write a time such as "09:00"'),
    "end": Key(
        check=lambda value: parse_time(values.text(value)),
        field="end_minute",
        needed='write a time such as "20:00"',
    ),
}
CAP: Final[Mapping[str, Key]] = {
    "max_calls": Key(check=values.whole_number(1, 10_000), needed="write how many are allowed"),
    "hours": Key(check=values.whole_number(1, 8784)),
    "days": Key(check=values.whole_number(1, 366)),
    "counts": Key(check=values.one_of(CapCounts), needed=f"write {values.any_of(CapCounts)}"),
}
COOL_OFF: Final[Mapping[str, Key]] = {
    "after": Key(check=values.one_of(Outcome), needed='write the outcome, such as "refused"'),
    "days": Key(check=values.whole_number(1, 3660), needed="write for how many days nobody calls"),
}
EARLY_CLOSING: Final[Mapping[str, Key]] = {
    "month": Key(check=values.whole_number(1, 12), needed="write the month, from 1 to 12"),
    "day": Key(check=values.whole_number(1, 31), needed="write the day of the month"),
    "end": Key(
        check=lambda value: parse_time(values.text(value)),
        field="end_minute",
        needed='write a time such as "18:30"',
    ),
}
EXTRA_HOLIDAY: Final[Mapping[str, Key]] = {
    "name": Key(check=_text, needed="write what it is called"),
    "month": Key(check=values.whole_number(1, 12)),
    "day": Key(check=values.whole_number(1, 31)),
    "easter_days": Key(check=values.whole_number(-100, 100)),
}
BLACKOUT: Final[Mapping[str, Key]] = {
    "from": Key(check=_local, field="from_local", needed="write the first date, or date and local time"),
    "until": Key(
        check=_local_end, field="until_local", needed="write the last date, or the local time of its end"
    ),
    "reason": Key(check=_text, needed="write why nobody is called"),
}
# The tables inside a rule: what a row of each becomes.
_ROWS: Final[Mapping[str, tuple[Mapping[str, Key], Callable[..., Any]]]] = {
    "windows": (WINDOW, WeeklyWindow),
    "caps": (CAP, Cap),
    "cool_offs": (COOL_OFF, CoolOff),
    "early_closings": (EARLY_CLOSING, EarlyClosing),
    "more_holidays": (EXTRA_HOLIDAY, ExtraHoliday),
    "blackouts": (BLACKOUT, Blackout),
}


def _rule(table: Any, place: str, problems: list[str]) -> Rule | None:
    before = len(problems)
    fields = read_table(table, RULE, place=place, problems=problems)
    rows: dict[str, Any] = {
        name: tuple(_made(fields.pop(name, []), keys, kind, path_to(place, name), problems))
        for name, (keys, kind) in _ROWS.items()
    }
    for name in ("subdivisions", "purposes"):
        fields[name] = frozenset(fields.get(name, ()))
    fields["fixed_zones"] = tuple(fields.get("fixed_zones", ()))
    fields.setdefault("basis", Basis.OWN)
    problems.extend(_misfits(fields, table, place) if isinstance(table, Mapping) else ())
    return Rule(**fields, **rows) if len(problems) == before else None


def _made(
    tables: Any, keys: Mapping[str, Key], kind: Callable[..., Any], place: str, problems: list[str]
) -> Iterator[Any]:
    for number, table in enumerate(tables, 1):
        before = len(problems)
        fields = read_table(table, keys, place=f"{place}[{number}]", problems=problems)
        if len(problems) == before:
            try:
                yield kind(**fields)
            except ValueError as error:
                problems.append(f"{place}[{number}]: {error}")


def _misfits(fields: Mapping[str, Any], table: Mapping[str, Any], place: str) -> Iterator[str]:
    """What no key is wrong in alone."""
    country, subdivisions = fields.get("country"), fields["subdivisions"]
    if subdivisions and country is None and "country" not in table:
        yield f"{path_to(place, 'subdivisions')} = {shown(table['subdivisions'])}: needs a country beside it"
    known = subdivisions_of(country) if country is not None else ()
    for code in sorted(subdivisions):
        if country is not None and code not in known:
            allowed = ", ".join(known) or "none: leave it out"
            yield (
                f"{path_to(place, 'subdivisions')} = {shown(table['subdivisions'])}: {code!r} is no subdivision of "
                f"{country} with holidays of its own; those are {allowed}"
            )
    since, until = fields.get("valid_from"), fields.get("valid_to")
    if since is not None and until is not None and until < since:
        yield f"{path_to(place, 'valid_to')} = {shown(until)}: is before valid_from"
