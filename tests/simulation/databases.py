"""The databases under a simulation: the real schema, the virtual clock, and a hook at every statement and commit."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import StaticPool

from outdial.storage.database import Database
from outdial.storage.migrate import upgrade_connection
from outdial.storage.types import instant_text
from tests.simulation.hub import Hub, VirtualClock
from tests.simulation.story import Story


class Points(Protocol):
    """Told where an actor stands; may raise what befalls it there."""

    def at_statement(self, statement: str) -> None: ...

    def before_commit(self) -> None: ...

    def after_commit(self) -> None: ...


class Body(Protocol):
    """A database for one run after the other."""

    engine: sa.Engine

    def hub_for(self, chance: random.Random, story: Story) -> Hub: ...

    def reset(self, hub: Hub, points: Points) -> None:
        """Empty, on the clock of this run."""
        ...

    def look(self, query: str) -> list[tuple[Any, ...]]:
        """What is committed, asked outside of every transaction."""
        ...

    def text(self, instant: datetime) -> str:
        """An instant as a query says it."""
        ...

    def close(self) -> None: ...


class SimulatedDatabase(Database):
    """The database as one process has it. `on_notify` is told of what Postgres would notify all processes of."""

    def __init__(self, engine: sa.Engine, hub: Hub, points: Points, on_notify: Callable[[], None]) -> None:
        super().__init__(engine, VirtualClock(hub))
        self._points = points
        self._on_notify = on_notify

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        with super().begin() as connection:
            yield connection
        self._points.after_commit()

    def wake(self) -> None:
        self._on_notify()


class _Lasting(sqlite3.Connection):
    """Holds a database in memory, so it must outlive the process whose crash closes it."""

    def close(self) -> None:
        self.rollback()

    def end(self) -> None:
        super().close()


class SqliteBody:
    """In memory, on one connection: its transactions are serial, so that a crash tears none of another's."""

    def __init__(self, change: str | None = None) -> None:
        """`change`: what is done to the schema."""
        self._template = sqlite3.connect(":memory:", check_same_thread=False)
        template = sa.create_engine("sqlite://", creator=lambda: self._template, poolclass=StaticPool)
        with template.connect() as connection:
            upgrade_connection(connection)
        if change is not None:
            self._template.execute(change)
            self._template.commit()
        self._raw = sqlite3.connect(":memory:", check_same_thread=False, factory=_Lasting)
        self._raw.create_function("strftime", 2, self._strftime)
        self.engine = sa.create_engine("sqlite://", creator=lambda: self._raw, poolclass=StaticPool)
        self._hub: Hub | None = None
        self._points: Points | None = None
        event.listen(self.engine, "before_cursor_execute", self._at_statement)
        event.listen(self.engine, "commit", self._before_commit)

    def hub_for(self, chance: random.Random, story: Story) -> Hub:
        return Hub(chance, story)

    def look(self, query: str) -> list[tuple[Any, ...]]:
        return self._raw.execute(query).fetchall()

    def text(self, instant: datetime) -> str:
        return f"'{instant_text(instant)}'"

    def reset(self, hub: Hub, points: Points) -> None:
        self._raw.rollback()
        self._template.backup(self._raw)
        self._hub, self._points = hub, points

    def close(self) -> None:
        self._raw.end()
        self._template.close()

    def _strftime(self, _: str, __: str) -> str:
        assert self._hub is not None
        return self._hub.instant().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]

    def _at_statement(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        if self._points is not None:
            self._points.at_statement(statement)

    def _before_commit(self, _: sa.Connection) -> None:
        if self._points is not None:
            self._points.before_commit()
