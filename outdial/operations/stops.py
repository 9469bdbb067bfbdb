"""The stop button, for everything, one account or one campaign, and its opposite.

Whoever reports a stop waits `SETTLE_SECONDS` after its commit: what had passed its last check by then has left, and
nothing leaves later. A stop is a person's: nothing but a person ends it. Doing either twice succeeds.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from outdial.domain.account import Account
from outdial.domain.campaign import CampaignStatus
from outdial.domain.errors import NotFound
from outdial.storage import accounts, adopted, campaigns, deployment, lines
from outdial.storage.campaigns import Campaign
from outdial.storage.database import database_now, wake_schedulers
from outdial.storage.lines import OpenCall

SETTLE_SECONDS: Final = 0.1
"""How old the last check before a call may be when the call leaves: what a stop waits after its commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is stopped: everything, unless an account or a campaign is named."""

    account: str | None = None
    campaign: str | None = None

    @property
    def words(self) -> str:
        if self.account is not None:
            return f"the account {self.account!r}"
        return "everything" if self.campaign is None else f"the campaign {self.campaign!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """`has_changed` False: it was so already. `notes` are sentences on what else holds calls back, or does not."""

    has_changed: bool
    notes: Sequence[str] = ()


def stop(connection: sa.Connection, scope: Scope, *, by: str, reason: str) -> Switched:
    """No further call in this scope starts, `SETTLE_SECONDS` after the commit. Raises `NotFound`."""
    at = database_now(connection)
    if scope.account is not None:
        account = find_account(connection, scope.account)
        return Switched(has_changed=accounts.stop(connection, account.id, by, reason, at))
    if scope.campaign is not None:
        campaign = find_campaign(connection, scope.campaign)
        has_changed = campaigns.move_to(
            connection, campaign.id, CampaignStatus.PAUSED, at, paused_by=by, paused_reason=reason
        )
        is_quiet = has_changed or campaign.status is CampaignStatus.PAUSED
        name = scope.campaign
        return Switched(
            has_changed=has_changed,
            notes=() if is_quiet else (f"The campaign {name!r} is {campaign.status}: it starts no calls.",),
        )
    return Switched(has_changed=deployment.stop(connection, by, reason, at))


def resume(connection: sa.Connection, scope: Scope) -> Switched:
    """End a stop of exactly this scope; others stay. Raises `NotFound`."""
    if scope.account is not None:
        has_changed = accounts.end_stop(connection, find_account(connection, scope.account).id)
    else:
        has_changed = deployment.resume(connection)
    wake_schedulers(connection)
    waiting, _ = adopted.awaiting(connection)
    notes = still_stopped(connection)
    if waiting:
        notes.append(
            f"{waiting} calls wait to be confirmed after a restore, and nobody calls their numbers before: "
            "`outdial db recover --confirm`."
        )
    return Switched(has_changed=has_changed, notes=tuple(notes))


def open_calls(connection: sa.Connection, scope: Scope) -> list[OpenCall]:
    """The calls of this scope that hold a line. Raises `NotFound`."""
    if scope.account is not None:
        return lines.open_calls(connection, account_id=find_account(connection, scope.account).id)
    if scope.campaign is not None:
        return lines.open_calls(connection, campaign_id=find_campaign(connection, scope.campaign).id)
    return lines.open_calls(connection)


def still_stopped(connection: sa.Connection, account: str | None = None) -> list[str]:
    """A sentence for every stop that is in force, over everything and over accounts, or over this one."""
    everything = stop_of_everything(connection)
    return [
        *([] if everything is None else [everything]),
        *(
            f"The account {one.name!r} is stopped, by {one.stopped_by}: {one.stopped_reason}. "
            f"`outdial resume --account {shlex.quote(one.name)}` ends that."
            for one in accounts.all_accounts(connection)
            if one.stopped_at is not None and account in {None, one.name}
        ),
    ]


def stop_of_everything(connection: sa.Connection) -> str | None:
    around = deployment.load(connection)
    if around.stopped_at is None:
        return None
    return f"Everything is stopped, by {around.stopped_by}: {around.stopped_reason}. `outdial resume --all` ends that."


def find_account(connection: sa.Connection, name: str) -> Account:
    account = accounts.by_name(connection, name)
    if account is None:
        raise NotFound("account", name, "`outdial account list` shows all there are.")
    return account


def find_campaign(connection: sa.Connection, name: str) -> Campaign:
    campaign = campaigns.by_name(connection, name, lock=True)
    if campaign is None:
        raise NotFound("campaign", name, "`outdial campaign list` shows all there are.")
    return campaign
