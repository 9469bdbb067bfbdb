"""A test call: one call for a campaign, made and followed by whoever asked for it, and counted nowhere.

It is made by the process that asks, not by a worker, but by the same steps: under the account's lock, within its lines
and its rate, past the same last check. Exclusions, stops and fences hold for it; windows do too, unless the person
says that it is to be now; whether the campaign runs does not matter, as long as it is not over. Its contact is marked
as a test, so that it stands in no queue, count or result, and the next free line is its.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from outdial.clock import Clock
from outdial.domain.accepted_rules import RulesInForce
from outdial.domain.account import Account, limits_facts
from outdial.domain.campaign import CampaignDefinition, CampaignStatus
from outdial.domain.contact import Stage
from outdial.domain.errors import NotFound, UserError
from outdial.domain.fences import Fence
from outdial.domain.ids import AttemptId, CallId, CallingZoneId, CampaignId, ContactId, WorkerId
from outdial.domain.pacing import reserve
from outdial.domain.patience import NOT_AFTER, Patience
from outdial.domain.permit import Permit, Reason, Terms, hours_in_words, zone_permit
from outdial.domain.phone_numbers import normalize
from outdial.domain.whole_checks import account_refusal, free_lines, stop_refusal, usable_numbers
from outdial.domain.zones import CallingZone, calling_zone_of
from outdial.engine.claim import ClaimedCall
from outdial.engine.definitions import Definitions
from outdial.engine.dial import Dialer, DialResult
from outdial.engine.events import apply
from outdial.engine.lease import Lease
from outdial.engine.look_ups import ask
from outdial.engine.slots import Moment
from outdial.engine.transactions import Transactions
from outdial.files.rule_books import KeptRuleBook, RuleBooks
from outdial.storage import (
    accounts,
    attempts,
    calling_zones,
    campaigns,
    deployment,
    excluded_contacts,
    lines,
    reports,
    test_calls,
    workers,
)
from outdial.storage.attempts import ClaimedRow, NewAttempt
from outdial.storage.database import database_now, wake_schedulers
from outdial.storage.due_contacts import DueContact
from outdial.storage.excluded_contacts import Whom
from outdial.storage.timeline import timeline_of
from outdial.telephony.caller import Caller

# How long a test call waits for a line and a slot.
PATIENCE: Final = timedelta(seconds=60)
TRY_AGAIN_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 0.25
# Without an event for so long, the provider is asked.
ASK_SECONDS: Final = 3.0
OVER: Final = frozenset({CampaignStatus.COMPLETED, CampaignStatus.CANCELED})


class NotCallable(UserError):
    """The test call may not be made; the message says why, and what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A test call that waits for its line."""

    contact_id: ContactId
    account: Account
    campaign_id: CampaignId
    revision: int
    definition: CampaignDefinition
    phone_number: str
    from_number: str
    zone_id: CallingZoneId
    permit: Mapping[str, Any]
    permitted_until: datetime | None
    until: datetime


def prepare(
    connection: sa.Connection,
    campaign: str,
    phone_number: str,
    fence: Fence,
    *,
    scheduler_time_zone: str,
    rule_books: RuleBooks | None = None,
    now: bool,
) -> Trial:
    """Check all that can be checked before, and line up; `now`: whatever the windows say. Raises `NotFound`, `InvalidPhoneNumber`, `NotCallable`."""
    found = campaigns.by_name(connection, campaign)
    if found is None:
        raise NotFound("campaign", campaign, "`outdial campaign list` shows all there are.")
    if found.status in OVER:
        raise NotCallable(f"The campaign {campaign!r} is {found.status}: apply its file under another name.")
    account = accounts.by_id(connection, found.account_id)
    assert account is not None, "accounts are never deleted"
    number = normalize(phone_number)
    definition = found.definition
    if definition.countries and number.country not in definition.countries:
        raise NotCallable(
            f"{number.e164} is in none of the campaign's countries ({', '.join(definition.countries)})."
        )
    _check_fences(connection, account, number.e164, fence)
    at = database_now(connection)
    if excluded_contacts.among(connection, [Whom(number.e164)], found.id, at):
        raise NotCallable(
            f"{number.e164} is excluded, and that holds for tests too: `outdial exclusions show {number.e164}` says why."
        )
    zone = calling_zone_of(number.e164, default_time_zone=definition.default_time_zone)
    terms = Terms(
        rules=RulesInForce((rule_books or KeptRuleBook())(), deployment.load(connection).accepted_rules),
        scheduler_time_zone=scheduler_time_zone,
        blocked_countries=account.blocked_countries,
    )
    permit = _permit(account, definition, zone, at, terms, now=now)
    from_numbers = usable_numbers(definition, account, accounts.resting_numbers(connection, account.id))
    if not from_numbers:
        raise NotCallable(
            f"No caller number may be shown: `outdial numbers list --account {account.name}` says why."
        )
    zone_id = calling_zones.ensure(connection, [zone])[zone.key]
    until = at + PATIENCE
    contact_id = test_calls.insert(
        connection, found.id, zone_id, number.e164, key=at.isoformat(), at=at, until=until
    )
    return Trial(
        contact_id=contact_id,
        account=account,
        campaign_id=found.id,
        revision=found.revision,
        definition=definition,
        phone_number=number.e164,
        from_number=from_numbers[0],
        zone_id=zone_id,
        permit={"hours_not_asked": True} if permit is None else permit.facts(at),
        permitted_until=None if permit is None else permit.until,
        until=until,
    )


async def place(
    trial: Trial,
    caller: Caller,
    transactions: Transactions,
    fence: Fence,
    callback_url: str | None,
    new_call_id: Callable[[], CallId],
    clock: Clock,
) -> DialResult:
    """Wait for a line and a slot, dial, and record the answer. Raises `NotCallable` when there was no line in time."""
    known = Definitions()
    worker_id = await transactions.run(_start)
    try:
        call = None
        lease = Lease(clock, known.patience)
        while call is None:
            sent_at = clock.monotonic()
            call = await transactions.run(_claim, trial, worker_id, fence, new_call_id(), clock)
            lease.renewed(sent_at)
            if call is None:
                await clock.sleep_async(TRY_AGAIN_SECONDS)
        dialer = Dialer(
            account=trial.account,
            worker_id=worker_id,
            caller=caller,
            callback_url=callback_url,
            fence=fence,
            lease=lease,
            transactions=transactions,
            known=known,
            clock=clock,
        )
        tolerance = trial.account.rate.tolerance().total_seconds()
        return await dialer.dial(call, trial.definition, tolerance)
    finally:
        await transactions.run(_leave, trial.contact_id, worker_id)


async def follow(
    attempt_id: AttemptId, caller: Caller, transactions: Transactions, clock: Clock
) -> AsyncIterator[sa.RowMapping]:
    """The attempt's row whenever it has changed, until it is settled. Where no event comes, the provider is asked."""
    known = Definitions()
    last: sa.RowMapping | None = None
    asked_at = clock.monotonic()
    while True:
        row = await transactions.run(reports.call_by_id, attempt_id)
        assert row is not None, "attempts are never deleted"
        if row != last:
            last, asked_at = row, clock.monotonic()
            yield row
        if row["settled_at"] is not None:
            return
        if row["ended_at"] is not None:
            # Settled if its time to wait for a result is over.
            await transactions.run(apply, {attempt_id: []}, known)
        elif caller.can_look_up and clock.monotonic() - asked_at > ASK_SECONDS:
            asked_at = clock.monotonic()
            open_calls = await transactions.run(lines.open_calls, attempt_id=attempt_id)
            await ask(transactions, open_calls, {one.account_id: caller for one in open_calls}, known)
        await clock.sleep_async(LOOK_SECONDS)


