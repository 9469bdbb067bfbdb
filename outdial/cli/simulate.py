"""`outdial simulate-provider`: a provider to try things out with, over HTTP, that calls nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outdial.cli.output import say
from outdial.domain.errors import UserError

if TYPE_CHECKING:
    from outdial.simulator.settings import SimulatorSettings

# Known to everybody, so that a first try needs no settings; they guard nothing.
WELL_KNOWN_API_KEY: Final = "simulated-provider"
WELL_KNOWN_WEBHOOK_SECRET: Final = "whsec_c2ltdWxhdGVkLXByb3ZpZGVyLXNlY3JldA=="  # noqa: S105 - see above

PEOPLE: Final = "Whom it reaches"
TIMES: Final = "Times (seconds)"
LIMITS: Final = "Its limits"
FAULTS: Final = "What goes wrong (shares of 1)"


def _share(text: str, panel: str) -> Any:
    return typer.Option(help=text, metavar="SHARE", rich_help_panel=panel)


def _seconds(option: str, text: str, panel: str = TIMES) -> Any:
    return typer.Option(option, help=text, metavar="SECONDS", rich_help_panel=panel)


def simulate_provider(
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port to listen on; 0 takes any free one.", min=0, max=65535)
    ] = 8090,
    port_file: Annotated[
        Path | None, typer.Option(help="Write the port here when requests are answered.")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            help="What calls must be asked for with.",
            envvar="TELEPHONY_API_KEY",
            show_default="a well-known one",
        ),
    ] = None,
    webhook_secret: Annotated[
        str | None,
        typer.Option(
            help="Signs the webhooks: whsec_ and base64.",
            envvar="TELEPHONY_WEBHOOK_SECRET",
            show_default="a well-known one",
        ),
    ] = None,
    ledger_path: Annotated[
        Path | None,
        typer.Option(
            "--ledger", help="Append all that it sees to this file, a line of JSON each.", metavar="FILE"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Chance begins here: the same calls have the same fate.")] = 0,
    answer_rate: Annotated[float, _share("Calls that a person answers.", PEOPLE)] = 0.6,
    no_answer_share: Annotated[float, _share("Of the other calls: nobody answers.", PEOPLE)] = 0.5,
    busy_share: Annotated[float, _share("Of the other calls: busy.", PEOPLE)] = 0.2,
    voicemail_share: Annotated[float, _share("Of the other calls: a machine answers.", PEOPLE)] = 0.25,
    failed_share: Annotated[float, _share("Of the other calls: they fail.", PEOPLE)] = 0.05,
    completed_rate: Annotated[float, _share("Of the answered calls: talked to the end.", PEOPLE)] = 0.8,
    refuse_rate: Annotated[float, _share("Of the answered calls: refused.", PEOPLE)] = 0.1,
    opt_out_share: Annotated[float, _share("Of the answered calls: never again.", PEOPLE)] = 0.0,
    callback_share: Annotated[float, _share("Of the answered calls: call me back.", PEOPLE)] = 0.0,
    no_result_share: Annotated[float, _share("Of the answered calls: without a result.", PEOPLE)] = 0.0,
    talk_time_mean_seconds: Annotated[float, _seconds("--talk-time", "Talking, on average.")] = 3.0,
    ring_time_mean_seconds: Annotated[float, _seconds("--ring-time", "Ringing, on average.")] = 0.5,
    time_scale: Annotated[
        float,
        typer.Option(
            help="How long a second of talking and ringing lasts: 0.1 runs ten times as fast.",
            metavar="FACTOR",
            rich_help_panel=TIMES,
        ),
    ] = 1.0,
    answer_latency_seconds: Annotated[float, _seconds("--latency", "Until a request is answered.")] = 0.02,
    late_result_seconds: Annotated[
        float, _seconds("--late-results", "From the hang-up to the result; 0 sends both as one.")
    ] = 0.0,
    callback_after_seconds: Annotated[
        float, _seconds("--callback-after", "From a call to the callback that was asked for.")
    ] = 60.0,
    max_concurrent_calls: Annotated[
        int | None,
        typer.Option(
            help="Calls that may be open at once.",
            show_default="no limit",
            metavar="N",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    calls_per_second: Annotated[
        float | None,
        typer.Option(
            help="Starts that it takes in a second.",
            show_default="no limit",
            metavar="X",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    enforce_limits: Annotated[
        bool,
        typer.Option(
            "--enforce-limits/--mark-limits",
            help="Answer 429 to what is over them, or accept it and mark it in the ledger.",
            rich_help_panel=LIMITS,
        ),
    ] = True,
    honours_not_after: Annotated[
        bool,
        typer.Option(
            "--honours-not-after/--ignores-not-after",
            help="Answer 412 to a request that comes too late, or place the call.",
            rich_help_panel=LIMITS,
        ),
    ] = True,
    lost_answer: Annotated[float, _share("Placed, and the connection closed.", FAULTS)] = 0.0,
    error_after: Annotated[float, _share("Placed, and answered 500.", FAULTS)] = 0.0,
    slow_answer: Annotated[float, _share("Placed, and answered late.", FAULTS)] = 0.0,
    slow_answer_seconds: Annotated[float, _seconds("--slow-answer-seconds", "How late.", FAULTS)] = 15.0,
    error_before: Annotated[float, _share("Not placed, and answered 503.", FAULTS)] = 0.0,
    bad_number: Annotated[float, _share("Numbers that are out of service.", FAULTS)] = 0.0,
    webhook_lost: Annotated[float, _share("Webhooks that are never sent.", FAULTS)] = 0.0,
    webhook_doubled: Annotated[float, _share("Webhooks that are sent twice.", FAULTS)] = 0.0,
    webhook_reordered: Annotated[float, _share("Webhooks that come after the next one.", FAULTS)] = 0.0,
) -> None:
    """Run a telephony provider that calls nobody: the generic HTTP contract, people who answer or not, faults on demand.

    Example: outdial simulate-provider --port 8090 --time-scale 0.1 --webhook-lost 0.05 --ledger ledger.ndjson
    """
    # All that the command is given, by the names of the simulator's own settings.
    given = {name: value for name, value in locals().items() if name not in OF_THE_SERVER}
    from outdial.simulator.server import run_server

    settings = _settings(given)
    _introduce(settings, host, port)
    try:
        run_server(settings, host, port, port_file=port_file)
    except OSError as error:
        raise UserError(
            f"The simulated provider cannot start on {host}:{port} ({error.strerror or error}): "
            "choose another --port or --host, and check the paths of --ledger and --port-file."
        ) from error


OF_THE_SERVER: Final = frozenset({"host", "port", "port_file"})
# Where an option is not the setting's name with dashes.
OPTIONS: Final = {
    "ledger_path": "--ledger",
    "talk_time_mean_seconds": "--talk-time",
    "ring_time_mean_seconds": "--ring-time",
    "answer_latency_seconds": "--latency",
    "late_result_seconds": "--late-results",
    "callback_after_seconds": "--callback-after",
}


def _settings(given: Mapping[str, Any]) -> SimulatorSettings:
    from outdial.simulator.settings import InvalidSimulatorSettings, SimulatorSettings

    ledger = given["ledger_path"]
    own = {
        "api_key": given["api_key"] or WELL_KNOWN_API_KEY,
        "webhook_secret": given["webhook_secret"] or WELL_KNOWN_WEBHOOK_SECRET,
        "ledger_path": None if ledger is None else str(ledger),
    }
    try:
        return SimulatorSettings(**{**given, **own})
    except InvalidSimulatorSettings as error:
        raise UserError("\n".join(_in_options(problem, given) for problem in error.problems)) from error


def _in_options(problem: str, given: Mapping[str, Any]) -> str:
    """The sentence with the names of the options in place of those of the settings."""
    for name in given:
        option = OPTIONS.get(name, "--" + name.replace("_", "-"))
        problem = re.sub(rf"\b{name}\b", option, problem)
    return f"{problem}."


def _introduce(settings: SimulatorSettings, host: str, port: int) -> None:
    """What to tell `outdial`. A key of the user's own is not repeated on a screen."""
    known = {
        "TELEPHONY_API_KEY": (settings.api_key, WELL_KNOWN_API_KEY),
        "TELEPHONY_WEBHOOK_SECRET": (settings.webhook_secret, WELL_KNOWN_WEBHOOK_SECRET),
    }
    shown = f"[{host}]" if ":" in host else host
    say("It calls nobody. Where outdial runs, set:")
    say(f"  export TELEPHONY_BASE_URL=http://{shown}:{port or 'PORT'}")
    say("  export OUTDIAL_PUBLIC_URL=http://127.0.0.1:8080   # where `outdial serve` is reached")
    for name, (value, well_known) in known.items():
        say(f"  export {name}={value}" if value == well_known else f"  {name}, to the same as here")
