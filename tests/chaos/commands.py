"""What people ask for meanwhile: the operations behind the commands, each with the wait that makes its word true."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from outdial.domain.errors import UserError
from outdial.operations import campaigns, exclusions, stops
from outdial.storage.database import Database
from tests.chaos.plan import Kind

BY: Final = "chaos"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A command that has ended. Instants are Unix seconds; `told_at`: when it reported success, None: it failed."""

    kind: Kind
    target: str
    begun_at: float
    told_at: float | None
    error: str | None = None


class Commands:
    """Given as many at once as there are threads; `ended` hands out each one once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="command")
        self._running: list[Future[Told]] = []

    @property
    def are_running(self) -> bool:
        return bool(self._running)

    def give(self, kind: Kind, target: str = "") -> None:
        self._running.append(self._threads.submit(self._do, kind, target, time.time()))

    def ended(self) -> list[Told]:
        done = [one for one in self._running if one.done()]
        self._running = [one for one in self._running if one not in done]
        return [one.result() for one in done]

    def close(self) -> None:
        self._threads.shutdown(wait=True)

    def _do(self, kind: Kind, target: str, begun_at: float) -> Told:
        try:
            self._database.run(DO[kind], target)
        except (sa.exc.DBAPIError, UserError) as error:
            said = str(error).splitlines()[0]
            return Told(kind=kind, target=target, begun_at=begun_at, told_at=None, error=said)
        # As the commands do: what had passed its last check before our commit may still be leaving.
        time.sleep(stops.SETTLE_SECONDS)
        return Told(kind=kind, target=target, begun_at=begun_at, told_at=time.time())


def _pause(connection: sa.Connection, name: str) -> None:
    campaigns.pause(connection, name, paused_by=BY, reason=BY)


def _resume(connection: sa.Connection, name: str) -> None:
    campaigns.resume(connection, name)


def _stop_account(connection: sa.Connection, name: str) -> None:
    stops.stop(connection, stops.Scope(account=name), by=BY, reason=BY)


def _resume_account(connection: sa.Connection, name: str) -> None:
    stops.resume(connection, stops.Scope(account=name))


def _exclude(connection: sa.Connection, called: str) -> None:
    exclusions.add(connection, [called], exclusions.Terms(reason=BY, source=BY))


DO: Final[Mapping[Kind, Callable[[sa.Connection, str], None]]] = {
    Kind.PAUSE: _pause,
    Kind.RESUME: _resume,
    Kind.STOP_ACCOUNT: _stop_account,
    Kind.RESUME_ACCOUNT: _resume_account,
    Kind.EXCLUDE: _exclude,
}
