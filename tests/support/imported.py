"""What an import left in the database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from outdial.storage.tables import buckets, contacts
from tests.support.world import World


def everybody(world: World) -> list[dict[str, Any]]:
    with world.database.begin() as connection:
        return [
            dict(row) for row in connection.execute(sa.select(contacts).order_by(contacts.c.id)).mappings()
        ]


def bad_hints(world: World) -> int:
    """Pending contacts whose bucket is missing, or would be read too late."""
    same = [
        buckets.c[name] == contacts.c[name]
        for name in ("campaign_id", "calling_zone_id", "priority", "stage")
    ]
    in_time = sa.exists().where(*same, buckets.c.next_due_at <= contacts.c.next_attempt_at)
    query = sa.select(sa.func.count()).select_from(contacts).where(contacts.c.state == "pending", ~in_time)
    with world.database.begin() as connection:
        found: int = connection.execute(query).scalar_one()
        return found
