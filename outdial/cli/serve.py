"""`outdial serve`: webhooks and health, with a worker in the same process if wanted."""

from __future__ import annotations

from typing import Annotated

import typer

from outdial.domain.errors import UserError


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port to listen on; 0 takes any free one.", min=0, max=65535)
    ] = 8080,
    with_worker: Annotated[
        bool, typer.Option("--with-worker", help="Dial in this process too: one process that does all.")
    ] = False,
) -> None:
    """Take in the provider's webhooks at /webhooks/telephony/{account}, and answer /healthz and /readyz.

    Example: OUTDIAL_PUBLIC_URL=https://calls.example.com outdial serve --port 8080 --with-worker
    """
    from outdial.api.server import serve as serve_app
    from outdial.bootstrap import make_app, make_worker
    from outdial.cli.context import open_context
    from outdial.cli.data_versions import log_zone_data

    with open_context() as context:
        worker = make_worker(context.settings, context.database, context.clock) if with_worker else None
        log_zone_data(context.clock)
        app = make_app(context.settings, context.database, context.clock, worker)
        try:
            serve_app(
                app,
                host,
                port,
                on_ready=lambda bound: typer.echo(f"outdial listening on http://{host}:{bound}"),
                on_stop=(lambda: None) if worker is None else worker.stop,
            )
        except OSError as error:
            raise UserError(
                f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another with --port or --host."
            ) from error
