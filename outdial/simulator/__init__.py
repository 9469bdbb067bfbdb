"""A simulated telephony provider: a real HTTP server that speaks the generic contract, with faults and a ledger.

It shares no code with the rest of Outdial, so that it can contradict it.
"""

from outdial.simulator.ledger import Ledger, LedgerCall, LedgerPost, read_ledger
from outdial.simulator.server import create_app, run_server, serve
from outdial.simulator.settings import InvalidSimulatorSettings, SimulatorSettings

__all__ = [
    "InvalidSimulatorSettings",
    "Ledger",
    "LedgerCall",
    "LedgerPost",
    "SimulatorSettings",
    "create_app",
    "read_ledger",
    "run_server",
    "serve",
]
