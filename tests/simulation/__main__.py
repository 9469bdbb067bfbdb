"""`python -m tests.simulation`: run one seed and tell its story, or run many and say which went wrong."""

from __future__ import annotations

import sys

from tests.simulation.command import main

sys.exit(main(sys.argv[1:], lambda line: print(line, flush=True)))
