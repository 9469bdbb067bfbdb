"""Statements over `campaigns`, and how a definition lies in their columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.campaign import (
    TRANSITIONS,
    AnswerType,
    CallOptions,
    CampaignDefinition,
    CampaignStatus,
    Purpose,
    Question,
    Script,
    UnknownZone,
    WhenEmpty,
)
from outdial.domain.contact import UniqueBy
from outdial.domain.ids import AccountId, CampaignId
from outdial.domain.retries import RetryPolicy
from outdial.domain.settle import MachinePolicy, Outcome
from outdial.domain.windows import CallingWindow, WeeklyWindow
from outdial.storage.tables import (
    campaign_revisions,
    campaigns,
    provider_configurations,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A campaign as stored: its definition and where it stands. Instants are aware UTC."""

    id: CampaignId
    account_id: AccountId
    status: CampaignStatus
    revision: int
    definition: CampaignDefinition
    paused_by: str | None
    paused_reason: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCampaign:
    """What a claim reads of each running campaign; the definition is cached by its revision."""

    id: CampaignId
    revision: int
    weight: float
    priority: int
    max_concurrent_calls: int | None


def running(connection: sa.Connection, account_id: AccountId, at: datetime) -> list[RunningCampaign]:
    """The account's running campaigns that have begun and not passed their end."""
    query = sa.select(
        campaigns.c.id,
        campaigns.c.revision,
        campaigns.c.weight,
        campaigns.c.priority,
        campaigns.c.max_concurrent_calls,
    ).where(
        campaigns.c.account_id == account_id,
        campaigns.c.status == CampaignStatus.RUNNING,
        sa.or_(campaigns.c.starts_at.is_(None), campaigns.c.starts_at <= at),
        sa.or_(campaigns.c.ends_at.is_(None), campaigns.c.ends_at > at),
    )
    return [
        RunningCampaign(
            id=CampaignId(row.id),
            revision=row.revision,
            weight=row.weight,
            priority=row.priority,
            max_concurrent_calls=row.max_concurrent_calls,
        )
        for row in connection.execute(query.order_by(campaigns.c.id))
    ]


def revisions(connection: sa.Connection, ids: Collection[CampaignId]) -> dict[CampaignId, int]:
    query = sa.select(campaigns.c.id, campaigns.c.revision).where(campaigns.c.id.in_(tuple(ids)))
    return {CampaignId(row.id): row.revision for row in connection.execute(query)}


def load(connection: sa.Connection, ids: Collection[CampaignId]) -> dict[CampaignId, Campaign]:
    query = _whole().where(campaigns.c.id.in_(tuple(ids)))
    return {CampaignId(row["id"]): _campaign(row) for row in connection.execute(query).mappings()}


def by_name(
    connection: sa.Connection, name: str, *, lock: bool = False, workspace_id: int = 1
) -> Campaign | None:
    query = _whole().where(campaigns.c.name == name, campaigns.c.workspace_id == workspace_id)
    if lock:
        query = query.with_for_update(of=campaigns, key_share=True)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _campaign(row)


def hold_off_contacts(connection: sa.Connection, campaign_id: CampaignId) -> None:
    """Nobody comes into the campaign until this transaction ends; who is on the way in has come before."""
    connection.execute(sa.select(campaigns.c.id).where(campaigns.c.id == campaign_id).with_for_update()).all()


def all_campaigns(connection: sa.Connection) -> list[Campaign]:
    return [_campaign(row) for row in connection.execute(_whole().order_by(campaigns.c.id)).mappings()]


def insert(
    connection: sa.Connection, account_id: AccountId, definition: CampaignDefinition, at: datetime
) -> CampaignId:
    values = {**to_columns(definition), "account_id": account_id, "created_at": at, "changed_at": at}
    inserted = sa.insert(campaigns).values(**values).returning(campaigns.c.id)
    campaign_id = CampaignId(connection.execute(inserted).scalar_one())
    _keep_revision(connection, campaign_id, 1, definition, at)
    return campaign_id


def change(
    connection: sa.Connection,
    campaign_id: CampaignId,
    account_id: AccountId,
    definition: CampaignDefinition,
    at: datetime,
) -> None:
    """A new revision."""
    changed = (
        sa.update(campaigns)
        .where(campaigns.c.id == campaign_id)
        .values(
            **to_columns(definition),
            account_id=account_id,
            changed_at=at,
            revision=campaigns.c.revision + 1,
            rejections_in_a_row=0,
        )
        .returning(campaigns.c.revision)
    )
    _keep_revision(connection, campaign_id, connection.execute(changed).scalar_one(), definition, at)


