"""Phone numbers: text as people write it to E.164, or one sentence on what is wrong with it.

The verdict is that of the `phonenumbers` library, less the numbers that no campaign may call. An import asks it for
every row, where the library alone would manage ten thousand rows a second; so a number that is written in full is
judged by one regular expression per calling code and length, made from the library's own metadata, and only what that
does not accept goes through the library. A number accepted here is accepted there, with the same E.164 form and
country: the tests hold the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, NumberParseException, PhoneMetadata, PhoneNumberType
from phonenumbers.phonemetadata import PhoneNumberDesc
from phonenumbers.phonenumberutil import ValidationResult, is_number_type_geographical

from outdial.domain.errors import UserError


class InvalidPhoneNumber(UserError, ValueError):
    """A text that is no number to call. `reason` goes on where "This number …" begins; the message has both."""

    def __init__(self, value: str, reason: str) -> None:
        self.value = value
        self.reason = reason
        super().__init__(f"The phone number {value!r} {reason}.")


class UnknownRegion(UserError, ValueError):
    """A text that is no country from which numbers are dialed."""

    def __init__(self, value: str) -> None:
        self.value = value
        super().__init__(
            f"{value!r} is no country with phone numbers: write its two letters, such as 'IT' or 'US'."
        )


class NumberKind(StrEnum):
    FIXED_LINE = "fixed_line"
    MOBILE = "mobile"
    FIXED_LINE_OR_MOBILE = "fixed_line_or_mobile"
    TOLL_FREE = "toll_free"
    PREMIUM_RATE = "premium_rate"
    SHARED_COST = "shared_cost"
    VOIP = "voip"
    PERSONAL_NUMBER = "personal_number"
    PAGER = "pager"
    UNIVERSAL_ACCESS = "universal_access"
    VOICEMAIL = "voicemail"


NEVER_CALLED: Final = frozenset({NumberKind.PREMIUM_RATE, NumberKind.SHARED_COST})

# The kinds that ring where their country is. All others are forwarded to wherever their owner wants.
PLACED_KINDS: Final = frozenset(
    {NumberKind.FIXED_LINE, NumberKind.MOBILE, NumberKind.FIXED_LINE_OR_MOBILE, NumberKind.VOIP}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneNumber:
    """`country`: ISO 3166 alpha-2 of the numbering plan, None where the number belongs to no country (+800, +883)."""

    e164: str
    country: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberPlan:
    """What a number's digits say of it. `is_geographic`: its leading digits tell the region within the country."""

    calling_code: str
    country: str | None
    kind: NumberKind
    is_geographic: bool

    @property
    def has_place(self) -> bool:
        return self.country is not None and self.kind in PLACED_KINDS


def normalize(text: str, region: str | None = None) -> PhoneNumber:
    """The E.164 form of a number. `region` (ISO 3166 alpha-2) is where numbers written without + are dialed from.

    Raises InvalidPhoneNumber for what is no number, is no valid number of its country, or must never be called
    (emergency, short, premium-rate and shared-cost numbers), and UnknownRegion.
    """
    digits, is_full = _digits_alone(text)
    if digits is not None:
        found = _accepted(digits) if is_full else _accepted_from(region or "", digits)
        if found is not None:
            return found
    return _normalize_in_full(text, region)


def checked_region(text: str) -> str:
    """The two letters of a country from which numbers are dialed. Raises UnknownRegion."""
    if text.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise UnknownRegion(text)
    return text.upper()


def plan_of(e164: str) -> NumberPlan | None:
    """What the digits of a number in E.164 form say; None if it is not valid."""
    return _plan(e164[1:]) if e164[:1] == "+" and e164[1:].isdecimal() else None


def plan_country(e164: str) -> str | None:
    """The country of the number's own plan; None where it has none, or is not valid."""
    plan = plan_of(e164)
    return None if plan is None else plan.country


def calling_code(country: str) -> str | None:
    """How numbers of the country (ISO 3166 alpha-2) begin: `+39`. Others may begin so too; None for one that has none."""
    code = phonenumbers.country_code_for_region(country)
    return f"+{code}" if code else None


def mask(e164: str) -> str:
    """A number for logs: its country code and last two digits, `+39********67`."""
    if len(e164) < 6:
        return "*" * len(e164)
    code = _calling_code(e164[1:]) if e164[0] == "+" else None
    kept = "" if code is None else "+" + code
    return kept + "*" * (len(e164) - len(kept) - 2) + e164[-2:]


# What people put between digits. A dot may also be a spreadsheet's decimal point: see _DECIMAL.
_SEPARATORS: Final = str.maketrans("", "", " -.()/\u00a0")
_CALLING_CODES: Final = frozenset(map(str, COUNTRY_CODE_TO_REGION_CODE))
_WORLD: Final = "001"


