"""What a new version of a calling rule may do by itself: narrow. It widens nothing until a person has accepted it.

So as long as a rule is newer than what was accepted, the accepted ones hold beside the new: whichever is stricter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from outdial.domain.campaign import Purpose
from outdial.domain.rules import AUTO, Basis, Choice, Rule, RuleBook

# A few dates at a time are asked about, and every day brings another.
MOST_DATES_KEPT: Final = 64


@dataclass(frozen=True, slots=True)
class RulesInForce:
    """A rule book, and which versions (by id) somebody has accepted. None: nobody was ever asked, all is accepted.

    A user's own rules need no acceptance: who wrote them has it, and so has who names a rule with its version.
    """

    book: RuleBook
    accepted: Mapping[str, int] | None = None
    _before: dict[tuple[str, date], RuleBook] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def choose(
        self, name: str, *, purpose: Purpose, country: str | None, on: date, subdivision: str | None = None
    ) -> Choice:
        """As `RuleBook.choose`, the accepted rules besides. Raises `UnknownRule`."""
        chosen = self.book.choose(name, purpose=purpose, country=country, on=on, subdivision=subdivision)
        if not self.accepted or "@" in name or chosen.refusal is not None:
            return chosen
        held = self._accepted_on(name, on).choose(
            name, purpose=purpose, country=country, on=on, subdivision=subdivision
        )
        more = tuple(rule for rule in held.rules if rule not in chosen.rules)
        if not more and held.refusal is None:
            return chosen
        names = ", ".join(rule.name for rule in more)
        return Choice(
            rules=tuple(sorted((*chosen.rules, *more), key=lambda rule: (rule.id, rule.version))),
            why=f"{chosen.why}; {names} until what is newer was accepted",
            refusal=held.refusal,
        )

    def pending(self, on: date) -> tuple[Rule, ...]:
        """The newest version of each rule that nobody has accepted, where it may be in force on that date."""
        if not self.accepted:
            return ()
        newest = {rule.id: rule for rule in sorted(self.book.rules, key=lambda rule: rule.version)}
        return tuple(rule for rule in newest.values() if not self._is_accepted(rule) and rule.is_in_force(on))

    def _is_accepted(self, rule: Rule) -> bool:
        accepted = self.accepted or {}
        return rule.basis is Basis.OWN or rule.version <= accepted.get(rule.id, 0)

    def _accepted_on(self, name: str, on: date) -> RuleBook:
        found = self._before.get((name, on))
        if found is None:
            known = {rule.id for rule in self.book.rules if self._is_accepted(rule) and rule.is_in_force(on)}
            # A rule that somebody names for the first time has widened nothing; nor has one whose accepted version
            # has run out, of which something must hold.
            once = self.accepted or {}
            free = {rule.id for rule in self.book.rules if rule.id in once and rule.id not in known}
            if name != AUTO and name not in once:
                free.add(name)
            if len(self._before) >= MOST_DATES_KEPT:
                self._before.clear()
            found = RuleBook(
                tuple(rule for rule in self.book.rules if rule.id in free or self._is_accepted(rule))
            )
            self._before[name, on] = found
        return found
