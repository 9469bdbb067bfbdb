"""Campaigns, as an operator applies, starts, pauses, resumes and cancels them.

What stops calls may be repeated: where nothing is left to do it succeeds. A call that was about to be sent when such a
transaction commits may still leave; none does `SETTLE_SECONDS` later, so whoever reports success waits that long.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import sqlalchemy as sa

from outdial.domain.campaign import CampaignDefinition, CampaignStatus, WhenEmpty
from outdial.domain.contact import ContactState
from outdial.domain.errors import NotFound, UserError
from outdial.domain.ids import AccountId
from outdial.domain.phone_numbers import normalize
from outdial.domain.rules import NO_RULE, RuleBook
from outdial.operations import stops
from outdial.operations.accepted_rules import check_rule
from outdial.operations.campaign_changes import describe_changes
from outdial.storage import accounts, attempts, campaign_contacts, campaigns, contacts, lines
from outdial.storage.campaigns import Campaign
from outdial.storage.database import database_now, wake_schedulers

SETTLE_SECONDS: Final = stops.SETTLE_SECONDS

WITHDRAWN_AT_ONCE: Final = 10_000

OVER: Final = frozenset({CampaignStatus.COMPLETED, CampaignStatus.CANCELED})


class NotPossible(UserError):
    """What was asked cannot be done as the campaign stands; the message says what can."""


class Applied(StrEnum):
    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyResult:
    """`changes` are lines as of `describe_changes`; `notes` are sentences on what they do not do."""

    name: str
    applied: Applied
    revision: int
    status: CampaignStatus
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Where a campaign stands now. `has_changed` False: there was nothing to do.

    `withdrawn` counts contacts; while `has_more`, there are others, to be withdrawn by the same command again.
    `called_back` counts calls that the provider has and that have not rung, which it is asked to end.
    """

    name: str
    status: CampaignStatus
    has_changed: bool
    withdrawn: int = 0
    has_more: bool = False
    called_back: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignProgress:
    campaign: Campaign
    contacts: Mapping[ContactState, int]
    open_calls: int

    @property
    def total(self) -> int:
        return sum(self.contacts.values())


def apply_campaign(
    connection: sa.Connection, definition: CampaignDefinition, book: RuleBook | None = None
) -> ApplyResult:
    """Create the campaign of that name, or make it as defined. `book`: the calling rules; None: the package's.

    Raises `NotFound`, `NotPossible` and `UnknownRule`.
    """
    check_rule(connection, definition, book)
    account = accounts.by_name(connection, definition.account)
    if account is None:
        raise NotFound(
            "account",
            definition.account,
            f"Create it with `outdial account set {shlex.quote(definition.account)} …`.",
        )
    existing = campaigns.by_name(connection, definition.name)
    if existing is not None:
        # The account first, then the campaign: the one order of locks. It also holds off new calls while we count.
        accounts.lock(connection, existing.account_id)
        locked = _locked(connection, definition.name)
        if locked.account_id != existing.account_id:
            raise _changed_meanwhile(definition.name)
        existing = locked
    if existing is None:
        return _create(connection, account.id, definition)
    if existing.definition == definition:
        return _applied(existing, Applied.UNCHANGED, existing.revision, definition)
    return _change(connection, existing, account.id, definition)


def start(connection: sa.Connection, name: str) -> Moved:
    """Let a draft run, or wait for its `starts_at`. Raises `NotFound` and `NotPossible`."""
    campaign = _locked(connection, name)
    match campaign.status:
        case CampaignStatus.RUNNING | CampaignStatus.SCHEDULED:
            return _unmoved(campaign)
        case CampaignStatus.PAUSED:
            raise NotPossible(
                f"The campaign {name!r} is paused ({campaign.paused_reason or 'no reason given'}): "
                f"let it go on with `outdial campaign resume {shlex.quote(name)}`."
            )
        case CampaignStatus.DRAFT:
            if campaign.definition.when_empty is WhenEmpty.COMPLETE and not campaign_contacts.has_any(
                connection, campaign.id
            ):
                raise NotPossible(
                    f"The campaign {name!r} has no contacts and would be completed at once: import them with "
                    f"`outdial contacts import FILE.csv --campaign {shlex.quote(name)}`, "
                    'or write when_empty = "wait" in its file.'
                )
            return _let_run(connection, campaign)
        case _:
            raise _over(campaign)


