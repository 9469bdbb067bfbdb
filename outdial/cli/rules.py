"""`outdial rules`: what is known of when and how often people may be called, and what follows for one of them."""

from __future__ import annotations

from dataclasses import fields
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from outdial.cli.output import print_facts, print_json, print_table, say, warn
from outdial.domain.errors import UserError

if TYPE_CHECKING:
    from outdial.domain.rules import Rule, RuleBook
    from outdial.operations.rule_check import Answer

app = typer.Typer(
    help="Calling rules: what is known, with its sources, and whether somebody may be called. No legal advice.",
    no_args_is_help=True,
)

# The values of `Purpose` and `HolidayPolicy`: to import these is too dear for every other command's start.
PurposeName = Literal["telemarketing", "survey", "informational", "collections"]
HolidayPolicyName = Literal["closed", "open", "as_sunday"]

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Own = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        help="A file with rules of your own, besides those of the package.",
        metavar="FILE.toml",
        show_default="OUTDIAL_RULES_FILE, if it is set",
    ),
]


@app.command("list", epilog="Example: outdial rules list --country US --purpose telemarketing")
def list_(
    country: Annotated[str | None, typer.Option(help="Only those of this country.", metavar="CC")] = None,
    purpose: Annotated[PurposeName | None, typer.Option(help="Only those for this purpose.")] = None,
    own: Own = None,
    as_json: Json = False,
) -> None:
    """The rules that are known, and how new the data are that they are worked out with."""
    from outdial.domain.holiday_calendar import PACKAGE_VERSION
    from outdial.domain.places import WrongPlace, country_code
    from outdial.domain.rules import CAVEAT
    from outdial.domain.zones import zone_data_version

    try:
        code = None if country is None else country_code(country)
    except WrongPlace as error:
        raise UserError(f"--country {country} {error}.") from error
    found = [
        rule
        for rule in _book(own).rules
        if (code is None or rule.country == code) and (purpose is None or purpose in rule.purposes)
    ]
    zone_data = zone_data_version()
    if as_json:
        print_json(
            {
                "caveat": CAVEAT,
                "tzdata": zone_data.version,
                "holidays": PACKAGE_VERSION,
                "rules": [_as_document(rule) for rule in found],
            }
        )
    else:
        print_table(
            ["rule", "place", "purposes", "hours", "holidays", "caps", "confidence"],
            [_row(rule) for rule in found],
            empty="No rule is known for that: `auto` then takes zz-survey-courtesy for surveys and information, "
            "zz-strictest for the rest.",
        )
        say("")
        say(f"Time zones: tzdata {zone_data.version}. Holidays: the package holidays {PACKAGE_VERSION}.")
        say(CAVEAT)
    _warn_if_old()


@app.command(epilog="Example: outdial rules show it-telemarketing")
def show(
    name: Annotated[
        str, typer.Argument(help="A rule's id, or ID@VERSION.", metavar="RULE", show_default=False)
    ],
    own: Own = None,
    as_json: Json = False,
) -> None:
    """One rule, with its source."""
    from outdial.domain.rules import CAVEAT

    rule = _book(own).find(name)
    document = _as_document(rule)
    if as_json:
        print_json({**document, "caveat": CAVEAT})
        return
    windows = "; ".join(f"{' '.join(one['days'])} {one['start']}-{one['end']}" for one in document["windows"])
    facts = {key.replace("_", " "): _words(value) for key, value in document.items()}
    print_facts({**facts, "windows": windows})
    say("")
    say(CAVEAT)


@app.command(
    epilog="Example: outdial rules check +390212345678 --purpose survey\n\n"
    'outdial rules check --zone America/New_York --window "sun 02:30-03:30" --at 2026-03-08T07:00:00Z'
)
def check(
    number: Annotated[
        str | None, typer.Argument(help="A phone number with + and country code.", metavar="NUMBER")
    ] = None,
    zones: Annotated[
        list[str] | None,
        typer.Option("--zone", help="A time zone; with several, all must be open.", metavar="ZONE"),
    ] = None,
    purpose: Annotated[PurposeName | None, typer.Option(help="Why people are called.")] = None,
    rule: Annotated[
        str | None, typer.Option(help="A rule's id, ID@VERSION, or auto.", metavar="RULE")
    ] = None,
    windows: Annotated[
        list[str] | None,
        typer.Option("--window", help="Hours of your own, such as 'mon-fri 09:00-20:00'.", metavar="WINDOW"),
    ] = None,
    holidays: Annotated[
        HolidayPolicyName | None, typer.Option(help="What holidays do to these hours.", show_default="open")
    ] = None,
    country: Annotated[
        str | None, typer.Option(help="Two letters, where no number tells it.", metavar="CC")
    ] = None,
    subdivision: Annotated[
        str | None, typer.Option(help="A state or province, such as FL.", metavar="CODE")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="An instant with its offset.", metavar="INSTANT", show_default="now")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="A person speaks: rules for automated calls do not bind.")
    ] = False,
    own: Own = None,
    as_json: Json = False,
) -> None:
    """Whether somebody may be called at an instant, until when or from when on, and why.

    By the rules alone: a campaign's own windows, caps and exclusions are not asked. The database is not needed.
    """
    from outdial.clock import SystemClock
    from outdial.domain.campaign import Purpose
    from outdial.domain.rules import HolidayPolicy
    from outdial.operations.rule_check import Question, answer, parse_instant

    found = answer(
        _book(own),
        Question(
            at=SystemClock().now() if at is None else parse_instant(at),
            number=number,
            zones=zones or (),
            purpose=None if purpose is None else Purpose(purpose),
            rule=rule,
            windows=windows or (),
            holidays=None if holidays is None else HolidayPolicy(holidays),
            country=None if country is None else country.upper(),
            subdivision=None if subdivision is None else subdivision.upper(),
            is_automated=not live,
        ),
    )
    if as_json:
        print_json(
            {
                "open": found.is_open,
                "next_opening": found.next_opening,
                "next_closing": found.next_closing,
                "why": found.why,
            }
        )
    else:
        _say_answer(found)
    for note in found.notes:
        warn(f"note: {note}")
    _warn_if_old()


