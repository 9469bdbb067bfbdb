"""Is this installation fit to call? Each check says what it found and, where something is wrong, what to do about it.

Nothing is written and no provider is asked (`account check` does that). What a check says holds no phone number and no
secret.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

import phonenumbers
import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.campaign import CampaignStatus
from outdial.domain.errors import SchemaOutOfDate
from outdial.domain.fences import Fence
from outdial.domain.holiday_calendar import PACKAGE_VERSION
from outdial.domain.rules import AUTO, NO_RULE, RuleBook, UnknownRule
from outdial.domain.zones import zone_data_version
from outdial.operations.accepted_rules import pending
from outdial.storage import accounts, adopted, campaign_contacts, campaigns, deployment, migrate, workers
from outdial.storage.campaigns import Campaign
from outdial.storage.database import database_now

OLDEST_PYTHON: Final = (3, 11)
OLDEST_SERVERS: Final[Mapping[str, tuple[int, ...]]] = {"postgresql": (14,), "sqlite": (3, 35)}
# A worker that lives beats every other second; nobody takes one for dead earlier.
SILENCE: Final = timedelta(seconds=20)


class Verdict(StrEnum):
    """`fail`: nobody, or not all who should, can be called."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`cure` None: there is nothing to do."""

    name: str
    verdict: Verdict
    says: str
    cure: str | None = None


def check_program(today: date) -> Iterator[Check]:
    """Python, and how new the data are by which it works out who may be called when."""
    is_new = sys.version_info[:2] >= OLDEST_PYTHON
    yield Check(
        name="python",
        verdict=Verdict.PASS if is_new else Verdict.FAIL,
        says=f"Python {platform.python_version()}",
        cure=None if is_new else "Install Python {}.{} or newer.".format(*OLDEST_PYTHON),
    )
    zone_data = zone_data_version()
    is_old = zone_data.is_old(today)
    yield Check(
        name="time zones",
        verdict=Verdict.WARN if is_old else Verdict.PASS,
        says=f"tzdata {zone_data.version}" + (", older than half a year" if is_old else ""),
        cure="Update it with `pip install --upgrade tzdata`, and start the workers again."
        if is_old
        else None,
    )
    yield passed("holidays", f"the package holidays {PACKAGE_VERSION}")
    yield passed("phone numbers", f"the package phonenumbers {phonenumbers.__version__}")


def check_schema(connection: sa.Connection) -> Iterator[Check]:
    """The server, and whether its tables are those that this program needs."""
    name = connection.dialect.name
    version = connection.dialect.server_version_info or ()
    shown = ".".join(map(str, version))
    oldest = OLDEST_SERVERS[name]
    is_new = tuple(version) >= oldest
    yield Check(
        name="database",
        verdict=Verdict.PASS if is_new else Verdict.FAIL,
        says=f"{name} {shown}",
        cure=None if is_new else f"Use {name} {'.'.join(map(str, oldest))} or newer.",
    )
    try:
        migrate.check(connection)
    except SchemaOutOfDate as error:
        found = "there is none" if error.found is None else f"at revision {error.found}"
        yield Check(
            name="schema",
            verdict=Verdict.FAIL,
            says=f"{found}, and this program needs {error.expected}",
            cure="Run `outdial db upgrade`, or install the version of Outdial that made it.",
        )
    else:
        yield passed("schema", f"at revision {migrate.expected_revision()}")


def check_installation(
    connection: sa.Connection,
    fence: Fence,
    what_is_missing: Callable[[Account], str | None],
    book: RuleBook | None,
) -> Iterator[Check]:
    """What keeps contacts from being called. `what_is_missing`: of an account, in a sentence; None: it is complete.

    `book`: the calling rules; None: they cannot be read, which was said already.
    """
    around = deployment.load(connection)
    why_not = fence.why_not_here(around.name)
    if why_not is None:
        yield passed("deployment", around.name or "the database has no name")
    else:
        yield Check(
            name="deployment",
            verdict=Verdict.FAIL,
            says=f"the database belongs to {around.name!r}, this process does not",
            cure=f"Set OUTDIAL_DEPLOYMENT={around.name} where the calls are really meant.",
        )
    if around.stopped_at is not None:
        yield Check(
            name="stops",
            verdict=Verdict.WARN,
            says=f"everything is stopped by {around.stopped_by}: {around.stopped_reason}",
            cure="`outdial resume --all` lets it go on.",
        )
    else:
        yield passed("stops", "nothing stops everything")
    yield from _accounts(connection, what_is_missing)
    if book is not None:
        yield _new_rules(connection, book)
    yield _workers(connection)
    yield from _awaiting(connection)
    yield from _campaigns(connection, book)


def passed(name: str, says: str) -> Check:
    return Check(name=name, verdict=Verdict.PASS, says=says)


def _accounts(connection: sa.Connection, what_is_missing: Callable[[Account], str | None]) -> Iterator[Check]:
    found = accounts.all_accounts(connection)
    if not found:
        yield Check(
            name="accounts",
            verdict=Verdict.WARN,
            says="there is none",
            cure="Make one with `outdial account set NAME`.",
        )
    for account in found:
        trouble = _trouble_of(account, what_is_missing(account))
        name = f"account {account.name}"
        if trouble is None:
            yield passed(name, "complete: its secrets are there, its events have a way back")
        else:
            verdict, says, cure = trouble
            yield Check(name=name, verdict=verdict, says=says, cure=cure)


