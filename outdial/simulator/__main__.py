"""`python -m outdial.simulator JSON`: the simulated provider as a process of its own, for tests and benchmarks.

The one argument holds the settings and, beside them, `host`, `port` and `port_file`.
"""

import json
import sys
from typing import Any

from outdial.simulator.server import run_server
from outdial.simulator.settings import SimulatorSettings


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print('usage: python -m outdial.simulator \'{"api_key": …, "webhook_secret": …}\'', file=sys.stderr)
        return 2
    try:
        values: dict[str, Any] = json.loads(arguments[0])
        listening = {name: values.pop(name) for name in ("host", "port", "port_file") if name in values}
        run_server(SimulatorSettings.from_mapping(values), **listening)
    except (TypeError, ValueError, OSError) as error:
        print(f"the simulated provider could not start: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
