"""Real processes for tests: started, watched through the file that they write to, stopped, killed, and never left over."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.support.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_TIMEOUT_SECONDS = 30.0
LINES_SHOWN = 40


class ProcessProblem(AssertionError):
    """A process did not do what was waited for; the message carries the end of what it wrote."""


class Process:
    """A running process, the leader of a group of its own. What it writes is in `stdout_path` and `stderr_path`."""

    def __init__(self, popen: subprocess.Popen[bytes], name: str, folder: Path) -> None:
        self._popen = popen
        self.name = name
        self.stdout_path = folder / f"{name}.out"
        self.stderr_path = folder / f"{name}.err"

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def wait_for_line(self, pattern: str, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> re.Match[str]:
        """The first match of the pattern in a whole line of either output."""
        found: re.Match[str] | None = None

        def has_come() -> bool:
            nonlocal found
            for line in (*self.stdout.splitlines(keepends=True), *self.stderr.splitlines(keepends=True)):
                if line.endswith("\n") and (found := re.search(pattern, line.rstrip("\n"))):
                    return True
            return False

        self._wait_until(has_come, f"a line like {pattern!r}", timeout_seconds)
        assert found is not None
        return found

    def wait_for_file(self, path: Path, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> str:
        """The text of the file (a port, say), as soon as it has any."""
        self._wait_until(
            lambda: path.exists() and path.stat().st_size > 0, f"the file {path}", timeout_seconds
        )
        return path.read_text()

    def wait_for(
        self, condition: Callable[[], bool], what: str, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        """Until the condition holds; `what` names it for the message. A process that ends meanwhile is a failure."""
        self._wait_until(condition, what, timeout_seconds)

    def wait(self, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> int:
        """The exit code; negative where a signal ended the process."""
        try:
            return self._popen.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise ProcessProblem(
                f"{self._headline('did not end')} within {timeout_seconds} s{self._tail()}"
            ) from error

    def send(self, signal_number: signal.Signals) -> None:
        self._popen.send_signal(signal_number)

    def terminate(self, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> int:
        """SIGTERM, as an operator's `docker stop` sends it; returns the exit code."""
        self.send(signal.SIGTERM)
        return self.wait(timeout_seconds)

    def kill(self) -> None:
        """kill -9 of the process and of all that it started; returns when it is gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def pause(self) -> None:
        """SIGSTOP: as a suspended machine or a long stall."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.send(signal.SIGCONT)

    def _wait_until(self, condition: Callable[[], bool], what: str, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            # In this order: what it wrote just before its end must still be seen.
            has_ended = not self.is_running
            if condition():
                return
            if has_ended:
                ended = f"ended with {self._popen.returncode}"
                raise ProcessProblem(f"{self._headline(ended)} before {what} came{self._tail()}")
            if time.monotonic() > deadline:
                raise ProcessProblem(
                    f"{self._headline('runs')}, but {what} did not come in {timeout_seconds} s{self._tail()}"
                )
            time.sleep(0.01)

    def _headline(self, what: str) -> str:
        return f"{self.name} (process {self.pid}) {what}"

    def _tail(self) -> str:
        ends = (
            f"\n--- {title} ---\n" + "\n".join(text.splitlines()[-LINES_SHOWN:])
            for title, text in (("stdout", self.stdout), ("stderr", self.stderr))
        )
        return "".join(ends)


class Processes:
    """Starts processes for one test; `stop_all` at its end kills what still runs."""

    def __init__(self, folder: Path, run_folder: RunFolder) -> None:
        self._folder = folder
        self._run_folder = run_folder
        self._started: list[Process] = []

    def outdial(
        self, *arguments: str, env: Mapping[str, str] | None = None, name: str | None = None
    ) -> Process:
        """`outdial …`, from this checkout, with the Python that runs the tests."""
        first_words = "-".join(argument for argument in arguments[:2] if argument.isidentifier())
        argv = [sys.executable, "-m", "outdial", *arguments]
        return self.start(argv, env=env, name=name or f"outdial-{first_words}")

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        name: str | None = None,
    ) -> Process:
        """`env` is added to this process's environment."""
        name = f"{name or Path(argv[0]).name}-{len(self._started) + 1}"
        with (
            (self._folder / f"{name}.out").open("wb") as out,
            (self._folder / f"{name}.err").open("wb") as err,
        ):
            popen = subprocess.Popen(
                argv,
                cwd=cwd,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        process = Process(popen, name, self._folder)
        self._started.append(process)
        self._run_folder.remember_process(popen.pid)
        return process

    def stop_all(self) -> None:
        for process in reversed(self._started):
            process.kill()
            self._run_folder.forget_process(process.pid)
