"""Which column of a contact file holds what: our own names, the names that other programs give, and what a person says.

Our own name wins over an alias, and what a person says over both. Two columns that could be the same thing are a
question for a person, never a guess: the other one may be somebody else's number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from outdial.domain.errors import UserError
from outdial.operations.delimited_file import Row, UnreadableFile, columns_named
from outdial.operations.rejections import REJECTION_COLUMNS

# In the order in which `ContactRows` takes them apart.
COLUMNS: Final = (
    "external_contact_id",
    "phone_number",
    "email",
    "name",
    "language",
    "time_zone",
    "country",
    "region",
    "postal_code",
    "priority",
    "has_prior_consent",
    "do_not_call",
    "call_after",
    "call_before",
)
# They tell the clock and the law, and are attributes all the same: a voice agent may want them, nothing else keeps them.
PLACE: Final = frozenset({"country", "region", "postal_code"})
REQUIRED: Final = "phone_number"
# No name of a column.
NUMBER: Final = re.compile(r"\+?[\d ()./-]{7,}", re.ASCII)

# As they are written once spaces, dashes and dots have become underscores, in lower case.
ALIASES: Final[Mapping[str, Sequence[str]]] = {
    "external_contact_id": ("id", "contact_id", "external_id", "customer_id", "crm_id"),
    "phone_number": (
        "phone",
        "phone_no",
        "phonenumber",
        "number",
        "to",
        "tel",
        "telephone",
        "telephone_number",
        "mobile",
        "mobile_phone",
        "mobile_number",
        "cell",
        "cellphone",
        "cell_phone",
        "msisdn",
    ),
    "email": ("mail", "e_mail", "email_address"),
    "name": ("full_name", "fullname", "contact_name"),
    "language": ("lang", "locale"),
    "time_zone": ("tz", "timezone"),
    # No `country_code`: that is as often what is dialed.
    "country": ("country_name", "country_iso", "iso_country"),
    "region": ("state", "province", "state_province", "subdivision"),
    "postal_code": ("zip", "zip_code", "zipcode", "postcode", "post_code", "postalcode"),
    "priority": (),
    "has_prior_consent": ("consent", "prior_consent"),
    "do_not_call": ("dnc", "donotcall", "opt_out", "opted_out"),
    "call_after": ("not_before",),
    "call_before": ("not_after",),
}

LONGEST_ATTRIBUTE_NAME: Final = 200


class Header:
    """Which column stands where. `given`: the columns that a person named, by ours (`--map phone_number=Cellulare`).

    Raises UnreadableFile for a header that cannot be right, UserError for a column that was named and is not there.
    """

    def __init__(self, row: Row, file_name: str, given: Mapping[str, str] | None = None) -> None:
        self.cells = tuple(row.cells)
        self.width = len(row.cells)
        names = [cell.strip() for cell in row.cells]
        fault = _fault_of_header(names, row)
        if fault is not None:
            raise UnreadableFile(file_name, fault)
        place_of = _places(names, given or {}, file_name)
        # A column that is absent is read from the empty cell that `ContactRows` puts after the last one.
        self.places = tuple(place_of.get(column, self.width) for column in COLUMNS)
        self.known = frozenset(place_of)
        self.renamed = {column: names[place] for column, place in place_of.items() if names[place] != column}
        taken = {place for column, place in place_of.items() if column not in PLACE}
        self.attributes = tuple(
            (name, place)
            for place, name in enumerate(names)
            if name and place not in taken and name not in REJECTION_COLUMNS
        )
        self.unnamed = tuple(place for place, name in enumerate(names) if not name)


def parse_mapping(texts: Sequence[str]) -> dict[str, str]:
    """`["phone_number=Cellulare"]` as a mapping. Raises UserError for what is none, with the names that there are."""
    given: dict[str, str] = {}
    for text in texts:
        target, _, column = (part.strip() for part in text.partition("="))
        if not column:
            raise UserError(
                f"--map {text} names no column: write it as TARGET=COLUMN, such as --map phone_number=Cellulare."
            )
        if target not in COLUMNS:
            raise UserError(f"--map {text}: there is no {target!r}; a column can be {', '.join(COLUMNS)}.")
        if target in given:
            raise UserError(
                f"--map names two columns for {target}, {given[target]!r} and {column!r}: keep one."
            )
        given[target] = column
    return given


def _places(names: Sequence[str], given: Mapping[str, str], file_name: str) -> dict[str, int]:
    places: dict[str, int] = {}
    for column, wanted in given.items():
        places[column] = _place_of(wanted, names, file_name)
        others = [other for other, place in places.items() if place == places[column] and other != column]
        if others:
            raise UserError(f"--map gives the column {wanted!r} to {others[0]} and to {column}: keep one.")
    lower = [name.lower() for name in names]
    for column in COLUMNS:
        if column not in places and column in lower and lower.index(column) not in places.values():
            places[column] = lower.index(column)
    # Only what no column is named after, so that the order in which the file has its columns changes nothing.
    taken = set(places.values())
    for column in COLUMNS:
        if column not in places:
            found = _alias_of(column, names, taken, file_name)
            if found is not None:
                places[column] = found
    if REQUIRED not in places:
        if any(NUMBER.fullmatch(name.strip()) for name in names):
            raise UnreadableFile(
                file_name,
                f"begins with a person and not with the names of its columns: put a line above, such as {REQUIRED}",
            )
        raise UnreadableFile(
            file_name,
            f"has no column {REQUIRED}: name it so in the first line, or say which it is with "
            f"--map {REQUIRED}=COLUMN (found are {columns_named(names)})",
        )
    return places


def _place_of(wanted: str, names: Sequence[str], file_name: str) -> int:
    """The column as it is written, else in any case."""
    for made in (str, str.lower):
        found = [place for place, name in enumerate(names) if made(name) == made(wanted)]
        if len(found) == 1:
            return found[0]
    raise UserError(f"{file_name} has no column {wanted!r} (--map): found are {columns_named(names)}.")


def _alias_of(column: str, names: Sequence[str], taken: set[int], file_name: str) -> int | None:
    found = [
        place
        for place, name in enumerate(names)
        if place not in taken and _NOT_LETTERS.sub("_", name.lower()).strip("_") in ALIASES[column]
    ]
    if len(found) > 1:
        listed = columns_named([names[place] for place in found])
        raise UnreadableFile(
            file_name,
            f"has {len(found)} columns that could be {column} ({listed}): say which it is, with "
            f"--map {column}=COLUMN",
        )
    return found[0] if found else None


_NOT_LETTERS: Final = re.compile(r"[^\w]+|_+")


def _fault_of_header(names: Sequence[str], row: Row) -> str | None:
    if row.fault is not None:
        return f"cannot be imported: its header, line {row.line}, {row.fault}"
    found = f"found are {columns_named(row.cells)}"
    # Ours in any case; all others as they are written, for scripts name them so.
    same = [name.lower() if name.lower() in COLUMNS else name for name in names]
    twice = sorted({name for name in same if name and same.count(name) > 1})
    if twice:
        return f"has the column {twice[0]!r} more than once: keep one ({found})"
    long = [name for name in names if len(name) > LONGEST_ATTRIBUTE_NAME]
    if long:
        return (
            f"has a column name of {len(long[0])} characters: {LONGEST_ATTRIBUTE_NAME} is the limit ({found})"
        )
    return None
