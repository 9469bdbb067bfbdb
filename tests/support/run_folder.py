"""The temporary folder of one test run, shared by its pytest workers, and all that must not outlive the run.

Whoever creates it holds a file lock in it. A janitor process waits for that lock, so it gets its turn however the run
ends, by kill -9 too; it then stops every server and process that the folder knows of and deletes the folder.
"""

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil

from tests.support.janitor import LOCK_NAME, MEMORY, PROCESSES_NAME, in_memory

JANITOR = Path(__file__).with_name("janitor.py")
SECONDS_FOR_THE_JANITOR = 20
BYTES_NEEDED_IN_MEMORY = 2 * 1024**3


class RunFolder:
    """`create` it once per run (the pytest that the user started); every xdist worker does `join`."""

    def __init__(self, path: Path, lock: IO[str] | None) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls) -> "RunFolder":
        path = Path(tempfile.mkdtemp(prefix="outdial-tests-", dir=_parent_open_to_all()))
        if os.geteuid() == 0:
            # Postgres then runs as another user, who must be able to walk through here to a folder of its own.
            path.chmod(0o711)
        (path / PROCESSES_NAME).mkdir()
        if _has_room_in_memory():
            in_memory(path).mkdir(mode=path.stat().st_mode)
            in_memory(path).chmod(path.stat().st_mode)
        lock = (path / LOCK_NAME).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        _start_janitor(path)
        return cls(path, lock)

    @classmethod
    def join(cls, path: Path) -> "RunFolder":
        return cls(path, None)

    @property
    def name(self) -> str:
        """Fit for the name of a database: letters, digits and underscores."""
        return "".join(
            c if c.isalnum() else "_" for c in self.path.name.removeprefix("outdial-tests-")
        ).lower()

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` returned to the first worker of this run that asked; the others wait for it and read it."""
        with self.locked(name):
            made = self.path / f"{name}.json"
            if not self.has_made(name):
                result = make()
                made.touch(mode=0o600)  # it may hold a password
                made.write_text(json.dumps(result))
                return result
            return dict(json.loads(made.read_text()))

    def has_made(self, name: str) -> bool:
        return (self.path / f"{name}.json").exists()

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        with (self.path / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def new_folder(self, name: str) -> Path:
        return _make_folder(self.path, name)

    def new_fast_folder(self, name: str) -> Path:
        """In memory where there is room. For data, not for programs: some systems forbid to run those from there."""
        memory = in_memory(self.path)
        return _make_folder(memory if memory.exists() else self.path, name)

    def remember_process(self, pid: int) -> None:
        """The process leads a group of its own; the janitor kills the group should nobody else have done so."""
        (self.path / PROCESSES_NAME / str(pid)).write_text(repr(psutil.Process(pid).create_time()))

    def forget_process(self, pid: int) -> None:
        (self.path / PROCESSES_NAME / str(pid)).unlink(missing_ok=True)

    def close(self) -> None:
        """End of the run: returns when nothing of it is left. Only for the one that created the folder."""
        if self._lock is None:
            return
        self._lock.close()
        self._lock = None
        deadline = time.monotonic() + SECONDS_FOR_THE_JANITOR
        while self.path.exists() or in_memory(self.path).exists():
            if time.monotonic() > deadline:
                print(
                    f"{self.path} was not cleaned up: see whether a postgres still runs in it",
                    file=sys.stderr,
                )
                return
            time.sleep(0.02)


def _start_janitor(folder: Path) -> None:
    # A session of its own: neither Ctrl-C nor a kill of pytest's process group may reach it.
    janitor = subprocess.Popen(
        [sys.executable, "-I", JANITOR, folder],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # It outlives this process by design, so nobody waits for it; without this, Popen warns of it when collected.
    janitor.returncode = 0


def _make_folder(parent: Path, name: str) -> Path:
    path = parent / f"{name}-{secrets.token_hex(3)}"
    path.mkdir()
    return path


def _has_room_in_memory() -> bool:
    # Making a database takes about 20 ms there; on a disk, even without fsync, up to half a second.
    return MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= BYTES_NEEDED_IN_MEMORY


def _parent_open_to_all() -> Path:
    """The usual temporary folder, or /tmp where root's lies in a place that others cannot walk into."""
    usual = Path(tempfile.gettempdir()).resolve()
    if os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in (usual, *usual.parents)):
        return usual
    return Path("/tmp")
