"""Numbers: the same verdict as the library's, on every country, and one sentence for each refusal."""

from __future__ import annotations

import re

import phonenumbers
import pytest
from hypothesis import given, settings, strategies as st
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, NumberParseException, PhoneNumberFormat, PhoneNumberType

from outdial.domain import phone_numbers
from outdial.domain.errors import UserError
from outdial.domain.phone_numbers import InvalidPhoneNumber, NumberKind, PhoneNumber, mask, normalize, plan_of

KIND_OF_TYPE = {
    PhoneNumberType.FIXED_LINE: NumberKind.FIXED_LINE,
    PhoneNumberType.MOBILE: NumberKind.MOBILE,
    PhoneNumberType.FIXED_LINE_OR_MOBILE: NumberKind.FIXED_LINE_OR_MOBILE,
    PhoneNumberType.TOLL_FREE: NumberKind.TOLL_FREE,
    PhoneNumberType.PREMIUM_RATE: NumberKind.PREMIUM_RATE,
    PhoneNumberType.SHARED_COST: NumberKind.SHARED_COST,
    PhoneNumberType.VOIP: NumberKind.VOIP,
    PhoneNumberType.PERSONAL_NUMBER: NumberKind.PERSONAL_NUMBER,
    PhoneNumberType.PAGER: NumberKind.PAGER,
    PhoneNumberType.UAN: NumberKind.UNIVERSAL_ACCESS,
    PhoneNumberType.VOICEMAIL: NumberKind.VOICEMAIL,
}


# The library, asked without any of our short cuts


def verdict_of_library(text: str) -> tuple[PhoneNumber, NumberKind] | None:
    try:
        number = phonenumbers.parse(text)
    except NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    country = phonenumbers.region_code_for_number(number)
    e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    kind = KIND_OF_TYPE[phonenumbers.number_type(number)]
    return PhoneNumber(e164=e164, country=None if country == "001" else country), kind


def assert_same_verdict(text: str) -> bool:
    """Returns whether the number was accepted."""
    expected = verdict_of_library(text)
    if expected is None or expected[1] in {NumberKind.PREMIUM_RATE, NumberKind.SHARED_COST}:
        with pytest.raises(InvalidPhoneNumber):
            normalize(text)
        return False
    assert normalize(text) == expected[0], text
    return True


def examples() -> list[str]:
    """An example of each kind in each country, and of each code without a country."""
    found = set()
    for region in phonenumbers.SUPPORTED_REGIONS:
        for kind in KIND_OF_TYPE:
            number = phonenumbers.example_number_for_type(region, kind)
            if number is not None:
                found.add(phonenumbers.format_number(number, PhoneNumberFormat.E164))
    for code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS:
        number = phonenumbers.example_number_for_non_geo_entity(code)
        if number is not None:
            found.add(phonenumbers.format_number(number, PhoneNumberFormat.E164))
    return sorted(found)


EXAMPLES = examples()
CALLING_CODES = sorted(map(str, COUNTRY_CODE_TO_REGION_CODE))

digits = st.text("0123456789", min_size=1, max_size=15)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """An example with digits changed, dropped, added, or a trunk prefix or other country's code put before it."""
    text = draw(st.sampled_from(EXAMPLES))[1:]
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 2))
        text = text[:place] + draw(st.text("0123456789", max_size=2)) + text[place + cut :]
    return "+" + draw(st.sampled_from(["", "", "", draw(st.sampled_from(CALLING_CODES))])) + text


def test_example_of_every_country_and_kind_gets_the_librarys_verdict() -> None:
    accepted = sum(assert_same_verdict(text) for text in EXAMPLES)
    assert accepted > 500


def test_example_of_every_country_and_kind_is_of_the_librarys_kind() -> None:
    for text in EXAMPLES:
        expected = verdict_of_library(text)
        plan = plan_of(text)
        assert (plan and plan.kind) == (expected and expected[1]), text
        assert (plan and plan.country) == (expected and expected[0].country), text


@settings(max_examples=1000)
@given(mutated())
def test_mutated_number_gets_the_librarys_verdict(text: str) -> None:
    assert_same_verdict(text)


@settings(max_examples=1000)
@given(text=st.sampled_from(EXAMPLES), ending=digits)
def test_number_with_another_ending_gets_the_librarys_verdict(text: str, ending: str) -> None:
    assert_same_verdict(text[: max(3, len(text) - len(ending))] + ending)


