"""Calls that real passes made, to be tampered with and audited."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from outdial.cli.app import app
from outdial.domain.attempt import Ending, EventKind
from outdial.domain.ids import CampaignId, ContactId
from outdial.domain.rules import rule_digest
from outdial.files.rule_file import load_rule_book
from outdial.storage.tables import (
    call_attempts,
    call_events,
    campaign_revisions,
    contacts,
    exclusion_list_entries,
    imports,
)
from tests.support.world import World, event

ROME_TIME = ZoneInfo("Europe/Rome")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Two ages of a call at which it was on a closed date, and in a blackout of the rule.
CLOSED, BLACKOUT = 40 * DAY, 50 * DAY
RULE = "works-council"
# Rules that a call of a survey in Italy today cannot have been permitted by.
STRANGE_RULES = {
    "sales": {"purpose": "telemarketing", "more": ""},
    "german": {"purpose": "survey", "more": 'country = "DE"'},
    "tyrol": {"purpose": "survey", "more": 'country = "IT"\nsubdivisions = ["BZ"]'},
    "old": {"purpose": "survey", "more": "valid_to = 2020-12-31"},
}
STRANGE_RULE = """
[[rule]]
id = "{id}"
version = 1
purposes = ["{purpose}"]
{more}
applies = "by_name"
holidays = "open"
confidence = "high"
as_of = "2026-11-23"
source = "made up"
[[rule.windows]]
days = ["mon-sun"]
start = "00:00"
end = "24:00"
"""
INSTANTS = (
    "claimed_at",
    "dial_at",
    "not_after",
    "sent_at",
    "started_at",
    "ringing_at",
    "answered_at",
    "ended_at",
    "settled_at",
    "settle_at",
)


@dataclass(frozen=True)
class Made:
    """Four calls that real passes made: `first` found nobody, `again` is its retry; `second` and `third` were had.

    `elsewhere` is a contact of another campaign, without a rule, that has the number of `second`.
    """

    world: World
    campaign: CampaignId
    elsewhere: ContactId
    calls: Mapping[str, sa.RowMapping]

    def __getitem__(self, label: str) -> sa.RowMapping:
        return self.calls[label]

    def write(self, statement: sa.Executable) -> None:
        with self.world.database.begin() as connection:
            connection.execute(statement)

    def change(self, label: str, **values: Any) -> None:
        attempt_id = self.calls[label]["id"]
        self.write(sa.update(call_attempts).where(call_attempts.c.id == attempt_id).values(**values))

    def change_permit(self, label: str, **values: Any) -> None:
        self.change(label, permit=self.calls[label]["permit"] | values)

    def change_limits(self, label: str, **values: Any) -> None:
        self.change_permit(label, limits=self.calls[label]["permit"]["limits"] | values)

    def change_contact(self, label: str, **values: Any) -> None:
        contact_id = self.calls[label]["contact_id"]
        self.write(sa.update(contacts).where(contacts.c.id == contact_id).values(**values))

    def age(self, label: str, age: timedelta) -> None:
        """As if the call had been made so long ago, and rightly."""
        self.change(label, **aged(self.calls[label], age))

    def copy(self, label: str, age: timedelta, **values: Any) -> None:
        """One more call like it, so long before it; by default to the contact elsewhere."""
        row = dict(self.calls[label])
        copied = row | aged(row, age) | {"contact_id": self.elsewhere, **values}
        copied |= {"call_id": f"copy-{age}-{row['call_id']}", "provider_call_id": None}
        if copied["contact_id"] == self.elsewhere:
            copied |= {"campaign_id": self.campaign_elsewhere, "permit": copied["permit"] | {"rules": []}}
        del copied["id"]
        self.write(sa.insert(call_attempts).values(**copied))

    @property
    def campaign_elsewhere(self) -> CampaignId:
        return CampaignId(self.world.contact(self.elsewhere)["campaign_id"])

    def rewrite(self, **columns: Any) -> None:
        """What the first revision of the campaign said, changed."""
        table = campaign_revisions
        with self.world.database.begin() as connection:
            query = sa.select(table.c.definition).where(table.c.campaign_id == self.campaign)
            said = deepcopy(connection.execute(query).scalar_one())
            for name, value in columns.items():
                said[name] = said[name] | value if isinstance(value, dict) else value
            connection.execute(
                sa.update(table).where(table.c.campaign_id == self.campaign).values(definition=said)
            )

    def exclude(self, label: str, **values: Any) -> None:
        row = {
            "phone_number": self.calls[label]["phone_number"],
            "scope": "all",
            "reason": "asked",
            "source": "test",
            "since": self.calls[label]["sent_at"] - HOUR,
            **values,
        }
        self.write(sa.insert(exclusion_list_entries).values(**row))

    def forget(self, label: str) -> None:
        attempt_id = self.calls[label]["id"]
        self.write(sa.delete(call_events).where(call_events.c.attempt_id == attempt_id))
        self.write(sa.delete(call_attempts).where(call_attempts.c.id == attempt_id))

    def spoil(self, label: str, column: str, text: str) -> None:
        """Any text, which only SQLite takes."""
        if self.world.database.dialect != "sqlite":
            pytest.skip("Postgres takes no such value")
        self.write(
            sa.text(f"UPDATE call_attempts SET {column} = :text WHERE id = :id").bindparams(
                text=text, id=self.calls[label]["id"]
            )
        )

    def delete(self, table: str, row_id: int) -> None:
        """As a client does that looks after no foreign keys, which is what SQLite's own does."""
        if self.world.database.dialect != "sqlite":
            pytest.skip("Postgres lets no row go that others point at")
        with closing(sqlite3.connect(str(sa.make_url(self.world.url).database))) as connection:
            connection.execute(f"DELETE FROM {table} WHERE id = ?", (row_id,))
            connection.commit()

    def import_since(self) -> None:
        """An import that may have changed any contact."""
        now = datetime.now(UTC)
        row = {"campaign_id": self.campaign, "file_name": "new.csv", "created_at": now, "finished_at": now}
        self.write(sa.insert(imports).values(**row))

    def find(self, *arguments: str) -> tuple[dict[str, set[str]], int]:
        """Which calls broke which check, by their labels, as the command tells scripts; and its exit code."""
        done = run(*arguments, "--json")
        labels = {row["call_id"]: label for label, row in self.calls.items()}
        found: dict[str, set[str]] = {}
        for one in json.loads(done.stdout)["found"]:
            if one["is_violation"]:
                call_id = one["call_id"] or "contact"
                found.setdefault(one["check"], set()).add(labels.get(call_id, call_id))
        return found, done.exit_code


def aged(row: Mapping[str, Any], age: timedelta) -> dict[str, Any]:
    moved = {name: row[name] - age for name in INSTANTS if row[name] is not None}
    claimed = moved["claimed_at"].astimezone(ROME_TIME)
    permit = row["permit"] | {"local_time": {"Europe/Rome": claimed.isoformat()}}
    return {**moved, "permit": permit}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", *arguments])


def hear_conversation(world: World, call_id: str) -> None:
    world.hear(event(EventKind.ANSWERED, call_id))
    world.hear(event(EventKind.ENDED, call_id, ending=Ending.ANSWERED, result="completed"))


def permit_by(made: Made, name: str, **values: Any) -> None:
    """As if a rule that cannot have held had permitted the call too."""
    book = load_rule_book(Path(os.environ["OUTDIAL_RULES_FILE"]))
    names = [f"{RULE}@1", f"{name}@1"]
    digests = {one: rule_digest(book.find(one)) for one in names}
    made.change_permit("second", rules=names, rule_digests=digests, **values)
