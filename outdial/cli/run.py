"""`outdial run`: a worker."""

from __future__ import annotations

import logging
import os
import threading


def run() -> None:
    """Dial: claim contacts of running campaigns, place the calls, record the answers, until SIGTERM or Ctrl-C.

    Several may run at once, on one machine or many: the database keeps them to the account's limits.

    Example: OUTDIAL_PUBLIC_URL=https://calls.example.com outdial run
    """
    from outdial.bootstrap import make_worker
    from outdial.cli.context import open_context
    from outdial.cli.data_versions import log_zone_data

    with open_context() as context:
        worker = make_worker(context.settings, context.database, context.clock)
        log_zone_data(context.clock)
        worker.run_forever()
    # A thread that waits for a database which is away would keep the process, though its work is done.
    if any(thread.name.startswith("outdial-database") for thread in threading.enumerate()):
        logging.shutdown()
        os._exit(0)
