"""`outdial init`: gives a database its name, without which a copy of it could call people."""

from __future__ import annotations

from typing import Annotated

import typer

from outdial.cli.context import open_context
from outdial.cli.output import say


def init(
    deployment: Annotated[
        str,
        typer.Option(
            help="A name such as production or staging.", metavar="NAME", prompt=False, show_default=False
        ),
    ],
    rename: Annotated[
        bool, typer.Option("--rename", help="Give another name to a database that has one.")
    ] = False,
) -> None:
    """Name the database: from then on it is dialed from only where OUTDIAL_DEPLOYMENT says the same name.

    So a copy of production calls nobody from a test machine. A new database gets its schema first.

    Example: outdial init --deployment production
    """
    from outdial.operations.deployment import name_deployment
    from outdial.operations.stops import SETTLE_SECONDS
    from outdial.storage import migrate

    with open_context(check_schema=False) as context:
        if context.run(migrate.current_revision) is None:
            migrate.upgrade(context.settings.database_url, schema=context.settings.db_schema)
        context.run(migrate.check)
        has_changed = context.run(name_deployment, deployment, rename=rename)
        # Who dialed it under another name may still be sending what was checked before.
        context.clock.sleep(SETTLE_SECONDS)
        where = context.settings.shown_database_url
        is_ours = context.settings.deployment == deployment
    say(f"The database {where} belongs to the deployment {deployment}{'' if has_changed else ', as it did'}.")
    if not is_ours:
        say(f"Set OUTDIAL_DEPLOYMENT={deployment} wherever workers run: without it they dial nobody.")
