"""`outdial results`: what a campaign gave."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from outdial.cli.context import open_context
from outdial.cli.output import warn
from outdial.domain.errors import UserError

app = typer.Typer(help="Results: every contact of a campaign with its outcome.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    # Without a callback, Typer would make the only command of a group the group itself.
    pass


@app.command(epilog="Example: outdial results export spring-survey --format ndjson --output results.ndjson")
def export(
    name: Annotated[str, typer.Argument(help="The campaign's name.", metavar="NAME", show_default=False)],
    results_format: Annotated[
        Literal["csv", "ndjson"] | None,
        typer.Option("--format", show_default="csv, or what the output file's name ends in"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A file to write to.", show_default="standard output"),
    ] = None,
) -> None:
    """Every contact with its outcome, attempts and instants (UTC), and what it answered.

    CSV has the last attempt of each contact and a column for each question (answer_1, answer_2, …); NDJSON has all
    attempts. In CSV, text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    from outdial.operations.results import ResultsFormat, export_results

    chosen = ResultsFormat(results_format or _format_of(output))
    with open_context() as context:
        lines = export_results(context.database.begin_reading, name, chosen)
        if output is None:
            for line in lines:
                sys.stdout.write(line)
            sys.stdout.flush()
        else:
            warn(f"{_write(output, lines, chosen)} contacts written to {output}.")


def _format_of(output: Path | None) -> str:
    return "ndjson" if output is not None and output.suffix in {".ndjson", ".jsonl"} else "csv"


def _write(output: Path, lines: Iterable[str], results_format: str) -> int:
    """Whole or not at all: the file takes its name when it is complete. Returns how many contacts."""
    part = output.with_name(output.name + ".part")
    count = 0 if results_format == "ndjson" else -1
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            for line in lines:
                file.write(line)
                count += 1
        part.replace(output)
    except OSError as error:
        raise UserError(
            f"Cannot write {output}: {error.strerror}. Choose another place with --output."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return count
