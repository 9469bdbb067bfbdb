import json

import pytest

from outdial.simulator import InvalidSimulatorSettings, SimulatorSettings


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"api_key": ""}, "api_key must not be empty"),
        ({"webhook_secret": "secret"}, "webhook_secret must start with whsec_"),
        ({"webhook_secret": "whsec_"}, "webhook_secret must hold at least one byte"),
        ({"answer_rate": 1.5}, "answer_rate must lie between 0 and 1, not 1.5"),
        ({"lost_answer": "often"}, "lost_answer must be a number, not 'often'"),
        ({"talk_time_mean_seconds": -1}, "talk_time_mean_seconds must not be negative"),
        ({"time_scale": 0}, "time_scale must be above 0"),
        ({"max_concurrent_calls": 0}, "max_concurrent_calls must be a whole number of 1 or more"),
        ({"calls_per_second": 0}, "calls_per_second must be a number above 0"),
        (
            {"lost_answer": 0.6, "error_after": 0.6},
            "lost_answer, error_after, slow_answer exclude each other",
        ),
        ({"completed_rate": 0.9, "refuse_rate": 0.2}, "may add up to 1 at most, not 1.1"),
        ({"blocked_destinations": "+39"}, "blocked_destinations must be a list"),
        (
            {"no_answer_share": 0, "busy_share": 0, "voicemail_share": 0, "failed_share": 0},
            "with an answer_rate below 1",
        ),
    ],
)
def test_impossible_setting_is_said_in_a_sentence(settings, options, sentence):
    with pytest.raises(InvalidSimulatorSettings, match=sentence.replace("+", r"\+")):
        settings(**options)


def test_all_that_is_wrong_is_said_at_once(settings):
    with pytest.raises(InvalidSimulatorSettings) as error:
        settings(answer_rate=2, refuse_rate=-1, webhook_max_attempts=0)
    assert len(error.value.problems) == 3


def test_settings_are_read_from_json(settings):
    text = json.dumps({"api_key": "key", "webhook_secret": "whsec_YWJj", "allowed_callers": ["+39021"]})
    assert SimulatorSettings.from_json(text).allowed_callers == ("+39021",)


@pytest.mark.parametrize("text", ["", "[]", '{"api_key": "key"}', '{"answer_rat": 1}'])
def test_json_that_is_no_settings_is_refused(text):
    with pytest.raises(InvalidSimulatorSettings):
        SimulatorSettings.from_json(text)
