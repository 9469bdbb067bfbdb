"""A file of contacts, row by row: what comes in, what is handed back, and that nothing is lost between the two."""

import csv
import hashlib
import io
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from outdial.domain.contact import UniqueBy
from outdial.domain.errors import UserError
from outdial.operations.contact_columns import COLUMNS, Header, parse_mapping
from outdial.operations.contact_rows import ContactRows, RowRules
from outdial.operations.contact_times import first_instant, last_instant
from outdial.operations.delimited_file import LONGEST_ROW, DelimitedFile, Row, UnreadableFile, open_delimited
from outdial.operations.exclusions import expiry_of
from outdial.operations.rejections import Rejection, RejectsFile
from outdial.storage.new_contacts import NewContact

ROME = "+390612345678"
PARIS = "+33142685300"
HEADER = "external_contact_id,phone_number,email,name,language,time_zone,priority,has_prior_consent,do_not_call,city"

ITALIAN = RowRules(default_time_zone="Europe/Rome")


def read(data: bytes, rules: RowRules = ITALIAN) -> list[NewContact | Rejection]:
    file = DelimitedFile(io.BytesIO(data), "list.csv", len(data))
    rows = ContactRows(Header(file.first, "list.csv"), rules)
    return [rows.read(row) for row in file.rows()]


def one(data: str, rules: RowRules = ITALIAN) -> NewContact | Rejection:
    (found,) = read(data.encode(), rules)
    return found


def contact(data: str) -> NewContact:
    found = one(data)
    assert isinstance(found, NewContact), found
    return found


def rejection(data: str, rules: RowRules = ITALIAN) -> Rejection:
    found = one(data, rules)
    assert isinstance(found, Rejection), found
    return found


def test_every_column_comes_in() -> None:
    found = contact(f"{HEADER}\n7,+39 06 1234 5678,a@b.it,Ada,pt_BR,America/New_York,-5,YES,x, Milano \n")
    assert found[:-1] == (
        2,
        "7",
        "id:7",
        ROME,
        None,
        "a@b.it",
        "Ada",
        "pt-BR",
        '{"city":"Milano"}',
        True,
        None,
        None,
        None,
        -5,
        None,
        None,
        True,
    )
    assert found.calling_zone.time_zones == ("America/New_York",)


@pytest.mark.parametrize(
    ("header", "target", "column"),
    [
        ("Mobile Phone,city", "phone_number", "Mobile Phone"),
        ("TO,city", "phone_number", "TO"),
        ("e164,phone_number,msisdn", "phone_number", "phone_number"),
        ("phone_number,Contact-ID", "external_contact_id", "Contact-ID"),
        ("phone_number,E-Mail", "email", "E-Mail"),
        ("phone_number,Full name", "name", "Full name"),
        ("phone_number,lang", "language", "lang"),
        ("phone_number,TimeZone", "time_zone", "TimeZone"),
        ("phone_number,DNC", "do_not_call", "DNC"),
    ],
)
def test_columns_are_known_by_the_names_that_other_programs_give(
    header: str, target: str, column: str
) -> None:
    cells = header.split(",")
    found = Header(Row(1, cells, None), "list.csv")
    assert found.places[COLUMNS.index(target)] == cells.index(column)
    assert column not in dict(found.attributes)


def test_our_own_name_wins_over_another_programs_and_what_a_person_says_over_both() -> None:
    row = Row(1, ["phone_number", "mobile", "Cellulare", "id"], None)
    place = COLUMNS.index("phone_number")
    assert Header(row, "f").places[place] == 0
    assert dict(Header(row, "f").attributes) == {"mobile": 1, "Cellulare": 2}
    mapped = Header(row, "f", parse_mapping(["phone_number=cellulare"]))
    assert mapped.places[place] == 2
    assert mapped.renamed == {"phone_number": "Cellulare", "external_contact_id": "id"}