def pause(connection: sa.Connection, name: str, *, paused_by: str, reason: str) -> Moved:
    """No further call of the campaign starts until it is resumed. Raises `NotFound`."""
    campaign = _locked(connection, name)
    at = database_now(connection)
    has_changed = campaigns.move_to(
        connection, campaign.id, CampaignStatus.PAUSED, at, paused_by=paused_by, paused_reason=reason
    )
    return _moved(campaign, CampaignStatus.PAUSED) if has_changed else _unmoved(campaign)


def resume(connection: sa.Connection, name: str) -> Moved:
    """Let a paused campaign go on. Raises `NotFound` and `NotPossible`."""
    campaign = _locked(connection, name)
    match campaign.status:
        case CampaignStatus.RUNNING | CampaignStatus.SCHEDULED:
            return _unmoved(campaign)
        case CampaignStatus.PAUSED:
            return _let_run(connection, campaign)
        case CampaignStatus.DRAFT:
            raise NotPossible(
                f"The campaign {name!r} was never started: start it with `outdial campaign start {shlex.quote(name)}`."
            )
        case _:
            raise _over(campaign)


def cancel(connection: sa.Connection, name: str) -> Moved:
    """End the campaign for good and withdraw who still waits, a batch at a time (see `Moved`). Raises `NotFound`.

    The workers have the provider end the calls that it has taken and whose phones do not ring yet, where it can.

    In batches, since a transaction over a million contacts would hold the stop itself back until its end.
    """
    campaign = _locked(connection, name)
    has_changed = campaigns.move_to(
        connection, campaign.id, CampaignStatus.CANCELED, database_now(connection)
    )
    if not has_changed and campaign.status is not CampaignStatus.CANCELED:
        return _unmoved(campaign)
    called_back = (
        lines.want_end(connection, campaign.id, "campaign_canceled", database_now(connection))
        if has_changed
        else 0
    )
    withdrawn = contacts.close_pending(
        connection, [campaign.id], ContactState.WITHDRAWN, "campaign_canceled", WITHDRAWN_AT_ONCE
    )
    return Moved(
        name=name,
        status=CampaignStatus.CANCELED,
        has_changed=has_changed,
        withdrawn=withdrawn,
        has_more=withdrawn == WITHDRAWN_AT_ONCE,
        called_back=called_back,
    )


def campaign_progress(connection: sa.Connection, name: str) -> CampaignProgress:
    """How the campaign's contacts stand. Raises `NotFound`."""
    campaign = campaigns.by_name(connection, name)
    if campaign is None:
        raise _not_found(name)
    return _progress(connection, campaign)


def list_campaigns(connection: sa.Connection) -> list[CampaignProgress]:
    return [_progress(connection, campaign) for campaign in campaigns.all_campaigns(connection)]


def _create(connection: sa.Connection, account_id: AccountId, definition: CampaignDefinition) -> ApplyResult:
    at = database_now(connection)
    try:
        campaigns.insert(connection, account_id, definition, at)
    except sa.exc.IntegrityError as error:
        raise _changed_meanwhile(definition.name) from error
    _add_caller_numbers(connection, account_id, definition)
    return ApplyResult(
        name=definition.name,
        applied=Applied.CREATED,
        revision=1,
        status=CampaignStatus.DRAFT,
        notes=_notes(definition, ()),
    )


def _change(
    connection: sa.Connection, existing: Campaign, account_id: AccountId, definition: CampaignDefinition
) -> ApplyResult:
    if existing.status in OVER:
        raise NotPossible(
            f"The campaign {existing.definition.name!r} is {existing.status} and cannot be changed any more: "
            "give the file another name."
        )
    if account_id != existing.account_id:
        _check_no_open_calls(connection, existing, definition.account)
    if definition.unique_by is not existing.definition.unique_by:
        _check_no_contacts(connection, existing)
    changes = tuple(describe_changes(existing.definition, definition))
    campaigns.change(connection, existing.id, account_id, definition, database_now(connection))
    _add_caller_numbers(connection, account_id, definition)
    wake_schedulers(connection)
    return _applied(existing, Applied.CHANGED, existing.revision + 1, definition, changes)


def _check_no_open_calls(connection: sa.Connection, campaign: Campaign, new_account: str) -> None:
    """A call counts for the account that placed it: moved along, both would have the wrong count."""
    open_calls = attempts.count_open(connection, campaign.account_id).by_campaign.get(campaign.id, 0)
    if open_calls:
        name = campaign.definition.name
        raise NotPossible(
            f"The campaign {name!r} has {open_calls} open call(s) and cannot go over to the account {new_account!r}: "
            f"pause it with `outdial campaign pause {shlex.quote(name)}`, wait until they have ended, and apply the file again."
        )


