"""The command `outdial`: operations for people and scripts.

Exit codes: 0 done; 1 an answer of no (`db check`), or an unexpected error; 2 a mistake that the message tells how to
mend; 3 the database cannot be used; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

UNEXPECTED = 1
MISTAKE = 2
NO_DATABASE = 3
INTERRUPTED = 130


def main() -> NoReturn:
    """The entry point. No traceback reaches a user, but where OUTDIAL_DEBUG asks for it."""
    from outdial.cli.app import app

    try:
        app(prog_name="outdial")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        _leave_pipe()
        sys.exit(UNEXPECTED)
    except Exception as error:  # noqa: BLE001 - the top of the program
        sys.exit(_report(error))
    sys.exit(0)


def _report(error: Exception) -> int:
    """Say what went wrong; returns the exit code."""
    from outdial.cli.context import DatabaseUnavailable
    from outdial.domain.errors import UserError

    if isinstance(error, UserError | DatabaseUnavailable):
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return MISTAKE if isinstance(error, UserError) else NO_DATABASE
    from outdial.observability import redact
    from outdial.settings import wants_tracebacks

    if wants_tracebacks():
        import traceback

        print(redact("".join(traceback.format_exception(error))), file=sys.stderr, end="")
    else:
        said = redact(str(error)).strip().splitlines()
        what = f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
        print(f"error: unexpected, and ours to mend: {what}", file=sys.stderr)
        print("OUTDIAL_DEBUG=1 before the command shows where it happened.", file=sys.stderr)
    return UNEXPECTED


def _leave_pipe() -> None:
    """Whoever read our output has gone; Python's own flush at exit must not complain of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
