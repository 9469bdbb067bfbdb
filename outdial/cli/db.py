"""`outdial db`: the database's schema, and what follows a restore."""

from __future__ import annotations

import typer

from outdial.cli.context import open_context
from outdial.cli.output import say, warn
from outdial.cli.recover import recover
from outdial.domain.errors import SchemaOutOfDate

app = typer.Typer(help="The database: its schema, and what follows a restore.", no_args_is_help=True)


@app.command(epilog="Example: DATABASE_URL=postgresql://outdial@db.example.net/outdial outdial db upgrade")
def upgrade() -> None:
    """Bring the schema to what this program needs. Running workers may go on meanwhile; repeating does nothing."""
    from alembic.util import CommandError

    from outdial.storage import migrate

    with open_context(check_schema=False) as context:
        before = context.run(migrate.current_revision)
        try:
            migrate.upgrade(context.settings.database_url, schema=context.settings.db_schema)
        except CommandError as error:
            # A revision that this program does not know: a newer one was here before.
            raise SchemaOutOfDate(before, migrate.expected_revision()) from error
        after = context.run(migrate.current_revision)
        where = context.settings.shown_database_url
    say(f"The schema of {where} is at revision {after}" + (", as it was." if before == after else "."))


@app.command(epilog="Example: outdial db check && outdial run")
def check() -> None:
    """Exit with 0 if the schema is what this program needs, else say what to run and exit with 1."""
    from outdial.storage import migrate

    try:
        with open_context(check_schema=False) as context:
            context.run(migrate.check)
            where = context.settings.shown_database_url
    except SchemaOutOfDate as error:
        warn(f"error: {error}")
        raise typer.Exit(1) from error
    say(f"The schema of {where} is what this program needs.")


app.command()(recover)