def _check_no_contacts(connection: sa.Connection, campaign: Campaign) -> None:
    """Who is there is known by the old rule: under a new one the same person could come in a second time."""
    campaigns.hold_off_contacts(connection, campaign.id)
    if campaign_contacts.has_any(connection, campaign.id):
        raise NotPossible(
            f"The campaign {campaign.definition.name!r} has contacts, and unique_by cannot be changed any more: "
            "leave it as it was, or give the file another name."
        )


def _add_caller_numbers(
    connection: sa.Connection, account_id: AccountId, definition: CampaignDefinition
) -> None:
    countries = {number: normalize(number).country for number in definition.caller_numbers}
    accounts.add_numbers(connection, account_id, countries, database_now(connection))


def _applied(
    campaign: Campaign,
    applied: Applied,
    revision: int,
    definition: CampaignDefinition,
    changes: tuple[str, ...] = (),
) -> ApplyResult:
    return ApplyResult(
        name=definition.name,
        applied=applied,
        revision=revision,
        status=campaign.status,
        changes=changes,
        notes=_notes(definition, changes),
    )


# What is decided when a contact comes in, and stays.
DECIDED_AT_IMPORT: Final = ("default_time_zone", "countries")


NO_RULE_SAID: Final = (
    'It names no calling rule, so that nothing but its own windows holds: write rule = "auto" to keep to what the law of '
    'each contact says, or rule = "none" to say that its windows do.'
)
NO_HOURS_AT_ALL: Final = (
    "It has no [[windows]] and no calling rule: it calls at every hour of the day and of the night."
)


def _notes(definition: CampaignDefinition, changes: tuple[str, ...]) -> tuple[str, ...]:
    notes = [
        f"{key} counts for contacts that are imported from now on; those that are there keep theirs."
        for key in DECIDED_AT_IMPORT
        if any(change.startswith(f"{key}:") for change in changes)
    ]
    if definition.calling_rule is None:
        notes.append(NO_RULE_SAID if definition.window.weekly else NO_HOURS_AT_ALL)
    elif definition.calling_rule == NO_RULE and not definition.window.weekly:
        notes.append(NO_HOURS_AT_ALL)
    return tuple(notes)


def _locked(connection: sa.Connection, name: str) -> Campaign:
    campaign = campaigns.by_name(connection, name, lock=True)
    if campaign is None:
        raise _not_found(name)
    return campaign


def _not_found(name: str) -> NotFound:
    return NotFound("campaign", name, "`outdial campaign list` shows all there are.")


def _changed_meanwhile(name: str) -> NotPossible:
    return NotPossible(
        f"The campaign {name!r} was changed by somebody else at this very moment: apply the file again."
    )


def _over(campaign: Campaign) -> NotPossible:
    return NotPossible(
        f"The campaign {campaign.definition.name!r} is {campaign.status}, and that is final: "
        "apply its file under another name to call again."
    )


def _let_run(connection: sa.Connection, campaign: Campaign) -> Moved:
    """Running from now on, or scheduled where its start is still to come."""
    at = database_now(connection)
    starts_at, ends_at = campaign.definition.starts_at, campaign.definition.ends_at
    name = campaign.definition.name
    if ends_at is not None and ends_at <= at:
        raise NotPossible(
            f"The end of the campaign {name!r} ({ends_at:%Y-%m-%d %H:%M} UTC) has passed: write a later ends_at "
            "in its file and apply it."
        )
    is_early = starts_at is not None and starts_at > at
    status = CampaignStatus.SCHEDULED if is_early else CampaignStatus.RUNNING
    campaigns.move_to(connection, campaign.id, status, at)
    wake_schedulers(connection)
    return _moved(campaign, status)


def _moved(campaign: Campaign, status: CampaignStatus) -> Moved:
    return Moved(name=campaign.definition.name, status=status, has_changed=True)


def _unmoved(campaign: Campaign) -> Moved:
    return Moved(name=campaign.definition.name, status=campaign.status, has_changed=False)


def _progress(connection: sa.Connection, campaign: Campaign) -> CampaignProgress:
    return CampaignProgress(
        campaign=campaign,
        contacts=campaign_contacts.count_by_state(connection, campaign.id),
        open_calls=campaign_contacts.count_open_calls(connection, campaign.id),
    )