def definition_at(
    connection: sa.Connection, campaign_id: CampaignId, revision: int, account: str
) -> CampaignDefinition | None:
    """What the campaign said in that revision; None where that is not known."""
    query = sa.select(campaign_revisions.c.definition).where(
        campaign_revisions.c.campaign_id == campaign_id, campaign_revisions.c.revision == revision
    )
    kept = connection.execute(query).scalar_one_or_none()
    return None if kept is None else from_columns(_from_json(kept), account)


def move_to(
    connection: sa.Connection,
    campaign_id: CampaignId,
    status: CampaignStatus,
    at: datetime,
    *,
    paused_by: str | None = None,
    paused_reason: str | None = None,
) -> bool:
    """A legal change of status; False if the campaign does not stand where it could come from."""
    statement = (
        sa.update(campaigns)
        .where(campaigns.c.id == campaign_id, campaigns.c.status.in_(sorted(TRANSITIONS[status])))
        .values(
            status=status,
            changed_at=at,
            paused_by=paused_by,
            paused_reason=paused_reason,
            rejections_in_a_row=0,
        )
    )
    return connection.execute(statement).rowcount > 0


def count_rejections(
    connection: sa.Connection, counts: Mapping[CampaignId, int], limit: int
) -> list[CampaignId]:
    """Add to the rejections in a row; returns the running campaigns that have reached `limit`."""
    reached: list[CampaignId] = []
    for campaign_id, count in sorted(counts.items()):
        statement = (
            sa.update(campaigns)
            .where(campaigns.c.id == campaign_id, campaigns.c.status == CampaignStatus.RUNNING)
            .values(rejections_in_a_row=campaigns.c.rejections_in_a_row + count)
            .returning(campaigns.c.rejections_in_a_row)
        )
        total = connection.execute(statement).scalar_one_or_none()
        if total is not None and total >= limit:
            reached.append(campaign_id)
    return reached


def forget_rejections(connection: sa.Connection, ids: Collection[CampaignId]) -> None:
    """A call was accepted: the row of rejections is broken. Writes only where there was one."""
    connection.execute(
        sa.update(campaigns)
        .where(campaigns.c.id.in_(sorted(ids)), campaigns.c.rejections_in_a_row > 0)
        .values(rejections_in_a_row=0)
    )


def to_columns(definition: CampaignDefinition) -> dict[str, Any]:
    """How a definition lies in the table; `from_columns` is its inverse."""
    call = definition.call
    return {
        "name": definition.name,
        "purpose": definition.purpose,
        "language": definition.language,
        "calling_rule": definition.calling_rule,
        "guard_seconds": definition.guard_seconds,
        "required_consent": definition.required_consent,
        "default_time_zone": definition.default_time_zone,
        "unknown_zone": definition.unknown_zone,
        "max_concurrent_calls": definition.max_concurrent_calls,
        "weight": definition.weight,
        "priority": definition.priority,
        "countries": list(definition.countries),
        "starts_at": definition.starts_at,
        "ends_at": definition.ends_at,
        "when_empty": definition.when_empty,
        "unique_by": definition.unique_by,
        "caller_numbers": list(definition.caller_numbers),
        "call_options": {
            "ring_timeout_seconds": call.ring_timeout_seconds,
            "max_duration_seconds": call.max_duration_seconds,
            "machine": call.machine,
            "result_timeout_seconds": call.result_timeout_seconds,
            "completed_after_seconds": call.completed_after_seconds,
        },
        "windows": [
            {"days": sorted(w.days), "start_minute": w.start_minute, "end_minute": w.end_minute}
            for w in definition.window.weekly
        ],
        "closed_dates": sorted(day.isoformat() for day in definition.window.closed_dates),
        "retry_policy": {
            "max_attempts": definition.retry.max_attempts,
            "default_delay_seconds": definition.retry.default_delay.total_seconds(),
            "delays_seconds": {
                str(outcome): [delay.total_seconds() for delay in delays]
                for outcome, delays in definition.retry.delays.items()
            },
            "limits": {str(outcome): limit for outcome, limit in definition.retry.limits.items()},
            "another_time_of_day": sorted(definition.retry.another_time_of_day),
            "max_network_retries": definition.retry.max_network_retries,
            "network_delays_seconds": [delay.total_seconds() for delay in definition.retry.network_delays],
            "max_callbacks": definition.retry.max_callbacks,
        },
        "script": {
            "intro": definition.script.intro,
            "questions": [
                {"position": q.position, "text": q.text, "answer_type": q.answer_type}
                for q in definition.script.questions
            ],
        },
    }


