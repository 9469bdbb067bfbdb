"""The judge of a run: compares what the provider's ledger says with what the database says, by rules of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import sqlalchemy as sa

from outdial.domain.attempt import GIVEN_UP, ORDER, AttemptState, Ending
from outdial.domain.ids import AccountId
from outdial.operations.stops import SETTLE_SECONDS
from outdial.storage.tables import call_attempts, campaigns, contacts
from tests.simulation.databases import Body
from tests.simulation.hub import Hub
from tests.simulation.plan import CAP_HOURS, RESULT_SECONDS
from tests.simulation.provider import Call, Post, SimulatedProvider
from tests.simulation.world import World

EPSILON: Final = 1e-6
BURST: Final = 1
# A call may wait that long between the check that dates it and the POST.
CHECK_TO_POST_SECONDS: Final = 6.0
# After the last fault, whoever is due must be called within this.
PATIENCE_SECONDS: Final = 20.0
FINAL: Final = frozenset(
    {"completed", "refused", "not_reached", "unreachable", "expired", "withdrawn", "excluded"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A broken promise. `about`: the calls and numbers whose story tells why."""

    invariant: str
    what: str
    about: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}"


@dataclass(slots=True)
class _Ban:
    what: str
    covers: Callable[[Post], bool]
    since: float
    is_over: bool = False


Row = sa.RowMapping