@app.command(epilog="Example: outdial rules accept it-telemarketing@2")
def accept(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Rules, as ID or ID@VERSION.", metavar="RULE…", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that wait for it.")] = False,
    own: Own = None,
    as_json: Json = False,
) -> None:
    """Let new versions of rules count: until then those that were accepted hold beside them, whichever is stricter.

    Without a name it only shows what waits. The first campaign that names a rule accepts all as they are then.
    """
    from outdial.cli.context import open_context
    from outdial.operations import accepted_rules

    book = _book(own)
    with open_context() as context:
        if names or everything:
            context.run(accepted_rules.accept, names or (), book)
        waiting = context.run(accepted_rules.pending, book)
    if as_json:
        print_json({"pending": [_as_document(rule) for rule in waiting]})
        return
    print_table(
        ["rule", "place", "purposes", "hours", "holidays", "caps", "confidence"],
        [_row(rule) for rule in waiting],
        empty="No rule waits to be accepted.",
    )


@app.command(epilog="Example: outdial rules zones +18502345678")
def zones(
    number: Annotated[
        str | None, typer.Argument(help="Only what is known of this number.", metavar="NUMBER")
    ] = None,
    as_json: Json = False,
) -> None:
    """Where numbers ring, as far as it is known better than the package `phonenumbers` knows it, with the reasons."""
    from outdial.domain.phone_numbers import normalize
    from outdial.domain.zones import zone_corrections

    digits = None if number is None else normalize(number).e164[1:]
    found = [one for one in zone_corrections() if digits is None or digits.startswith(one.prefixes)]
    if as_json:
        print_json(
            [
                {"prefixes": one.prefixes, "zones": one.zones, "adds": one.adds, "reason": one.reason}
                for one in found
            ]
        )
        return
    print_table(
        ["numbers", "zones", "why"],
        [
            (
                ", ".join(f"+{prefix}" for prefix in one.prefixes),
                ("also " if one.adds else "") + ", ".join(one.zones),
                one.reason,
            )
            for one in found
        ],
        empty="Nothing is corrected there: the zones are those of `phonenumbers`.",
    )


def _say_answer(found: Answer) -> None:
    say(f"{found.why[0].upper()}{found.why[1:]}.")
    say("")
    print_facts(
        {
            "zones": ", ".join(found.zone.time_zones) or "unknown",
            "known from": found.zone.source,
            "rules": ", ".join(found.choice.names),
            "because": found.choice.why,
            "next opening": found.next_opening,
            "next closing": found.next_closing,
        }
    )
    for rule in found.choice.rules:
        for limit in (*rule.caps, *rule.cool_offs):
            say(f"besides, by {rule.name}: {limit}")


def _book(own: Path | None) -> RuleBook:
    from outdial.files.rule_file import load_rule_book
    from outdial.settings import own_rules_file

    return load_rule_book(own or own_rules_file())


def _warn_if_old() -> None:
    from outdial.cli.data_versions import warn_if_old
    from outdial.clock import SystemClock

    warn_if_old(SystemClock())


def _row(rule: Rule) -> tuple[object, ...]:
    from outdial.domain.rules import place_of

    document = _as_document(rule)
    return (
        rule.name,
        place_of(rule),
        ", ".join(document["purposes"]) + (", automated" if rule.automated_only else ""),
        "; ".join(f"{' '.join(one['days'])} {one['start']}-{one['end']}" for one in document["windows"]),
        rule.holidays,
        ", ".join(str(cap) for cap in (*rule.caps, *rule.cool_offs)),
        rule.confidence,
    )


def _as_document(rule: Rule) -> dict[str, Any]:
    """The rule in the words of its file."""
    from outdial.domain.windows import format_minute
    from outdial.operations.campaign_changes import day_names

    document: dict[str, Any] = {}
    for one in fields(rule):
        value = getattr(rule, one.name)
        if value is None or (isinstance(value, tuple | frozenset) and not value):
            continue
        if isinstance(value, frozenset):
            document[one.name] = sorted(str(item) for item in value)
        elif one.name in {"caps", "cool_offs"}:
            document[one.name] = [str(item) for item in value]
        elif one.name == "early_closings":
            document[one.name] = [
                f"{it.day:02}.{it.month:02}. until {format_minute(it.end_minute)}" for it in value
            ]
        elif one.name == "more_holidays":
            document[one.name] = [it.name for it in value]
        elif one.name == "blackouts":
            document[one.name] = [f"{it.from_local} until {it.until_local}: {it.reason}" for it in value]
        elif one.name == "windows":
            document[one.name] = [
                {
                    "days": day_names(it.days),
                    "start": format_minute(it.start_minute),
                    "end": format_minute(it.end_minute),
                }
                for it in value
            ]
        else:
            document[one.name] = value
    return document


def _words(value: object) -> object:
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return value
