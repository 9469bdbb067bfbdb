"""`python -m outdial.demo.leash MODULE …`: runs a module that ends when its parent does, by kill -9 too.

The parent holds the other end of our standard input. A pipe and not the system's own signal for a parent's death:
only Linux has that one.
"""

import os
import runpy
import signal
import sys
import threading
from typing import Final

GRACE_SECONDS: Final = 5.0


def main() -> None:
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    threading.Thread(target=_follow_parent, name="leash", daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _follow_parent() -> None:
    # Not sys.stdin: its lock, held by a thread that waits, spoils the interpreter's own end.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
