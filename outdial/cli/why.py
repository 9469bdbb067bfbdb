"""How `outdial contacts why` tells what it found."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime
from typing import Final

from outdial.cli.output import print_table, say
from outdial.domain.zones import zone
from outdial.operations.why import Why

CALL_FACTS: Final = ("call_id", "sent_at", "ended_at", "ending", "outcome", "permit")
LISTS: Final = frozenset({"checks", "calls"})


def as_document(one: Why) -> dict[str, object]:
    facts = {field.name: getattr(one, field.name) for field in fields(one) if field.name not in LISTS}
    calls = [{name: row[name] for name in CALL_FACTS} for row in one.calls]
    return {**facts, "checks": [asdict(check) for check in one.checks], "calls": calls}


def say_why(one: Why) -> None:
    say(one.sentence)
    if one.next_at is not None and not one.may_be_called:
        for name in one.zones:
            say(f"  there: {_local(one.next_at, name)}")
    say("")
    print_table(
        ["check", "", "found"],
        [(check.name, "pass" if check.passed else "FAIL", check.says) for check in one.checks],
        empty="",
    )
    if one.calls:
        say("")
        print_table(
            ["call", "at", "outcome", "local time", "allowed by"],
            [
                (
                    row["call_id"],
                    row["sent_at"],
                    row["outcome"],
                    ", ".join(
                        f"{at[11:16]} {name}" for name, at in row["permit"].get("local_time", {}).items()
                    ),
                    ", ".join(row["permit"].get("rules", ())) or "the campaign's own windows",
                )
                for row in one.calls
            ],
            empty="",
        )


def _local(at: datetime, name: str) -> str:
    return f"{at.astimezone(zone(name)):%a %Y-%m-%d %H:%M:%S} {name}"