def _digits_alone(text: str) -> tuple[str | None, bool]:
    """The digits of a number, if there is nothing else to wonder about in it, and whether a + stood before them."""
    digits = text[1:]
    if text[:1] != "+" or not digits.isdecimal():
        if text[-1:] == "0" and not text.rpartition(".")[2].strip("0"):
            return None, False
        text = text.translate(_SEPARATORS)
        digits = text[1:]
    is_full = text[:1] == "+"
    if not is_full:
        digits = text
    return (digits if digits.isdecimal() and digits.isascii() else None), is_full


def _accepted(digits: str) -> PhoneNumber | None:
    """The number with these digits behind a +, where all of them are its own."""
    plan = _plan(digits)
    if plan is None or plan.kind in NEVER_CALLED or not _keeps_all_digits(plan.calling_code, digits):
        return None
    return PhoneNumber(e164="+" + digits, country=plan.country)


def _accepted_from(region: str, digits: str) -> PhoneNumber | None:
    """What somebody in the region reaches with these digits; None where only the library can tell."""
    dialing = _dialing(region)
    if dialing is None or len(digits) <= _LONGEST_SHORT_NUMBER:
        return None
    abroad = dialing.international.match(digits)
    if abroad is not None:
        return _accepted(digits[abroad.end() :]) if digits[abroad.end() :][:1] != "0" else None
    general, trunk = dialing.general, dialing.trunk
    is_valid = general.fullmatch(digits) is not None
    if digits.startswith(dialing.calling_code):
        rest = digits[len(dialing.calling_code) :]
        if not is_valid and general.fullmatch(rest) and not (trunk and trunk.match(rest)):
            return _accepted(digits)
        if not is_valid or len(digits) > dialing.longest:
            return None
    national = digits
    prefix = trunk.match(digits) if trunk is not None else None
    if prefix is not None:
        if prefix.re.groups:
            return None
        stripped = digits[prefix.end() :]
        if general.fullmatch(stripped) or not is_valid:
            national = stripped
    plan = _plan(dialing.calling_code + national)
    if plan is None or plan.kind in NEVER_CALLED:
        return None
    return PhoneNumber(e164=f"+{dialing.calling_code}{national}", country=plan.country)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dialing:
    """How a region dials. `trunk` is what stands before a national number, `international` before a calling code."""

    calling_code: str
    general: re.Pattern[str]
    trunk: re.Pattern[str] | None
    international: re.Pattern[str]
    longest: int


@lru_cache(maxsize=512)
def _dialing(region: str) -> _Dialing | None:
    metadata = PhoneMetadata.metadata_for_region(region.upper(), None)
    if metadata is None or metadata.general_desc is None:
        return None
    prefix = metadata.national_prefix_for_parsing
    return _Dialing(
        calling_code=str(metadata.country_code),
        general=re.compile(metadata.general_desc.national_number_pattern or "(?!)"),
        trunk=re.compile(prefix) if prefix else None,
        international=re.compile(metadata.international_prefix or "(?!)"),
        longest=max(metadata.general_desc.possible_length, default=0),
    )


def _calling_code(digits: str) -> str | None:
    # No calling code is the beginning of another, so the order does not matter; two digits are the commonest.
    for length in (2, 1, 3):
        if digits[:length] in _CALLING_CODES:
            return digits[:length]
    return None


# For whoever normalizes a number next wants to know where it rings.
@lru_cache(maxsize=16)
def _plan(digits: str) -> NumberPlan | None:
    code = _calling_code(digits)
    if code is None:
        return None
    pattern, plans = _plans_by_length(code, len(digits) - len(code))
    match = pattern.fullmatch(digits, len(code))
    if match is None or match.lastgroup is None:
        return None
    return plans.get(match.lastgroup)


def _keeps_all_digits(code: str, digits: str) -> bool:
    """Whether the library would take the national number as it stands, with no trunk prefix (0, 8) to strip."""
    prefix, general = _trunk_prefix(code)
    if prefix is None:
        return True
    match = prefix.match(digits, len(code))
    if match is None or match.end() == len(code):
        return True
    if match.lastindex is not None:
        return False
    is_valid_stripped = general.fullmatch(digits, match.end()) is not None
    return general.fullmatch(digits, len(code)) is not None and not is_valid_stripped


@lru_cache(maxsize=512)
def _trunk_prefix(code: str) -> tuple[re.Pattern[str] | None, re.Pattern[str]]:
    metadata = _metadata(code, COUNTRY_CODE_TO_REGION_CODE[int(code)][0])
    general = metadata.general_desc.national_number_pattern if metadata.general_desc is not None else None
    prefix = metadata.national_prefix_for_parsing
    return re.compile(prefix) if prefix else None, re.compile(general or "(?!)")


