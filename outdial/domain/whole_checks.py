"""May this account dial now, and this campaign be called for? What holds everybody at once, by the same words as a permit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from outdial.domain.account import Account
from outdial.domain.breaker import Breaker, lines_in_trial
from outdial.domain.campaign import CampaignDefinition, CampaignStatus
from outdial.domain.pacing import HORIZON, reserve
from outdial.domain.permit import Reason, Refusal


def free_lines(account: Account, open_calls: int, tests_waiting: int) -> int:
    """`tests_waiting`: test calls that wait for a line, which is theirs before all others'."""
    return max(0, account.max_concurrent_calls - open_calls - tests_waiting)


def account_refusal(
    account: Account,
    at: datetime,
    *,
    not_here: str | None,
    everything_stopped_at: datetime | None,
    free: int,
) -> Refusal | None:
    """What holds the whole account at `at`, if anything; see the single checks."""
    return (
        stop_refusal(account, not_here=not_here, everything_stopped_at=everything_stopped_at)
        or provider_refusal(account, at)
        or lines_refusal(account, free)
        or rate_refusal(account, at)
    )


def stop_refusal(
    account: Account, *, not_here: str | None, everything_stopped_at: datetime | None
) -> Refusal | None:
    """Whether a person, or the fence around a deployment, holds the whole account. `not_here`: see `Fence`."""
    if not_here is not None:
        return Refusal(reason=Reason.OTHER_DEPLOYMENT, until=None, says=not_here)
    if everything_stopped_at is not None:
        return Refusal(
            reason=Reason.STOPPED, until=None, says="everything is stopped: `outdial resume --all` ends it"
        )
    if account.stopped_at is not None:
        says = f"the account {account.name} was stopped by {account.stopped_by}: {account.stopped_reason}"
        return Refusal(reason=Reason.STOPPED, until=None, says=says)
    return None


def provider_refusal(account: Account, at: datetime) -> Refusal | None:
    """Whether the provider's answers hold the account."""
    if account.suspended_at is not None:
        says = f"the account {account.name} is suspended: {account.suspended_reason}"
        return Refusal(reason=Reason.ACCOUNT_SUSPENDED, until=None, says=says)
    if lines_in_trial(account.breaker, account.trial_until, at) == 0:
        what = "one call is being tried" if account.breaker is Breaker.HALF_OPEN else "its breaker is open"
        says = f"the provider of the account {account.name} is in trouble, {what}: {account.breaker_reason}"
        return Refusal(reason=Reason.BREAKER_OPEN, until=account.trial_until, says=says)
    not_before = account.throttle.not_before
    if not_before is not None and not_before > at:
        says = f"the provider asked the account {account.name} to wait"
        return Refusal(reason=Reason.ACCOUNT_BACKING_OFF, until=not_before, says=says)
    return None


def lines_refusal(account: Account, free_lines: int) -> Refusal | None:
    if free_lines > 0:
        return None
    says = f"all {account.max_concurrent_calls} lines of the account {account.name} are in use"
    return Refusal(reason=Reason.LINES_BUSY, until=None, says=says)


def rate_refusal(account: Account, at: datetime) -> Refusal | None:
    """Whether every slot that may be reserved yet is taken."""
    if reserve(account.rate, account.throttle, account.rate_cursor_at, at, 1).instants:
        return None
    says = f"all slots of the account {account.name} for the next second are taken"
    return Refusal(reason=Reason.RATE, until=(account.rate_cursor_at or at) - HORIZON, says=says)


def campaign_refusal(status: CampaignStatus, definition: CampaignDefinition, at: datetime) -> Refusal | None:
    """Whether the campaign runs at `at`."""
    if definition.ends_at is not None and definition.ends_at <= at:
        return Refusal(reason=Reason.NOT_RUNNING, until=None, says="the campaign has passed its end")
    if definition.starts_at is not None and definition.starts_at > at:
        is_on_its_way = status in {CampaignStatus.RUNNING, CampaignStatus.SCHEDULED}
        until = definition.starts_at if is_on_its_way else None
        return Refusal(
            reason=Reason.NOT_RUNNING, until=until, says=f"the campaign is {status} and has not begun"
        )
    if status is not CampaignStatus.RUNNING:
        return Refusal(reason=Reason.NOT_RUNNING, until=None, says=f"the campaign is {status}")
    return None


def limit_refusal(definition: CampaignDefinition, open_calls: int) -> Refusal | None:
    limit = definition.max_concurrent_calls
    if limit is None or open_calls < limit:
        return None
    return Refusal(
        reason=Reason.CAMPAIGN_LIMIT, until=None, says=f"the campaign has all of its {limit} calls open"
    )


def usable_numbers(
    definition: CampaignDefinition, account: Account, resting: Collection[str]
) -> Sequence[str]:
    """The caller numbers that may be shown: the campaign's own, else the account's."""
    default = (account.outbound_number,) if account.outbound_number else ()
    return [number for number in definition.caller_numbers or default if number not in resting]


def numbers_refusal(numbers: Sequence[str]) -> Refusal | None:
    if numbers:
        return None
    return Refusal(
        reason=Reason.NO_CALLER_NUMBER, until=None, says="there is no caller number that may be shown"
    )
