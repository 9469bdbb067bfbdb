"""A test call, followed live: a line for everything that happens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from outdial.cli.context import Context
from outdial.cli.output import say, shown, warn

if TYPE_CHECKING:
    import sqlalchemy as sa

    from outdial.bootstrap import AccountProviders
    from outdial.domain.ids import AttemptId
    from outdial.engine.trial import Trial

INSTANTS: Final = {
    "sent_at": "sent to the provider",
    "started_at": "the provider has it",
    "ringing_at": "ringing",
    "answered_at": "answered",
    "ended_at": "over",
}


def call_and_follow(context: Context, campaign: str, number: str, *, now: bool) -> bool:
    """Whether the call was answered."""
    from outdial.bootstrap import AccountProviders, fence_of
    from outdial.engine.trial import prepare
    from outdial.files.rule_books import KeptRuleBook
    from outdial.settings import own_rules_file
    from outdial.storage import test_calls

    settings = context.settings
    trial = context.run(
        prepare,
        campaign,
        number,
        fence_of(settings),
        scheduler_time_zone=settings.scheduler_time_zone,
        rule_books=KeptRuleBook(own_rules_file()),
        now=now,
    )
    try:
        providers = AccountProviders(settings)
        # Now, so that a missing secret is said before a call is announced.
        providers.provider_for(trial.account)
        say(f"Calling {trial.phone_number} from {trial.from_number}, as {campaign} would.")
        return asyncio.run(_call(context, trial, providers))
    finally:
        # Where it never had a line, the one that is kept for it is everybody's again.
        context.run(test_calls.give_up, trial.contact_id)


async def _call(context: Context, trial: Trial, providers: AccountProviders) -> bool:
    from outdial.bootstrap import fence_of
    from outdial.engine.call_ids import call_id_factory
    from outdial.engine.transactions import Transactions
    from outdial.engine.trial import follow, place
    from outdial.telephony.caller import caller_for
    from outdial.telephony.transport import AsyncTransport

    transactions = Transactions(context.database)
    callback_url = providers.callback_url_for(trial.account)
    async with AsyncTransport() as transport:
        caller = caller_for(providers.provider_for(trial.account), transport, None)
        new_call_id = call_id_factory(context.clock)
        fence = fence_of(context.settings)
        done = await place(trial, caller, transactions, fence, callback_url, new_call_id, context.clock)
        said: set[str] = set()
        ending: str | None = None
        say(f"call  {done.call.call_id}")
        attempt_id: AttemptId = done.call.attempt_id
        async for row in follow(attempt_id, caller, transactions, context.clock):
            for line in _news(row, said):
                say(line)
            ending = row["ending"]
    return ending == "answered"


def _news(row: sa.RowMapping, said: set[str]) -> Iterator[str]:
    """What the row tells that was not said before."""
    for column, words in INSTANTS.items():
        if row[column] is not None and column not in said:
            said.add(column)
            yield f"{shown(row[column])}  {words}"
    if row["state"] == "in_doubt" and "doubt" not in said:
        said.add("doubt")
        warn("The provider gave no clear answer: it is asked whether it has the call.")
    if row["ending"] == "not_placed" and row["error_class"] == "released":
        warn(
            "It was not sent: what must hold for every call changed at the last moment, or its slot was missed."
        )
    if row["settled_at"] is not None:
        facts = (
            "ending",
            "answered_by",
            "result",
            "outcome",
            "duration_seconds",
            "error_class",
            "error_code",
        )
        told = ", ".join(
            f"{name.replace('_', ' ')} {shown(row[name])}" for name in facts if row[name] is not None
        )
        yield f"{shown(row['settled_at'])}  {told}"
        for answer in row["answers"] or ():
            yield f"  {shown(answer)}"
