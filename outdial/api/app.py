"""The FastAPI application: the webhook intake, the documents that calls fetch, and the health checks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

import sqlalchemy as sa
from fastapi import FastAPI
from starlette.responses import JSONResponse

from outdial.api.voice import Voice
from outdial.api.webhooks import Intake
from outdial.clock import Clock
from outdial.domain.account import Account
from outdial.domain.errors import SchemaOutOfDate
from outdial.engine.transactions import Transactions
from outdial.engine.worker import Worker
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
