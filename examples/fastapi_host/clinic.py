"""A clinic that reminds its patients by phone: a FastAPI application with Outdial inside.

Its own tables and Outdial's are in one database. An appointment and the contact who is to be called come in with one
transaction; before a call leaves the clinic is asked; and what came of it is written where it is settled.

It reads DATABASE_URL, TELEPHONY_BASE_URL, TELEPHONY_API_KEY and TELEPHONY_WEBHOOK_SECRET.

    outdial db upgrade
    python examples/fastapi_host/clinic.py setup
    python examples/fastapi_host/clinic.py serve --port 8000
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import AwareDatetime, BaseModel
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from outdial import (
    Allow,
    CallToMake,
    ContactToAdd,
    HttpTelephonyProvider,
    Refuse,
    SchedulerSettings,
    SettledAttempt,
    UserError,
    Worker,
    embedding,
    webhook_router,
)

SETTINGS = ("DATABASE_URL", "TELEPHONY_BASE_URL", "TELEPHONY_API_KEY", "TELEPHONY_WEBHOOK_SECRET")
CAMPAIGN = {
    "format": 1,
    "name": "reminders",
    "purpose": "informational",
    "default_time_zone": "Europe/Rome",
    "when_empty": "wait",
    "call": {"account": "clinic", "result_timeout_seconds": 30},
    "retry": {"max_attempts": 2, "retry_interval_minutes": 30},
    "script": {"intro": "Hello {name}, this is the clinic about your appointment on {day}."},
}


# --- the clinic's own tables ---------------------------------------------------------------------------------------


class Base(DeclarativeBase):
    """The clinic's; Outdial's tables are not in its metadata."""


class Appointment(Base):
    __tablename__ = "appointments"
    id: Mapped[int] = mapped_column(primary_key=True)
    patient: Mapped[str]
    phone_number: Mapped[str]
    day: Mapped[str]
    is_cancelled: Mapped[bool] = mapped_column(default=False)
    # As text, with its offset: SQLite keeps no time zones.
    quiet_until: Mapped[str | None]


class Reminder(Base):
    """What came of a call, and what the clinic kept from being called."""

    __tablename__ = "reminders"
    id: Mapped[int] = mapped_column(primary_key=True)
    appointment_id: Mapped[int | None]
    word: Mapped[str]


# --- the application -----------------------------------------------------------------------------------------------

engine = sa.create_engine(
    os.environ["DATABASE_URL"],
    execution_options={"outdial_schema": os.environ.get("OUTDIAL_DB_SCHEMA") or None},
)
SessionLocal = sessionmaker(engine)


def before_call(calls: Sequence[CallToMake]) -> list[Allow | Refuse]:
    """Has half a second for all of them. No answer, late or wrong, and none of them leaves."""
    with SessionLocal.begin() as session:
        return [_may_call(session, call) for call in calls]


def _may_call(session: Session, call: CallToMake) -> Allow | Refuse:
    appointment = session.get(Appointment, int(call.external_contact_id or 0))
    if appointment is None or appointment.is_cancelled:
        return Refuse(reason="cancelled")
    if appointment.quiet_until is not None:
        until = datetime.fromisoformat(appointment.quiet_until)
        if until > datetime.now(UTC):
            session.add(Reminder(appointment_id=appointment.id, word="not now"))
            return Refuse(reason="asked for quiet", until=until)
    return Allow()


def on_settled(connection: sa.Connection, attempt: SettledAttempt) -> None:
    """In the transaction that settles the attempt: both are written, or neither."""
    if attempt.campaign == CAMPAIGN["name"] and attempt.outcome != "not_placed":
        with Session(connection) as session:
            session.add(Reminder(appointment_id=int(attempt.external_contact_id or 0), word=attempt.outcome))
            session.commit()


def create_app(public_url: str) -> FastAPI:
    provider = HttpTelephonyProvider(
        os.environ["TELEPHONY_BASE_URL"],
        os.environ["TELEPHONY_API_KEY"],
        webhook_secret=os.environ["TELEPHONY_WEBHOOK_SECRET"],
    )
    settings = SchedulerSettings(callback_url=f"{public_url}/telephony/clinic", account="clinic")
    worker = Worker(SessionLocal, provider, settings, before_call=before_call, on_settled=on_settled)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with worker:
            yield

    app = FastAPI(title="Clinic", lifespan=lifespan)
    app.include_router(
        webhook_router(SessionLocal, provider, account="clinic", on_settled=on_settled), prefix="/telephony"
    )
    app.post("/appointments", status_code=201)(book)
    app.delete("/appointments/{appointment_id}", status_code=204)(cancel)
    return app


class Booking(BaseModel):
    patient: str
    phone_number: str
    day: str
    quiet_until: AwareDatetime | None = None


def book(booking: Booking) -> dict[str, int]:
    """The appointment and the contact, in one transaction: a number that cannot be called books nothing."""
    quiet_until = None if booking.quiet_until is None else booking.quiet_until.isoformat()
    try:
        with SessionLocal.begin() as session:
            appointment = Appointment(**{**booking.model_dump(), "quiet_until": quiet_until})
            session.add(appointment)
            session.flush()
            embedding.add_contacts(
                session.connection(),
                "reminders",
                [
                    ContactToAdd(
                        phone_number=booking.phone_number,
                        external_contact_id=str(appointment.id),
                        name=booking.patient,
                        attributes={"day": booking.day},
                    )
                ],
                source="booking form",
                region="IT",
            )
            return {"id": appointment.id}
    except UserError as error:
        raise HTTPException(422, str(error)) from error


def cancel(appointment_id: int) -> None:
    with SessionLocal.begin() as session:
        appointment = session.get(Appointment, appointment_id)
        if appointment is None:
            raise HTTPException(404, "no such appointment")
        appointment.is_cancelled = True
        embedding.withdraw_contact(
            session.connection(), "reminders", str(appointment_id), reason="appointment cancelled"
        )


# --- the command line ----------------------------------------------------------------------------------------------


def setup() -> None:
    """Once: the clinic's tables, the account with its limits, and the campaign. Again, it brings them up to date."""
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        embedding.set_account(
            connection,
            "clinic",
            max_concurrent_calls=10,
            calls_per_second=5,
            outbound_number="+390212345678",
            base_url=os.environ["TELEPHONY_BASE_URL"],
            api_key="env:TELEPHONY_API_KEY",
            webhook_secret="env:TELEPHONY_WEBHOOK_SECRET",
        )
        embedding.apply_campaign(connection, CAMPAIGN)
        embedding.start_campaign(connection, "reminders")


def main() -> None:
    parser = argparse.ArgumentParser(description="A clinic that reminds its patients by phone.")
    parser.add_argument("command", choices=["setup", "serve"])
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    missing = [name for name in SETTINGS if not os.environ.get(name)]
    if missing:
        parser.error(
            f"the environment lacks {', '.join(missing)}: `outdial simulate-provider` says what to set for a try"
        )
    if given.command == "setup":
        setup()
        return
    logging.basicConfig(level=logging.INFO)
    uvicorn.run(create_app(f"http://127.0.0.1:{given.port}"), port=given.port, log_config=None)


if __name__ == "__main__":
    main()
