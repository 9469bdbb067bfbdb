"""The body of `POST /calls`, read strictly: whatever the contract does not allow is named and refused."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from outdial.simulator.clock import parse_rfc3339
from outdial.simulator.errors import Refusal

ANSWER_TYPES: Final = frozenset({"free_text", "numeric", "scale"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    position: int
    text: str
    answer_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """`to` and `from_number` are not checked yet: a bad number is a refusal of its own."""

    call_id: str
    to: str
    from_number: str
    callback_url: str
    questions: tuple[Question, ...] = ()
    metadata: Mapping[str, object] | None = None
    not_after: float | None = None
    """Unix seconds."""
    ring_timeout_seconds: float | None = None
    max_duration_seconds: float | None = None


class _Malformed(Exception):
    """Its message says what is wrong, for the one who wrote the request."""


def parse_call_request(body: bytes, idempotency_key: str | None) -> CallRequest | Refusal:
    try:
        return _parse(json.loads(body, parse_constant=_refuse_constant), idempotency_key)
    except (_Malformed, ValueError, RecursionError) as error:
        return Refusal(code="invalid_request", message=str(error))


def _parse(fields: Any, idempotency_key: str | None) -> CallRequest:
    if not isinstance(fields, dict):
        raise _Malformed("the body must be a JSON object")
    call_id = _required_text(fields, "call_id")
    if idempotency_key != call_id:
        raise _Malformed(
            f"the header Idempotency-Key must be the call_id {call_id!r}, not {idempotency_key!r}"
        )
    for name in ("language", "intro_script"):
        _optional_text(fields, name)
    return CallRequest(
        call_id=call_id,
        to=_required_text(fields, "to"),
        from_number=_required_text(fields, "from"),
        callback_url=_url(_required_text(fields, "callback_url")),
        questions=tuple(_question(question) for question in _optional_list(fields, "questions")),
        metadata=_optional_object(fields, "metadata"),
        not_after=_optional_instant(fields, "not_after"),
        ring_timeout_seconds=_optional_seconds(fields, "ring_timeout_seconds"),
        max_duration_seconds=_optional_seconds(fields, "max_duration_seconds"),
    )


def _refuse_constant(name: str) -> None:
    raise _Malformed(f"{name} is not JSON")


def _required_text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise _Malformed(f"{name} must be a text that is not empty, not {value!r}")
    return value


def _optional_text(fields: dict[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else _required_text(fields, name)


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise _Malformed(f"callback_url must begin with http:// or https://, not {text!r}")
    return text


def _question(value: Any) -> Question:
    if not isinstance(value, dict):
        raise _Malformed(f"each of questions must be an object, not {value!r}")
    position = value.get("position")
    if not isinstance(position, int) or isinstance(position, bool):
        raise _Malformed(f"the position of a question must be a whole number, not {position!r}")
    answer_type = _required_text(value, "answer_type")
    if answer_type not in ANSWER_TYPES:
        raise _Malformed(f"answer_type must be one of {', '.join(sorted(ANSWER_TYPES))}, not {answer_type!r}")
    return Question(position=position, text=_required_text(value, "text"), answer_type=answer_type)


def _optional_list(fields: dict[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _Malformed(f"{name} must be a list, not {value!r}")
    return value


def _optional_object(fields: dict[str, Any], name: str) -> dict[str, object] | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, dict):
        raise _Malformed(f"{name} must be an object, not {value!r}")
    return value


def _optional_instant(fields: dict[str, Any], name: str) -> float | None:
    text = _optional_text(fields, name)
    try:
        return None if text is None else parse_rfc3339(text)
    except ValueError as error:
        raise _Malformed(f"{name} must be an instant as RFC 3339 writes it: {error}") from error


def _optional_seconds(fields: dict[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise _Malformed(f"{name} must be a number above 0, not {value!r}")
    return value
