"""With what rules, fence and clock a command asks whether somebody may be called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outdial.cli.context import Context
    from outdial.operations.why import Asked


def asked_of(context: Context) -> Asked:
    """Reads the calling rules. Raises `RuleFileError`."""
    from outdial.bootstrap import fence_of
    from outdial.files.rule_file import load_rule_book
    from outdial.operations.why import Asked
    from outdial.settings import own_rules_file

    return Asked(
        book=load_rule_book(own_rules_file()),
        fence=fence_of(context.settings),
        scheduler_time_zone=context.settings.scheduler_time_zone,
    )
