"""The documents that calls fetch, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import httpx
import pytest
import sqlalchemy as sa
from twilio.request_validator import RequestValidator

from outdial.api.app import create_app
from outdial.clock import SystemClock
from outdial.domain.account import Account
from outdial.domain.attempt import Ending, EventKind
from outdial.domain.campaign import AnswerType, Question, Script
from outdial.storage.tables import call_attempts
from outdial.telephony.adapters.http import GenericHttpAdapter
from outdial.telephony.adapters.twilio import TwilioAdapter
from tests.support.served import served
from tests.support.world import RecordingProvider, World, event, number

TOKEN = "token"
SID = "CA" + "1" * 32
PUBLIC_URL = "https://calls.example.com/outdial"
SCRIPT = Script(
    intro="Hello {name}",
    questions=(
        Question(position=1, text="How likely?", answer_type=AnswerType.SCALE),
        Question(position=2, text="Why?"),
    ),
)


@dataclass
class Endpoint:
    """Calls as Twilio would: signed over the public URL, though a proxy passes them on to another."""

    url: str

    def fetch(self, path: str, query: str = "", *, token: str = TOKEN, **form: str) -> httpx.Response:
        told = {"CallSid": SID, "CallStatus": "in-progress", **form}
        public = f"{PUBLIC_URL}{path}?{query}" if query else f"{PUBLIC_URL}{path}"
        signature = RequestValidator(token).compute_signature(public, told)
        query = f"?{query}" if query else ""
        return httpx.post(
            f"{self.url}{path}{query}", data=told, headers={"X-Twilio-Signature": signature}, timeout=20
        )


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    made = World(database_url)
    yield made
    made.close()


@pytest.fixture
def endpoint(world: World) -> Iterator[Endpoint]:
    def adapter_for(account: Account) -> TwilioAdapter | GenericHttpAdapter:
        if account.name != "main":
            return GenericHttpAdapter(base_url="http://unused", api_key="k")
        return TwilioAdapter(
            account_sid="AC" + "0" * 32,
            user="u",
            password=TOKEN,
            auth_token=TOKEN,
            voice_url=f"{PUBLIC_URL}/voice/main",
        )

    app = create_app(
        world.database,
        adapter_for,
        SystemClock(),
        voice_url_for=lambda account: f"{PUBLIC_URL}/voice/{account.name}",
    )
    with served(app) as url:
        yield Endpoint(url)


@pytest.fixture
def call_id(world: World) -> str:
    campaign = world.add_campaign(script=SCRIPT)
    world.add_contacts(campaign, [number(1)], name="Anna")
    (scheduled,) = world.run_pass(RecordingProvider()).scheduled
    # The provider's id as Twilio writes it.
    world.database.run(lambda c: c.execute(sa.update(call_attempts).values(provider_call_id=SID)))
    return scheduled.call_id


def words(answered: httpx.Response) -> list[str]:
    assert answered.status_code == 200
    return [say.text or "" for say in ET.fromstring(answered.content).iter("Say")]


def test_a_conversation_is_kept_turn_by_turn(world: World, endpoint: Endpoint, call_id: str) -> None:
    path = f"/voice/main/{call_id}"
    assert words(endpoint.fetch(path, f"call_id={call_id}", AnsweredBy="human")) == [
        "Hello Anna",
        "How likely?",
    ]
    assert (world.attempts()[0]["state"], world.attempts()[0]["answered_by"]) == ("answered", "human")
    assert words(endpoint.fetch(path, "position=1&tries=1", Digits="8")) == ["Why?"]
    assert world.attempts()[0]["result"] == "partial"
    assert words(endpoint.fetch(path, "position=2&tries=1", SpeechResult="so")) == ["Thank you. Goodbye."]
    (attempt,) = world.attempts()
    assert attempt["result"] == "completed"
    assert [one["answer"] for one in attempt["answers"]] == [8, "so"]


def test_an_answer_that_is_sent_twice_is_kept_once(world: World, endpoint: Endpoint, call_id: str) -> None:
    for _ in range(2):
        assert words(endpoint.fetch(f"/voice/main/{call_id}", "position=1&tries=1", Digits="8")) == ["Why?"]
    assert [one["answer"] for one in world.attempts()[0]["answers"]] == [8]


def test_who_hangs_up_midway_leaves_a_partial_result(world: World, endpoint: Endpoint, call_id: str) -> None:
    endpoint.fetch(f"/voice/main/{call_id}", "position=1&tries=1", Digits="8")
    world.hear(event(EventKind.ENDED, call_id, ending=Ending.ANSWERED))
    (attempt,) = world.attempts()
    assert (attempt["result"], attempt["outcome"]) == ("partial", "no_result")


def test_a_machine_is_hung_up_on(world: World, endpoint: Endpoint, call_id: str) -> None:
    answered = endpoint.fetch(f"/voice/main/{call_id}", AnsweredBy="machine_start")
    assert [verb.tag for verb in ET.fromstring(answered.content)] == ["Hangup"]
    assert world.attempts()[0]["answered_by"] == "machine"


def test_a_wrong_signature_is_401_and_changes_nothing(world: World, endpoint: Endpoint, call_id: str) -> None:
    path = f"/voice/main/{call_id}"
    assert endpoint.fetch(path, "position=1&tries=1", token="another", Digits="8").status_code == 401
    assert world.attempts()[0]["answers"] is None


def test_a_call_that_nobody_knows_is_ended(world: World, endpoint: Endpoint) -> None:
    answered = endpoint.fetch("/voice/main/0198c0de-0000-7000-8000-00000000dead")
    assert [verb.tag for verb in ET.fromstring(answered.content)] == ["Hangup"]


def test_an_account_whose_calls_fetch_nothing_is_404(world: World, endpoint: Endpoint, call_id: str) -> None:
    world.add_account("other")
    assert endpoint.fetch(f"/voice/other/{call_id}").status_code == 404
    assert endpoint.fetch(f"/voice/nobody/{call_id}").status_code == 404
