"""A row of a contact file becomes a new contact or a rejection with its reason. Pure: it knows no file and no database.

A row is taken whole or not at all: one cell that cannot be understood rejects it, for what it meant may have been that
this person must not be called.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Final

from outdial.domain.campaign import CampaignDefinition, UnknownZone
from outdial.domain.consent import ConsentKind
from outdial.domain.contact import UniqueBy, identity_key
from outdial.domain.phone_numbers import InvalidPhoneNumber, PhoneNumber, normalize
from outdial.domain.places import WrongPlace, place_of
from outdial.domain.zones import CallingZone, Place, ZoneSource, calling_zone_of, served_by
from outdial.operations.contact_columns import COLUMNS, Header
from outdial.operations.contact_times import first_instant, last_instant
from outdial.operations.delimited_file import Row
from outdial.operations.rejections import Rejection
from outdial.storage.new_contacts import NewContact

# In characters; more is a cell that slipped into another column, or a quotation mark that was never closed.
LONGEST: Final[Mapping[str, int]] = {
    "external_contact_id": 200,
    "phone_number": 60,
    "person_key": 200,
    "email": 200,
    "name": 200,
    "language": 35,
    "time_zone": 60,
    "country": 60,
    "region": 100,
    "postal_code": 20,
    "priority": 20,
    "has_prior_consent": 20,
    "consent_kind": 20,
    "consent_at": 40,
    "consent_source": 200,
    "do_not_call": 20,
    "call_after": 40,
    "call_before": 40,
}
_LONGEST_OF_ANY: Final = min(LONGEST.values())
# Names and values together, in bytes of UTF-8: they go out with every call.
LARGEST_ATTRIBUTES_BYTES: Final = 8 * 1024

# Of regions that nobody knows, for the report; a column that holds no regions at all may hold anything.
_MOST_REGIONS_KEPT: Final = 1000

PRIORITIES: Final = range(-1000, 1001)

WORDS: Final[Mapping[str, bool]] = {
    "": False,
    "0": False,
    "n": False,
    "no": False,
    "false": False,
    "1": True,
    "y": True,
    "yes": True,
    "true": True,
    "x": True,
}

NO_CONSENT: Final = (False, None, None, None)
UTC_ZONE: Final = ("UTC",)
LONGEST_DAY_AHEAD: Final = timedelta(days=1)

_json_text: Final = json.JSONEncoder(ensure_ascii=False).encode
_PRIORITY: Final = re.compile(r"[+-]?[0-9]{1,5}")
# The shape of a BCP 47 tag, with the underscore that many programs write in place of the hyphen.
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRules:
    """What a campaign asks of its contacts, and how their list is written.

    `use_default`: who is in an unknown zone is called by the default's clock. `countries` empty: any. `region`: where numbers without country code are dialed (ISO 3166 alpha-2); None: such
    numbers are rejected. `at` (aware UTC): now, by which a `call_before` has passed; None: none ever has.
    """

    default_time_zone: str | None = None
    use_default: bool = False
    countries: frozenset[str] = frozenset()
    unique_by: UniqueBy | None = None
    region: str | None = None
    at: datetime | None = None

    @classmethod
    def of(
        cls, definition: CampaignDefinition, *, region: str | None = None, at: datetime | None = None
    ) -> RowRules:
        return cls(
            default_time_zone=definition.default_time_zone,
            use_default=definition.unknown_zone is UnknownZone.USE_DEFAULT,
            countries=frozenset(country.upper() for country in definition.countries),
            unique_by=definition.unique_by,
            region=region,
            at=at,
        )


class ContactRows:
    """Reads rows under one header and the rules of one campaign.

    `zone_sources` counts what told the zones of the rows that became contacts, `unknown_regions` how often they had a
    region that tells nothing.
    """

    def __init__(self, header: Header, rules: RowRules) -> None:
        self._header = header
        self._rules = rules
        self._known: Callable[[Sequence[str]], tuple[str, ...]] = itemgetter(*header.places)
        self._attributes = [(_json_text(name) + ":", place) for name, place in header.attributes]
        names = sum(len(name.encode()) for name, _ in header.attributes)
        self.zone_sources: Counter[ZoneSource] = Counter()
        self.unknown_regions: Counter[str] = Counter()
        self._surely_fits = LARGEST_ATTRIBUTES_BYTES - names

    def read(self, row: Row) -> NewContact | Rejection:
        try:
            if row.fault is not None:
                raise _Unfit(None, None, row.fault)
            contact = self._contact(row)
        except _Unfit as unfit:
            return Rejection(
                line=row.line,
                column=unfit.column,
                value=unfit.value,
                reason=unfit.reason,
                cells=row.cells,
            )
        self.zone_sources[contact.calling_zone.source] += 1
        return contact

    def _contact(self, row: Row) -> NewContact:
        cells = self._fitted(row.cells)
        known = self._known(cells)
        if max(map(len, known)) > _LONGEST_OF_ANY:
            _check_lengths(known)
        (
            external_id,
            text,
            person_key,
            email,
            name,
            language,
            time_zone,
            country,
            region,
            postal_code,
            priority,
            prior_consent,
            consent_kind,
            consent_at,
            consent_source,
            do_not_call,
            call_after,
            call_before,
        ) = map(str.strip, known)
        number = self._number(text)
        if country or region or postal_code:
            zone = self._zone_of_place(number, time_zone, country, region, postal_code)
        else:
            zone = self._zone(number, time_zone)
        after, before = (
            self._times(call_after, call_before, zone) if call_after or call_before else (None, None)
        )
        return NewContact(
            row.line,
            external_id or None,
            self._identity_key(external_id, number),
            number.e164,
            person_key or None,
            email or None,
            name or None,
            _language(language) if language else None,
            self._attributes_json(cells),
            *(
                self._consent(prior_consent, consent_kind, consent_at, consent_source, zone)
                if prior_consent or consent_kind or consent_at or consent_source
                else NO_CONSENT
            ),
            _priority(priority) if priority else None,
            after,
            before,
            _truth("do_not_call", do_not_call) if do_not_call else False,
            zone,
        )

    def _fitted(self, cells: list[str]) -> list[str]:
        """As many cells as the header has, and an empty one behind them."""
        header = self._header
        if len(cells) > header.width:
            # What spreadsheets write behind the last column of a sheet is empty.
            if any(cells[header.width :]):
                raise _Unfit(
                    None, None, f"has {len(cells)} cells, where the header has {header.width} columns"
                )
            cells = cells[: header.width]
        for place in header.unnamed:
            if place < len(cells) and cells[place]:
                raise _Unfit(None, None, f"has a value in column {place + 1}, which the header gives no name")
        return [*cells, *[""] * (header.width + 1 - len(cells))]

    def _number(self, text: str) -> PhoneNumber:
        try:
            number = normalize(text, self._rules.region)
        except InvalidPhoneNumber as error:
            raise _Unfit("phone_number", text, error.reason) from error
        countries = self._rules.countries
        if countries and number.country not in countries:
            of = f"is a number of {number.country}" if number.country else "is a number of no country"
            raise _Unfit(
                "phone_number", text, f"{of}: the campaign calls {', '.join(sorted(countries))} only"
            )
        return number

    def _zone_of_place(
        self, number: PhoneNumber, time_zone: str, country: str, region: str, postal_code: str
    ) -> CallingZone:
        try:
            place = place_of(
                country,
                region,
                postal_code,
                number_country=number.country,
                default_time_zone=self._rules.default_time_zone,
            )
        except WrongPlace as error:
            value = country if error.column == "country" else region
            raise _Unfit(error.column, value, str(error)) from error
        zone = self._zone(number, time_zone, place)
        unknown = place.unknown_region
        if unknown is not None and (
            unknown in self.unknown_regions or len(self.unknown_regions) < _MOST_REGIONS_KEPT
        ):
            self.unknown_regions[unknown] += 1
        return zone

    def _zone(self, number: PhoneNumber, time_zone: str, place: Place | None = None) -> CallingZone:
        default = self._rules.default_time_zone
        if not time_zone:
            return calling_zone_of(number.e164, place=place, default_time_zone=default)
        try:
            return calling_zone_of(
                number.e164, contact_time_zone=time_zone, place=place, default_time_zone=default
            )
        except ValueError as error:
            reason = str(error).removeprefix(repr(time_zone)).strip()
            raise _Unfit("time_zone", time_zone, reason) from error

    def _identity_key(self, external_id: str, number: PhoneNumber) -> str:
        try:
            return identity_key(self._rules.unique_by, external_id, number.e164)
        except ValueError as error:
            raise _Unfit("external_contact_id", external_id, str(error)) from error

    def _consent(
        self, prior: str, kind: str, given_at: str, source: str, zone: CallingZone
    ) -> tuple[bool, str | None, datetime | None, str | None]:
        has_prior = _truth("has_prior_consent", prior) if prior else False
        known = _consent_kind(kind) if kind else None
        if prior and known is not None and not has_prior:
            raise _Unfit("has_prior_consent", prior, f"says no, and consent_kind {kind!r}: keep one")
        if known is None and not has_prior:
            if not prior:
                column, text = ("consent_at", given_at) if given_at else ("consent_source", source)
                raise _Unfit(column, text, "is of a consent of no kind: write the kind in consent_kind")
            return NO_CONSENT
        at = _instant("consent_at", given_at, first_instant, zone, unknown=UTC_ZONE) if given_at else None
        # In the time zone where the phone rings, today may begin later than here.
        if at is not None and self._rules.at is not None and at > self._rules.at + LONGEST_DAY_AHEAD:
            raise _Unfit("consent_at", given_at, "is yet to come: nobody has consented by then")
        return has_prior, known, at, source or None

    def _times(
        self, call_after: str, call_before: str, zone: CallingZone
    ) -> tuple[datetime | None, datetime | None]:
        after = before = None
        zone = served_by(
            zone, default_time_zone=self._rules.default_time_zone, use_default=self._rules.use_default
        )
        if call_after:
            after = _instant("call_after", call_after, first_instant, zone)
        if call_before:
            before = _instant("call_before", call_before, last_instant, zone)
            if self._rules.at is not None and before <= self._rules.at:
                raise _Unfit("call_before", call_before, "has passed: nobody would be called any more")
            if after is not None and after >= before:
                raise _Unfit("call_before", call_before, "is not later than call_after")
        return after, before

    def _attributes_json(self, cells: Sequence[str]) -> str:
        fields: list[str] = []
        characters = 0
        for field_name, place in self._attributes:
            value = cells[place].strip()
            if value:
                characters += len(value)
                fields.append(field_name + _json_text(value))
        # Counted in characters first, of which none takes more than four bytes.
        if (characters * 4 > self._surely_fits) and (size := self._size(cells)) > LARGEST_ATTRIBUTES_BYTES:
            limit = LARGEST_ATTRIBUTES_BYTES // 1024
            raise _Unfit(None, None, f"has {size} bytes in its further columns: {limit} KiB is the limit")
        return "{" + ",".join(fields) + "}"

    def _size(self, cells: Sequence[str]) -> int:
        values = ((name, cells[place].strip()) for name, place in self._header.attributes)
        return sum(len(name.encode()) + len(value.encode()) for name, value in values if value)


class _Unfit(Exception):
    """A row that becomes no contact; never leaves this module."""

    def __init__(self, column: str | None, value: str | None, reason: str) -> None:
        self.column = column
        self.value = value
        self.reason = reason
        super().__init__(reason)


def _check_lengths(known: Sequence[str]) -> None:
    for column, value in zip(COLUMNS, known, strict=True):
        if len(value) > LONGEST[column]:
            raise _Unfit(column, value, f"has {len(value)} characters: {LONGEST[column]} is the limit")


@lru_cache(maxsize=1024)
def _language(text: str) -> str:
    if _LANGUAGE.fullmatch(text) is None:
        raise _Unfit("language", text, "is no language tag: write one such as 'it' or 'pt-BR'")
    return text.replace("_", "-")


@lru_cache(maxsize=1024)
def _priority(text: str) -> int:
    if _PRIORITY.fullmatch(text) is None or int(text) not in PRIORITIES:
        limits = f"from {PRIORITIES[0]} to {PRIORITIES[-1]}"
        raise _Unfit("priority", text, f"is no priority: write a whole number {limits}, or nothing for 0")
    return int(text)


@lru_cache(maxsize=1024)
def _consent_kind(text: str) -> str:
    word = text.lower().replace("-", "_").replace(" ", "_")
    if word not in list(ConsentKind):
        words = ", ".join(ConsentKind)
        raise _Unfit("consent_kind", text, f"is no kind of consent: write one of {words}, or nothing")
    return word


def _instant(
    column: str,
    text: str,
    reading: Callable[[str, tuple[str, ...]], datetime],
    zone: CallingZone,
    *,
    unknown: tuple[str, ...] = (),
) -> datetime:
    """Local time is that of the zone, or of `unknown` where the zone is not known."""
    try:
        return reading(text, zone.time_zones or unknown)
    except ValueError as error:
        raise _Unfit(column, text, str(error)) from error


def _truth(column: str, text: str) -> bool:
    answer = WORDS.get(text.lower())
    if answer is None:
        words = ", ".join(word for word in WORDS if word)
        raise _Unfit(column, text, f"says neither yes nor no: write one of {words}, or nothing for no")
    return answer
