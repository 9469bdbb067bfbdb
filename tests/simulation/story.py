"""The story of a run: what happened, when by the virtual clock, and to whom. Two runs of a seed tell the same one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Line:
    """`at` is in virtual seconds. `about`: the calls and numbers that the line is about; none: it concerns everybody."""

    at: float
    who: str
    what: str
    about: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.at:9.3f}  {self.who:<10} {self.what}"


@dataclass(slots=True)
class Story:
    """`is_kept` False: only its digest is wanted, which is cheaper."""

    lines: list[Line] = field(default_factory=list)

    def tell(self, at: float, who: str, what: str, *about: str) -> None:
        self.lines.append(Line(at, who, what, about))

    def digest(self) -> str:
        """The same for the same story."""
        text = "\n".join(f"{line.at!r} {line.who} {line.what}" for line in self.lines)
        return hashlib.sha256(text.encode()).hexdigest()

    def of(self, about: Iterable[str]) -> list[Line]:
        """What concerns these calls and numbers, with what concerns everybody."""
        wanted = set(about)
        return [line for line in self.lines if not line.about or not wanted.isdisjoint(line.about)]
