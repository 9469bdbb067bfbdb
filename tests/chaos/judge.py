"""Was any promise broken? The provider's ledger against the database, one function per promise.

Each returns a sentence for every breach. The audit, which is asked too, knows the ledger not at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

import sqlalchemy as sa

from outdial.domain.attempt import Ending
from outdial.domain.contact import ContactState
from outdial.operations.audit_report import Report
from outdial.simulator.ledger import Ledger, LedgerCall
from outdial.storage.tables import call_attempts, campaigns, contacts
from tests.chaos.plan import Kind
from tests.chaos.scene import CPS, LINES, OWN_LIMIT, RETRY, Scene, Story
from tests.support.stack import audit_report

# The POST's time-out, and two seconds.
EXIT_SECONDS: Final = 12.0
RECOVERY_SECONDS: Final = 30.0
# Of the lines, so many in use count as all: some wait for an answer or a webhook that was lost.
FULL_SHARE: Final = 0.7
# What the provider's own reading of the clock may lag behind ours.
CLOCK_SECONDS: Final = 0.05
MOST_SAID: Final = 5
ENDINGS: Final[Mapping[str, Ending]] = {
    "completed": Ending.ANSWERED,
    "no_answer": Ending.NO_ANSWER,
    "busy": Ending.BUSY,
    "failed": Ending.FAILED,
    "canceled": Ending.CANCELED,
}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is judged. Instants of the ledger and of the story are Unix seconds."""

    ledger: Ledger
    story: Story
    attempts: Sequence[sa.RowMapping]
    contacts: Sequence[sa.RowMapping]
    campaign_names: Mapping[int, str]
    audit: Report
    brief_closes_at: float

    @cached_property
    def row_of(self) -> dict[str, sa.RowMapping]:
        return {row["call_id"]: row for row in self.attempts}

    def campaign_of(self, call_id: str | None) -> str | None:
        row = None if call_id is None else self.row_of.get(call_id)
        return None if row is None else self.campaign_names[row["campaign_id"]]

    @cached_property
    def calls_to(self) -> dict[str, list[LedgerCall]]:
        found: defaultdict[str, list[LedgerCall]] = defaultdict(list)
        for call in sorted(self.ledger.calls.values(), key=lambda one: one.started_at):
            found[call.to].append(call)
        return found


def gather(scene: Scene) -> Evidence:
    world = scene.stack.world
    with world.database.begin() as connection:
        names = dict(map(tuple, connection.execute(sa.select(campaigns.c.id, campaigns.c.name))))
        attempts = connection.execute(sa.select(call_attempts).order_by(call_attempts.c.id)).mappings().all()
        people = connection.execute(sa.select(contacts).order_by(contacts.c.id)).mappings().all()
    assert scene.brief_closes_at is not None
    return Evidence(
        ledger=scene.stack.ledger(),
        story=scene.story,
        attempts=attempts,
        contacts=people,
        campaign_names=names,
        audit=audit_report(scene.stack),
        brief_closes_at=scene.brief_closes_at.timestamp(),
    )


def judge(evidence: Evidence) -> list[str]:
    """Every breach, promise by promise; of each promise the first few."""
    found: list[str] = []
    for judged in PROMISES:
        breaches = list(judged(evidence))
        found += breaches[:MOST_SAID]
        if len(breaches) > MOST_SAID:
            found.append(f"… and {len(breaches) - MOST_SAID} more of these ({judged.__name__})")
    return found


def concurrency(evidence: Evidence) -> Iterator[str]:
    most = evidence.ledger.max_concurrent()
    if most > LINES:
        yield f"{most} calls were open at once, {LINES} are allowed"
    own = [call for call in evidence.ledger.calls.values() if evidence.campaign_of(call.call_id) == "one"]
    most_of_one = max((count for _, count in open_over_time(own)), default=0)
    if most_of_one > OWN_LIMIT:
        yield f"{most_of_one} calls of the campaign one were open at once, its own limit is {OWN_LIMIT}"


def rate(evidence: Evidence) -> Iterator[str]:
    most = evidence.ledger.max_starts_in_any_second()
    if most > CPS + 1:
        yield f"{most} POSTs were read in a second, {CPS} and one are allowed"


