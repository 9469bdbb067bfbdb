"""Which column of a file holds what: our own names, the names that other programs give, and what a person says.

Our own name wins over an alias, and what a person says over both. Two columns that could be the same thing are a
question for a person, never a guess: the other one may be somebody else's number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from outdial.domain.errors import UserError
from outdial.operations.delimited_file import Row, UnreadableFile, columns_named
from outdial.operations.rejections import REJECTION_COLUMNS

# In the order in which `ContactRows` takes them apart.
COLUMNS: Final = (
    "external_contact_id",
    "phone_number",
    "person_key",
    "email",
    "name",
    "language",
    "time_zone",
    "country",
    "region",
    "postal_code",
    "priority",
    "has_prior_consent",
    "consent_kind",
    "consent_at",
    "consent_source",
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
    # Not a household's: one of it who opts out would silence the others.
    "person_key": ("person", "person_id"),
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
    "consent_kind": ("consent_type", "kind_of_consent"),
    "consent_at": ("consent_date", "consented_at", "consent_timestamp"),
    "consent_source": ("source_of_consent",),
    "do_not_call": ("dnc", "donotcall", "opt_out", "opted_out"),
    "call_after": ("not_before",),
    "call_before": ("not_after",),
}

LONGEST_ATTRIBUTE_NAME: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What a kind of file may hold: our names, those that stand for them, and which of ours one must be there of."""

    names: Sequence[str]
    aliases: Mapping[str, Sequence[str]]
    required: Sequence[str]

    def are_named_by(self, name: str) -> bool:
        """Whether that is the name of one of them."""
        return name.strip().lower() in self.names or any(
            _plain(name) in self.aliases[one] for one in self.names
        )


OF_CONTACTS: Final = Columns(names=COLUMNS, aliases=ALIASES, required=(REQUIRED,))


class Header:
    """Which column stands where. `given`: the columns that a person named, by ours (`--map phone_number=Cellulare`).

    Raises UnreadableFile for a header that cannot be right, UserError for a column that was named and is not there.
    """

    def __init__(
        self,
        row: Row,
        file_name: str,
        given: Mapping[str, str] | None = None,
        columns: Columns = OF_CONTACTS,
    ) -> None:
        self.cells = tuple(row.cells)
        self.width = len(row.cells)
        names = [cell.strip() for cell in row.cells]
        fault = _fault_of_header(names, row, columns)
        if fault is not None:
            raise UnreadableFile(file_name, fault)
        place_of = _places(names, given or {}, file_name, columns)
        # A column that is absent is read from the empty cell that is put after the last one.
        self.places = tuple(place_of.get(column, self.width) for column in columns.names)
        self.known = frozenset(place_of)
        self.renamed = {column: names[place] for column, place in place_of.items() if names[place] != column}
        taken = {place for column, place in place_of.items() if column not in PLACE}
        self.attributes = tuple(
            (name, place)
            for place, name in enumerate(names)
            if name and place not in taken and name not in REJECTION_COLUMNS
        )
        self.unnamed = tuple(place for place, name in enumerate(names) if not name)


def parse_mapping(texts: Sequence[str], columns: Columns = OF_CONTACTS) -> dict[str, str]:
    """`["phone_number=Cellulare"]` as a mapping. Raises UserError for what is none, with the names that there are."""
    given: dict[str, str] = {}
    for text in texts:
        target, _, column = (part.strip() for part in text.partition("="))
        if not column:
            raise UserError(
                f"--map {text} names no column: write it as TARGET=COLUMN, such as --map phone_number=Cellulare."
            )
        if target not in columns.names:
            raise UserError(
                f"--map {text}: there is no {target!r}; a column can be {', '.join(columns.names)}."
            )
        if target in given:
            raise UserError(
                f"--map names two columns for {target}, {given[target]!r} and {column!r}: keep one."
            )
        given[target] = column
    return given


def _places(
    names: Sequence[str], given: Mapping[str, str], file_name: str, columns: Columns
) -> dict[str, int]:
    places: dict[str, int] = {}
    for column, wanted in given.items():
        places[column] = _place_of(wanted, names, file_name)
        others = [other for other, place in places.items() if place == places[column] and other != column]
        if others:
            raise UserError(f"--map gives the column {wanted!r} to {others[0]} and to {column}: keep one.")
    lower = [name.lower() for name in names]
    for column in columns.names:
        if column not in places and column in lower and lower.index(column) not in places.values():
            places[column] = lower.index(column)
    # Only what no column is named after, so that the order in which the file has its columns changes nothing.
    taken = set(places.values())
    for column in columns.names:
        if column not in places:
            found = _alias_of(columns.aliases[column], column, names, taken, file_name)
            if found is not None:
                places[column] = found
    if not any(column in places for column in columns.required):
        if any(NUMBER.fullmatch(name.strip()) for name in names):
            raise UnreadableFile(
                file_name,
                f"begins with a person and not with the names of its columns: put a line above, such as {columns.required[0]}",
            )
        raise UnreadableFile(
            file_name,
            f"has no column {' or '.join(columns.required)}: name it so in the first line, or say which it is with "
            f"--map {columns.required[0]}=COLUMN (found are {columns_named(names)})",
        )
    return places


def _place_of(wanted: str, names: Sequence[str], file_name: str) -> int:
    """The column as it is written, else in any case."""
    for made in (str, str.lower):
        found = [place for place, name in enumerate(names) if made(name) == made(wanted)]
        if len(found) == 1:
            return found[0]
    raise UserError(f"{file_name} has no column {wanted!r} (--map): found are {columns_named(names)}.")


def _alias_of(
    aliases: Sequence[str], column: str, names: Sequence[str], taken: set[int], file_name: str
) -> int | None:
    found = [place for place, name in enumerate(names) if place not in taken and _plain(name) in aliases]
    if len(found) > 1:
        listed = columns_named([names[place] for place in found])
        raise UnreadableFile(
            file_name,
            f"has {len(found)} columns that could be {column} ({listed}): say which it is, with "
            f"--map {column}=COLUMN",
        )
    return found[0] if found else None


def _plain(name: str) -> str:
    """As aliases are written."""
    return _NOT_LETTERS.sub("_", name.lower()).strip("_")


_NOT_LETTERS: Final = re.compile(r"[^\w]+|_+")


def _fault_of_header(names: Sequence[str], row: Row, columns: Columns) -> str | None:
    if row.fault is not None:
        return f"cannot be imported: its header, line {row.line}, {row.fault}"
    found = f"found are {columns_named(row.cells)}"
    # Ours in any case; all others as they are written, for scripts name them so.
    same = [name.lower() if name.lower() in columns.names else name for name in names]
    twice = sorted({name for name in same if name and same.count(name) > 1})
    if twice:
        return f"has the column {twice[0]!r} more than once: keep one ({found})"
    long = [name for name in names if len(name) > LONGEST_ATTRIBUTE_NAME]
    if long:
        return (
            f"has a column name of {len(long[0])} characters: {LONGEST_ATTRIBUTE_NAME} is the limit ({found})"
        )
    return None
