"""In which encoding the bytes of a file are, found out before its first row is read.

A mark at the beginning decides. Without one a file is UTF-8, unless it is Windows-1252, which Excel writes in Western
countries: what is wrong as UTF-8 then outweighs what is right. A file that is mostly UTF-8 stays UTF-8, and its damaged
rows are rejected: read as Windows-1252, all its other accents would come in wrong.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

CHUNK_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """`codec` and `errors` are as Python's `open` takes them, `name` is for sentences."""

    name: str
    codec: str
    errors: str


# Bytes that are no text in the encoding come through as marks, for which the lines are searched.
UTF_8: Final = Encoding(name="UTF-8", codec="utf-8-sig", errors="surrogateescape")
WINDOWS_1252: Final = Encoding(name="Windows-1252", codec="cp1252", errors="surrogateescape")
# Its damage has no single bytes to keep.
UTF_16: Final = Encoding(name="UTF-16", codec="utf-16", errors="replace")

REPLACED: Final = "\ufffd"

MARKS: Final[Mapping[bytes, Encoding]] = {
    codecs.BOM_UTF8: UTF_8,
    codecs.BOM_UTF16_LE: UTF_16,
    codecs.BOM_UTF16_BE: UTF_16,
}


def encoding_of(file: BinaryIO, beginning: bytes) -> Encoding:
    """The encoding of an open file that starts with `beginning`, which has been read already.

    The file is left where it was; one that cannot be wound back, a pipe, is judged by its beginning alone.
    """
    for mark, encoding in MARKS.items():
        if beginning.startswith(mark):
            return encoding
    if not file.seekable():
        return _judged([beginning])
    place = file.tell()
    try:
        return _judged(_chunks(file, beginning))
    finally:
        file.seek(place)


def _chunks(file: BinaryIO, beginning: bytes) -> Iterator[bytes]:
    yield beginning
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _judged(chunks: Iterable[bytes]) -> Encoding:
    right = wrong = 0
    rest = b""
    for chunk in chunks:
        if not rest and chunk.isascii():
            continue
        decoder = codecs.getincrementaldecoder("utf-8")(UTF_8.errors)
        text = decoder.decode(rest + chunk)
        # The beginning of a character whose end the next chunk has.
        rest, _ = decoder.getstate()
        found = len(_WRONG.findall(text))
        wrong += found
        right += len(_BEYOND_ASCII.findall(text)) - found
    return WINDOWS_1252 if wrong + len(rest) > right else UTF_8


# Lone surrogates are what Python makes of bytes that are no UTF-8.
_WRONG: Final = re.compile("[\udc80-\udcff]")
_BEYOND_ASCII: Final = re.compile("[^\x00-\x7f]")