@settings(max_examples=1000)
@given(code=st.sampled_from(CALLING_CODES), national=digits)
def test_random_number_gets_the_librarys_verdict(code: str, national: str) -> None:
    assert_same_verdict(f"+{code}{national}")


@settings(max_examples=500)
@given(text=mutated() | st.sampled_from(EXAMPLES), data=st.data())
def test_separators_change_nothing_but_the_writing(text: str, data: st.DataObject) -> None:
    separators = st.sampled_from(
        ["", "", "", " ", "-", ".", "/", "  ", " - ", ") ", " (", "\u00a0", "\u2011"]
    )
    written = "+" + "".join(digit + data.draw(separators) for digit in text[1:-1]) + text[-1]
    if re.fullmatch(r"\+\d+\.0+", written):
        return
    assert_same_verdict(written)


@settings(max_examples=500)
@given(mutated() | st.sampled_from(EXAMPLES))
def test_kind_and_country_of_a_normalized_number_are_the_librarys(text: str) -> None:
    expected = verdict_of_library(text)
    if expected is not None:
        # What is normalized is never stripped again; the library may strip once more when it reads its own writing.
        plan = plan_of(expected[0].e164)
        assert plan is not None
        assert (plan.country, plan.kind) == (expected[0].country, expected[1])


def test_ordinary_numbers_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    callable_examples = [text for text in EXAMPLES if verdict_of_library(text) is not None]

    def fail(*arguments: object) -> None:
        raise LookupError

    monkeypatch.setattr(phonenumbers, "parse", fail)
    long_way = 0
    for text in callable_examples:
        try:
            normalize(text)
        except InvalidPhoneNumber:
            pass
        except LookupError:
            plan = phone_numbers.plan_of(text)
            long_way += plan is not None and plan.kind not in phone_numbers.NEVER_CALLED
    assert long_way < len(callable_examples) / 50


# Writings


@pytest.mark.parametrize(
    ("text", "region", "e164", "country"),
    [
        ("+393471234567", None, "+393471234567", "IT"),
        ("+39 347 123 4567", None, "+393471234567", "IT"),
        ("+44 (0)20 7946 0018", None, "+442079460018", "GB"),
        ("+1 (212) 234-5678", None, "+12122345678", "US"),
        ("02 1234567", "IT", "+39021234567", "IT"),
        ("0039 02 1234567", "it", "+39021234567", "IT"),
        ("(212) 234-5678", "US", "+12122345678", "US"),
        ("'+39 347 1234567", None, "+393471234567", "IT"),
        ("\u202a+393471234567\u202c", None, "+393471234567", "IT"),
        ("  +393471234567\n", None, "+393471234567", "IT"),
        ("\uff0b\uff13\uff19 347 1234567", None, "+393471234567", "IT"),
        ("+800 1234 5678", None, "+80012345678", None),
        ("+39 800 123456", None, "+39800123456", "IT"),
        ("4000", "NU", "+6834000", "NU"),
        ("+7 812 123 4567", None, "+78121234567", "RU"),
    ],
)
def test_number_is_normalized(text: str, region: str | None, e164: str, country: str | None) -> None:
    assert normalize(text, region) == PhoneNumber(e164=e164, country=country)


@pytest.mark.parametrize(
    ("text", "region", "reason"),
    [
        ("", None, "is empty"),
        ("   ", None, "is empty"),
        ("-", None, "holds no digits"),
        ("3.93E+11", None, "rounded by a spreadsheet"),
        ("3,93471E+11", "IT", "rounded by a spreadsheet"),
        ("3.93E11", None, "rounded by a spreadsheet"),
        ("393471234567.0", "IT", "ends in .0"),
        ("+39347123456.0", None, "ends in .0"),
        ("+3934712345.00", None, "ends in .0"),
        ("1-800-FLOWERS", "US", "holds letters"),
        ("+1 212 234 5678 x12", None, "holds letters"),
        ("n/a", None, "holds letters"),
        ("+39 347 1234567, +39 02 1234567", None, "holds ','"),
        ("+39 347 1234567#12", None, "holds '#'"),
        ("+39 347 1234567 / +39 02 1234567", None, "holds more than one +"),
        ("347 1234567", None, r"has no country code: write it with \+"),
        ("00393471234567", None, r"has no country code: write it with \+"),
        ("+999 123456", None, "starts with no known country code"),
        ("+39 34", None, "has too few digits for IT"),
        ("+39 3471234567890", None, "has too many digits for IT"),
        ("+1 212 034 5678", None, "is not a number that exists in US"),
        ("+1 234", None, "has too few digits for US"),
        ("112", None, "emergency or short number"),
        ("112", "IT", "emergency or short number"),
        ("911", "US", "emergency or short number"),
        ("12345", "US", "emergency or short number"),
        ("5", "IT", "emergency or short number"),
        ("+39 899 123456", None, "premium-rate number"),
        ("+1 900 234 5678", None, "premium-rate number"),
        ("+39 848 123456", None, "shared-cost number"),
        ("+49 180 1234567", None, "shared-cost number"),
        ("9" * 300, "US", "has too many digits"),
    ],
)
def test_refusal_names_what_is_wrong(text: str, region: str | None, reason: str) -> None:
    with pytest.raises(InvalidPhoneNumber, match=reason) as refusal:
        normalize(text, region)
    assert refusal.value.value == text
    assert str(refusal.value) == f"The phone number {text!r} {refusal.value.reason}."


