"""What the database says of a running demo, read so that it never holds the service up.

Statements of its own, where all others stand in storage: nothing but this view has a use for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import sqlalchemy as sa

from outdial.domain.attempt import ErrorClass
from outdial.domain.campaign import CampaignStatus
from outdial.domain.settle import Outcome
from outdial.operations.campaigns import CampaignProgress, list_campaigns
from outdial.storage.database import create_engine
from outdial.storage.tables import call_attempts as attempts

OVER: Final = frozenset({CampaignStatus.COMPLETED, CampaignStatus.CANCELED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`placed` counts the calls that the provider took, `outcomes` the settled attempts that it heard of."""

    campaigns: Sequence[CampaignProgress]
    outcomes: Mapping[Outcome, int]
    placed: int

    @property
    def open_calls(self) -> int:
        return sum(progress.open_calls for progress in self.campaigns)

    @property
    def is_over(self) -> bool:
        return all(progress.campaign.status in OVER for progress in self.campaigns)


class Readings:
    """Reads an SQLite file. The transactions of `Database` would take its one lock; these only see a snapshot."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)

    def read(self) -> Reading:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            return Reading(
                campaigns=list_campaigns(connection),
                outcomes={Outcome(outcome): count for outcome, count in connection.execute(OUTCOMES)},
                placed=connection.execute(PLACED).scalar_one(),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()


OUTCOMES: Final = (
    sa.select(attempts.c.outcome, sa.func.count())
    # Given back before it left, an attempt is no call, and nothing to see.
    .where(attempts.c.settled_at.is_not(None), attempts.c.error_class.is_distinct_from(ErrorClass.RELEASED))
    .group_by(attempts.c.outcome)
)
PLACED: Final = sa.select(sa.func.count()).where(attempts.c.started_at.is_not(None))
