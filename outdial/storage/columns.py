"""What all tables are part of, and the columns and checks that several have."""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa

from outdial.storage.types import BigId, Instant

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def one_of(column: str, values: type[StrEnum]) -> sa.CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_known")


def own_id() -> sa.Column[int]:
    return sa.Column("id", BigId, sa.Identity(), primary_key=True)


def reference_to(table: str, *, null: bool = False, name: str | None = None) -> sa.Column[int]:
    column = name or {"campaigns": "campaign_id", "contacts": "contact_id"}[table]
    return sa.Column(column, BigId, sa.ForeignKey(f"{table}.id"), nullable=null)


def workspace() -> sa.Column[int]:
    return sa.Column("workspace_id", BigId, nullable=False, server_default="1")


def created_at() -> sa.Column[object]:
    return sa.Column("created_at", Instant, nullable=False)


def stopped() -> tuple[sa.Column[object], ...]:
    """A person's stop: null means that nothing is stopped."""
    return (
        sa.Column("stopped_at", Instant),
        sa.Column("stopped_by", sa.Text),
        sa.Column("stopped_reason", sa.Text),
    )
