"""Runs transactions for the event loop: inline in a single pass, in threads in a worker that must not stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from outdial.engine.outage import Outage
from outdial.storage.database import Database, may_pass

P = ParamSpec("P")
R = TypeVar("R")


class Transactions:
    """`threads` None: run in the caller's own thread (an in-memory SQLite lives in one thread only).

    `outage`: is told of each transaction whether the database was there.
    """

    def __init__(
        self, database: Database, threads: ThreadPoolExecutor | None = None, outage: Outage | None = None
    ) -> None:
        self.database = database
        self._threads = threads
        self._outage = outage

    async def run(
        self, body: Callable[Concatenate[sa.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """`body(connection, …)` in a transaction of its own."""
        try:
            if self._threads is None:
                done = self.database.run(body, *args, **kwargs)
            else:
                done = await asyncio.get_running_loop().run_in_executor(
                    self._threads, lambda: self.database.run(body, *args, **kwargs)
                )
        except sa.exc.SQLAlchemyError as error:
            if self._outage is not None and may_pass(error):
                self._outage.failed(error)
            raise
        if self._outage is not None:
            self._outage.passed()
        return done
