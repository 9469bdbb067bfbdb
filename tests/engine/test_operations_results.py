"""Calls and results as people and scripts look at them."""

import csv
import io
import json
from typing import Any

import pytest

from outdial.domain.attempt import Ending, EventKind
from outdial.domain.campaign import Question, Script
from outdial.domain.errors import NotFound
from outdial.operations import results
from outdial.operations.calls import list_calls, show_call
from outdial.operations.results import ResultsFormat, export_results
from tests.support.world import RecordingProvider, World, event, number

SCRIPT = Script(questions=(Question(position=1, text="How much?"), Question(position=2, text="Why?")))


def export_csv(world: World, name: str = "survey") -> list[dict[str, str]]:
    text = "".join(export_results(world.database.begin_reading, name, ResultsFormat.CSV))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def export_ndjson(world: World, name: str = "survey") -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in export_results(world.database.begin_reading, name, ResultsFormat.NDJSON)
    ]


def answered_call(world: World, *answers: dict[str, Any], **contact: Any) -> str:
    """One contact, called and settled with these answers. Returns the call's id."""
    world.add_contacts(world.add_campaign(script=SCRIPT), [number(1)], **contact)
    world.run_pass(RecordingProvider())
    [attempt] = world.attempts()
    ringing = event(EventKind.RINGING, attempt["call_id"])
    ended = event(
        EventKind.ENDED,
        attempt["call_id"],
        ending=Ending.ANSWERED,
        result="completed",
        answers=list(answers),
        duration_seconds=12.5,
    )
    world.hear(ringing, ended)
    return str(attempt["call_id"])


def test_every_contact_is_in_the_export_in_the_order_in_which_it_came(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "PAGE", 2)
    other = world.add_campaign("other")
    campaign_id = world.add_campaign()
    for index in range(5):
        world.add_contacts(campaign_id, [number(index)])
        world.add_contacts(other, [number(100 + index)])
    expected = [number(index) for index in range(5)]
    assert [row["phone_number"] for row in export_csv(world)] == expected
    assert [row["phone_number"] for row in export_ndjson(world)] == expected


def test_called_contact_has_its_outcome_attempt_and_answers(world: World) -> None:
    call_id = answered_call(world, {"position": 2, "answer": "too dear"}, {"position": 1, "answer": 7})
    [row] = export_csv(world)
    assert (row["state"], row["last_outcome"], row["attempts_count"]) == ("completed", "completed", "1")
    assert (row["call_id"], row["ending"], row["result"]) == (call_id, "answered", "completed")
    assert (row["duration_seconds"], row["from_number"]) == ("12.5", "+390612345678")
    assert row["ended_at"].endswith("Z")
    assert (row["answer_1"], row["answer_2"]) == ("7", "too dear")


def test_ndjson_has_questions_and_all_attempts(world: World) -> None:
    call_id = answered_call(world, {"position": 1, "answer": 7}, attributes={"segment": "gold"})
    [document] = export_ndjson(world)
    assert document["answers"] == [
        {"position": 1, "question": "How much?", "answer": 7},
        {"position": 2, "question": "Why?", "answer": None},
    ]
    assert [attempt["call_id"] for attempt in document["attempts"]] == [call_id]
    assert document["attributes"] == {"segment": "gold"}


def test_answers_without_a_position_are_taken_in_order(world: World) -> None:
    answered_call(world, {"answer": "a"}, {"answer": "b"})
    [row] = export_csv(world)
    assert (row["answer_1"], row["answer_2"]) == ("a", "b")


def test_contact_that_was_never_called_has_empty_cells(world: World) -> None:
    world.add_contacts(world.add_campaign(script=SCRIPT), [number(1)])
    [row] = export_csv(world)
    assert (row["state"], row["call_id"], row["answer_1"], row["attributes"]) == ("pending", "", "", "")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_text_that_a_spreadsheet_would_run_is_defused(world: World, text: str) -> None:
    answered_call(world, {"position": 1, "answer": text}, name=text)
    [row] = export_csv(world)
    assert row["name"] == "'" + text
    assert row["answer_1"] == "'" + text
    assert row["phone_number"] == number(1)
    [document] = export_ndjson(world)
    assert document["name"] == text


def test_numbers_below_zero_are_no_formulas(world: World) -> None:
    answered_call(world, {"position": 1, "answer": -5})
    assert export_csv(world)[0]["answer_1"] == "-5"


def test_export_of_an_unknown_campaign_is_refused(world: World) -> None:
    with pytest.raises(NotFound, match="nope"):
        export_csv(world, "nope")


def test_calls_are_listed_newest_first_and_by_campaign(world: World) -> None:
    for name in ("one", "two"):
        index = len(world.attempts())
        world.add_contacts(world.add_campaign(name), [number(index)])
        world.run_pass(RecordingProvider())
    assert [call["campaign"] for call in world.database.run(list_calls)] == ["two", "one"]
    assert [call["campaign"] for call in world.database.run(list_calls, campaign="one")] == ["one"]
    assert len(world.database.run(list_calls, limit=1)) == 1
    with pytest.raises(NotFound, match="nope"):
        world.database.run(list_calls, campaign="nope")


def test_open_calls_alone_are_listed_when_asked(world: World) -> None:
    call_id = answered_call(world)
    assert world.database.run(list_calls, open_only=True) == []
    assert [call["call_id"] for call in world.database.run(list_calls)] == [call_id]


def test_call_is_shown_with_its_timeline_by_either_id(world: World) -> None:
    call_id = answered_call(world, {"position": 1, "answer": 7})
    [attempt] = world.attempts()
    story = world.database.run(show_call, call_id)
    assert story == world.database.run(show_call, str(attempt["id"]))
    assert (story.facts["campaign"], story.facts["account"], story.facts["outcome"]) == (
        "survey",
        "main",
        "completed",
    )
    assert story.facts["permit"]
    instants = [moment.at for moment in story.timeline]
    assert instants == sorted(instants)
    heard = [moment.what for moment in story.timeline if moment.source == "provider"]
    assert heard == ["ringing", "ended"]
    assert {"claimed", "sent", "ringing", "ended", "settled"} <= {
        moment.what for moment in story.timeline if moment.source == "outdial"
    }


@pytest.mark.parametrize("call", ["nope", "999", "9" * 40, ""])
def test_unknown_call_is_not_found(world: World, call: str) -> None:
    with pytest.raises(NotFound, match="outdial calls list"):
        world.database.run(show_call, call)