@pytest.mark.parametrize(
    ("cells", "mapping", "words"),
    [
        (["phone", "mobile"], [], ["'phone', 'mobile'", "--map phone_number="]),
        (["phone_number", "id", "contact_id"], [], ["could be external_contact_id"]),
        (["who"], [], ["no column phone_number", "'who'", "--map phone_number="]),
        (["phone"], ["phone_number=Cellulare"], ["'Cellulare'", "'phone'"]),
        (["phone"], ["telefono=phone"], ["'telefono'", "phone_number, "]),
        (["phone"], ["phone"], ["TARGET=COLUMN"]),
        (["phone"], ["name=phone", "phone_number=phone"], ["name and to phone_number"]),
        (["phone", "b"], ["name=phone", "name=b"], ["two columns for name"]),
    ],
)
def test_a_header_that_leaves_a_question_asks_it(
    cells: list[str], mapping: list[str], words: list[str]
) -> None:
    with pytest.raises(UserError) as raised:
        Header(Row(1, cells, None), "list.csv", parse_mapping(mapping))
    for word in words:
        assert word in str(raised.value)


def test_national_numbers_need_a_region() -> None:
    assert "no country code" in rejection("phone\n06 1234 5678\n").reason
    found = one("phone\n06 1234 5678\n", RowRules(region="IT"))
    assert isinstance(found, NewContact)
    assert found.phone_number == ROME
    for text in ("3.93E+11", "112", "118", "899123456", "848123456", "12"):
        assert isinstance(one(f"phone\n{text}\n", RowRules(region="IT")), Rejection), text


@pytest.mark.parametrize(
    ("unique_by", "key"),
    [(None, "id:7"), (UniqueBy.EXTERNAL_CONTACT_ID, "id:7"), (UniqueBy.PHONE_NUMBER, f"tel:{ROME}")],
)
def test_a_campaign_says_by_what_its_contacts_are_unique(unique_by: UniqueBy | None, key: str) -> None:
    rules = RowRules(unique_by=unique_by)
    found = one(f"phone,id\n{ROME},7\n", rules)
    assert isinstance(found, NewContact)
    assert (found.identity_key, found.external_contact_id) == (key, "7")
    without = one(f"phone,id\n{ROME},\n", rules)
    if unique_by is UniqueBy.EXTERNAL_CONTACT_ID:
        assert isinstance(without, Rejection)
        assert without.column == "external_contact_id"
    else:
        assert isinstance(without, NewContact)


AT = datetime(2027, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "after", "before", "first", "last"),
    [
        ("Europe/Rome", "2027-03-01T09:00", "2027-03-02", "2027-03-01T08:00", "2027-03-02T23:00"),
        ("Europe/Rome", "2027-03-01", "2027-03-01 18:30:15", "2027-02-28T23:00", "2027-03-01T17:30:15"),
        (
            "America/New_York",
            "2027-03-01T09:00+01:00",
            "2027-03-01T18:00Z",
            "2027-03-01T08:00",
            "2027-03-01T18:00",
        ),
        # The hour that comes twice, and the one that never comes: the later start, the earlier end.
        ("Europe/Rome", "2027-10-31T02:30", "2027-11-01", "2027-10-31T01:30", "2027-11-01T23:00"),
        ("Europe/Rome", "2027-03-28T02:30", "2027-10-31T02:30", "2027-03-28T01:30", "2027-10-31T00:30"),
    ],
)
def test_a_contact_may_have_its_own_time(zone: str, after: str, before: str, first: str, last: str) -> None:
    text = f"phone_number,time_zone,call_after,call_before\n{ROME},{zone},{after},{before}\n"
    found = one(text, RowRules(at=AT - timedelta(days=1)))
    assert isinstance(found, NewContact)
    assert found.call_after == datetime.fromisoformat(first).replace(tzinfo=UTC)
    assert found.call_before == datetime.fromisoformat(last).replace(tzinfo=UTC)


def test_local_time_in_several_candidate_zones_holds_in_all_of_them() -> None:
    zones = ("America/Los_Angeles", "America/New_York")
    assert first_instant("2027-01-05T09:00", zones).isoformat() == "2027-01-05T17:00:00+00:00"
    assert last_instant("2027-01-05T18:00", zones).isoformat() == "2027-01-05T23:00:00+00:00"


def test_local_time_needs_a_place() -> None:
    free = "+18005550123"
    assert "offset" in rejection(f"phone_number,call_after\n{free},2027-03-01T09:00\n").reason
    assert contact(f"phone_number,call_after\n{free},2027-03-01T09:00Z\n").call_after is not None


