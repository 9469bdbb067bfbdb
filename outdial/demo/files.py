"""What a user would bring to a demo: two campaign files and two lists of contacts, mistakes of real lists included.

All numbers are of the 555-01xx range, which North America keeps for fiction: none of them can ring.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from outdial.domain.phone_numbers import InvalidPhoneNumber, normalize
from outdial.domain.zones import calling_zone_of

ACCOUNT: Final = "demo"
FROM_NUMBER: Final = "+12125550100"

# The places of special people in a list.
DO_NOT_CALL: Final = 1
OPTED_OUT: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFiles:
    """The campaign files and, in the same order, their lists.

    `opted_out` is to be excluded before the lists come in; `never_call` are that number and those that the lists
    themselves say not to call.
    """

    campaigns: Sequence[Path]
    lists: Sequence[Path]
    opted_out: str
    never_call: Collection[str]


def write_files(folder: Path, contacts: int) -> DemoFiles:
    """`contacts` people in all, plus the rows that no import takes."""
    numbers = list(islice(fictional_numbers(), contacts))
    halves = (numbers[::2], numbers[1::2])
    campaigns, lists = [], []
    for name, definition, own, bad in zip(CAMPAIGNS, DEFINITIONS, halves, BAD_ROWS, strict=True):
        campaign, people = folder / f"{name}.toml", folder / f"{name}.csv"
        campaign.write_text(definition, encoding="utf-8")
        _write_list(people, own, bad)
        campaigns.append(campaign)
        lists.append(people)
    opted_out = halves[0][OPTED_OUT]
    never_call = {opted_out, *(own[DO_NOT_CALL] for own in halves)}
    return DemoFiles(campaigns=campaigns, lists=lists, opted_out=opted_out, never_call=never_call)


def fictional_numbers() -> Iterator[str]:
    """Numbers that are valid and kept for fiction, over all area codes of the United States in turn."""
    areas = [area for area in range(201, 990) if _is_in_the_states(f"+1{area}5550123")]
    for line in range(101, 200):
        for area in areas:
            yield f"+1{area}5550{line}"


CAMPAIGNS: Final = ("customer-survey", "renewal-reminder")

SURVEY: Final = f"""\
format = 1
name = "customer-survey"
purpose = "survey"
default_time_zone = "America/New_York"
countries = ["US"]
weight = 2

[call]
account = "{ACCOUNT}"
from = ["{FROM_NUMBER}"]
ring_timeout_seconds = 30
# Short, as the demo's time runs fast.
result_timeout_seconds = 1.5

# A demo must run at any hour. A survey would call from 09:00 to 20:00, in the time zone of whoever is called.
[[windows]]
days = ["mon-sun"]
start = "00:00"
end = "24:00"

[retry]
max_attempts = 3
retry_interval_minutes = 0.02
busy = ["1s", "2s"]
no_answer = ["1s", "2s"]

[script]
intro = "Good day {{name}}, may we ask you two questions about your order?"
[[script.questions]]
text = "How satisfied are you, from 1 to 10?"
answer_type = "scale"
[[script.questions]]
text = "What should we do better?"
answer_type = "free_text"
"""

REMINDER: Final = f"""\
format = 1
name = "renewal-reminder"
purpose = "informational"
default_time_zone = "America/New_York"
countries = ["US"]
weight = 1

[call]
account = "{ACCOUNT}"
from = ["{FROM_NUMBER}"]
ring_timeout_seconds = 20
machine = "leave_message"
result_timeout_seconds = 1.5

[[windows]]
days = ["mon-sun"]
start = "00:00"
end = "24:00"

[retry]
max_attempts = 2
retry_interval_minutes = 0.02

[script]
intro = "Good day {{name}}, your contract {{contract}} ends this month."
"""

DEFINITIONS: Final = (SURVEY, REMINDER)

HEADER: Final = ("external_contact_id", "phone_number", "name", "priority", "do_not_call", "contract")
# What lists of the real world have: no number, one too short, another country, a cell that slipped.
BAD_ROWS: Final = (
    (
        ("bad-1", "", "No Number", "", "", ""),
        ("bad-2", "+1 212 555 01", "Too Short", "", "", ""),
        ("bad-3", "+12125550199", "Wrong Cell", "high", "", ""),
    ),
    (("bad-4", "+44 20 7946 0018", "From London", "", "", ""),),
)
FIRST_NAMES: Final = (
    "Ada",
    "Grace",
    "Alan",
    "Edsger",
    "Barbara",
    "Donald",
    "Radia",
    "Tony",
    "Frances",
    "Ken",
)
LAST_NAMES: Final = ("Rossi", "Meyer", "Okafor", "Silva", "Novak", "Haddad", "Larsen")


def _write_list(path: Path, numbers: Sequence[str], bad_rows: Sequence[Sequence[str]]) -> None:
    rows: list[Sequence[str]] = [_row(path.stem, index, number) for index, number in enumerate(numbers)]
    # One asked not to be called when the list was made, and one stands twice.
    rows[DO_NOT_CALL] = [*rows[DO_NOT_CALL][:4], "yes", rows[DO_NOT_CALL][5]]
    rows[4:4] = bad_rows
    rows.append(rows[0])
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])


def _row(campaign: str, index: int, number: str) -> Sequence[str]:
    name = f"{FIRST_NAMES[index % len(FIRST_NAMES)]} {LAST_NAMES[index % len(LAST_NAMES)]}"
    return (f"{campaign[0]}-{index + 1}", number, name, "", "", f"C-{10_000 + index}")


def _is_in_the_states(number: str) -> bool:
    try:
        country = normalize(number).country
    except InvalidPhoneNumber:
        return False
    # Some codes belong to no place: where their phones ring, and what time it is there, nobody knows.
    return country == "US" and bool(calling_zone_of(number).time_zones)