def test_refusal_is_a_value_error_and_the_users_to_mend() -> None:
    with pytest.raises(ValueError, match="is empty"):
        normalize("")
    assert issubclass(InvalidPhoneNumber, UserError)


@given(st.text(max_size=20), st.sampled_from([None, "IT", "US", "DE", "NU"]))
def test_any_text_is_normalized_or_refused(text: str, region: str | None) -> None:
    try:
        number = normalize(text, region)
    except InvalidPhoneNumber:
        return
    assert normalize(number.e164) == number


def test_unknown_region_is_refused_as_such() -> None:
    with pytest.raises(ValueError, match="'XX' is no country with phone numbers"):
        normalize("02 1234567", "XX")


# Logs


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+393471234567", "+39********67"),
        ("+12122345678", "+1********78"),
        ("+80012345678", "+800******78"),
        ("+9991234567", "*********67"),
        ("", ""),
        ("+39", "***"),
        ("+6834000", "+683**00"),
        ("+2904", "*****"),
        ("393471234567", "**********67"),
    ],
)
def test_mask_keeps_country_code_and_last_two_digits(number: str, masked: str) -> None:
    assert mask(number) == masked


@given(st.text(max_size=20) | st.sampled_from(EXAMPLES))
def test_mask_keeps_the_length_and_never_all_digits(number: str) -> None:
    masked = mask(number)
    assert len(masked) == len(number)
    assert not number or "*" in masked


# Numbers as they are dialed at home, abroad, and without the + before their country code

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
MANY_LISTS = ["IT", "US", "GB", "DE", "FR", "ES", "CH", "AT", "BR", "MX", "AR", "RU", "IN", "AU", "CA", "HU"]


def assert_same_from(region: str, text: str) -> None:
    """Our short cut says nothing, or what the library says."""
    try:
        expected = phone_numbers._normalize_in_full(text, region)
    except InvalidPhoneNumber:
        with pytest.raises(InvalidPhoneNumber):
            normalize(text, region)
    else:
        assert normalize(text, region) == expected, (text, region)


@pytest.mark.parametrize("prefix", ["", "0", "00"])
def test_example_dialed_from_its_own_country_gets_the_librarys_verdict(prefix: str) -> None:
    for region in REGIONS:
        for kind in (PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE, PhoneNumberType.PREMIUM_RATE):
            example = phonenumbers.example_number_for_type(region, kind)
            if example is not None:
                national = phonenumbers.national_significant_number(example)
                assert_same_from(region, prefix + national)
                assert_same_from(region, f"{prefix}{example.country_code}{national}")


@settings(max_examples=400)
@given(region=st.sampled_from(REGIONS) | st.sampled_from(MANY_LISTS), text=digits | mutated(), data=st.data())
def test_any_digits_dialed_from_a_region_get_the_librarys_verdict(
    region: str, text: str, data: st.DataObject
) -> None:
    code = str(phonenumbers.country_code_for_region(region))
    prefix = data.draw(st.sampled_from(["", "0", "00", "00" + code, code, "1", "3", "39"]))
    assert_same_from(region, prefix + text.removeprefix("+"))


def test_number_written_for_its_own_country_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone_numbers, "_normalize_in_full", lambda *_: pytest.fail("too slow"))
    for region, text in [
        ("IT", "347 1234567"),
        ("IT", "06 1234 5678"),
        ("it", "0039 347 1234567"),
        ("IT", "393471234567"),
        ("IT", "393 1234567"),
        ("GB", "020 7946 0018"),
        ("US", "(212) 555-2368"),
        ("US", "1 212 555 2368"),
        ("DE", "030/12345678"),
    ]:
        assert normalize(text, region).country == region.upper()