@lru_cache(maxsize=4096)
def _plans_by_length(code: str, length: int) -> tuple[re.Pattern[str], Mapping[str, NumberPlan]]:
    """One expression for all numbers of a calling code and length, whose last group names the plan that matched.

    The alternatives stand in the order in which the library asks: region by region, and in each kind by kind. A
    region known by leading digits keeps a number that begins with them, valid or not.
    """
    regions = COUNTRY_CODE_TO_REGION_CODE[int(code)]
    alternatives: list[str] = []
    plans: dict[str, NumberPlan] = {}
    for region in regions:
        metadata = _metadata(code, region)
        kinds: list[str] = []
        for kind, type_number, condition in _conditions(metadata, length):
            group = f"g{len(plans)}"
            plans[group] = NumberPlan(
                calling_code=code,
                country=None if region == _WORLD else region,
                kind=kind,
                is_geographic=is_number_type_geographical(type_number, int(code)),
            )
            kinds.append(f"(?P<{group}>{condition})")
        general = _pattern(metadata.general_desc, length)
        valid = f"(?=(?:{general})\\Z)(?:{'|'.join(kinds)})" if general is not None and kinds else "(?!)"
        if metadata.leading_digits is not None and len(regions) > 1:
            valid = f"(?={metadata.leading_digits})(?:{valid}|[0-9]*)"
        alternatives.append(valid)
    return re.compile("|".join(alternatives)), plans


def _conditions(metadata: PhoneMetadata, length: int) -> Iterator[tuple[NumberKind, int, str]]:
    """Kind, the library's number for it, and expression; in the order of the library's `number_type`."""
    described: tuple[tuple[NumberKind, int, PhoneNumberDesc | None], ...] = (
        (NumberKind.PREMIUM_RATE, PhoneNumberType.PREMIUM_RATE, metadata.premium_rate),
        (NumberKind.TOLL_FREE, PhoneNumberType.TOLL_FREE, metadata.toll_free),
        (NumberKind.SHARED_COST, PhoneNumberType.SHARED_COST, metadata.shared_cost),
        (NumberKind.VOIP, PhoneNumberType.VOIP, metadata.voip),
        (NumberKind.PERSONAL_NUMBER, PhoneNumberType.PERSONAL_NUMBER, metadata.personal_number),
        (NumberKind.PAGER, PhoneNumberType.PAGER, metadata.pager),
        (NumberKind.UNIVERSAL_ACCESS, PhoneNumberType.UAN, metadata.uan),
        (NumberKind.VOICEMAIL, PhoneNumberType.VOICEMAIL, metadata.voicemail),
    )
    for kind, type_number, description in described:
        pattern = _pattern(description, length)
        if pattern is not None:
            yield kind, type_number, pattern
    fixed, mobile = _pattern(metadata.fixed_line, length), _pattern(metadata.mobile, length)
    both = fixed if metadata.same_mobile_and_fixed_line_pattern else None
    if fixed and mobile and both is None:
        both = f"(?=(?:{fixed})\\Z)(?:{mobile})"
    if metadata.same_mobile_and_fixed_line_pattern:
        fixed = mobile = None
    lines = (
        (NumberKind.FIXED_LINE_OR_MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE, both),
        (NumberKind.FIXED_LINE, PhoneNumberType.FIXED_LINE, fixed),
        (NumberKind.MOBILE, PhoneNumberType.MOBILE, mobile),
    )
    for kind, type_number, pattern in lines:
        if pattern is not None:
            yield kind, type_number, pattern


def _pattern(description: PhoneNumberDesc | None, length: int) -> str | None:
    """The national pattern, if numbers of that length can match it."""
    if description is None or not description.national_number_pattern:
        return None
    lengths = description.possible_length
    return description.national_number_pattern if not lengths or length in lengths else None


def _metadata(code: str, region: str) -> PhoneMetadata:
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(code), region)
    assert metadata is not None, f"phonenumbers lists +{code} for {region} without describing it"
    return metadata


# Invisible marks that come along when a number is copied from a contact list or a web page, and the apostrophe with
# which spreadsheets keep a cell as text.
_INVISIBLE: Final = str.maketrans(
    "", "", "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"
)
_EXPONENT: Final = re.compile(r"[+-]?\d+([.,]\d+)?[eE][+-]?\d+")
_DECIMAL: Final = re.compile(r"\+?\d+\.0+")
_DIGIT: Final = re.compile(r"\d")
_LETTER: Final = re.compile(r"[^\W\d_]")
# Digits, and what the library skips between them.
_UNEXPECTED: Final = re.compile(
    r"[^\d\s+\uff0b().\[\]/~\-\u00a0\u2010-\u2015\u2053\u2212\u2060\u223c\u3000\u30fc\uff08-\uff0f\uff3b\uff3d\uff5e]"
)
_PLUS: Final = ("+", "\uff0b")
_LONGEST_SHORT_NUMBER: Final = 6

