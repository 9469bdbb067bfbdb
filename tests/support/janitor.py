"""Clears up after a test run: waits for the lock of its folder, stops what still runs, deletes the folder.

Run as `python janitor.py FOLDER`, apart from pytest, so that it survives whatever kills pytest.
"""

import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

LOCK_NAME = "in-use.lock"
PROCESSES_NAME = "processes"
MEMORY = Path("/dev/shm")
SECONDS_TO_CLEAR_UP = 15


def main(folder: Path) -> None:
    with (folder / LOCK_NAME).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        deadline = time.monotonic() + SECONDS_TO_CLEAR_UP
        # More than once: a server that was just being started when its pytest was killed appears only later.
        while time.monotonic() < deadline:
            kill_process_groups(folder)
            for place in (in_memory(folder), folder):
                stop_servers(place)
                shutil.rmtree(place, ignore_errors=True)
            if not folder.exists() and not in_memory(folder).exists():
                return
            time.sleep(0.1)


def in_memory(folder: Path) -> Path:
    """The other half of a run's folder, where the operating system has one; what lies there is in memory."""
    return MEMORY / folder.name


def kill_process_groups(folder: Path) -> None:
    for entry in (folder / PROCESSES_NAME).glob("*"):
        pid = int(entry.name)
        with suppress(psutil.NoSuchProcess):
            if repr(psutil.Process(pid).create_time()) != entry.read_text():
                continue  # the number was given to somebody else since
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def stop_servers(folder: Path) -> None:
    for pid_file in folder.glob("*/data/postmaster.pid"):
        with suppress(OSError, IndexError, ValueError, psutil.Error):
            server = psutil.Process(int(pid_file.read_text().splitlines()[0]))
            if str(pid_file.parent) in server.cmdline():
                stop(server)


def stop(server: psutil.Process) -> None:
    """The data is thrown away, so the immediate way out is the right one."""
    server.send_signal(signal.SIGQUIT)
    if not have_ended([server], timeout_seconds=5):
        server.kill()
        have_ended([server], timeout_seconds=5)


def have_ended(processes: Sequence[psutil.Process], timeout_seconds: float) -> bool:
    """Waits for it. A process that its parent has not yet asked for is over too: some init processes take a second."""
    deadline = time.monotonic() + timeout_seconds
    while not all(map(_has_ended, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
