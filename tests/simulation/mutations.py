"""The check of the checks: the engine is broken on purpose, in one way after the other, and the simulation must see it.

Here is what is broken; `mutants` breaks it and looks on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """`changes`: module, old text (found exactly once), new text. `sees`: an invariant that must be among the broken.

    `sql` is done to the schema. `first_seed`: where it was seen last, to begin with. `focus`: what kind of
    worlds shows it soon (see `plan.draw`). `on_postgres`: only where statements of several really run side by side does it harm.
    """

    name: str
    changes: Sequence[tuple[str, str, str]]
    focus: Mapping[str, Any] = field(default_factory=dict)
    sql: str | None = None
    first_seed: int = 0
    on_postgres: bool = False


def _of(module: str, old: str, new: str) -> tuple[str, str, str]:
    return (f"outdial.{module}", old, new)


# Events do not mend what went wrong.
SILENT: Final = {"webhook_lost": 0.9}
# Calls wait for their slots, so that a command can come between a claim and its POST.
SLOW_START: Final = {"calls_per_second": 1.0, "contacts": (3, 3), "lines": (3,), "shared_numbers": 0}

MUTATIONS: Final = (
    Mutation(
        name="open calls are counted before the lock",
        focus={"lines": (1,), "contacts": (3, 3), "workers": 3, "cap": None, "calls_per_second": None},
        changes=(
            _of(
                "engine.claim",
                '    account = accounts.lock(connection, account_id)\n    assert account is not None, "accounts are never deleted"\n',
                "    counted_early = attempts.count_open(connection, account_id)\n    account = accounts.lock(connection, account_id)\n    assert account is not None\n",
            ),
            _of(
                "engine.claim",
                "    open_calls = attempts.count_open(connection, account_id)\n    moment = Moment(at=open_calls.at, read_at=read_at)\n",
                "    open_calls = counted_early\n    moment = Moment(at=open_calls.at, read_at=read_at)\n",
            ),
        ),
        on_postgres=True,
    ),
    Mutation(
        name="open calls are not subtracted from the lines",
        focus={"lines": (1,), "contacts": (3, 3)},
        changes=(
            _of(
                "engine.claim",
                "    free = free_lines(account, open_calls.total, open_calls.tests_waiting)\n    found = replace",
                "    free = free_lines(account, 0, open_calls.tests_waiting)\n    found = replace",
            ),
        ),
    ),
    Mutation(
        name="the last check writes no sent_at",
        changes=(
            _of(
                "storage.attempts",
                "return rows, sa.update(attempts).where(*still_true).values(sent_at=now).returning(attempts.c.id)",
                "return rows, sa.update(attempts).where(*still_true).values(sent_at=attempts.c.sent_at).returning(attempts.c.id)",
            ),
        ),
    ),
    Mutation(
        name="an empty look-up is proof at once",
        focus={"kind": "exact", "late": 0.5, "answer_lost": 0.3},
        changes=(
            _of(
                "domain.doubt",
                "    return asked.at > silence.timing.not_after + timedelta(seconds=capabilities.listing_lag_seconds)\n",
                "    return True\n",
            ),
        ),
    ),
    Mutation(
        name="an empty look-up is proof where late POSTs are placed",
        focus={"kind": "late", "late": 0.5},
        changes=(
            _of(
                "domain.doubt",
                "    if not asked.was_answered or asked.events or asked.is_ambiguous or not capabilities.honours_not_after:\n",
                "    if not asked.was_answered or asked.events or asked.is_ambiguous:\n",
            ),
        ),
    ),
    Mutation(
        name="the listing lag is not waited for",
        focus={"kind": "exact", "late": 0.7, "contacts": (3, 3), "lines": (3,), **SILENT},
        changes=(
            _of(
                "domain.doubt",
                "silence.timing.not_after + timedelta(seconds=capabilities.listing_lag_seconds)",
                "silence.timing.not_after",
            ),
        ),
    ),
    Mutation(
        name="a doubt is given up too early",
        focus={"kind": "mute", "answer_lost": 0.6, **SILENT},
        changes=(
            _of(
                "domain.doubt",
                "    return timedelta(seconds=seconds) + MARGIN\n",
                "    return timedelta(seconds=seconds) / 3\n",
            ),
        ),
    ),
    Mutation(
        name="sent attempts are released too",
        focus={"crash_at_post": 0.2, **SILENT},
        changes=(
            _of(
                "domain.doubt",
                "    if silence.sent_at is None:\n        is_left",
                "    if True:\n        is_left",
            ),
        ),
    ),
    Mutation(
        name="sent attempts without an answer stay as they are",
        focus={"crash_at_post": 0.2, **SILENT},
        changes=(
            _of(
                "domain.doubt",
                "    return replace(progress, state=AttemptState.IN_DOUBT) if is_over else progress\n",
                "    return progress\n",
            ),
        ),
    ),
    Mutation(
        name="a campaign completes while calls are under way",
        changes=(
            _of(
                "storage.campaign_upkeep",
                "            ~_somebody_in(ContactState.IN_PROGRESS),\n            ~_open_call(),\n            ~sa.exists()",
                "            ~sa.exists()",
            ),
            _of(
                "storage.campaign_upkeep",
                "            ~_somebody_in(ContactState.IN_PROGRESS),\n            ~_open_call(),\n        )\n",
                "        )\n",
            ),
        ),
    ),
    Mutation(
        name="a call is settled before its result",
        focus={"kind": "exact", "result_late": 0.9, "retry_seconds": 0.5, "max_attempts": 3, "cap": None},
        changes=(
            _of(
                "domain.settling",
                "    if awaits_result(ending=ending, result=progress.result, policy=policy):\n",
                "    if False:\n",
            ),
        ),
    ),
    Mutation(
        name="unsettled numbers may be called",
        focus={"lines": (2, 2), "contacts": (2, 2), "shared_numbers": 2, "workers": 3, "cap": None},
        changes=(
            _of(
                "storage.attempts",
                'index_elements=["phone_number"], index_where=sa.text("settled_at IS NULL")',
                'index_elements=["call_id"]',
            ),
            _of(
                "storage.contacts",
                "    return sa.or_(unsettled, reopened)\n",
                "    return sa.and_(unsettled, reopened, sa.false())\n",
            ),
        ),
        sql="DROP INDEX uq_call_attempts_unsettled_number",
    ),
    Mutation(
        name="the last check does not ask about exclusions",
        focus={"commands": ("exclude",) * 3, **SLOW_START},
        changes=(
            _of(
                "storage.attempts",
                "            ~is_excluded(attempts.c.phone_number, contacts.c.person_key, attempts.c.campaign_id, now),\n",
                "",
            ),
        ),
    ),
    Mutation(
        name="the last check does not ask about stops of accounts",
        focus={"commands": ("stop_account",) * 3, **SLOW_START},
        changes=(
            _of(
                "storage.attempts",
                "            provider_configurations.c.stopped_at.is_(None),\n",
                "",
            ),
        ),
    ),
    Mutation(
        name="the last check does not ask about stops of everything",
        focus={"commands": ("stop_all",) * 3, **SLOW_START},
        changes=(
            _of(
                "storage.attempts",
                '        ~deployment.forbids(sa.bindparam("own_deployment", type_=sa.Text)),\n',
                '        sa.bindparam("own_deployment", type_=sa.Text).is_not(None),\n',
            ),
        ),
    ),
    Mutation(
        name="the last check does not ask about pauses",
        focus={"commands": ("pause",) * 3, **SLOW_START},
        changes=(
            _of(
                "storage.attempts",
                "                campaigns.c.status == CampaignStatus.RUNNING,\n                sa.and_(contacts.c.is_test",
                "                campaigns.c.status.is_not(None),\n                sa.and_(contacts.c.is_test",
            ),
        ),
    ),
    Mutation(
        name="a last check never gets too old",
        focus={"commands": ("stop_all",) * 4, "stall": 0.8, "contacts": (3, 3), "lines": (1,)},
        changes=(
            _of(
                "engine.dial",
                "LAST_CHECK_MAX_AGE_SECONDS: Final = 0.1\n",
                "LAST_CHECK_MAX_AGE_SECONDS: Final = 100.0\n",
            ),
        ),
    ),
    Mutation(
        name="the POST is sent without asking whether it may leave",
        focus={"commands": ("stop_all",) * 4, "stall": 0.8, "contacts": (3, 3), "lines": (1,)},
        changes=(
            _of(
                "engine.dial",
                "lambda: self._clock.monotonic() <= leave_by and self._lease.is_held",
                "lambda: leave_by > 0",
            ),
        ),
    ),
    Mutation(
        name="an event takes a state back",
        focus={"kind": "exact", "webhook_late": 0.9},
        changes=(
            _of(
                "domain.attempt",
                "        state = max(floor, LIVE_STATE[event.kind], key=ORDER.__getitem__)\n",
                "        state = LIVE_STATE[event.kind]\n",
            ),
        ),
    ),
    Mutation(
        name="an event brings an ended call back",
        focus={"kind": "exact", "webhook_late": 0.9},
        changes=(
            _of(
                "domain.attempt",
                "    if progress.has_ended and not given_up:\n",
                "    if False:\n",
            ),
        ),
    ),
    Mutation(
        name="a lost answer means not placed",
        focus={"answer_lost": 0.4},
        changes=(
            _of(
                "domain.answers",
                "    InDoubt: Meaning(ending=None, error_class=None, effect=Effect.COUNT_DOUBT),\n",
                "    InDoubt: _released(ErrorClass.EXPIRED),\n",
            ),
        ),
    ),
    Mutation(
        name="a released attempt counts",
        focus={"unreachable": 0.5, "rate_limited": 0.3, "max_attempts": 2},
        changes=(
            _of(
                "domain.retries",
                "        return self.outcome is not Outcome.NOT_PLACED\n",
                "        return True\n",
            ),
        ),
    ),
    Mutation(
        name="an answer overwrites a faster webhook",
        focus={"slow": 0.8},
        changes=(
            _of(
                "engine.record",
                "    return advance(attempt.progress, event, at)\n",
                "    return replace(advance(attempt.progress, event, at), state=AttemptState.ACCEPTED, ended_at=None, ending=None)\n",
            ),
        ),
    ),
    Mutation(
        name="an error overwrites a faster webhook",
        focus={"kind": "exact", "answer_lost": 0.6},
        changes=(
            _of(
                "engine.record",
                "    return progress if attempt.progress.state is AttemptState.DIALING else attempt.progress\n",
                "    return replace(progress, ended_at=None, ending=None, ending_source=None)\n",
            ),
        ),
    ),
    Mutation(
        name="the rate's cursor is not moved",
        focus={"calls_per_second": 1.0, "contacts": (3, 3), "lines": (3,)},
        changes=(
            _of(
                "engine.claim",
                "            accounts.move_cursor(self.connection, self.account.id, cursor)\n        buckets",
                "            pass\n        buckets",
            ),
        ),
    ),
    Mutation(
        name="delays count from the start of a call",
        focus={"retry_seconds": 6.0, "max_attempts": 3, "cap": None},
        changes=(
            _of(
                "storage.histories",
                "        ended_at=row.ended_at or row.settled_at,\n",
                "        ended_at=row.started_at or row.ended_at or row.settled_at,\n",
            ),
        ),
    ),
    Mutation(
        name="a look-up that failed is proof",
        focus={"kind": "exact", "look_up_fails": 0.9, "answer_lost": 0.5, **SILENT},
        changes=(
            _of(
                "domain.doubt",
                "    if not asked.was_answered or asked.events or asked.is_ambiguous or not",
                "    if asked.events or asked.is_ambiguous or not",
            ),
        ),
    ),
    Mutation(
        name="what a look-up found is not heard",
        focus={"kind": "exact", "answer_lost": 0.5, **SILENT},
        changes=(
            _of(
                "engine.look_ups",
                "for step in (*(hear(event) for event in asked.events), conclusion)]",
                "for step in (conclusion,)]",
            ),
        ),
    ),
    Mutation(
        name="a released attempt loses its contact",
        focus={"unreachable": 0.5, "rate_limited": 0.3},
        changes=(
            _of(
                "domain.retries",
                "            state=ContactState.PENDING, attempts_count=0, next_attempt_at=due_at, stage=Stage.FIRST\n",
                "            state=ContactState.NOT_REACHED, attempts_count=0, next_attempt_at=due_at, stage=Stage.FIRST\n",
            ),
        ),
    ),
    Mutation(
        name="results that never come are waited for",
        changes=(
            _of(
                "engine.events",
                "    overdue = attempts.due_to_settle(connection, database_now(connection), limit)\n",
                "    overdue: list[AttemptId] = []\n",
            ),
        ),
    ),
    Mutation(
        name="one attempt too many",
        changes=(
            _of(
                "domain.retries",
                "    if len(spent) >= policy.max_attempts + granted",
                "    if len(spent) > policy.max_attempts + granted",
            ),
        ),
    ),
    Mutation(
        name="a cap allows one call more",
        focus={"cap": 1, "max_attempts": 3},
        changes=(
            _of(
                "domain.frequency",
                "            sorted(leaving, reverse=True)[cap.max_calls - 1]\n",
                "            sorted(leaving, reverse=True)[cap.max_calls]\n",
            ),
            _of(
                "domain.frequency",
                "            if len(leaving) >= cap.max_calls\n",
                "            if len(leaving) > cap.max_calls\n",
            ),
        ),
    ),
)