@pytest.mark.parametrize(
    ("after", "before", "column"),
    [
        ("tomorrow", "", "call_after"),
        ("2027-02-30T09:00", "", "call_after"),
        ("0001-01-01", "", "call_after"),
        ("2027-03-01T09:00+25:00", "", "call_after"),
        ("01.03.2027", "", "call_after"),
        ("", "2027-02-27", "call_before"),
        ("2027-03-02T09:00", "2027-03-02T09:00", "call_before"),
    ],
)
def test_a_time_that_cannot_be_rejects_the_row(after: str, before: str, column: str) -> None:
    found = one(f"phone_number,call_after,call_before\n{ROME},{after},{before}\n", RowRules(at=AT))
    assert isinstance(found, Rejection), found
    assert found.column == column


def test_a_number_alone_is_a_contact() -> None:
    found = contact(f"phone_number\n{ROME}\n")
    assert found.identity_key == f"tel:{ROME}"
    assert (found.name, found.attributes_json, found.priority, found.do_not_call) == (None, "{}", None, False)
    assert "Europe/Rome" in found.calling_zone.time_zones


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_common_ways_to_write_csv_are_read(delimiter: str, line_end: str, mark: str) -> None:
    lines = [
        delimiter.join(row)
        for row in (["Phone_Number ", "city"], [ROME, '"Aosta\nand\r\nmore"'], [PARIS, "Nancy"])
    ]
    found = read((mark + line_end.join(lines)).encode())
    assert [(row[0], row[3]) for row in found] == [(2, ROME), (5, PARIS)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_the_encodings_that_spreadsheets_write_are_read(encoding: str) -> None:
    text = f'sep=;\r\nphone_number;name\r\n{ROME};"Zoë\nNée"\r\n{PARIS};Łódź\r\n'
    if encoding == "cp1252":
        text = text.replace("Łódź", "François")
    mark = "\ufeff" if encoding in {"utf-16-le", "utf-16-be"} else ""
    first, second = read((mark + text).encode(encoding))
    assert isinstance(first, NewContact)
    assert isinstance(second, NewContact)
    assert (first.import_line, first.name, second.import_line) == (3, "Zoë\nNée", 5)
    assert second.name in {"Łódź", "François"}


def test_one_wrong_byte_far_down_does_not_turn_a_utf_8_file_into_another(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    rows = [f"{ROME},Zoë {number}".encode() for number in range(40_000)]
    path.write_bytes(b"phone_number,name\n" + b"\n".join([*rows, f"{PARIS},caf".encode() + b"\xe9"]) + b"\n")
    with open_delimited(path) as file:
        *_, last = file.rows()
        assert (file.encoding.name, last.line) == ("UTF-8", 40_002)
        assert last.fault is not None
        assert "UTF-8" in last.fault
        assert file.bytes_read == path.stat().st_size


def test_a_file_is_windows_1252_also_where_only_its_end_tells(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(
        b"phone_number,name\n" + f"{ROME},Ada\n".encode() * 40_000 + f"{ROME},".encode() + b"caf\xe9"
    )
    with open_delimited(path) as file:
        *_, last = file.rows()
        assert (file.encoding.name, last.cells[1], last.fault) == ("Windows-1252", "café", None)
        assert file.checksum == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path, other = tmp_path / "list.csv", tmp_path / "other.csv"

    def rewrite() -> None:
        path.write_text("phone_number\n")

    def replace() -> None:
        other.write_text(path.read_text())
        other.rename(path)

    for change, said in [
        (lambda: None, None),
        (rewrite, "changed"),
        (replace, "replaced"),
        (path.unlink, "removed"),
    ]:
        path.write_text(f"phone_number\n{ROME}\n")
        with open_delimited(path) as file:
            change()
            assert (said or "None") in str(file.what_changed())


def test_missing_cells_are_empty_and_superfluous_ones_reject() -> None:
    short, long, padded = read(f"phone_number,name,city\n{ROME}\n{ROME},a,b,c\n{ROME},a,b,,\n".encode())
    assert isinstance(short, NewContact)
    assert isinstance(padded, NewContact)
    assert isinstance(long, Rejection)
    assert long.line == 3
    assert "4 cells" in long.reason


def test_blank_lines_are_no_rows_and_are_counted_as_lines() -> None:
    (found,) = read(f"\n\nphone_number,name\n\n,,\n{ROME},a\n\n".encode())
    assert found[0] == 6


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ({"phone_number": "12"}, "phone_number"),
        ({"phone_number": "", "name": "Ada"}, "phone_number"),
        ({"phone_number": "9" * 100_000}, "phone_number"),
        ({"time_zone": "Europe/Milan"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"language": "Italian!"}, "language"),
        ({"priority": "1001"}, "priority"),
        ({"priority": "1.5"}, "priority"),
        ({"priority": "١"}, "priority"),
        ({"has_prior_consent": "maybe"}, "has_prior_consent"),
        ({"do_not_call": "si"}, "do_not_call"),
        ({"name": "a" * 201}, "name"),
        ({"email": "a" * 201}, "email"),
        ({"external_contact_id": "a" * 201}, "external_contact_id"),
        ({"city": "è" * 4095}, None),
    ],
)
def test_one_bad_cell_rejects_the_row_and_is_named(cells: dict[str, str], column: str | None) -> None:
    names = HEADER.split(",")
    found = rejection(
        f"{HEADER}\n" + ",".join({"phone_number": ROME, **cells}.get(name, "") for name in names)
    )
    assert (found.line, found.column) == (2, column)
    assert str(found)
    if column is not None:
        assert found.value == cells[column].strip()


def test_a_campaigns_countries_bound_its_numbers() -> None:
    rules = RowRules(countries=frozenset({"IT"}))
    assert isinstance(one(f"phone_number\n{ROME}\n", rules), NewContact)
    assert "FR" in rejection(f"phone_number\n{PARIS}\n", rules).reason
    assert "no country" in rejection("phone_number\n+80012345678\n", rules).reason


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (f"{ROME},\0".encode(), "NUL"),
        (f"{ROME},Zoë".encode() + b"caf\xe9", "UTF-8"),
        (f'{ROME},"a"b'.encode(), "quotation"),
    ],
)
def test_a_damaged_row_is_rejected_and_the_next_one_read(row: bytes, word: str) -> None:
    bad, good = read(b"phone_number,name\n" + row + b"\n" + f"{PARIS},b\n".encode())
    assert isinstance(bad, Rejection)
    assert word in bad.reason
    assert isinstance(good, NewContact)
    assert (bad.line, good.import_line) == (2, 3)


