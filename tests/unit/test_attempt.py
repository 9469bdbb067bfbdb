"""The life of an attempt under any order and any repetition of events."""

from __future__ import annotations

import itertools
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from outdial.domain.attempt import (
    AnsweredBy,
    AttemptState,
    CallEvent,
    Ending,
    ErrorClass,
    EventKind,
    Progress,
    Source,
    advance,
    release,
)
from outdial.domain.ids import ProviderCallId

BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LIVE = [EventKind.INITIATED, EventKind.RINGING, EventKind.ANSWERED, EventKind.VOICEMAIL]
STATES = ["dialing", "in_doubt", "accepted", "ringing", "answered", "ended"]
# What the first to tell it decides, unless a late result corrects it.
REFINED = ("result", "answers", "artifacts", "callback_at", "cost")
KEPT = ("provider_call_id", "started_at", "ringing_at", "answered_at", "duration_seconds", "sip_code")
IMPRESSIONS = [None, AnsweredBy.UNKNOWN, AnsweredBy.HUMAN, AnsweredBy.FAX, AnsweredBy.MACHINE]


# A few at a time, drawn as pairs: later ones replace earlier ones of the same name.
FACTS = st.lists(
    st.sampled_from(
        [
            ("provider_call_id", ProviderCallId("P-1")),
            ("provider_call_id", ProviderCallId("P-2")),
            *(("answered_by", by) for by in AnsweredBy),
            *(("result", result) for result in ("completed", "refused", "callback")),
            ("duration_seconds", 1.0),
            ("duration_seconds", 60.0),
            ("callback_at", BEGIN + timedelta(days=1)),
            ("callback_at", BEGIN + timedelta(days=2)),
            ("opt_out", True),
            ("sip_code", 200),
            ("sip_code", 486),
            ("raw_status", "in-progress"),
            ("raw_status", "completed"),
            ("cost", "0.01"),
            ("cost", "0.02"),
            ("answers", [{"position": 1, "value": "7"}]),
            ("answers", [{"position": 1, "value": "8"}]),
            ("artifacts", [{"kind": "recording", "url": "https://example.org/1"}]),
            ("artifacts", [{"kind": "recording", "url": "https://example.org/2"}]),
        ]
    ),
    max_size=4,
).map(dict)


@st.composite
def events(draw: st.DrawFn) -> CallEvent:
    kind = draw(st.sampled_from(EventKind))
    ending: dict[str, object] = {}
    if kind is EventKind.ENDED:
        ending = {
            "ending": draw(st.sampled_from(Ending)),
            "source": draw(st.sampled_from(Source)),
            "error_class": draw(st.sampled_from([None, *ErrorClass])),
            "error_code": draw(st.sampled_from([None, "E1", "E2"])),
        }
    return CallEvent(kind=kind, event_id="e", at=BEGIN, **ending, **draw(FACTS))


EVENTS = st.lists(events(), max_size=6)
BEGINNINGS = st.sampled_from(
    [
        Progress(),
        Progress(state=AttemptState.IN_DOUBT),
        release(Progress(), ErrorClass.RELEASED, BEGIN),
    ]
)


def gave_up() -> CallEvent:
    return CallEvent(kind=EventKind.ENDED, event_id="", at=BEGIN, ending=Ending.UNKNOWN, source=Source.GUESS)


def told(kind: EventKind, **facts: object) -> CallEvent:
    return CallEvent(kind=kind, event_id="e", at=BEGIN, **facts)


def story(begin: Progress, told_events: list[CallEvent]) -> list[Progress]:
    """What is known after each event; they reach us a second apart."""
    known = [begin]
    for index, one in enumerate(told_events):
        known.append(advance(known[-1], one, BEGIN + timedelta(seconds=index + 1)))
    return known


def is_given_up(progress: Progress) -> bool:
    return progress.ending in {Ending.UNKNOWN, Ending.NOT_PLACED} and progress.ending_source is Source.GUESS


@given(BEGINNINGS, EVENTS)
def test_a_state_never_goes_back_but_to_reopen_what_was_given_up(
    begin: Progress, told_events: list[CallEvent]
) -> None:
    known = story(begin, told_events)
    for before, one, after in zip(known, told_events, known[1:], strict=False):
        may_reopen = is_given_up(before) and one.kind in LIVE
        assert STATES.index(after.state) >= STATES.index(before.state) or may_reopen


@given(BEGINNINGS, EVENTS)
def test_an_ended_attempt_stays_ended_since_the_same_instant(
    begin: Progress, told_events: list[CallEvent]
) -> None:
    known = story(begin, told_events)
    for before, after in itertools.pairwise(known):
        if before.has_ended and not is_given_up(before):
            assert (after.has_ended, after.ended_at) == (True, before.ended_at)


@given(BEGINNINGS, EVENTS)
def test_it_has_an_end_an_ending_and_a_source_exactly_when_it_is_ended(
    begin: Progress, told_events: list[CallEvent]
) -> None:
    for known in story(begin, told_events):
        has_ended = known.state is AttemptState.ENDED
        assert (known.ended_at is not None) == has_ended
        assert (known.ending is not None) == has_ended
        assert (known.ending_source is not None) == has_ended


@given(BEGINNINGS, EVENTS, events())
def test_a_repeated_event_changes_nothing(
    begin: Progress, told_events: list[CallEvent], repeated: CallEvent
) -> None:
    once = advance(story(begin, told_events)[-1], repeated, BEGIN + timedelta(minutes=1))
    assert advance(once, repeated, BEGIN + timedelta(minutes=2)) == once


@given(BEGINNINGS, EVENTS)
def test_what_was_learned_of_the_call_itself_never_changes(
    begin: Progress, told_events: list[CallEvent]
) -> None:
    known = story(begin, told_events)
    for before, after in itertools.pairwise(known):
        for name in KEPT:
            assert getattr(before, name) in {None, getattr(after, name)}