NO_COUNTRY_CODE: Final = "has no country code"
_WRITE_IN_FULL: Final = "write it with + and the country code, such as +390212345678"
_IS_SHORT: Final = "is an emergency or short number, which is never called: give a person's full number"
_NEVER_CALLED_TYPES: Final[Mapping[int, str]] = {
    PhoneNumberType.PREMIUM_RATE: "is a premium-rate number, which is never called: give a person's own number",
    PhoneNumberType.SHARED_COST: "is a shared-cost number, which is never called: give a person's own number",
}
_WRITE_AS_TEXT: Final = "format the column as text and export the file again"


def _normalize_in_full(text: str, region: str | None) -> PhoneNumber:
    region = None if region is None else checked_region(region)
    written = text.translate(_INVISIBLE).strip().removeprefix("'")
    is_national = not written.startswith(_PLUS)
    reason = _fault_of_writing(written)
    if reason is None and is_national:
        reason = _fault_of_national_number(written, region)
    if reason is not None:
        raise InvalidPhoneNumber(text, reason)
    try:
        number = phonenumbers.parse(written, region)
    except NumberParseException as error:
        reason = _IS_SHORT if is_national and _is_short(written) else _fault_of_parsing(error)
        raise InvalidPhoneNumber(text, reason) from error
    if not phonenumbers.is_valid_number(number):
        reason = _IS_SHORT if is_national and _is_short(written) else _fault_of_invalid(number)
        raise InvalidPhoneNumber(text, reason)
    if phonenumbers.number_type(number) in _NEVER_CALLED_TYPES:
        raise InvalidPhoneNumber(text, _NEVER_CALLED_TYPES[phonenumbers.number_type(number)])
    country = phonenumbers.region_code_for_number(number)
    return PhoneNumber(
        e164=phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164),
        country=None if country == _WORLD else country,
    )


def _fault_of_writing(written: str) -> str | None:
    if not written:
        return "is empty: give a number, or leave the row out"
    if _EXPONENT.fullmatch(written):
        return f"was rounded by a spreadsheet, and its last digits are lost: {_WRITE_AS_TEXT}"
    if _DECIMAL.fullmatch(written):
        return f"ends in .0, as a spreadsheet writes amounts: {_WRITE_AS_TEXT}"
    if _LETTER.search(written):
        return "holds letters: write digits only, and no extension"
    if not _DIGIT.search(written):
        return "holds no digits: give a number, or leave the row out"
    unexpected = _UNEXPECTED.search(written)
    if unexpected:
        return f"holds {unexpected.group()!r}: write one number, in digits only, and no extension"
    if sum(written.count(plus) for plus in _PLUS) > 1:
        return "holds more than one +: write one number a row"
    return None


def _fault_of_national_number(written: str, region: str | None) -> str | None:
    if region is None:
        return _IS_SHORT if _is_short(written) else f"{NO_COUNTRY_CODE}: {_WRITE_IN_FULL}"
    return _IS_SHORT if phonenumbers.is_emergency_number(written, region) else None


def _is_short(written: str) -> bool:
    return sum(character.isdecimal() for character in written) <= _LONGEST_SHORT_NUMBER


def _fault_of_parsing(error: NumberParseException) -> str:
    if error.error_type == NumberParseException.INVALID_COUNTRY_CODE:
        return f"starts with no known country code: {_WRITE_IN_FULL}"
    if error.error_type == NumberParseException.TOO_LONG:
        return "has too many digits: write one number a row"
    return f"has too few digits: {_WRITE_IN_FULL}"


def _fault_of_invalid(number: phonenumbers.PhoneNumber) -> str:
    region = phonenumbers.region_code_for_country_code(number.country_code or 0)
    where = f"+{number.country_code}" if region == _WORLD else f"{region} (+{number.country_code})"
    length = phonenumbers.is_possible_number_with_reason(number)
    if length == ValidationResult.TOO_LONG:
        return f"has too many digits for {where}: check it against its source"
    if length in (ValidationResult.TOO_SHORT, ValidationResult.IS_POSSIBLE_LOCAL_ONLY):
        return f"has too few digits for {where}: check that the area code and no digit are missing"
    return f"is not a number that exists in {where}: check it against its source"
