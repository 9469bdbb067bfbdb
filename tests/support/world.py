"""A small world for engine tests: an account, campaigns and contacts in a real database, and providers that remember."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from outdial.clock import SystemClock
from outdial.domain.attempt import CallEvent
from outdial.domain.campaign import CampaignDefinition, CampaignStatus, Purpose
from outdial.domain.contact import ContactState, Stage
from outdial.domain.doubt import Capabilities
from outdial.domain.errors import TelephonyProviderError
from outdial.domain.ids import AccountId, CallId, CampaignId, ContactId, ProviderCallId
from outdial.domain.zones import CallingZone, ZoneSource
from outdial.engine.definitions import Definitions
from outdial.engine.events import Heard, receive
from outdial.engine.scheduler import SchedulerRunResult, SchedulerService, SchedulerSettings
from outdial.storage import accounts, buckets, calling_zones, campaigns
from outdial.storage.call_events import ReceivedEvent
from outdial.storage.database import Database, create_engine, database_now
from outdial.storage.tables import call_attempts, contacts, provider_configurations
from outdial.telephony.protocol import OutboundCallRequest, OutboundCallResponse

ROME = CallingZone(time_zones=("Europe/Rome",), country="IT", source=ZoneSource.CONTACT)


def number(index: int) -> str:
    """A valid Italian mobile number for each index."""
    return f"+39347{index:07d}"


class RecordingProvider:
    """A provider that accepts every call and remembers it; `answer` may raise what a real one would."""

    def __init__(self, answer: Callable[[OutboundCallRequest], None] | None = None) -> None:
        self.requests: list[OutboundCallRequest] = []
        self.answer = answer
        self.capabilities = Capabilities()
        self._lock = threading.Lock()

    def start_outbound_call(self, request: OutboundCallRequest) -> OutboundCallResponse:
        with self._lock:
            self.requests.append(request)
        if self.answer is not None:
            self.answer(request)
        return OutboundCallResponse(provider_call_id=ProviderCallId(f"P-{request.call_id}"), status="queued")


def refusing(error: TelephonyProviderError) -> Callable[[OutboundCallRequest], None]:
    def answer(request: OutboundCallRequest) -> None:
        raise error

    return answer


@dataclass
class World:
    """One database with one account named `main`, to which campaigns and contacts are added."""

    url: str
    max_concurrent_calls: int = 100
    calls_per_second: float | None = None
    known: Definitions = field(default_factory=Definitions)
    schema: str | None = None

    def __post_init__(self) -> None:
        self.engine = create_engine(self.url, self.schema)
        self.database = Database(self.engine, SystemClock())
        self.session_factory: sessionmaker[Session] = sessionmaker(self.engine)
        self.account_id = self.add_account("main")

    def close(self) -> None:
        self.engine.dispose()

    def add_account(self, name: str, **values: Any) -> AccountId:
        row = {
            "name": name,
            "max_concurrent_calls": self.max_concurrent_calls,
            "calls_per_second": self.calls_per_second,
            "outbound_number": "+390612345678",
            **values,
        }
        return self.database.run(accounts.insert, row)

    def set_account(self, **values: Any) -> None:
        self.database.run(accounts.update, self.account_id, values)

    def add_campaign(
        self,
        name: str = "survey",
        *,
        status: CampaignStatus = CampaignStatus.RUNNING,
        account_id: AccountId | None = None,
        **definition: Any,
    ) -> CampaignId:
        given = {
            "purpose": Purpose.SURVEY,
            "default_time_zone": "Europe/Rome",
            "account": "main",
            **definition,
        }
        whole = CampaignDefinition(name=name, **given)

        def insert(connection: sa.Connection) -> CampaignId:
            owner = account_id or self.account_id
            campaign_id = campaigns.insert(connection, owner, whole, database_now(connection))
            self._set_status(connection, campaign_id, status)
            return campaign_id

        return self.database.run(insert)

    def set_status(self, campaign_id: CampaignId, status: CampaignStatus) -> None:
        self.database.run(self._set_status, campaign_id, status)

    def add_contacts(
        self,
        campaign_id: CampaignId,
        numbers: Iterable[str],
        *,
        zone: CallingZone = ROME,
        priority: int = 0,
        stage: Stage = Stage.FIRST,
        due_in: timedelta = timedelta(seconds=-1),
        **columns: Any,
    ) -> list[ContactId]:
        def insert(connection: sa.Connection) -> list[ContactId]:
            zone_id = calling_zones.ensure(connection, [zone])[zone.key]
            due_at = database_now(connection) + due_in
            rows = [
                {
                    "campaign_id": campaign_id,
                    "identity_key": f"tel:{one}",
                    "phone_number": one,
                    "calling_zone_id": zone_id,
                    "priority": priority,
                    "stage": int(stage),
                    "next_attempt_at": due_at,
                    "created_at": due_at,
                    "attributes": {},
                    **columns,
                }
                for one in numbers
            ]
            if not rows:
                return []
            added = connection.execute(sa.insert(contacts).returning(contacts.c.id), rows).scalars().all()
            buckets.add_due(connection, [(campaign_id, zone_id, priority, stage, due_at)])
            return [ContactId(one) for one in added]

        return self.database.run(insert)

    def service(self, provider: Any, **settings: Any) -> SchedulerService:
        given = {"callback_url": "http://127.0.0.1:1/webhooks/telephony/main", "account": "main", **settings}
        return SchedulerService(self.session_factory, provider, SchedulerSettings(**given))

    def run_pass(self, provider: Any, **settings: Any) -> SchedulerRunResult:
        return self.service(provider, **settings).run()

    def hear(self, *events: CallEvent) -> list[Heard]:
        received = [ReceivedEvent(account_id=self.account_id, event=event, payload={}) for event in events]
        return self.database.run(receive, received, self.known)

    def attempts(self) -> Sequence[sa.RowMapping]:
        with self.database.begin() as connection:
            return connection.execute(sa.select(call_attempts).order_by(call_attempts.c.id)).mappings().all()

    def contact(self, contact_id: ContactId) -> sa.RowMapping:
        with self.database.begin() as connection:
            query = sa.select(contacts).where(contacts.c.id == contact_id)
            return connection.execute(query).mappings().one()

    def contacts_in(self, state: ContactState) -> int:
        with self.database.begin() as connection:
            query = sa.select(sa.func.count()).select_from(contacts).where(contacts.c.state == state)
            return connection.execute(query).scalar_one()

    def make_due(self) -> None:
        """As if the waits of all pending contacts were over."""

        def change(connection: sa.Connection) -> None:
            past = database_now(connection) - timedelta(seconds=1)
            pending = contacts.c.state == ContactState.PENDING
            connection.execute(sa.update(contacts).where(pending).values(next_attempt_at=past))
            rows = connection.execute(
                sa.select(
                    contacts.c.campaign_id, contacts.c.calling_zone_id, contacts.c.priority, contacts.c.stage
                )
                .where(pending)
                .distinct()
            ).all()
            buckets.add_due(connection, [(r[0], r[1], r[2], Stage(r[3]), past) for r in rows])

        self.database.run(change)

    def shift_attempts(self, seconds: float) -> None:
        """As if `seconds` had passed since every attempt was claimed, sent, and answered."""

        def change(connection: sa.Connection) -> None:
            names = (
                "dial_at",
                "not_after",
                "sent_at",
                "started_at",
                "settle_at",
                "look_up_at",
                "ended_at",
                "hung_up_at",
            )
            for row in connection.execute(sa.select(call_attempts)).mappings().all():
                moved = {n: row[n] - timedelta(seconds=seconds) for n in names if row[n] is not None}
                connection.execute(
                    sa.update(call_attempts).where(call_attempts.c.id == row["id"]).values(**moved)
                )
            if seconds:
                # Nor has anybody asked the provider in between.
                nothing = {"look_up_cursor_at": None, "look_ups_not_before": None}
                connection.execute(sa.update(provider_configurations).values(nothing))

        self.database.run(change)

    @staticmethod
    def _set_status(connection: sa.Connection, campaign_id: CampaignId, status: CampaignStatus) -> None:
        connection.execute(
            sa.update(campaigns.campaigns)
            .where(campaigns.campaigns.c.id == campaign_id)
            .values(status=status)
        )


def event(kind: Any, call_id: CallId | str, **facts: Any) -> CallEvent:
    """An event as an adapter would hand it on."""
    given = {"event_id": f"{kind}-{call_id}", "at": datetime.now(UTC), **facts}
    return CallEvent(kind=kind, call_id=CallId(call_id), **given)
