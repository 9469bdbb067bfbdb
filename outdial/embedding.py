"""Outdial for an application of one's own: its operations, in the transactions of the host.

Every function takes a `sqlalchemy.Connection` first, which may be a session's (`session.connection()`), and works in the
transaction that is open on it: nothing commits or rolls back by itself, and what the host rolls back never happened.
Schedulers hear of it when the host commits. They are the functions that the command line calls.

Where Outdial's tables are in a schema of their own, the host's engine says so once, and no statement of the host's is
affected: `create_engine(url, execution_options={"outdial_schema": "outdial"})`.

Errors are `UserError`s: sentences for a person, with a cure. After one of them nothing has been written by the function
that raised it, and the transaction is as usable as before; after an error of the database it is not.

What stops calls (`pause_campaign`, `cancel_campaign`, `exclude`, `withdraw_contact`) is certain `SETTLE_SECONDS` after
the host's commit: until then a call whose last check came before may still leave.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import sqlalchemy as sa

from outdial.bootstrap import ADAPTERS
from outdial.domain.consent import ConsentKind
from outdial.domain.contact import OnDuplicate
from outdial.domain.errors import UserError
from outdial.engine.scheduler import SchedulerSettings
from outdial.files.rule_file import load_rule_book
from outdial.operations import (
    accounts,
    calls,
    campaign_file,
    campaigns,
    contact_lists,
    exclusions,
    preview,
    why,
    withdrawals,
)
from outdial.operations.accounts import AccountSet
from outdial.operations.adding_contacts import Added
from outdial.operations.campaigns import ApplyResult
from outdial.operations.exclusions import Excluded, Terms
from outdial.operations.preview import Preview
from outdial.operations.why import Asked, Why
from outdial.storage.database import outdials_tables

P = ParamSpec("P")
R = TypeVar("R")

SETTLE_SECONDS: Final = campaigns.SETTLE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactToAdd:
    """A person to be called. `phone_number` has its country code, or is read as one of the `region`.

    `time_zone` None: by `country` (ISO 3166 alpha-2), `region` (ISO 3166-2, or its English name) and `postal_code`, else
    by the number, else the campaign's. The law is that of the address, whatever the clock. `call_after`, `call_before`: aware instants. `priority`: higher
    is called earlier. `person_key`: the same for all numbers of one person. `consent_kind`: one of `ConsentKind`; its
    `consent_at` (aware) and `consent_source` None: now, and the `source` given beside. `has_prior_consent` is short for
    the kind `prior`. `attributes` go out with every call: a JSON object of at most 8 KiB.
    """

    phone_number: str
    external_contact_id: str | None = None
    person_key: str | None = None
    name: str | None = None
    email: str | None = None
    language: str | None = None
    time_zone: str | None = None
    country: str | None = None
    region: str | None = None
    postal_code: str | None = None
    priority: int | None = None
    call_after: datetime | None = None
    call_before: datetime | None = None
    has_prior_consent: bool = False
    consent_kind: ConsentKind | None = None
    consent_at: datetime | None = None
    consent_source: str | None = None
    do_not_call: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)


def _joining(
    operation: Callable[Concatenate[sa.Connection, P], R],
) -> Callable[Concatenate[sa.Connection, P], R]:
    """The operation on a connection of a host's, whose own statements find their own tables before and after."""

    @wraps(operation)
    def in_the_hosts_transaction(connection: sa.Connection, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with outdials_tables(connection):
            return operation(connection, *args, **kwargs)

    return in_the_hosts_transaction


def add_contacts(
    connection: sa.Connection,
    campaign: str,
    contacts: Iterable[ContactToAdd],
    *,
    source: str,
    region: str | None = None,
    on_duplicate: OnDuplicate = OnDuplicate.SKIP,
) -> Added:
    """Bring people into a campaign; if it runs, they are called once the host has committed.

    All come in or, where one cannot, none. `source`: where their consent is on record. `region` (ISO 3166 alpha-2):
    whose national numbers are meant. Who is there already, and on the exclusion list, is in what is returned.

    Raises NotFound, CampaignClosed, DuplicateContact if `on_duplicate` is that, and UserError for a contact that a
    file's row would be rejected for.
    """
    # Before the tables change hands: what the host gives may read its own tables while it is gone through.
    listed = [(_columns(contact), _attributes(contact)) for contact in contacts]
    with outdials_tables(connection):
        return contact_lists.add_listed(
            connection, campaign, listed, source=source, region=region, on_duplicate=on_duplicate
        )


find_contacts = _joining(contact_lists.find_contacts)
list_contacts = _joining(contact_lists.list_contacts)
withdraw_contact = _joining(withdrawals.withdraw_contact)

start_campaign = _joining(campaigns.start)
pause_campaign = _joining(campaigns.pause)
resume_campaign = _joining(campaigns.resume)
cancel_campaign = _joining(campaigns.cancel)
campaign_progress = _joining(campaigns.campaign_progress)

show_call = _joining(calls.show_call)
list_calls = _joining(calls.list_calls)

remove_exclusion = _joining(exclusions.remove)
check_exclusion = _joining(exclusions.check)


@_joining
def apply_campaign(
    connection: sa.Connection, definition: Mapping[str, Any], *, own_rules: Path | None = None
) -> ApplyResult:
    """Create the campaign, or make it as defined: a mapping of the shape of a campaign file (docs/campaign-file.md).

    `own_rules`: the file that `SchedulerSettings` has. Raises CampaignFileError with all that is wrong in it, NotFound
    for its account, NotPossible, UnknownRule for its rule, and RuleFileError.
    """
    book = None if own_rules is None else load_rule_book(own_rules)
    return campaigns.apply_campaign(connection, campaign_file.read_campaign(definition, "the campaign"), book)


@_joining
def preview_campaign(connection: sa.Connection, name: str, settings: SchedulerSettings) -> Preview:
    """Who may be called now and later, what blocks the others, and whether the lines suffice, as of now.

    `settings`: those of the workers, whose fence and rules hold. Seconds for a million contacts. Raises NotFound and
    RuleFileError.
    """
    return preview.preview(connection, name, _asked(settings))


@_joining
def why_contact(
    connection: sa.Connection, contact: str, settings: SchedulerSettings, *, campaign: str | None = None
) -> list[Why]:
    """Why somebody is called or is not, check by check, in one campaign or in all, and when it may be called next.

    `contact`: a number with + or an external id. `settings`: as for `preview_campaign`. Raises NotFound, RuleFileError.
    """
    return why.why(connection, contact, _asked(settings), campaign=campaign)


def _asked(settings: SchedulerSettings) -> Asked:
    return Asked(
        book=load_rule_book(settings.own_rules),
        fence=settings.fence,
        scheduler_time_zone=settings.timezone.key,
    )


@_joining
def set_account(
    connection: sa.Connection,
    name: str,
    *,
    max_concurrent_calls: int | None = None,
    calls_per_second: float | None = None,
    outbound_number: str | None = None,
    adapter: str | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    webhook_secret: str | None = None,
) -> AccountSet:
    """Create the account or change it; None leaves a value as it is. Also lifts a suspension or a back-off.

    A new one needs the limit, the number, `base_url` and `api_key`. `api_key` and `webhook_secret` are references
    (`env:NAME`, `file:PATH`), which only `AccountProviders` resolves: a provider object of one's own has its own.
    Raises InvalidAccount.
    """
    return accounts.set_account(
        connection,
        name,
        known_adapters=ADAPTERS,
        adapter=adapter,
        base_url=base_url,
        api_key=api_key,
        webhook_secret=webhook_secret,
        max_concurrent_calls=max_concurrent_calls,
        calls_per_second=calls_per_second,
        outbound_number=outbound_number,
    )


def exclude(
    connection: sa.Connection,
    phone_numbers: Iterable[str] = (),
    *,
    reason: str,
    source: str,
    person_keys: Iterable[str] = (),
    campaign: str | None = None,
    workspace: bool = False,
    expires_at: datetime | None = None,
) -> Excluded:
    """No further call to these numbers, nor to any number of these persons, until an aware instant or (None) for good.

    For one campaign, for those of the `workspace`, or else for all. Contacts who wait there are excluded and stay so.
    Raises InvalidPhoneNumber, NotFound, UserError.
    """
    if expires_at is not None and expires_at.tzinfo is None:
        raise UserError(f"expires_at is {expires_at.isoformat()}: give an instant with a time zone.")
    terms = Terms(reason=reason, source=source, campaign=campaign, workspace=workspace, expires_at=expires_at)
    # As with contacts: the host's own tables may be read on the way.
    numbers, persons = list(phone_numbers), list(person_keys)
    with outdials_tables(connection):
        return exclusions.add(connection, numbers, terms, person_keys=persons)


def _columns(contact: ContactToAdd) -> dict[str, str]:
    """As a file would have them, so that the same rules hold for both."""
    return {
        "phone_number": contact.phone_number,
        "external_contact_id": contact.external_contact_id or "",
        "person_key": contact.person_key or "",
        "name": contact.name or "",
        "email": contact.email or "",
        "language": contact.language or "",
        "time_zone": contact.time_zone or "",
        "country": contact.country or "",
        "region": contact.region or "",
        "postal_code": contact.postal_code or "",
        "priority": "" if contact.priority is None else str(contact.priority),
        "call_after": _instant("call_after", contact.call_after),
        "call_before": _instant("call_before", contact.call_before),
        "has_prior_consent": "yes" if contact.has_prior_consent else "",
        "consent_kind": contact.consent_kind or "",
        "consent_at": _instant("consent_at", contact.consent_at),
        "consent_source": contact.consent_source or "",
        "do_not_call": "yes" if contact.do_not_call else "",
    }


def _instant(name: str, instant: datetime | None) -> str:
    if instant is None:
        return ""
    if instant.tzinfo is None:
        raise UserError(f"{name} is {instant.isoformat()}: give an instant with a time zone.")
    return instant.isoformat()


def _attributes(contact: ContactToAdd) -> str:
    try:
        return json.dumps(dict(contact.attributes), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"The attributes of {contact.phone_number} are no JSON: {error}.") from error


__all__: Sequence[str] = [
    "SETTLE_SECONDS",
    "ConsentKind",
    "ContactToAdd",
    "add_contacts",
    "apply_campaign",
    "campaign_progress",
    "cancel_campaign",
    "check_exclusion",
    "exclude",
    "find_contacts",
    "list_calls",
    "list_contacts",
    "pause_campaign",
    "preview_campaign",
    "remove_exclusion",
    "resume_campaign",
    "set_account",
    "show_call",
    "start_campaign",
    "why_contact",
    "withdraw_contact",
]
