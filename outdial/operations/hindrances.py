"""What keeps a whole campaign from calling although it runs, in sentences that say what to do about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import sqlalchemy as sa

from outdial.domain.errors import NotFound
from outdial.storage import accounts, campaign_contacts, campaigns


def hindrances(connection: sa.Connection, campaign: str) -> list[str]:
    """What the provider's answers brought upon the campaign's account and its caller numbers. Raises `NotFound`."""
    return list(_hindrances(connection, campaign))


def _hindrances(connection: sa.Connection, name: str) -> Iterator[str]:
    campaign = campaigns.by_name(connection, name)
    if campaign is None:
        raise NotFound("campaign", name, "`outdial campaign list` shows all there are.")
    account = accounts.by_id(connection, campaign.account_id)
    assert account is not None, "accounts are never deleted"
    own = shlex.quote(account.name)
    if account.suspended_at is not None:
        yield (
            f"The account {account.name!r} is suspended: {account.suspended_reason}. It is tried again by itself; "
            f"`outdial account set {own}` ends that at once."
        )
    if account.breaker is not None:
        yield (
            f"The breaker of the account {account.name!r} is {account.breaker.replace('_', ' ')}: {account.breaker_reason}. "
            f"It is tried again by itself; `outdial account set {own}` ends that at once."
        )
    if account.throttle.unreachable_count and account.throttle.not_before is not None:
        yield (
            f"The provider of the account {account.name!r} cannot be reached: it is tried again at "
            f"{account.throttle.not_before:%H:%M:%S} UTC. `outdial account check {own}` says what is wrong."
        )
    countries = campaign_contacts.open_countries(connection, campaign.id)
    for country in sorted(account.blocked_countries.keys() & countries):
        yield (
            f"The account {account.name!r} may not call {country}: {account.blocked_countries[country]}. "
            f"`outdial account set {own}` opens it again when the provider allows it."
        )
    default = (account.outbound_number,) if account.outbound_number else ()
    numbers = campaign.definition.caller_numbers or default
    if not numbers:
        yield f"There is no number to show: give one with `outdial account set {own} --from NUMBER`."
    for row in accounts.numbers(connection, account.id):
        if row["phone_number"] in numbers and row["state"] != "in_use":
            yield (
                f"The caller number {row['phone_number']} is {row['state']}: {row['reason']}. "
                f"`outdial numbers use {row['phone_number']} --account {own}` shows it again."
            )
