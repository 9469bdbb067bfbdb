"""Which versions of calling rules somebody has accepted: what a campaign may name, and what a new version waits for."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from outdial.domain.accepted_rules import RulesInForce
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.errors import UserError
from outdial.domain.rules import NO_RULE, Basis, Rule, RuleBook
from outdial.files.rule_file import load_rule_book
from outdial.storage import deployment
from outdial.storage.database import database_now, wake_schedulers


def check_rule(
    connection: sa.Connection, definition: CampaignDefinition, book: RuleBook | None = None
) -> None:
    """Whether the campaign may name its rule. The first that names one accepts all rules as they are now.

    `book` None: the package's. Raises `UnknownRule`.
    """
    name = definition.calling_rule
    if name is None or name == NO_RULE:
        return
    book = book or load_rule_book()
    at = database_now(connection)
    begins_at = at if definition.starts_at is None else max(at, definition.starts_at)
    book.check_name(name, definition.purpose, begins_at.date())
    if deployment.load(connection).accepted_rules is None:
        deployment.accept_rules(connection, _newest(book))


def in_force(connection: sa.Connection, book: RuleBook) -> RulesInForce:
    """The rules as campaigns are called by them."""
    return RulesInForce(book, deployment.load(connection).accepted_rules)


def pending(connection: sa.Connection, book: RuleBook) -> tuple[Rule, ...]:
    """New rules and versions that nobody has accepted yet."""
    return in_force(connection, book).pending(database_now(connection).date())


def accept(connection: sa.Connection, names: Collection[str], book: RuleBook) -> tuple[Rule, ...]:
    """Accept the named rules, or all that are pending where none is named. Returns what was accepted.

    Raises `UnknownRule`, and `UserError` for a version older than the one that was accepted.
    """
    accepted = deployment.load(connection).accepted_rules
    chosen = tuple(book.find(name) for name in names) or pending(connection, book)
    for rule in chosen:
        if rule.version < (accepted or {}).get(rule.id, 0):
            raise UserError(
                f"A newer version of the calling rule {rule.id} was accepted already: a campaign that is to keep to the "
                f'older one names it, as rule = "{rule.name}".'
            )
    if chosen:
        base = _newest(book) if accepted is None else {}
        taken = {rule.id: rule.version for rule in chosen if rule.basis is not Basis.OWN}
        deployment.accept_rules(connection, base | taken)
        wake_schedulers(connection)
    return chosen


def _newest(book: RuleBook) -> dict[str, int]:
    rules = sorted(book.rules, key=lambda rule: rule.version)
    return {rule.id: rule.version for rule in rules if rule.basis is not Basis.OWN}
