"""Every engine test runs in a world of its own, on SQLite and on Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rules import Rules, rule
from tests.support.world import World


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    made = World(database_url)
    yield made
    made.close()


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    made = Rules(tmp_path / "rules.toml")
    made.write(rule())
    return made