@given(BEGINNINGS, EVENTS)
def test_what_the_conversation_gave_is_only_changed_by_a_late_result(
    begin: Progress, told_events: list[CallEvent]
) -> None:
    known = story(begin, told_events)
    for before, one, after in zip(known, told_events, known[1:], strict=False):
        for name in REFINED:
            now, news = getattr(before, name), getattr(one, name)
            refines = one.kind is EventKind.RESULT and news is not None
            assert getattr(after, name) == (news if refines or now is None else now)


TOLD_TWICE = {
    "result": ("partial", "completed"),
    "answers": ([{"position": 1, "value": "7"}], [{"position": 1, "value": "8"}]),
    "artifacts": ([], [{"kind": "recording", "url": "https://example.org/1"}]),
    "callback_at": (BEGIN, BEGIN + timedelta(days=1)),
    "cost": ("0.01", "0.02"),
}


@pytest.mark.parametrize("name", TOLD_TWICE)
def test_a_late_result_corrects_what_the_conversation_gave(name: str) -> None:
    before, after = TOLD_TWICE[name]
    known = story(
        Progress(), [told(EventKind.ANSWERED, **{name: before}), told(EventKind.RESULT, **{name: after})]
    )
    assert getattr(known[-1], name) == after


@pytest.mark.parametrize("name", TOLD_TWICE)
def test_no_other_event_changes_what_the_conversation_gave(name: str) -> None:
    before, after = TOLD_TWICE[name]
    known = story(
        Progress(), [told(EventKind.RESULT, **{name: before}), told(EventKind.ANSWERED, **{name: after})]
    )
    assert getattr(known[-1], name) == before


@pytest.mark.parametrize("kind", [*LIVE, EventKind.RESULT])
def test_a_call_keeps_the_first_id_that_the_provider_gave_it(kind: EventKind) -> None:
    first = told(EventKind.INITIATED, provider_call_id=ProviderCallId("P-1"))
    assert (
        story(Progress(), [first, told(kind, provider_call_id=ProviderCallId("P-2"))])[-1].provider_call_id
        == "P-1"
    )


@given(BEGINNINGS, EVENTS)
def test_an_opt_out_is_never_forgotten(begin: Progress, told_events: list[CallEvent]) -> None:
    assert story(begin, told_events)[-1].opt_out == any(one.opt_out for one in told_events)


@given(BEGINNINGS, EVENTS)
def test_the_weightiest_impression_of_who_answered_stays_in_any_order(
    begin: Progress, told_events: list[CallEvent]
) -> None:
    impressions = [
        AnsweredBy.MACHINE if one.kind is EventKind.VOICEMAIL else one.answered_by for one in told_events
    ]
    assert story(begin, told_events)[-1].answered_by == max(impressions, key=IMPRESSIONS.index, default=None)


@given(EVENTS)
def test_the_first_end_of_the_most_trusted_source_wins(told_events: list[CallEvent]) -> None:
    ends = [one for one in told_events if one.kind is EventKind.ENDED and one.source > Source.GUESS]
    last = story(Progress(), told_events)[-1]
    if ends:
        trusted = max(one.source for one in ends)
        winner = next(one for one in ends if one.source == trusted)
        assert (last.ending, last.ending_source) == (winner.ending, trusted)
        assert (last.error_class, last.error_code) == (winner.error_class, winner.error_code)


@given(st.lists(st.sampled_from(LIVE), min_size=1))
def test_live_events_lead_to_the_same_state_in_any_order(kinds: list[EventKind]) -> None:
    in_order = story(Progress(), [told(kind) for kind in sorted(kinds, key=LIVE.index)])[-1]
    assert story(Progress(), [told(kind) for kind in kinds])[-1].state is in_order.state


def test_each_kind_of_live_event_has_its_state() -> None:
    states = [story(Progress(), [told(kind)])[-1].state for kind in LIVE]
    assert states == ["accepted", "ringing", "answered", "answered"]


@pytest.mark.parametrize("kind", LIVE)
def test_a_live_event_reopens_what_was_given_up(kind: EventKind) -> None:
    reopened = story(Progress(), [gave_up(), told(kind)])[-1]
    assert (reopened.has_ended, reopened.ended_at, reopened.ending) == (False, None, None)


@pytest.mark.parametrize("source", [Source.LOOKUP, Source.EVENT])
def test_unknown_from_the_provider_itself_is_no_giving_up(source: Source) -> None:
    end = told(EventKind.ENDED, ending=Ending.UNKNOWN, source=source)
    assert story(Progress(), [end, told(EventKind.RINGING)])[-1].has_ended


def test_a_late_result_opens_nothing_again() -> None:
    assert story(Progress(), [gave_up(), told(EventKind.RESULT, result="completed")])[-1].has_ended


def test_a_late_end_replaces_our_guess_that_nothing_was_placed() -> None:
    guessed = release(Progress(), ErrorClass.EXPIRED, BEGIN)
    corrected = story(guessed, [told(EventKind.ENDED, ending=Ending.BUSY)])[-1]
    assert (corrected.ending, corrected.error_class) == (Ending.BUSY, None)


def test_an_end_without_an_ending_is_refused() -> None:
    with pytest.raises(ValueError, match="ending"):
        advance(Progress(), told(EventKind.ENDED), BEGIN)


def test_every_fact_of_an_event_has_a_place_in_what_is_known() -> None:
    about_the_event = {"kind", "event_id", "at", "call_id", "source", "raw_status", "origin"}
    facts = {one.name for one in fields(CallEvent)} - about_the_event
    assert facts <= {one.name for one in fields(Progress)}
