"""System tests run real processes on one real Postgres (or SQLite) and talk HTTP over loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Processes
from tests.support.stack import Stack
from tests.support.world import World


@pytest.fixture
def stack(postgres_url: str, process: Processes, tmp_path: Path) -> Iterator[Stack]:
    world = World(postgres_url)
    yield Stack(world, process, tmp_path)
    world.close()


@pytest.fixture
def sqlite_stack(sqlite_url: str, process: Processes, tmp_path: Path) -> Iterator[Stack]:
    world = World(sqlite_url)
    yield Stack(world, process, tmp_path)
    world.close()