def window(evidence: Evidence) -> Iterator[str]:
    for post in evidence.ledger.posts:
        if evidence.campaign_of(post.call_id) == "brief" and post.at > evidence.brief_closes_at:
            late = post.at - evidence.brief_closes_at
            yield f"call {post.call_id} started {late:.3f} s after its campaign's window had closed"


def one_at_a_time(evidence: Evidence) -> Iterator[str]:
    for called in sorted(evidence.ledger.calls_per_number_overlap()):
        yield f"{called} had two open calls at once"


def budgets(evidence: Evidence) -> Iterator[str]:
    """Per contact; what its attempts came to is the audit's to judge, how many calls there were is not."""
    most = RETRY.max_attempts + RETRY.max_network_retries + RETRY.max_callbacks
    placed: defaultdict[int, int] = defaultdict(int)
    for row in evidence.attempts:
        placed[row["contact_id"]] += row["call_id"] in evidence.ledger.calls
    for contact_id, count in placed.items():
        if count > most:
            yield f"contact {contact_id} got {count} calls, and can have {most} at most"


def spacing(evidence: Evidence) -> Iterator[str]:
    """Two calls to one contact are apart as the retry policy says, counted from the end at the provider."""
    least = RETRY.default_delay.total_seconds() - CLOCK_SECONDS
    for to, calls in evidence.calls_to.items():
        for before, after in pairwise(calls):
            same = _contact(evidence, before) == _contact(evidence, after)
            if same and before.ended_at is not None and after.started_at - before.ended_at < least:
                apart = after.started_at - before.ended_at
                yield f"{to} was called again {apart:.2f} s after the call before ({after.call_id})"


def opt_outs(evidence: Evidence) -> Iterator[str]:
    for told in evidence.story.told:
        if told.kind != Kind.EXCLUDE or told.told_at is None:
            continue
        for post in evidence.ledger.posts:
            if post.to == told.target and post.at > told.told_at:
                yield (
                    f"{told.target} was called ({post.call_id}) {post.at - told.told_at:.3f} s after "
                    "the exclusion had answered"
                )


def one_account(evidence: Evidence) -> Iterator[str]:
    """Each call has one row and each row at most one call."""
    ledger, rows = evidence.ledger, evidence.row_of
    for call_id in sorted(ledger.calls.keys() - rows.keys()):
        yield f"call {call_id} to {ledger.calls[call_id].to} is not in the database"
    for call_id in sorted(ledger.doubled_call_ids):
        yield f"attempt {call_id} became two calls"
    for call_id, row in rows.items():
        call = ledger.calls.get(call_id)
        if call is None and row["started_at"] is not None:
            yield f"attempt {call_id} began by the database, and the provider has no such call"
        if call is None:
            continue
        if row["ending"] == Ending.NOT_PLACED:
            yield f"attempt {call_id} was not placed by the database, and the provider has the call"
        elif row["provider_call_id"] != call.provider_call_id:
            yield f"attempt {call_id} is {call.provider_call_id}, the database has {row['provider_call_id']}"


def endings(evidence: Evidence) -> Iterator[str]:
    """The provider can be asked, so no call's end stays unknown, nor is it another one than the provider's."""
    for call in evidence.ledger.calls.values():
        row = evidence.row_of.get(call.call_id)
        if row is None or call.ending is None or row["ending"] is None:
            continue
        if row["ending"] != ENDINGS[call.ending]:
            yield f"call {call.call_id} ended as {call.ending}, the database says {row['ending']}"


def all_over(evidence: Evidence) -> Iterator[str]:
    for row in evidence.attempts:
        if row["ended_at"] is None or row["settled_at"] is None:
            yield f"attempt {row['call_id']} is still {row['state']}, settled at {row['settled_at']}"
    for row in evidence.contacts:
        if row["state"] == ContactState.IN_PROGRESS:
            yield f"contact {row['id']} is in progress for ever"


def stops(evidence: Evidence) -> Iterator[str]:
    """From the moment that a stop has answered until somebody asks to resume."""
    for kind, resume in ((Kind.PAUSE, Kind.RESUME), (Kind.STOP_ACCOUNT, Kind.RESUME_ACCOUNT)):
        for told in evidence.story.told:
            if told.kind != kind or told.told_at is None:
                continue
            until = min(
                (
                    one.begun_at
                    for one in evidence.story.told
                    if one.kind == resume and one.target == told.target and one.begun_at > told.begun_at
                ),
                default=float("inf"),
            )
            for post in evidence.ledger.posts:
                is_of_it = kind is Kind.STOP_ACCOUNT or evidence.campaign_of(post.call_id) == told.target
                if is_of_it and told.told_at < post.at < until:
                    late = post.at - told.told_at
                    yield f"call {post.call_id} started {late:.3f} s after `{kind} {told.target}` had answered"


