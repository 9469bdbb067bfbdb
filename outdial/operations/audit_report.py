"""What an audit has found, counted by check, call by call, and said once where it is a rule's fault."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from outdial.domain.audit import Check, Findings
from outdial.domain.ids import ContactId

# More findings than that are counted and not kept.
MOST_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A call that broke something, or of which that cannot be said (`is_violation` False); `says` is a clause.

    Of a call that no attempt is, `call_id` is what the provider called it, and there is neither contact nor campaign;
    of a contact that misses one, `call_id` is None.
    """

    check: Check
    call_id: str | None
    says: str
    is_violation: bool = True
    contact_id: ContactId | None = None
    campaign: str | None = None


@dataclass(slots=True)
class Tally:
    """How many calls a check asked about. What could not be judged is neither."""

    judged: int = 0
    violations: int = 0
    unjudged: int = 0


@dataclass(slots=True, kw_only=True)
class OfRule:
    """Why `calls` calls cannot be judged by a rule: said once, and not of each of them."""

    says: str
    calls: int = 0
    last_call_id: str | None = None


@dataclass(slots=True, kw_only=True)
class Report:
    """`calls` were made, `tests` of them for tests, `restored` written down after a restore or a failover. `broken` holds the first ones, at most `MOST_KEPT`; `of` counts all.

    `rules`: by which rules, by name, calls could not be judged.
    """

    at: datetime
    calls: int = 0
    tests: int = 0
    restored: int = 0
    of: dict[Check, Tally] = field(default_factory=lambda: {check: Tally() for check in Check})
    broken: list[Broken] = field(default_factory=list)
    rules: dict[str, OfRule] = field(default_factory=dict)

    @property
    def violations(self) -> int:
        return sum(tally.violations for tally in self.of.values())

    @property
    def unjudged(self) -> int:
        return sum(tally.unjudged for tally in self.of.values())

    def note(
        self,
        check: Check,
        findings: Findings | None,
        call_id: str | None,
        contact_id: ContactId | None = None,
        campaign: str | None = None,
    ) -> None:
        """Count one call, once, whatever the check found of it."""
        if findings is None:
            return
        # What could not be judged of a call does not matter where something else is broken.
        worst: Findings = [one for one in findings if one.is_violation] or findings
        if not worst:
            self.of[check].judged += 1
            return
        is_violation = worst[0].is_violation
        if is_violation:
            self.of[check].judged += 1
            self.of[check].violations += 1
        else:
            self.of[check].unjudged += 1
            worst = self._without_rules(worst, call_id)
        if worst and len(self.broken) < MOST_KEPT:
            self.broken.append(
                Broken(
                    check=check,
                    call_id=call_id,
                    says="; ".join(dict.fromkeys(one.says for one in worst)),
                    is_violation=is_violation,
                    contact_id=contact_id,
                    campaign=campaign,
                )
            )

    def _without_rules(self, findings: Findings, call_id: str | None) -> Findings:
        """What is to be said of the call itself; what is a rule's is counted with it, once a call."""
        for one in findings:
            if one.rule is not None:
                of_rule = self.rules.setdefault(one.rule, OfRule(says=one.says))
                # Calls are judged one after the other.
                of_rule.calls += of_rule.last_call_id != call_id
                of_rule.last_call_id = call_id
        return [one for one in findings if one.rule is None]
