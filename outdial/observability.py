"""Logs, as text for people or as JSON lines for machines. No phone number and no secret leaves in clear."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final

from outdial.domain.phone_numbers import mask

FIELDS: Final = ("call_id", "attempt_id", "account", "campaign")
"""What a log call may pass as `extra`, to be found again by."""

# They tell every request or statement at INFO, which is our DEBUG.
TALKATIVE: Final = ("httpx", "httpcore", "alembic", "aiohttp.access")


def configure_logging(level: str, log_format: str) -> None:
    """Send this process's logs to stderr. May be called again; handlers of others stay as they are.

    `level` is one of logging's names, `log_format` is `text` or `json`.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(_JsonLines() if log_format == "json" else _Text())
    handler.addFilter(Redaction())
    root = logging.getLogger()
    for earlier in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(level if level == "DEBUG" else "WARNING")


class Redaction(logging.Filter):
    """Masks phone numbers and secrets in a record: message, traceback and fields."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = redact(record.getMessage())
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        for name in FIELDS:
            value = getattr(record, name, None)
            if isinstance(value, str):
                setattr(record, name, redact(value))
        return True


def redact(text: str) -> str:
    """`text` with phone numbers in E.164 form masked, and without bearer tokens, webhook secrets and passwords."""
    for pattern, replacement in SECRETS:
        text = pattern.sub(replacement, text)
    return PHONE_NUMBER.sub(lambda found: mask("+" + re.sub(r"\D", "", found.group(1))), text)


# Also as people write it, and as it stands in a URL.
PHONE_NUMBER: Final = re.compile(r"(?:\+|%2[Bb])(\d(?:[ ().\-/]{0,2}\d){6,})", re.ASCII)
SECRETS: Final = (
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[\w\-.~+/=]+"), r"\1\2***"),
    (re.compile(r"\bwhsec_[\w\-+/=]+"), "whsec_***"),
    (re.compile(r"(://[^\s:/@]*):[^\s@/]+@"), r"\1:***@"),
)


class _Handler(logging.StreamHandler[Any]):
    """Ours, so that it is found again."""


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{_at(record)} {record.levelname:<7} {record.name}: {record.getMessage()}{facts}"
        details = [text for text in (record.exc_text, record.stack_info) if text]
        return "\n".join([line, *details])


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": _at(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        details = {"exception": record.exc_text, "stack": record.stack_info}
        line |= {name: text for name, text in details.items() if text}
        return json.dumps(line, ensure_ascii=False, default=str)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}


def _at(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