def _check_fences(connection: sa.Connection, account: Account, number: str, fence: Fence) -> None:
    around = deployment.load(connection)
    not_here = fence.why_not_here(around.name)
    if not_here is not None:
        raise NotCallable(not_here)
    if not fence.allows(number):
        raise NotCallable(f"{number} is not among the numbers of OUTDIAL_DIAL_ONLY: add it there.")
    if stop_refusal(account, not_here=None, everything_stopped_at=around.stopped_at) is not None:
        raise NotCallable(
            "Calls are stopped, and that holds for tests too: `outdial account list` says by whom, `outdial resume --all` "
            "(or --account NAME) ends it."
        )
    if account.suspended_at is not None:
        raise NotCallable(
            f"The account {account.name!r} is suspended ({account.suspended_reason}): mend that, "
            f"then `outdial account set {account.name}` lifts it."
        )


def _permit(
    account: Account,
    definition: CampaignDefinition,
    zone: CallingZone,
    at: datetime,
    terms: Terms,
    *,
    now: bool,
) -> Permit | None:
    """None: it is closed, and `now` wants the call all the same."""
    answer = zone_permit(definition, zone, at, terms)
    if isinstance(answer, Permit):
        return answer
    if answer.reason is Reason.DESTINATION_BLOCKED:
        raise NotCallable(
            f"The provider lets the account {account.name!r} call nobody in {zone.country}: when that is mended, "
            f"`outdial account set {account.name}` lifts it."
        )
    if now:
        return None
    why = answer.says or hours_in_words(definition, zone, at, terms)
    raise NotCallable(f"Outside the lawful hours: {why}. To call all the same, add --now.")


