"""Exclusions straight into the table, with instants of the test's own."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from outdial.domain.exclusions import EVERYWHERE, Reach
from outdial.storage import exclusions


def exclude_numbers(
    connection: sa.Connection,
    phone_numbers: Collection[str],
    *,
    reason: str,
    source: str,
    at: datetime,
    reach: Reach = EVERYWHERE,
    expires_at: datetime | None = None,
) -> None:
    terms = exclusions.Terms(reason, source, at, expires_at)
    exclusions.add_each(
        connection, exclusions.NUMBER, dict.fromkeys(phone_numbers, terms), reach=reach, at=at
    )