def test_a_quotation_mark_that_never_closes_costs_no_more_than_its_limit() -> None:
    rows = 20_000
    lines = [f"+3906{12345678 + number},name\n" for number in range(rows)]
    found = read(("phone_number,name\n" + f'{ROME},"open\n' + "".join(lines)).encode())
    bad = [row for row in found if isinstance(row, Rejection)]
    assert [row.line for row in bad] == [2]
    assert "never closed" in bad[0].reason
    assert len(found) > rows - LONGEST_ROW / len(lines[0])
    last = found[-1]
    assert isinstance(last, NewContact)
    assert last.import_line == rows + 2


def test_a_line_of_any_length_is_one_rejected_row() -> None:
    bad, good = read(b"phone_number,name\n" + b"x" * (3 * LONGEST_ROW) + b"\n" + f"{PARIS},b\n".encode())
    assert isinstance(bad, Rejection)
    assert isinstance(good, NewContact)
    assert good.import_line == 3


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"\n\r\n", "empty"),
        (b"who,name\n1,2\n", "'who', 'name'"),
        (b"phone_number,name,Phone_Number\n", "more than once"),
        (b"phone_number,city,city\n", "more than once"),
        ("phone_number,Zoë".encode() + b"caf\xe9\n", "UTF-8"),
        (b'phone_number,"name\n', "quotation"),
        (b"PK\x03\x04....", "workbook"),
        ("phone_number\n".encode("utf-32"), "UTF-32"),
        ("phone_number\n".encode("utf-16-le"), "no text"),
        (b"\x7fELF\x02\x01\x01\0\0\0\0\0", "no text"),
        ("phone_number\n".encode("utf-16")[:-1], "cut off"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused_with_its_reason(data: bytes, word: str) -> None:
    with pytest.raises(UnreadableFile, match=word):
        read(data)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(UnreadableFile, match=path.name), open_delimited(path):
            pass


def test_rejects_once_mended_can_be_imported_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    header = ["phone_number", "name"]
    for _ in range(2):
        file = RejectsFile(path, header)
        file.write(
            Rejection(line=7, column=None, value=None, reason="is odd", cells=["12", 'a "b"\nc', "extra"])
        )
        file.close()
        header = next(csv.reader(path.read_text().splitlines()))
        assert header == ["phone_number", "name", "rejected_line", "rejected_reason"]
    path.write_text(path.read_text().replace("12,", f"{ROME},").replace(",extra", ""))
    (found,) = read(path.read_bytes())
    assert isinstance(found, NewContact)
    assert (found.phone_number, found.name, found.attributes_json) == (ROME, 'a "b"\nc', "{}")


def test_an_exclusion_until_a_day_holds_until_the_day_is_over_everywhere() -> None:
    assert expiry_of("2027-12-31").isoformat() == "2028-01-01T12:00:00+00:00"
    assert expiry_of("2027-12-31T18:00:00+01:00").isoformat() == "2027-12-31T17:00:00+00:00"
    for text in ("tomorrow", "2027-12-31T18:00:00", "31.12.2027"):
        with pytest.raises(UserError):
            expiry_of(text)


cells = st.one_of(
    st.sampled_from(
        [ROME, PARIS, "", "yes", "no", "1", "Europe/Rome", "it", '"', '""', "\0", "\r", "\n", ","]
    ),
    st.text(max_size=20),
)
lines = st.lists(cells, max_size=12).map(",".join)


@settings(max_examples=400)
@given(
    st.one_of(
        st.binary(max_size=400),
        st.binary(max_size=400).map(lambda rest: f"{HEADER}\n".encode() + rest),
        st.lists(lines, max_size=8).map(
            lambda rows: "\n".join([HEADER, *rows]).encode(errors="surrogatepass")
        ),
        st.lists(st.binary(max_size=20), max_size=8).map(
            lambda rows: b"phone_number;name\n" + b"\n".join(rows)
        ),
    )
)
def test_any_bytes_are_rows_or_a_sentence(data: bytes) -> None:
    try:
        file = DelimitedFile(io.BytesIO(data), "list.csv", len(data))
        rows = ContactRows(Header(file.first, "list.csv"), RowRules(default_time_zone="Europe/Rome"))
    except UserError:
        return
    line = file.first.line
    for row in file.rows():
        assert row.line > line
        line = row.line
        found = rows.read(row)
        if isinstance(found, Rejection):
            str(found).encode()
        else:
            "".join(str(value) for value in found).encode()
            assert "\0" not in "".join(str(value) for value in found)


@settings(max_examples=200)
@given(st.lists(st.lists(st.text(), min_size=1, max_size=5), max_size=20))
def test_rows_as_the_csv_module_writes_them_come_back_at_their_lines(rows: list[list[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    expected: list[Row] = []
    writer.writerow(["phone_number"])
    for row in rows:
        clean = [cell.replace("\0", "").replace("\r", "").encode(errors="replace").decode() for cell in row]
        line = text.getvalue().count("\n") + 1
        writer.writerow(clean)
        if any(clean):
            expected.append(Row(line, clean, None))
    data = text.getvalue().encode()
    file = DelimitedFile(io.BytesIO(data), "list.csv", len(data))
    assert list(file.rows()) == expected
    assert file.bytes_read == len(data)


# What files are made of, and what breaks them: one piece after the other, in any encoding, with bytes knocked out.
PIECES = [
    *("phone_number", "Mobile", "id", "name", "dnc", "tz", "call_after", "call_before", "priority", "città"),
    *(ROME, PARIS, "347 1234567", "0039 347 1234567", "3.93E+11", "112", "+39 899 123456", "yes", "x", "Europe/Rome"),
    *("2027-03-01T09:00", "2027-03-01T09:00:00+01:00", "2099-01-01", "0001-01-01", "-5", "it", "Zoë", "Łódź", "名前"),
    *("sep=;", '"', '""', '"a\nb"', "\ufeff", "\0", "\x1a", " ", "'", "\ud800", "\u202e"),
    *(",", ",", ",", ";", "\t", "\n", "\n", "\n", "\r\n", "\r"),
    *[f"\n{ROME},Zoë\n", f"\n{ROME};Ada\n", f'\n{PARIS},"Née\nTwo",2099-01-01\n', "\n347 1234567\n"] * 3,
]  # fmt: skip
CODECS = ["utf-8", "utf-8", "utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-be", "utf-32"]


def broken_file(chance: random.Random) -> bytes:
    data = b""
    for _ in range(chance.choice([1, 1, 1, 2])):
        head = chance.choice(["phone_number,name,call_after\n", "id;phone;dnc\n", ""])
        text = head + "".join(chance.choices(PIECES, k=chance.randrange(40)))
        data += text.encode(chance.choice(CODECS), "replace")
    for _ in range(chance.choice([0, 0, 1, 3])):
        place = chance.randrange(len(data) + 1)
        data = data[:place] + chance.randbytes(chance.randrange(3)) + data[place + chance.randrange(3) :]
    return data


@pytest.mark.parametrize("seed", range(9))
def test_a_thousand_broken_files_are_rows_or_a_sentence(seed: int) -> None:
    chance = random.Random(seed)
    rules = RowRules(default_time_zone="Europe/Rome", region="IT", at=AT)
    contacts = rejections = 0
    for _ in range(1000):
        data = broken_file(chance)
        try:
            file = DelimitedFile(io.BytesIO(data), "list.csv", len(data))
            rows = ContactRows(Header(file.first, "list.csv"), rules)
        except UserError:
            continue
        for row in file.rows():
            found = rows.read(row)
            if isinstance(found, Rejection):
                rejections += 1
                str(found).encode()
            else:
                contacts += 1
                "".join(str(value) for value in found).encode()
        assert file.bytes_read == len(data)
    assert contacts > 100
    assert rejections > 100


# Persons and consent

AT = datetime(2027, 3, 1, 12, tzinfo=UTC)
NOW = RowRules(default_time_zone="Europe/Rome", at=AT)
CONSENT = "phone_number,has_prior_consent,consent_kind,consent_at,consent_source"


def consent(cells: str) -> tuple[object, ...]:
    found = one(f"{CONSENT}\n{ROME},{cells}\n", NOW)
    assert isinstance(found, NewContact), found
    return (found.has_prior_consent, found.consent_kind, found.consent_at, found.consent_source)


def test_a_person_has_a_key_under_any_of_its_names() -> None:
    for name in ("person_key", "Person", "person-id"):
        assert contact(f"phone_number,{name}\n{ROME}, P-7 \n").person_key == "P-7"
    # One of a household who opts out must not silence the others.
    assert contact(f"phone_number,household\n{ROME},H-7\n").person_key is None
    assert rejection(f"phone_number,person\n{ROME},{'x' * 201}\n").column == "person_key"


def test_consent_comes_in_with_kind_instant_and_source() -> None:
    assert consent("yes,,,") == (True, None, None, None)
    assert consent(",Opt-In,2027-02-01T10:00+01:00,form 7") == (
        False,
        "opt_in",
        datetime(2027, 2, 1, 9, tzinfo=UTC),
        "form 7",
    )
    # Local time is that of where the phone rings.
    assert consent("x,written,2027-02-01T10:00,")[2] == datetime(2027, 2, 1, 9, tzinfo=UTC)
    assert consent("no,,2027-02-01,form 7") == (False, None, None, None)


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        (",verbal,,", "consent_kind"),
        ("no,express,,", "has_prior_consent"),
        (",,2027-02-01,", "consent_at"),
        (",,,form 7", "consent_source"),
        (",express,2027-04-01,", "consent_at"),
        (",express,yesterday,", "consent_at"),
    ],
)
def test_a_consent_that_makes_no_sense_rejects_its_row(cells: str, column: str) -> None:
    assert rejection(f"{CONSENT}\n{ROME},{cells}\n", NOW).column == column
