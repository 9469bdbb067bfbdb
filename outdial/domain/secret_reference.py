"""Where a secret is, in place of the secret: `env:NAME` or `file:PATH`. Only the reference is ever stored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class SecretPlace(StrEnum):
    ENV = "env"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReference:
    """`name` is a variable's name or a file's path."""

    place: SecretPlace
    name: str


def parse_reference(text: str) -> SecretReference:
    """Raises ValueError, in words that never repeat `text`: somebody may have pasted the secret itself."""
    place, colon, name = text.partition(":")
    if colon and place == SecretPlace.ENV and _VARIABLE.fullmatch(name):
        return SecretReference(place=SecretPlace.ENV, name=name)
    if colon and place == SecretPlace.FILE and name and name.isprintable():
        return SecretReference(place=SecretPlace.FILE, name=name)
    raise ValueError(HOW_TO_WRITE)


HOW_TO_WRITE: Final = (
    "must say where the secret is, and never hold the secret itself: "
    "env:NAME for an environment variable, or file:PATH for a file"
)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
