"""The how-to's own steps: SQLite, a `FakeTelephonyProvider`, one pass, and its troubleshooting."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import StaticPool

from app.infra.config import SchedulerService, SchedulerSettings
from outdial import OutboundCallRequest, OutboundCallResponse, TelephonyProviderError
from outdial.storage.tables import (
    buckets,
    call_attempts,
    calling_zones,
    campaigns,
    contacts,
    metadata,
    provider_configurations,
)

ROOT = Path(__file__).resolve().parents[4]
PAST = datetime.now(UTC) - timedelta(minutes=1)


class FakeTelephonyProvider:
    """Takes every call, or fails every one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.requests: list[OutboundCallRequest] = []
        self.error = error

    def start_outbound_call(self, request: OutboundCallRequest) -> OutboundCallResponse:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return OutboundCallResponse(provider_call_id=f"fake-{len(self.requests)}", status="queued")  # type: ignore[arg-type]


@pytest.fixture
def session_local() -> Iterator[sessionmaker[Session]]:
    engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(engine)
    yield sessionmaker(engine)
    engine.dispose()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> SchedulerSettings:
    monkeypatch.setenv("TELEPHONY_CALLBACK_URL", "https://calls.example.com/webhooks/telephony/main")
    return SchedulerSettings(
        callback_url=os.environ["TELEPHONY_CALLBACK_URL"],
        batch_size=int(os.getenv("SCHEDULER_BATCH", "25")),
        timezone=ZoneInfo(os.getenv("SCHEDULER_TZ", "UTC")),
    )


def fill(session: Session, *, numbers: int, lines: int, windows: list[dict[str, Any]] | None = None) -> None:
    """One account, one running campaign without a zone of its own, and contacts that are due."""
    session.execute(
        sa.insert(provider_configurations).values(
            id=1, name="main", max_concurrent_calls=lines, outbound_number="+390612345678"
        )
    )
    session.execute(
        sa.insert(campaigns).values(
            id=1,
            name="survey",
            purpose="survey",
            status="running",
            account_id=1,
            language="en",
            script={"intro": "Good day", "questions": []},
            retry_policy={"max_attempts": 3, "default_delay_seconds": 3600, "delays_seconds": {}},
            windows=windows or [],
            closed_dates=[],
            countries=[],
            when_empty="complete",
            weight=1,
            priority=0,
            caller_numbers=[],
            call_options={
                "ring_timeout_seconds": 30,
                "max_duration_seconds": 600,
                "machine": "hang_up",
                "result_timeout_seconds": 60,
                "completed_after_seconds": None,
            },
            created_at=PAST,
            changed_at=PAST,
        )
    )
    session.execute(sa.insert(calling_zones).values(id=1, key="unknown:-:", time_zones=[], source="unknown"))
    for index in range(numbers):
        session.execute(
            sa.insert(contacts).values(
                campaign_id=1,
                identity_key=f"tel:{index}",
                phone_number=f"+39347{index:07d}",
                calling_zone_id=1,
                next_attempt_at=PAST,
                created_at=PAST,
                attributes={},
            )
        )
    session.execute(
        sa.insert(buckets).values(campaign_id=1, calling_zone_id=1, priority=0, stage=1, next_due_at=PAST)
    )
    session.commit()


def test_a_pass_schedules_at_most_a_batch(
    session_local: sessionmaker[Session], settings: SchedulerSettings
) -> None:
    with session_local() as session:
        fill(session, numbers=40, lines=100)
    telephony_provider = FakeTelephonyProvider()
    service = SchedulerService(session_local, telephony_provider, settings)
    result = service.run()
    assert len(result.scheduled) == len(telephony_provider.requests) == 25
    assert telephony_provider.requests[0].callback_url == os.environ["TELEPHONY_CALLBACK_URL"]


def test_capacity_comes_from_the_configuration_and_the_open_attempts(
    session_local: sessionmaker[Session], settings: SchedulerSettings
) -> None:
    with session_local() as session:
        fill(session, numbers=10, lines=4)
    service = SchedulerService(session_local, FakeTelephonyProvider(), settings)
    assert len(service.run().scheduled) == 4
    assert service.run().capacity == 0
    with session_local() as session:
        # "Ensure open CallAttempts have ended_at set."
        now = datetime.now(UTC)
        session.execute(
            sa.update(call_attempts)
            .where(call_attempts.c.id == 1)
            .values(ended_at=now, state="ended", ending="busy", settled_at=now, outcome="busy")
        )
        session.commit()
    assert service.run().capacity == 1


def test_the_schedulers_time_zone_serves_a_campaign_without_one(
    session_local: sessionmaker[Session], settings: SchedulerSettings
) -> None:
    now = datetime.now(ZoneInfo("Asia/Tokyo"))
    start = now.hour * 60
    windows = [{"days": list(range(7)), "start_minute": start, "end_minute": (start + 60) % 1440 or 1440}]
    with session_local() as session:
        fill(session, numbers=1, lines=4, windows=windows)
    assert not SchedulerService(session_local, FakeTelephonyProvider(), settings).run().scheduled
    tokyo = SchedulerSettings(callback_url=settings.callback_url, timezone=ZoneInfo("Asia/Tokyo"))
    assert len(SchedulerService(session_local, FakeTelephonyProvider(), tokyo).run().scheduled) == 1


def test_a_providers_failure_logs_the_line_of_the_how_to(
    session_local: sessionmaker[Session], settings: SchedulerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with session_local() as session:
        fill(session, numbers=1, lines=4)
    provider = FakeTelephonyProvider(TelephonyProviderError("no answer"))
    with caplog.at_level(logging.WARNING):
        SchedulerService(session_local, provider, settings).run()
    assert "Telephony provider failure" in caplog.text


class _Gateway(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"provider_call_id": "gateway-1", "status": "queued"}'
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def test_the_how_tos_snippet_runs_word_for_word_in_a_worker_of_ones_own(tmp_path: Path) -> None:
    """Alembic's schema, `PYTHONPATH=.`, the environment, and the snippet, in a process of its own."""
    server = HTTPServer(("127.0.0.1", 0), _Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    snippet = """
import os
from zoneinfo import ZoneInfo
from app.infra.config import SchedulerService, SchedulerSettings, SessionLocal, telephony_provider
from runs_fill import fill
with SessionLocal() as session:
    fill(session, numbers=1, lines=4)
settings = SchedulerSettings(
    callback_url=os.environ["TELEPHONY_CALLBACK_URL"],
    batch_size=int(os.getenv("SCHEDULER_BATCH", "25")),
    timezone=ZoneInfo(os.getenv("SCHEDULER_TZ", "UTC")),
)
service = SchedulerService(SessionLocal, telephony_provider, settings)
print(len(service.run().scheduled))
"""
    (tmp_path / "runs_fill.py").write_text(Path(__file__).read_text())
    environment = {
        **os.environ,
        "PYTHONPATH": f".{os.pathsep}{tmp_path}",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'kit.sqlite3'}",
        "TELEPHONY_CALLBACK_URL": "https://calls.example.com/webhooks/telephony/main",
        "TELEPHONY_BASE_URL": f"http://127.0.0.1:{server.server_port}",
        "TELEPHONY_API_KEY": "key",
    }
    upgrade = [sys.executable, "-m", "outdial", "db", "upgrade"]
    subprocess.run(upgrade, cwd=ROOT, env=environment, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    server.shutdown()
    server.server_close()
    assert done.stdout.strip() == "1"
