"""The example of a host, as its readers run it, judged by the provider's ledger and by the host's own tables."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from outdial.domain.contact import ContactState
from outdial.storage.migrate import upgrade
from outdial.storage.tables import contacts
from tests.support.processes import Process, Processes
from tests.support.stack import Stack
from tests.support.world import World, number

ROOT = Path(__file__).parents[2]
CLINIC = ROOT / "examples" / "fastapi_host" / "clinic.py"
SCHEMA = "outdial"


class Clinic:
    """The example on the simulated provider."""

    def __init__(self, stack: Stack, provider: Process) -> None:
        self.stack = stack
        self.provider = provider
        port = stack.free_port()
        self.url = f"http://127.0.0.1:{port}"
        assert self._run("setup", name="setup").wait() == 0
        self.process = self._run("serve", "--port", str(port), name="clinic")
        self.process.wait_for_line("is at work")
        self.process.wait_for(self.answers, "the clinic's answer", 20)

    def _run(self, *arguments: str, name: str) -> Process:
        command = [sys.executable, str(CLINIC), *arguments]
        return self.stack.processes.start(command, name=name, env=self.stack.environment)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/openapi.json").status_code == 200
        except httpx.TransportError:
            return False

    def book(self, phone_number: str, **more: Any) -> httpx.Response:
        body = {"patient": "Ada", "phone_number": phone_number, "day": "Monday", **more}
        return httpx.post(f"{self.url}/appointments", json=body, timeout=20)

    def rows(self, table: str) -> list[dict[str, Any]]:
        with self.stack.world.engine.begin() as connection:
            found = connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY id")).mappings()
            return [dict(row) for row in found]

    def contact_of(self, phone_number: str) -> dict[str, Any]:
        with self.stack.world.database.begin() as connection:
            query = sa.select(contacts).where(contacts.c.phone_number == phone_number)
            return dict(connection.execute(query).mappings().one())


@pytest.fixture(params=["sqlite", "postgres"])
def clinic(request: pytest.FixtureRequest, process: Processes, tmp_path: Path) -> Iterator[Clinic]:
    schema = None if request.param == "sqlite" else SCHEMA
    url = request.getfixturevalue(f"empty_{request.param}_url")
    upgrade(url, schema=schema)
    world = World(url, schema=schema)
    stack = Stack(world, process, tmp_path)
    provider = stack.start_provider()
    port = (tmp_path / "provider.port").read_text().strip()
    stack.environment |= {
        "TELEPHONY_BASE_URL": f"http://127.0.0.1:{port}",
        "OUTDIAL_DB_SCHEMA": schema or "",
        # A script's own folder comes first on its path, and not the one that it is started in.
        "PYTHONPATH": str(ROOT),
    }
    yield Clinic(stack, provider)
    world.close()


def test_the_clinic_calls_whom_it_booked_and_keeps_its_own_books(clinic: Clinic) -> None:
    quiet_until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)
    assert clinic.book(number(0), quiet_until=quiet_until.isoformat()).status_code == 201
    booked = [clinic.book(number(index)).json()["id"] for index in (1, 2, 3)]
    assert clinic.book("12").status_code == 422

    def words() -> dict[int, str]:
        return {row["appointment_id"]: row["word"] for row in clinic.rows("reminders")}

    clinic.process.wait_for(lambda: {*booked} <= words().keys(), "the clinic's word on every call", 40)
    assert len(clinic.rows("appointments")) == 4, "the wrong number booked nothing"
    quiet = clinic.contact_of(number(0))
    assert (quiet["state"], quiet["next_attempt_at"]) == (ContactState.PENDING, quiet_until)
    assert {post.to for post in clinic.stack.ledger().posts} == {number(index) for index in (1, 2, 3)}
    settled = {row["contact_id"]: row["outcome"] for row in clinic.stack.world.attempts() if row["sent_at"]}
    for index, appointment_id in zip((1, 2, 3), booked, strict=True):
        assert words()[appointment_id] == settled[clinic.contact_of(number(index))["id"]]
    assert clinic.process.terminate() in {0, -15}


def test_the_code_in_the_guide_is_that_of_the_example() -> None:
    guide = (ROOT / "docs" / "embedding.md").read_text("utf-8")
    source = {line.strip() for line in CLINIC.read_text("utf-8").splitlines()}
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert blocks
    for block in blocks:
        for line in block.splitlines():
            if line.strip() not in {"", "..."}:
                assert line.strip() in source, line
