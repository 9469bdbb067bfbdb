"""A whole installation on loopback: a database, the simulated provider, `outdial serve`, and workers, as processes."""

from __future__ import annotations

import base64
import json
import socket
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from outdial.bootstrap import queue_limits
from outdial.domain.contact import ContactState
from outdial.files.rule_file import load_rule_book
from outdial.operations.audit import Asked, audit
from outdial.operations.audit_report import Report
from outdial.simulator.ledger import Ledger, read_ledger
from outdial.storage.tables import call_attempts, contacts
from tests.support.processes import Process, Processes
from tests.support.world import World

API_KEY = "test-key"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()
FAST = {"talk_time_mean_seconds": 0.4, "ring_time_mean_seconds": 0.1, "answer_latency_seconds": 0.01}


@dataclass
class Stack:
    """Start what a test needs; `environment` is what every process of ours is given."""

    world: World
    processes: Processes
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start_provider(self, **settings: Any) -> Process:
        self.ledger_path = self.folder / "ledger.ndjson"
        port_file = self.folder / "provider.port"
        given = {
            "api_key": API_KEY,
            "webhook_secret": WEBHOOK_SECRET,
            "ledger_path": str(self.ledger_path),
            "port_file": str(port_file),
            **FAST,
            **settings,
        }
        provider = self.processes.start(
            [sys.executable, "-m", "outdial.simulator", json.dumps(given)], name="provider"
        )
        port = provider.wait_for_file(port_file).strip()
        self.world.set_account(
            base_url=f"http://127.0.0.1:{port}",
            api_key_ref="env:TELEPHONY_API_KEY",
            webhook_secret_ref="env:TELEPHONY_WEBHOOK_SECRET",
        )
        self.environment |= {
            "DATABASE_URL": self.world.url,
            "TELEPHONY_API_KEY": API_KEY,
            "TELEPHONY_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "OUTDIAL_LOG_LEVEL": "INFO",
        }
        return provider

    def start_service(self, *arguments: str, port: int = 0) -> Process:
        service = self.processes.outdial("serve", "--port", str(port), *arguments, env=self.environment)
        url = service.wait_for_line(r"outdial listening on (http://\S+)")[1]
        self.environment["OUTDIAL_PUBLIC_URL"] = url
        return service

    def start_workers(self, count: int) -> list[Process]:
        workers = [self.processes.outdial("run", env=self.environment) for _ in range(count)]
        for worker in workers:
            worker.wait_for_line("is at work")
        return workers

    @staticmethod
    def free_port() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    def ledger(self) -> Ledger:
        return read_ledger(self.ledger_path)

    def open_contacts(self) -> int:
        # One statement: a contact that moves between two would be missed by both.
        states = self.contact_states()
        return states[ContactState.PENDING] + states[ContactState.IN_PROGRESS]

    def is_done(self) -> bool:
        return self.open_contacts() == 0

    def unsettled(self) -> int:
        with self.world.database.begin() as connection:
            query = sa.select(sa.func.count()).where(call_attempts.c.settled_at.is_(None))
            return connection.execute(query).scalar_one()

    def contact_states(self) -> Counter[str]:
        with self.world.database.begin() as connection:
            query = sa.select(contacts.c.state, sa.func.count()).group_by(contacts.c.state)
            return Counter(dict(map(tuple, connection.execute(query))))


def assert_accounts_agree(stack: Stack) -> None:
    """The provider's ledger and the database tell the same story, call by call."""
    ledger = stack.ledger()
    rows = {row["call_id"]: row for row in stack.world.attempts()}
    accepted = set(ledger.accepted_call_ids)
    assert not accepted - rows.keys(), "calls that the database does not know"
    assert not ledger.doubled_call_ids, "attempts that became two calls"
    assert not ledger.calls_per_number_overlap(), "numbers with two open calls at once"
    never_placed = {call_id for call_id, row in rows.items() if row["ending"] == "not_placed"}
    assert not never_placed & accepted, "calls placed that the database believes were not"
    known = {call_id for call_id, row in rows.items() if row["started_at"] is not None}
    assert not known - accepted, "calls that only the database knows"


def assert_audits_clean(stack: Stack) -> None:
    """What is stored of the calls proves that none of them was wrong; also after kills and faults."""
    report = audit_report(stack)
    assert report.calls
    assert not [one for one in report.broken if one.is_violation]


def audit_report(stack: Stack) -> Report:
    """What `outdial audit` finds, with the stack's own rules."""
    own = stack.environment.get("OUTDIAL_RULES_FILE")
    asked = Asked(
        book=load_rule_book(None if own is None else Path(own)),
        queue_limits=queue_limits(stack.world.database),
    )
    return audit(stack.world.database.begin_reading, asked)