def _claim(
    connection: sa.Connection,
    trial: Trial,
    worker_id: WorkerId,
    fence: Fence,
    call_id: CallId,
    clock: Clock,
) -> ClaimedCall | None:
    """The one attempt of the test; None while there is no line or no slot. By the claim's own steps and locks."""
    around = deployment.load(connection)
    account = accounts.lock(connection, trial.account.id)
    assert account is not None, "accounts are never deleted"
    read_at = clock.monotonic()
    open_calls = attempts.count_open(connection, account.id)
    moment = Moment(at=open_calls.at, read_at=read_at)
    refusal = account_refusal(
        account,
        moment.at,
        not_here=fence.why_not_here(around.name),
        everything_stopped_at=around.stopped_at,
        # What is kept for tests is kept for this one too.
        free=free_lines(account, open_calls.total, 0),
    )
    timeline = timeline_of(connection)
    if timeline is not None and account.timeline not in {None, timeline}:
        raise NotCallable(
            "The database was replaced by another: a worker compares the account's calls with the provider's first."
        )
    if refusal is not None and refusal.reason in {Reason.STOPPED, Reason.OTHER_DEPLOYMENT}:
        raise NotCallable("Calls were stopped while the test call waited for a line.")
    if refusal is not None:
        if moment.at > trial.until:
            raise NotCallable(
                f"No line came free for the test call in {PATIENCE.seconds} s ({refusal.reason})."
            )
        return None
    slots = reserve(account.rate, account.throttle, account.rate_cursor_at, moment.at, 1)
    dial_at = max(slots.instants[0], moment.at)
    until = trial.permitted_until
    if until is not None and until <= dial_at:
        raise NotCallable("The campaign's window closed while the test call waited for a line.")
    new = NewAttempt(
        contact_id=trial.contact_id,
        campaign_id=trial.campaign_id,
        campaign_revision=trial.revision,
        account_id=account.id,
        phone_number=trial.phone_number,
        from_number=trial.from_number,
        attempt_number=1,
        call_id=call_id,
        dial_at=dial_at,
        not_after=dial_at + NOT_AFTER if until is None else min(dial_at + NOT_AFTER, until),
        look_up_at=dial_at + Patience().unsent,
        permit={
            **trial.permit,
            **limits_facts(account, trial.definition.max_concurrent_calls),
            "is_test": True,
        },
    )
    inserted = attempts.insert(connection, [new], claim_id=call_id, worker_id=worker_id, at=moment.at)
    if not inserted:
        raise NotCallable(f"{trial.phone_number} has an open call: a number has one at a time.")
    if not test_calls.begin(connection, trial.contact_id, moment.at):
        raise NotCallable("The test call was withdrawn while it waited for a line.")
    cursor = slots.cursor_after(1)
    if cursor is not None and slots.interval:
        accounts.move_cursor(connection, account.id, cursor)
    return ClaimedCall(
        attempt_id=inserted[trial.contact_id],
        call_id=call_id,
        contact=_contact(trial),
        campaign_id=trial.campaign_id,
        from_number=trial.from_number,
        dial_at=moment.monotonic(dial_at),
        deadline=moment.monotonic(new.not_after),
        not_after=new.not_after,
        row=ClaimedRow(new=new, claim_id=call_id, worker_id=worker_id),
    )


def _contact(trial: Trial) -> DueContact:
    return DueContact(
        id=trial.contact_id,
        campaign_id=trial.campaign_id,
        calling_zone_id=trial.zone_id,
        priority=0,
        stage=Stage.FIRST,
        phone_number=trial.phone_number,
        external_contact_id=None,
        name=None,
        email=None,
        language=None,
        attributes={},
        attempts_count=0,
        call_before=None,
        is_excluded=False,
        is_busy=False,
    )


def _start(connection: sa.Connection) -> WorkerId:
    return workers.start(connection, "test call", database_now(connection))


def _leave(connection: sa.Connection, contact_id: ContactId, worker_id: WorkerId) -> None:
    """The line that was kept for it, if it never had one, is everybody's again."""
    test_calls.give_up(connection, contact_id)
    workers.stop(connection, worker_id, database_now(connection))
    wake_schedulers(connection)
