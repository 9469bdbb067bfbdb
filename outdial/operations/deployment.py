"""The name of a database: workers that do not say the same name dial nobody."""

from __future__ import annotations

import sqlalchemy as sa

from outdial.domain.deployment_name import check_deployment_name
from outdial.domain.errors import UserError
from outdial.storage import deployment


def name_deployment(connection: sa.Connection, name: str, *, rename: bool = False) -> bool:
    """Give the database this name; False if it has it already. Raises `UserError` where it has another."""
    try:
        check_deployment_name(name)
    except ValueError as error:
        raise UserError(f"--deployment is {name!r}: it {error}.") from error
    known = deployment.load(connection).name
    if known == name:
        return False
    if known is not None and not rename:
        raise UserError(
            f"This database belongs to the deployment {known!r}. If it is a copy that is to be dialed from under its own "
            "name, repeat the command with --rename."
        )
    deployment.set_name(connection, name)
    return True