def exits(evidence: Evidence) -> Iterator[str]:
    for one in evidence.story.exits:
        if one.code != 0 and one.was_at_work:
            yield f"{one.name} ended with {one.code} after SIGTERM"
        if one.seconds > EXIT_SECONDS:
            yield f"{one.name} took {one.seconds:.1f} s to end after SIGTERM, allowed are {EXIT_SECONDS:.0f}"


def recovery(evidence: Evidence) -> Iterator[str]:
    """After a kill, starts resume and lines fill while lawful work waits; what else stood in the way is taken off."""
    for killed_at, start, full in recoveries(evidence):
        at = killed_at - evidence.story.begun_at
        if start is not None and start > RECOVERY_SECONDS:
            yield f"after the kill at {at:.2f} s no call started for {start:.1f} s while work waited"
        if full is not None and full > RECOVERY_SECONDS:
            yield f"after the kill at {at:.2f} s the lines stayed idle for {full:.1f} s while work waited"


def lawful(evidence: Evidence) -> Iterator[str]:
    for one in evidence.audit.broken:
        if one.is_violation:
            yield f"the audit: {one.check} of call {one.call_id}: {one.says}"


def by_itself(evidence: Evidence) -> Iterator[str]:
    yield from evidence.story.problems


PROMISES: Final[Sequence[Callable[[Evidence], Iterable[str]]]] = (
    one_account,
    one_at_a_time,
    opt_outs,
    stops,
    window,
    concurrency,
    rate,
    budgets,
    spacing,
    endings,
    all_over,
    exits,
    recovery,
    lawful,
    by_itself,
)


def recoveries(evidence: Evidence) -> Iterator[tuple[float, float | None, float | None]]:
    """For each kill: seconds until a call started again, and until the lines were full; None: no work waited for it."""
    starts = sorted(post.at for post in evidence.ledger.posts)
    changes = open_over_time(evidence.ledger.calls.values())
    for killed_at in evidence.story.killed_at:
        started_at = next((at for at in starts if at > killed_at), float("inf"))
        full_at = next(
            (at for at, count in changes if at > killed_at and count >= FULL_SHARE * LINES), float("inf")
        )
        yield (
            killed_at,
            _waited(evidence.story, killed_at, started_at, due=1),
            _waited(evidence.story, killed_at, full_at, due=LINES),
        )


def _waited(story: Story, since: float, until: float, due: int) -> float | None:
    """Seconds of the span in which so many were due and nothing else hindered; None: the work ran out before its end."""
    known = [one for one in story.samples if since <= one.at <= until]
    enough: list[float] = []
    for sample in known:
        if sample.due < due:
            break
        enough.append(sample.at)
    ran_out = len(enough) < len(known) or until == float("inf")
    end = (enough[-1] if enough else since) if ran_out else until
    seconds = end - since - _hindered(story, since, end)
    # Work that ran out in time proves nothing; idle lines beside work for too long prove it all the same.
    return None if ran_out and seconds <= RECOVERY_SECONDS else seconds


def _hindered(story: Story, since: float, until: float) -> float:
    """Seconds of the span in which something else stood in the way; what overlaps counts once."""
    seconds, reached = 0.0, since
    for begin, end in sorted(story.hindered):
        seconds += max(0.0, min(until, end) - max(reached, begin))
        reached = max(reached, end)
    return seconds


def open_over_time(calls: Iterable[LedgerCall]) -> list[tuple[float, int]]:
    """How many were open, after each change."""
    changes = [(call.started_at, 1) for call in calls]
    changes += [(call.ended_at, -1) for call in calls if call.ended_at is not None]
    found, count = [], 0
    for at, change in sorted(changes):
        count += change
        found.append((at, count))
    return found


def _contact(evidence: Evidence, call: LedgerCall) -> int | None:
    row = evidence.row_of.get(call.call_id)
    return None if row is None else int(row["contact_id"])
