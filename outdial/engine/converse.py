"""One turn of a call that fetches what to say: what it told is applied through `events`, and the next turn decided.

One transaction per turn, of its own: somebody is waiting at the phone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from outdial.domain.attempt import CallEvent, EventKind
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.conversation import Turn, opening, reply_to
from outdial.domain.ids import AccountId, CallId
from outdial.domain.look_ups import Pace
from outdial.domain.script import render, words_of
from outdial.engine.definitions import Definitions
from outdial.engine.events import receive
from outdial.storage import attempts, contacts
from outdial.storage.attempts import StoredAttempt
from outdial.storage.call_events import ReceivedEvent
from outdial.storage.contacts import SpokenTo
from outdial.storage.database import database_now
from outdial.telephony.protocol import VoiceRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """The next turn, and in which language."""

    turn: Turn
    language: str


def converse(
    connection: sa.Connection,
    account_id: AccountId,
    call_id: CallId,
    asked: VoiceRequest,
    known: Definitions,
    paces: Mapping[AccountId, Pace],
) -> Spoken | None:
    """What the call says next; None: it is no call of this account. What it told is durable when this commits."""
    attempt_id = attempts.ids_by_call_id(connection, account_id, [call_id]).get(call_id)
    if attempt_id is None:
        return None
    (attempt,) = attempts.lock(connection, [attempt_id])
    definition = known.current(connection, [attempt.campaign_id])[attempt.campaign_id]
    contact = contacts.spoken_to(connection, attempt.contact_id)
    turn, event = _turn(definition, contact, attempt, asked)
    if event is not None:
        at = database_now(connection)
        heard = replace(event, at=at, call_id=call_id, provider_call_id=asked.provider_call_id)
        received = ReceivedEvent(account_id=account_id, event=heard, payload=_payload(event))
        receive(connection, [received], known, paces)
    return Spoken(turn=turn, language=contact.language or definition.language)


def _turn(
    definition: CampaignDefinition, contact: SpokenTo, attempt: StoredAttempt, asked: VoiceRequest
) -> tuple[Turn, CallEvent | None]:
    script = definition.script
    if asked.reply is None:
        words = words_of(contact.attributes, contact.name, contact.external_contact_id)
        intro = None if script.intro is None else render(script.intro, words)
        by = None if asked.event is None else asked.event.answered_by
        return opening(intro, script.questions, by, definition.call.machine), asked.event
    learned = reply_to(script.questions, asked.reply, attempt.progress.answers)
    if learned.answers is None:
        return learned.turn, None
    event = CallEvent(
        kind=EventKind.RESULT,
        # A request that the provider repeats carries the same answer.
        event_id=f"{asked.provider_call_id}-answer-{asked.reply.position}-{asked.reply.tries}",
        at=attempt.not_after,
        result=learned.result,
        answers=learned.answers,
    )
    return learned.turn, event


def _payload(event: CallEvent) -> dict[str, Any]:
    return {"voice": str(event.kind), "answers": list(event.answers or ())}