class Judge:
    """`look` at every tick, `at_the_end` once. It hears of every POST and call as they happen."""

    def __init__(self, hub: Hub, world: World, provider: SimulatedProvider, body: Body) -> None:
        self.violations: list[Violation] = []
        self.is_over = False
        self._hub = hub
        self._world = world
        self._plan = world.plan
        self._provider = provider
        self._body = body
        self._bans: list[_Ban] = []
        self._waited: dict[int, float] = {}
        self._seen: dict[str, tuple[AttemptState, str | None]] = {}
        provider.on_post = self._posted
        provider.on_call = self._called

    def accuse(self, invariant: str, what: str, *about: str) -> None:
        violation = Violation(invariant=invariant, what=what, about=about)
        self.violations.append(violation)
        self._hub.tell(f"VIOLATION {violation}", *about, who="judge")

    def forbid(self, what: str, covers: Callable[[Post], bool]) -> Callable[[], None]:
        """A command is committed now that forbids such calls, once it is reported. Returns what ends that."""
        ban = _Ban(what, covers, self._hub.at + SETTLE_SECONDS)
        self._bans.append(ban)

        def end() -> None:
            # To resume ends every stop of that scope.
            for one in self._bans:
                one.is_over |= one.what == what

        return end

    def look(self, are_workers_alive: bool) -> None:
        """What can be seen at any instant."""
        self._look_at_completed()
        self._look_at_rows()
        self._look_at_liveness(are_workers_alive)
        if not self._provider.has_faults or not any(vars_of(self._plan.rates)):
            self.is_over = self._is_done()

    def at_the_end(self) -> None:
        """What must hold when nothing happens any more."""
        if self.violations:
            return
        with self._body.engine.connect() as connection:
            rows = connection.execute(sa.select(call_attempts).order_by(call_attempts.c.id)).mappings().all()
            people = connection.execute(sa.select(contacts).order_by(contacts.c.id)).mappings().all()
            statuses = {row.id: row.status for row in connection.execute(sa.select(campaigns))}
        self._every_call_has_its_row(rows)
        for row in rows:
            self._row_is_over(row)
            self._row_is_true(row)
        self._one_at_a_time(rows)
        for person in people:
            self._person_is_done(person, rows)
            self._budget_is_kept(person, rows)
        self._caps_are_kept()
        by_campaign = defaultdict(set)
        for person in people:
            by_campaign[person["campaign_id"]].add(person["state"])
        for campaign_id, states in by_campaign.items():
            if states <= FINAL and statuses[campaign_id] != "completed":
                self.accuse(
                    "completion", f"campaign {campaign_id} is {statuses[campaign_id]}, and everybody is final"
                )

    # --- as it happens

    def _posted(self, post: Post) -> None:
        about = (post.call_id, post.to)
        for ban in self._bans:
            if not ban.is_over and self._hub.at > ban.since + EPSILON and ban.covers(post):
                self.accuse(
                    "stop",
                    f"{post.call_id} left although {ban.what} is forbidden since {ban.since:.3f}",
                    *about,
                )
        same = [one for one in self._provider.ledger.posts if one.call_id == post.call_id]
        if len(same) > 1:
            self.accuse("one POST", f"{post.call_id} was sent {len(same)} times", *about)
        rate = self._plan.calls_per_second
        if rate is not None:
            since = self._hub.at - 1 + EPSILON
            recent = [
                one
                for one in self._provider.ledger.posts
                if one.account_id == post.account_id and one.left_at > since
            ]
            if len(recent) > rate + BURST:
                self.accuse(
                    "rate",
                    f"{len(recent)} POSTs within a second at {rate} a second",
                    *(one.call_id for one in recent),
                )

    def _called(self, call: Call) -> None:
        if call.ended_at is not None:
            return
        about = (call.post.call_id, call.post.to)
        open_calls = [one for one in self._provider.ledger.calls if one.ended_at is None]
        mine = [one for one in open_calls if one.post.account_id == call.post.account_id]
        lines = self._world.lines[AccountId(call.post.account_id)]
        if len(mine) > lines:
            self.accuse(
                "lines", f"{len(mine)} calls are open at {lines} lines", *(one.post.call_id for one in mine)
            )
        if sum(one.post.to == call.post.to for one in open_calls) > 1:
            self.accuse("one call of a number", f"two calls to {call.post.to} are open", *about)
        if sum(one.post.call_id == call.post.call_id for one in self._provider.ledger.calls) > 1:
            self.accuse("one call of a row", f"{call.post.call_id} is two calls", *about)

    # --- at every tick

    def _look_at_completed(self) -> None:
        found = self._body.look(
            "SELECT k.id, c.id, c.phone_number FROM campaigns k JOIN contacts c ON c.campaign_id = k.id "
            "WHERE k.status = 'completed' AND (c.state IN ('pending', 'in_progress') OR EXISTS "
            "(SELECT 1 FROM call_attempts a WHERE a.contact_id = c.id AND a.ended_at IS NULL))"
        )
        for campaign_id, _, phone_number in found:
            self.accuse(
                "completion",
                f"campaign {campaign_id} is completed before {phone_number} is done",
                phone_number,
            )

    def _look_at_rows(self) -> None:
        """A row goes forward only, and its line is given up only when the call cannot be open."""
        calls = {call.post.call_id: call for call in self._provider.ledger.calls}
        for call_id, number, state, ending in self._body.look(
            "SELECT call_id, phone_number, state, ending FROM call_attempts ORDER BY id"
        ):
            call = calls.get(call_id)
            if call is not None and ending == Ending.NOT_PLACED:
                self.accuse("truth", f"{call_id} was placed and is recorded as not placed", call_id, number)
            if call is not None and call.ended_at is None and ending == Ending.UNKNOWN:
                self.accuse("end", f"{call_id} is given up while it is open", call_id, number)
            before, before_ending = self._seen.get(call_id, (AttemptState.DIALING, None))
            was_given_up = before is AttemptState.ENDED and before_ending in GIVEN_UP
            if ORDER[AttemptState(state)] < ORDER[before] and not was_given_up:
                self.accuse("forward", f"{call_id} was {before} and is {state}", call_id, number)
            self._seen[call_id] = (AttemptState(state), ending)

    def _look_at_liveness(self, are_workers_alive: bool) -> None:
        """Somebody is due, a line is free, nothing is wrong, and nobody is called."""
        if self._provider.has_faults and any(vars_of(self._plan.rates)):
            return
        now = self._body.text(self._hub.instant())
        found = self._body.look(
            "SELECT c.id, c.phone_number FROM contacts c JOIN campaigns k ON k.id = c.campaign_id "
            "JOIN provider_configurations p ON p.id = k.account_id "
            f"WHERE c.state = 'pending' AND c.next_attempt_at <= {now} AND k.status = 'running' "
            f"AND p.stopped_at IS NULL AND p.suspended_at IS NULL AND (p.not_before IS NULL OR p.not_before <= {now}) "
            "AND NOT EXISTS (SELECT 1 FROM deployment d WHERE d.stopped_at IS NOT NULL) "
            "AND p.max_concurrent_calls > (SELECT count(*) FROM call_attempts a WHERE a.account_id = p.id "
            "AND a.ended_at IS NULL) AND NOT EXISTS (SELECT 1 FROM call_attempts a "
            "WHERE a.phone_number = c.phone_number AND a.settled_at IS NULL)"
        )
        self._waited = {
            contact_id: self._waited.get(contact_id, 0.0) + 1 if are_workers_alive else 0.0
            for contact_id, _ in found
        }
        for contact_id, phone_number in found:
            if self._waited[contact_id] > PATIENCE_SECONDS:
                self.accuse(
                    "liveness", f"{phone_number} is due, a line is free, and nobody calls", phone_number
                )

    def _is_done(self) -> bool:
        if any(call.ended_at is None for call in self._provider.ledger.calls):
            return False
        return not self._body.look(
            "SELECT 1 FROM call_attempts WHERE settled_at IS NULL UNION ALL "
            "SELECT 1 FROM contacts WHERE state IN ('pending', 'in_progress') AND held_until IS NULL UNION ALL "
            "SELECT 1 FROM campaigns k WHERE status <> 'completed' AND NOT EXISTS (SELECT 1 FROM contacts c "
            "WHERE c.campaign_id = k.id AND c.state IN ('pending', 'in_progress')) LIMIT 1"
        )

    # --- at the end

    def _every_call_has_its_row(self, rows: Sequence[Row]) -> None:
        known = Counter(row["call_id"] for row in rows)
        for call in self._provider.ledger.calls:
            if known[call.post.call_id] != 1:
                self.accuse(
                    "account", f"{call.post.call_id} has {known[call.post.call_id]} rows", call.post.call_id
                )

    def _row_is_over(self, row: Row) -> None:
        if row["ended_at"] is None or row["settled_at"] is None:
            self.accuse(
                "end", f"{row['call_id']} is {row['state']}, ended {row['ended_at']}, settled {row['settled_at']}",
                row["call_id"], row["phone_number"],
            )  # fmt: skip

    def _row_is_true(self, row: Row) -> None:
        calls = [call for call in self._provider.ledger.calls if call.post.call_id == row["call_id"]]
        about = (row["call_id"], row["phone_number"])
        ending = row["ending"]
        if not calls:
            if ending not in {Ending.NOT_PLACED, Ending.UNKNOWN} and row["error_class"] != "number":
                self.accuse("truth", f"{row['call_id']} was never placed and is recorded as {ending}", *about)
            return
        call = calls[0]
        if row["sent_at"] is None:
            self.accuse("truth", f"{row['call_id']} was placed and is recorded as never sent", *about)
        allowed = {call.ending, Ending.UNKNOWN}
        if call.told_end and self._plan.kind.keeps_our_id:
            allowed = {call.ending}
        if ending not in allowed:
            self.accuse("truth", f"{row['call_id']} ended {call.ending} and is recorded as {ending}", *about)

    def _one_at_a_time(self, rows: Sequence[Row]) -> None:
        last: dict[str, Row] = {}
        for row in rows:
            before = last.get(row["phone_number"])
            if before is not None and (
                before["settled_at"] is None or before["settled_at"] > row["claimed_at"]
            ):
                self.accuse(
                    "one at a time",
                    f"{row['call_id']} was claimed before {before['call_id']} was settled",
                    row["call_id"], before["call_id"], row["phone_number"],
                )  # fmt: skip
            last[row["phone_number"]] = row

    def _person_is_done(self, person: Row, rows: Sequence[Row]) -> None:
        state, number = person["state"], person["phone_number"]
        results = {call.result for call in self._calls_of(person["id"])}
        if state not in FINAL and person["held_until"] is None:
            self.accuse("end", f"{number} is still {state} (due {person['next_attempt_at']})", number)
        if state in {"completed", "refused"} and state not in results:
            self.accuse("truth", f"{number} is {state}, and no call of theirs gave that", number)

    def _budget_is_kept(self, person: Row, rows: Sequence[Row]) -> None:
        number = person["phone_number"]
        calls = self._calls_of(person["id"])
        most = self._plan.max_attempts + self._plan.network_retries
        rang = [call for call in calls if call.rang]
        if len(calls) > most or len(rang) > self._plan.max_attempts:
            self.accuse(
                "budget", f"{number} was called {len(calls)} times, and rang {len(rang)} times", number
            )
        for before, after in pairwise(calls):
            if (
                before.ended_at is None
                or after.began_at < before.ended_at + self._plan.retry_seconds - EPSILON
            ):
                self.accuse(
                    "spacing",
                    f"{number} was called again at {after.began_at:.3f}, the call before ended at {before.ended_at}",
                    number, before.post.call_id, after.post.call_id,
                )  # fmt: skip
            told = before.told_result_at
            was_decided = self._plan.kind.keeps_our_id and before.result in {"completed", "refused"}
            if was_decided and told is not None and told < (before.ended_at or 0) + RESULT_SECONDS - EPSILON:
                self.accuse(
                    "result",
                    f"{number} was called again after {before.post.call_id} had given {before.result}",
                    number, before.post.call_id, after.post.call_id,
                )  # fmt: skip
        if person["state"] == "not_reached":
            maybe = [
                row
                for row in rows
                if row["contact_id"] == person["id"] and row["ending"] != Ending.NOT_PLACED
            ]
            if len(maybe) < self._plan.max_attempts:
                self.accuse("budget", f"{number} is given up after {len(maybe)} calls", number)

    def _caps_are_kept(self) -> None:
        if self._plan.cap is None:
            return
        by_number: dict[str, list[Call]] = defaultdict(list)
        for call in self._provider.ledger.calls:
            by_number[call.post.to].append(call)
        period = CAP_HOURS * 3600 - CHECK_TO_POST_SECONDS
        for number, calls in by_number.items():
            lefts = sorted(call.post.left_at for call in calls)
            for first, beyond in zip(lefts, lefts[self._plan.cap :], strict=False):
                if beyond - first < period:
                    self.accuse(
                        "cap", f"{number} was called {len(lefts)} times, the cap is {self._plan.cap}", number
                    )
                    break

    def _calls_of(self, contact_id: int) -> list[Call]:
        found = [call for call in self._provider.ledger.calls if call.post.contact_id == contact_id]
        return sorted(found, key=lambda call: call.began_at)


def vars_of(rates: Any) -> list[float]:
    return [getattr(rates, name) for name in rates.__dataclass_fields__]
