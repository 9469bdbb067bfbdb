"""Statements over `imports`: one row for each reading of a file, written as it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from outdial.domain.ids import CampaignId
from outdial.storage.tables import campaigns, contacts, imports


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
        .values(
            campaign_id=campaign_id,
            file_name=file_name,
            imported_by=imported_by,
            created_at=at,
            after_contact_id=connection.execute(_last_contact_id()).scalar_one(),
        )
        .returning(imports.c.id)
    )
    import_id: int = connection.execute(statement).scalar_one()
    return import_id


def write_counts(connection: sa.Connection, import_id: int, counts: Mapping[str, int]) -> bool:
    """How far it has come: in the transaction of each batch, so that an interrupted import tells what it did.

    False: it has been taken back, and must bring nobody more.
    """
    statement = (
        sa.update(imports)
        .where(imports.c.id == import_id, imports.c.withdrawn_at.is_(None))
        .values(counts=dict(counts))
    )
    return connection.execute(statement).rowcount > 0


def finish(
    connection: sa.Connection,
    import_id: int,
    counts: Mapping[str, int],
    *,
    checksum: str | None,
    problem: str | None = None,
    at: datetime,
) -> None:
    """It brings nobody more. `checksum` None: the file was not read to its end."""
    connection.execute(
        sa.update(imports)
        .where(imports.c.id == import_id, imports.c.finished_at.is_(None))
        .values(
            counts=dict(counts),
            checksum=checksum,
            problem=problem,
            finished_at=at,
            last_contact_id=connection.execute(_last_contact_id()).scalar_one(),
        )
    )


def withdraw(connection: sa.Connection, import_id: int, *, by: str, at: datetime) -> bool:
    """From its commit on, no batch of the import is written any more. False: it was so already, or there is none."""
    statement = (
        sa.update(imports)
        .where(imports.c.id == import_id, imports.c.withdrawn_at.is_(None))
        .values(withdrawn_at=at, withdrawn_by=by)
    )
    return connection.execute(statement).rowcount > 0


def by_id(connection: sa.Connection, import_id: int) -> sa.RowMapping | None:
    return connection.execute(_whole().where(imports.c.id == import_id)).mappings().one_or_none()


def latest(
    connection: sa.Connection, *, campaign_id: CampaignId | None, limit: int
) -> Sequence[sa.RowMapping]:
    """The newest first."""
    query = _whole().order_by(imports.c.id.desc()).limit(limit)
    if campaign_id is not None:
        query = query.where(imports.c.campaign_id == campaign_id)
    return connection.execute(query).mappings().all()


def _whole() -> sa.Select[Any]:
    return sa.select(imports, campaigns.c.name.label("campaign")).join(campaigns)


def _last_contact_id() -> sa.Select[Any]:
    return sa.select(sa.func.coalesce(sa.func.max(contacts.c.id), 0))