def from_columns(row: Mapping[str, Any] | sa.RowMapping, account: str) -> CampaignDefinition:
    call = row["call_options"]
    retry = row["retry_policy"]
    return CampaignDefinition(
        name=row["name"],
        purpose=Purpose(row["purpose"]),
        account=account,
        language=row["language"],
        calling_rule=row["calling_rule"],
        guard_seconds=row["guard_seconds"],
        required_consent=row["required_consent"],
        default_time_zone=row["default_time_zone"],
        unknown_zone=UnknownZone(row["unknown_zone"]),
        max_concurrent_calls=row["max_concurrent_calls"],
        weight=row["weight"],
        priority=row["priority"],
        countries=tuple(row["countries"]),
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        when_empty=WhenEmpty(row["when_empty"]),
        unique_by=None if row["unique_by"] is None else UniqueBy(row["unique_by"]),
        caller_numbers=tuple(row["caller_numbers"]),
        call=CallOptions(**{**call, "machine": MachinePolicy(call["machine"])}),
        window=CallingWindow(
            weekly=tuple(
                WeeklyWindow(
                    days=frozenset(w["days"]), start_minute=w["start_minute"], end_minute=w["end_minute"]
                )
                for w in row["windows"]
            ),
            closed_dates=frozenset(date.fromisoformat(day) for day in row["closed_dates"]),
        ),
        retry=RetryPolicy(
            max_attempts=retry["max_attempts"],
            default_delay=timedelta(seconds=retry["default_delay_seconds"]),
            delays={
                Outcome(outcome): tuple(timedelta(seconds=seconds) for seconds in delays)
                for outcome, delays in retry["delays_seconds"].items()
            },
            limits={Outcome(outcome): limit for outcome, limit in retry.get("limits", {}).items()},
            another_time_of_day=frozenset(map(Outcome, retry.get("another_time_of_day", ()))),
            network_delays=tuple(map(_seconds, retry.get("network_delays_seconds", ()))),
            # A host that writes its campaigns itself may know only the short form.
            **{name: retry[name] for name in ("max_network_retries", "max_callbacks") if name in retry},
        ),
        script=Script(intro=row["script"]["intro"], questions=_questions(row["script"]["questions"])),
    )


def _keep_revision(
    connection: sa.Connection,
    campaign_id: CampaignId,
    revision: int,
    definition: CampaignDefinition,
    at: datetime,
) -> None:
    said = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in to_columns(definition).items()
    }
    connection.execute(
        sa.insert(campaign_revisions).values(
            campaign_id=campaign_id, revision=revision, created_at=at, definition=said
        )
    )


# What a definition may say since the first schema: kept ones may not have it.
LATER_COLUMNS: Final[Mapping[str, Any]] = {
    "guard_seconds": None,
    "required_consent": None,
    "unknown_zone": UnknownZone.CLOSED,
}


def _from_json(kept: Mapping[str, Any]) -> dict[str, Any]:
    instants = {
        name: None if kept[name] is None else datetime.fromisoformat(kept[name])
        for name in ("starts_at", "ends_at")
    }
    return {**LATER_COLUMNS, **kept, **instants}


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _questions(stored: Sequence[Mapping[str, Any]]) -> tuple[Question, ...]:
    return tuple(
        Question(position=q["position"], text=q["text"], answer_type=AnswerType(q["answer_type"]))
        for q in stored
    )


def _whole() -> sa.Select[Any]:
    return sa.select(campaigns, provider_configurations.c.name.label("account")).join(provider_configurations)


def _campaign(row: sa.RowMapping) -> Campaign:
    return Campaign(
        id=CampaignId(row["id"]),
        account_id=AccountId(row["account_id"]),
        status=CampaignStatus(row["status"]),
        revision=row["revision"],
        definition=from_columns(row, row["account"]),
        paused_by=row["paused_by"],
        paused_reason=row["paused_reason"],
        created_at=row["created_at"],
    )