def _trouble_of(account: Account, missing: str | None) -> tuple[Verdict, str, str] | None:
    """What is wrong first, and its cure."""
    check = f"`outdial account check {account.name}`"
    failures = account.throttle.unreachable_count
    if missing is not None:
        return Verdict.FAIL, missing, f"When that is mended, {check} reaches the provider."
    if account.suspended_at is not None:
        says = f"suspended: {account.suspended_reason}"
        return Verdict.FAIL, says, f"{check} says what the provider wants; it is asked again by itself."
    if account.breaker is not None:
        says = f"its breaker is {account.breaker.replace('_', ' ')}: {account.breaker_reason}"
        return Verdict.FAIL, says, f"{check} says whether the provider answers; it is tried again by itself."
    if failures:
        says = f"its provider could not be reached the last {failures} times"
        return Verdict.FAIL, says, f"{check} says what is wrong; it is tried again by itself."
    if account.webhooks_missing_at is not None:
        cure = (
            "Is `outdial serve` running, and reached by the provider at OUTDIAL_PUBLIC_URL? Its log says whether webhooks are "
            "refused for their signature."
        )
        return Verdict.FAIL, "its webhooks do not arrive: only look-ups tell how calls end", cure
    if account.stopped_at is not None:
        says = f"stopped by {account.stopped_by}: {account.stopped_reason}"
        return Verdict.WARN, says, f"`outdial resume --account {account.name}` lets it go on."
    return None


def _workers(connection: sa.Connection) -> Check:
    at = database_now(connection)
    alive = workers.beating_since(connection, at - SILENCE)
    if not alive:
        return Check(
            name="workers",
            verdict=Verdict.WARN,
            says=f"none was heard of for {SILENCE.total_seconds():.0f} s",
            cure="Start one with `outdial run`, or `outdial serve --with-worker`.",
        )
    last = (at - max(beat_at for _, beat_at in alive)).total_seconds()
    return passed("workers", f"{len(alive)} at work, the last heard of {max(0.0, last):.0f} s ago")


def _awaiting(connection: sa.Connection) -> Iterator[Check]:
    """Only after a restore is there anything to say."""
    waiting, still_open = adopted.awaiting(connection)
    if waiting:
        yield Check(
            name="restore",
            verdict=Verdict.WARN,
            says=f"{waiting} calls, {still_open} of them open still, wait until a person confirms what is known of them",
            cure="`outdial db recover --confirm` settles them; nobody calls their numbers before.",
        )


def _new_rules(connection: sa.Connection, book: RuleBook) -> Check:
    waiting = pending(connection, book)
    if not waiting:
        return passed("new rules", "none waits to be accepted")
    return Check(
        name="new rules",
        verdict=Verdict.WARN,
        says=f"until they are accepted, older ones hold beside: {_listed([rule.name for rule in waiting])}",
        cure="`outdial rules accept` shows them, `outdial rules accept --all` accepts them.",
    )


def _lost_rules(running: Sequence[Campaign], book: RuleBook | None) -> Iterator[Check]:
    """Rules that running campaigns name and nobody knows here: these campaigns call nobody."""
    lost = sorted(
        {name for one in running if (name := one.definition.calling_rule) and not _is_known(name, book)}
    )
    if book is not None and lost:
        yield Check(
            name="named rules",
            verdict=Verdict.FAIL,
            says=f"running campaigns name rules that are not known here, and call nobody: {_listed(lost)}",
            cure="Set OUTDIAL_RULES_FILE to the file that has them, for every process, or name others and apply again.",
        )


def _is_known(name: str, book: RuleBook | None) -> bool:
    if book is None or name in {AUTO, NO_RULE}:
        return True
    try:
        book.find(name)
    except UnknownRule:
        return False
    return True


def _campaigns(connection: sa.Connection, book: RuleBook | None) -> Iterator[Check]:
    running = [one for one in campaigns.all_campaigns(connection) if one.status is CampaignStatus.RUNNING]
    lawless = sorted(one.definition.name for one in running if one.definition.calling_rule is None)
    if lawless:
        yield Check(
            name="calling rules",
            verdict=Verdict.WARN,
            says=f"running without one, by their windows alone: {_listed(lawless)}",
            cure='Write rule = "auto" (or rule = "none", if that is meant) in their files, and apply these again.',
        )
    else:
        yield passed("calling rules", "no running campaign is without one")
    yield from _lost_rules(running, book)
    names = {one.id: one.definition.name for one in running}
    waiting = campaign_contacts.count_waiting_in_unknown_zones(connection, list(names))
    served = {one.id for one in running if one.definition.serves_unknown_zones}
    held = {names[campaign_id]: count for campaign_id, count in waiting.items() if campaign_id not in served}
    if held:
        yield Check(
            name="unknown zones",
            verdict=Verdict.WARN,
            says=f"{sum(held.values())} contacts wait for ever, since their time zone is unknown: {_listed(sorted(held))}",
            cure='Import them again with a time_zone or a country, or write unknown_zone = "use_default".',
        )
    else:
        yield passed("unknown zones", "nobody waits in one")


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
