"""How long lines stood idle, counted from the provider's ledger."""

from __future__ import annotations

from collections import deque

from outdial.simulator.ledger import Ledger


def longest_idle(ledger: Ledger, lines: int, since: float, until: float) -> float:
    """The longest that a line stood free between two instants (Unix seconds).

    A line that becomes free is taken by the first start for which no line has been free for longer.
    """
    changes = [(call.started_at, 1) for call in ledger.calls.values()]
    changes += [(call.ended_at, -1) for call in ledger.calls.values() if call.ended_at is not None]
    free_since: deque[float] = deque([since] * lines)
    longest = 0.0
    for at, change in sorted(changes):
        if at > until:
            break
        if change < 0:
            free_since.append(at)
        elif free_since:
            longest = max(longest, at - max(since, free_since.popleft()))
    return max([longest, *(until - max(since, one) for one in free_since)])
