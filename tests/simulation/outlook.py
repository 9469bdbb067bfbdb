"""Whether a duty would find anything to do, asked without a transaction. The engine polls instead; here that would cost
most of a run and show nothing. Every duty is also done now and then without asking.
"""

from __future__ import annotations

from datetime import datetime

from outdial.domain.ids import AccountId
from tests.simulation.databases import Body


def needs_tidying(body: Body, at: datetime) -> bool:
    now = body.text(at)
    return bool(
        body.look(
            f"SELECT 1 FROM call_attempts WHERE (ended_at IS NULL AND state = 'dialing' AND look_up_at <= {now}) "
            f"OR (ended_at IS NOT NULL AND settled_at IS NULL AND settle_at <= {now}) UNION ALL "
            "SELECT 1 FROM call_events e JOIN call_attempts a ON a.account_id = e.account_id "
            "AND a.provider_call_id = e.provider_call_id WHERE e.attempt_id IS NULL LIMIT 1"
        )
    )


def needs_look_ups(body: Body, at: datetime) -> bool:
    return bool(
        body.look(
            "SELECT 1 FROM call_attempts WHERE ended_at IS NULL AND state <> 'dialing' "
            f"AND look_up_at <= {body.text(at)} LIMIT 1"
        )
    )


def is_anybody_due(body: Body, at: datetime, account_id: AccountId) -> bool:
    """While a line of the account is free, and nobody holds it back."""
    now = body.text(at)
    return bool(
        body.look(
            "SELECT 1 FROM contacts c JOIN campaigns k ON k.id = c.campaign_id "
            f"JOIN provider_configurations p ON p.id = k.account_id WHERE p.id = {account_id} "
            f"AND c.state = 'pending' AND c.next_attempt_at <= {now} AND k.status = 'running' "
            "AND p.stopped_at IS NULL AND p.suspended_at IS NULL "
            f"AND (p.not_before IS NULL OR p.not_before <= {now}) "
            "AND NOT EXISTS (SELECT 1 FROM deployment d WHERE d.stopped_at IS NOT NULL) "
            "AND p.max_concurrent_calls > (SELECT count(*) FROM call_attempts a "
            "WHERE a.account_id = p.id AND a.ended_at IS NULL) LIMIT 1"
        )
    )


def may_complete(body: Body) -> bool:
    """Whether a campaign runs in which nobody waits."""
    return bool(
        body.look(
            "SELECT 1 FROM campaigns k WHERE k.status = 'running' AND NOT EXISTS (SELECT 1 FROM contacts c "
            "WHERE c.campaign_id = k.id AND c.state IN ('pending', 'in_progress')) LIMIT 1"
        )
    )


def in_trouble(body: Body) -> list[AccountId]:
    """Accounts that are suspended, or whose breaker is open."""
    found = body.look(
        "SELECT id FROM provider_configurations WHERE suspended_at IS NOT NULL OR breaker = 'open'"
    )
    return [AccountId(row[0]) for row in found]
