"""Statements over `imports`: one row for each reading of a file, written as it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from outdial.domain.ids import CampaignId
from outdial.storage.tables import imports


def begin(
    connection: sa.Connection,
    campaign_id: CampaignId,
    *,
    file_name: str,
    imported_by: str | None,
    at: datetime,
) -> int:
    """A new import, which is unfinished until `finish`."""
    statement = (
        sa.insert(imports)
        .values(campaign_id=campaign_id, file_name=file_name, imported_by=imported_by, created_at=at)
        .returning(imports.c.id)
    )
    import_id: int = connection.execute(statement).scalar_one()
    return import_id


def write_counts(connection: sa.Connection, import_id: int, counts: Mapping[str, int]) -> None:
    """How far it has come: in the transaction of each batch, so that an interrupted import tells what it did."""
    connection.execute(sa.update(imports).where(imports.c.id == import_id).values(counts=dict(counts)))


def finish(
    connection: sa.Connection, import_id: int, counts: Mapping[str, int], *, checksum: str, at: datetime
) -> None:
    connection.execute(
        sa.update(imports)
        .where(imports.c.id == import_id, imports.c.finished_at.is_(None))
        .values(counts=dict(counts), checksum=checksum, finished_at=at)
    )
