"""A campaign: its states, and the definition that a campaign file gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from outdial.domain.contact import UniqueBy
from outdial.domain.retries import RetryPolicy
from outdial.domain.settle import MachinePolicy, SettlePolicy
from outdial.domain.windows import CallingWindow


class CampaignStatus(StrEnum):
    DRAFT = "draft"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELED = "canceled"


class Purpose(StrEnum):
    """Why people are called; the law hangs on it, so it has no default."""

    TELEMARKETING = "telemarketing"
    SURVEY = "survey"
    INFORMATIONAL = "informational"
    COLLECTIONS = "collections"


class WhenEmpty(StrEnum):
    COMPLETE = "complete"
    WAIT = "wait"


class UnknownZone(StrEnum):
    """What becomes of contacts whose time zone nobody knows: they wait, or are called by the campaign's default."""

    CLOSED = "closed"
    USE_DEFAULT = "use_default"


class AnswerType(StrEnum):
    FREE_TEXT = "free_text"
    NUMERIC = "numeric"
    SCALE = "scale"


# Which command may move a campaign from which statuses. A command whose goal is reached already succeeds as well.
TRANSITIONS: Final[Mapping[CampaignStatus, frozenset[CampaignStatus]]] = {
    CampaignStatus.SCHEDULED: frozenset({CampaignStatus.DRAFT, CampaignStatus.PAUSED}),
    CampaignStatus.RUNNING: frozenset(
        {CampaignStatus.DRAFT, CampaignStatus.SCHEDULED, CampaignStatus.PAUSED}
    ),
    CampaignStatus.PAUSED: frozenset({CampaignStatus.RUNNING, CampaignStatus.SCHEDULED}),
    CampaignStatus.COMPLETED: frozenset({CampaignStatus.RUNNING, CampaignStatus.PAUSED}),
    CampaignStatus.CANCELED: frozenset(
        {CampaignStatus.DRAFT, CampaignStatus.SCHEDULED, CampaignStatus.RUNNING, CampaignStatus.PAUSED}
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`position` counts from 1."""

    position: int
    text: str
    answer_type: AnswerType = AnswerType.FREE_TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What is said: `intro` may hold `{name}` and other attributes of the contact."""

    intro: str | None = None
    questions: Sequence[Question] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """How one call is placed. `result_timeout_seconds`: how long after the hang-up a result may still come."""

    ring_timeout_seconds: int = 30
    max_duration_seconds: int = 600
    machine: MachinePolicy = MachinePolicy.HANG_UP
    result_timeout_seconds: float = 60.0
    completed_after_seconds: float | None = None


# For what a provider takes to let the phone ring, and then to notice that nobody answered.
DEFAULT_GUARD: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignDefinition:
    """All that a campaign file says. Instants aware UTC.

    `default_time_zone` None: the scheduler's own zone serves. `unique_by` None: see `contact.identity_key`.
    `calling_rule`: `auto`, `none`, `id` or `id@version`; None: nobody has said, and only the window holds.
    `guard_seconds`: how long before its hours end a zone gets no more calls; None: `DEFAULT_GUARD` beyond the ringing.
    `required_consent`: see `consent`; None: none that we know of.
    """

    name: str
    purpose: Purpose
    account: str
    language: str = "en"
    default_time_zone: str | None = None
    unknown_zone: UnknownZone = UnknownZone.CLOSED
    calling_rule: str | None = None
    guard_seconds: int | None = None
    required_consent: str | None = None
    max_concurrent_calls: int | None = None
    weight: float = 1.0
    priority: int = 0
    countries: Sequence[str] = ()
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    when_empty: WhenEmpty = WhenEmpty.COMPLETE
    unique_by: UniqueBy | None = None
    caller_numbers: Sequence[str] = ()
    call: CallOptions = field(default_factory=CallOptions)
    window: CallingWindow = field(default_factory=CallingWindow)
    retry: RetryPolicy = field(
        default_factory=lambda: RetryPolicy(max_attempts=1, default_delay=timedelta(hours=1))
    )
    script: Script = field(default_factory=Script)

    @property
    def guard(self) -> timedelta:
        """No call leaves less than that before its hours end, so that none still rings when they have."""
        if self.guard_seconds is not None:
            return timedelta(seconds=self.guard_seconds)
        return timedelta(seconds=self.call.ring_timeout_seconds) + DEFAULT_GUARD

    @property
    def serves_unknown_zones(self) -> bool:
        """Whether contacts of whom nobody knows where they ring are called, by somebody's clock."""
        return self.default_time_zone is None or self.unknown_zone is UnknownZone.USE_DEFAULT

    @property
    def settle_policy(self) -> SettlePolicy:
        return SettlePolicy(
            machine=self.call.machine, completed_after_seconds=self.call.completed_after_seconds
        )
