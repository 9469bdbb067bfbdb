"""A campaign's definition in the shape of its file, and what is other between two of them, in the file's own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from outdial.domain.campaign import CampaignDefinition, UnknownZone
from outdial.domain.retries import RetryPolicy
from outdial.domain.settle import Outcome
from outdial.domain.windows import DAY_NAMES, format_minute
from outdial.files.checked_table import path_to, shown
from outdial.files.file_values import SECONDS_PER_UNIT
from outdial.operations.campaign_file import FORMAT, RETRIED

NOT_SET: Final = "not set"


def to_document(definition: CampaignDefinition) -> dict[str, Any]:
    """The inverse of `campaign_file.read_campaign`: what a file with this definition holds. What is not set is left out."""
    call = definition.call
    retry = definition.retry
    document: dict[str, Any] = {
        "format": FORMAT,
        "name": definition.name,
        "purpose": str(definition.purpose),
        "default_time_zone": definition.default_time_zone,
        "unknown_zone": _unless_usual(definition.unknown_zone),
        "rule": definition.calling_rule,
        "guard_before_closing_seconds": definition.guard_seconds,
        "language": definition.language,
        "max_concurrent_calls": definition.max_concurrent_calls,
        "weight": definition.weight,
        "priority": definition.priority,
        "countries": list(definition.countries) or None,
        "starts_at": definition.starts_at,
        "ends_at": definition.ends_at,
        "when_empty": str(definition.when_empty),
        "unique_by": None if definition.unique_by is None else str(definition.unique_by),
        "closed_dates": sorted(definition.window.closed_dates) or None,
        "consent": None if definition.required_consent is None else str(definition.required_consent),
        "call": {
            "account": definition.account,
            "from": list(definition.caller_numbers) or None,
            "ring_timeout_seconds": call.ring_timeout_seconds,
            "max_duration_seconds": call.max_duration_seconds,
            "machine": str(call.machine),
            "result_timeout_seconds": call.result_timeout_seconds,
            "completed_after_seconds": call.completed_after_seconds,
        },
        "windows": [
            {
                "days": day_names(window.days),
                "start": format_minute(window.start_minute),
                "end": format_minute(window.end_minute),
            }
            for window in definition.window.weekly
        ]
        or None,
        "retry": {
            "max_attempts": retry.max_attempts,
            "retry_interval_minutes": retry.default_delay / timedelta(minutes=1),
            "max_callbacks": retry.max_callbacks,
            "max_network_retries": retry.max_network_retries,
            "network": [_wait(delay) for delay in retry.network_delays] or None,
            **{str(outcome): _of_outcome(retry, outcome) for outcome in RETRIED},
        },
        "script": {
            "intro": definition.script.intro,
            "questions": [
                {"text": question.text, "answer_type": str(question.answer_type)}
                for question in definition.script.questions
            ]
            or None,
        },
    }
    kept: dict[str, Any] = _without_none(document)
    return kept


def _unless_usual(choice: UnknownZone) -> str | None:
    return None if choice is UnknownZone.CLOSED else str(choice)


def describe_definition(definition: CampaignDefinition) -> dict[str, str]:
    """Each key with its value as a person reads it, in the file's order: `retry.max_attempts` is `3`."""
    return dict(_leaves(to_document(definition), ""))


def describe_changes(old: CampaignDefinition, new: CampaignDefinition) -> list[str]:
    """One line for each key whose value is another, in the file's order: `retry.max_attempts: 3 → 5`."""
    before, after = describe_definition(old), describe_definition(new)
    keys = [*after, *(key for key in before if key not in after)]
    return [
        f"{key}: {before.get(key, NOT_SET)} → {after.get(key, NOT_SET)}"
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _of_outcome(retry: RetryPolicy, outcome: Outcome) -> list[str] | dict[str, Any] | None:
    """The waits alone where that is all."""
    waits = [_wait(delay) for delay in retry.delays.get(outcome, ())] or None
    limit, is_varied = retry.limits.get(outcome), outcome in retry.another_time_of_day
    if limit is None and not is_varied:
        return waits
    return {"delays": waits, "limit": limit, "another_time_of_day": is_varied or None}


def day_names(days: frozenset[int]) -> list[str]:
    """Days as ranges where three or more stand in a row."""
    ranges: list[list[int]] = []
    for day in sorted(days):
        if ranges and ranges[-1][-1] == day - 1:
            ranges[-1].append(day)
        else:
            ranges.append([day])
    written: list[str] = []
    for run in ranges:
        names = [DAY_NAMES[day] for day in run]
        written += [f"{names[0]}-{names[-1]}"] if len(names) > 2 else names
    return written


def _wait(delay: timedelta) -> str:
    seconds = int(delay.total_seconds())
    unit, length = next(
        (unit, length) for unit, length in reversed(SECONDS_PER_UNIT.items()) if seconds % length == 0
    )
    return f"{seconds // length}{unit}"


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return value


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _leaves(one, path_to(path, key))
    elif _is_list_of_tables(value):
        for number, one in enumerate(value, 1):
            yield from _leaves(one, f"{path}[{number}]")
    else:
        yield path, _leaf(value)


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _leaf(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_leaf(one) for one in value) + "]"
    return value if isinstance(value, str) else shown(value)
