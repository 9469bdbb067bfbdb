"""The FastAPI application: the webhook intake, the documents that calls fetch, and the health checks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

import sqlalchemy as sa
from fastapi import APIRouter, FastAPI
from sqlalchemy.orm import Session, sessionmaker
from starlette.responses import JSONResponse

from outdial.api.voice import Voice
from outdial.api.webhooks import Intake
from outdial.clock import Clock, SystemClock
from outdial.domain.account import Account
from outdial.domain.errors import SchemaOutOfDate, UserError
from outdial.engine.on_settled import OnSettled
from outdial.engine.scheduler import engine_of
from outdial.engine.transactions import Transactions
from outdial.engine.worker import Providers, Worker
from outdial.storage import migrate
from outdial.storage.database import Database
from outdial.telephony.protocol import WebhookReader

WEBHOOK_PATH = "/webhooks/telephony/{account}"
VOICE_PATH = "/voice/{account}/{call_id}"


def create_app(
    database: Database,
    reader_for: Callable[[Account], WebhookReader],
    clock: Clock,
    worker: Worker | None = None,
    *,
    callback_url_for: Callable[[Account], str | None] = lambda _: None,
    voice_url_for: Callable[[Account], str | None] = lambda _: None,
) -> FastAPI:
    """`worker`: dials in the background of the same process. `callback_url_for`, `voice_url_for`: the URLs that the
    provider was given for an account's events and documents; None: as we see them.
    """
    intake = Intake(database, reader_for, clock, callback_url_for)
    voice = Voice(database, reader_for, clock, voice_url_for)
    threads = ThreadPoolExecutor(1, thread_name_prefix="outdial-health")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(threads.shutdown)
            stack.push_async_callback(intake.close)
            stack.callback(voice.close)
            if worker is not None:
                await stack.enter_async_context(worker)
            yield

    app = FastAPI(title="Outdial", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.router.add_route(WEBHOOK_PATH, intake.handle, methods=["POST"], include_in_schema=False)
    app.router.add_route(VOICE_PATH, voice.handle, methods=["GET", "POST"], include_in_schema=False)

    @app.get("/healthz")
    async def alive() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def ready() -> JSONResponse:
        """The database answers, with the schema that this program needs."""
        try:
            await Transactions(database, threads).run(migrate.check)
        except SchemaOutOfDate as error:
            return JSONResponse({"status": "schema", "detail": str(error)}, status_code=503)
        except sa.exc.SQLAlchemyError:
            return JSONResponse(
                {"status": "database", "detail": "the database does not answer"}, status_code=503
            )
        return JSONResponse({"status": "ok"})

    return app


def webhook_router(
    session_factory: sessionmaker[Session] | Database,
    providers: Providers | WebhookReader,
    *,
    account: str | None = None,
    on_settled: OnSettled | None = None,
    clock: Clock | None = None,
) -> APIRouter:
    """The webhook intake for a host's own application: `app.include_router(webhook_router(…), prefix="/anything")`.

    Its one route is `POST /{account}` below the prefix, which must be what the callback URL says. `providers` is what
    the `Worker` has; with a single provider object, `account` names whose webhooks it reads (None: any account's).
    `session_factory` only lends its engine. `on_settled`: the same as the worker's, since most attempts settle here.

    Answers 2xx only for what is committed, 401 for a wrong signature, 404 for an unknown account, 413 and 422 for what
    is no webhook, 503 where the provider shall try again.
    """
    clock = clock or SystemClock()
    database = (
        session_factory
        if isinstance(session_factory, Database)
        else Database(engine_of(session_factory), clock)
    )

    def reader_for(found: Account) -> WebhookReader:
        if not isinstance(providers, Providers):
            if account is not None and found.name != account:
                raise UserError(f"this router was given the provider of the account {account!r}")
            return providers
        provider = providers.provider_for(found)
        if not isinstance(provider, WebhookReader):
            raise UserError("its provider object reads no webhooks: it has no read_webhook")
        return provider

    def known_as(found: Account) -> str | None:
        """What the provider signs is the URL that it was given, whatever a proxy made of it."""
        try:
            return providers.callback_url_for(found) if isinstance(providers, Providers) else None
        except UserError:
            return None

    intake = Intake(database, reader_for, clock, known_as, on_settled)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        await intake.close()

    router = APIRouter(lifespan=lifespan)
    router.add_route("/{account}", intake.handle, methods=["POST"], include_in_schema=False)
    return router
