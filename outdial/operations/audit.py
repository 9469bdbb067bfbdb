"""The audit: were the calls that were made lawful, and within all limits? Judged from what is stored, after the fact.

It reads with statements of its own and judges with functions of its own (`domain/audit`), none of which a claim uses.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import sqlalchemy as sa

from outdial.domain.audit import (
    Attempt,
    Call,
    Check,
    Finding,
    Findings,
    judge_end,
    judge_zone,
)
from outdial.domain.audit_history import (
    Exclusion,
    judge_attempts,
    judge_caps,
    judge_exclusions,
    judge_interval,
    judge_number,
    memory_of,
    policies_of,
)
from outdial.domain.audit_lines import UNKNOWN, UNLIMITED, OpenCalls, Starts
from outdial.domain.audit_record import judge_record
from outdial.domain.audit_window import judge_window
from outdial.domain.campaign import CampaignDefinition
from outdial.domain.errors import NotFound, UserError
from outdial.domain.ids import AccountId, AttemptId, CampaignId, ContactId
from outdial.domain.retries import RetryPolicy
from outdial.domain.rules import Rule, RuleBook, UnknownRule, rule_digest
from outdial.files.file_values import SECONDS_PER_UNIT
from outdial.operations.audit_report import MOST_KEPT, Report
from outdial.operations.stops import SETTLE_SECONDS
from outdial.storage import accounts, audit as stored, campaigns
from outdial.storage.audit import Extent
from outdial.storage.audit_rows import Sent
from outdial.storage.database import database_now

Begin = Callable[[], AbstractContextManager[sa.Connection]]
"""Opens a transaction."""

PAGE: Final = 1000
# Of rows of which few are anything to the audit.
WIDE_PAGE: Final = 10_000
# More revisions than that between two calls to a contact are a number that somebody wrote.
MOST_REVISIONS: Final = 1000
# What reading a value of another kind than its column's ends in.
SPOILED: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
Limits = Mapping[str, float | None]
SETTLE: Final = timedelta(seconds=SETTLE_SECONDS)
ONE_SECOND: Final = timedelta(seconds=1)
AGO: Final = re.compile(r"([0-9]{1,6})([smhd])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`since` None: from the first call on; `campaign` None: of all. `queue_limits`: how long each account's provider
    may keep a call before it rings.
    """

    book: RuleBook
    campaign: str | None = None
    since: datetime | None = None
    queue_limits: Mapping[AccountId, timedelta] = field(default_factory=dict)


Progress = Callable[[int, int], None]
"""Called with how many calls were read, and how many there are."""


def audit(begin: Begin, asked: Asked, progress: Progress = lambda _done, _all: None) -> Report:
    """Judge every call. Raises `NotFound` for an unknown campaign."""
    with begin() as connection:
        campaign_id = _campaign_id(connection, asked.campaign)
        extent = stored.extent(connection, database_now(connection), asked.since, campaign_id)
        all_calls = stored.count(connection, extent)
    run = _Run(begin=begin, asked=asked, extent=extent, report=Report(at=extent.until))
    done = 0
    for page in run.pages():
        run.judge(page)
        done += len(page)
        progress(done, all_calls)
    run.judge_lines()
    run.judge_unknown_calls()
    run.judge_contacts()
    run.report.broken.sort(key=lambda one: list(Check).index(one.check))
    return run.report


def since_instant(text: str, at: datetime) -> datetime:
    """`"2h"` or `"7d"` before `at`, or an instant with its offset; aware UTC. Raises `UserError`."""
    ago = AGO.fullmatch(text.strip())
    try:
        if ago is None:
            found = datetime.fromisoformat(text.strip())
        else:
            found = at - timedelta(seconds=int(ago[1]) * SECONDS_PER_UNIT[ago[2]])
    except (ValueError, OverflowError):
        found = None
    if found is None or found.tzinfo is None:
        raise UserError(
            f"--since is {text!r}: write how long ago, such as 2h or 7d, or an instant with its offset, such as "
            "2026-11-23T18:00:00Z."
        )
    return found.astimezone(UTC)


@dataclass(slots=True, kw_only=True)
class _Run:
    begin: Begin
    asked: Asked
    extent: Extent
    report: Report
    _said: dict[tuple[CampaignId, int], CampaignDefinition | None] = field(default_factory=dict)
    _rules: dict[str, Rule | None] = field(default_factory=dict)
    _accounts: set[AccountId] = field(default_factory=set)

    def pages(self) -> Iterator[Sequence[Call]]:
        after = AttemptId(0)
        while True:
            with self.begin() as connection:
                page = stored.attempts_after(connection, self.extent, after, PAGE)
            if page:
                yield [call for _, call in page]
                after = page[-1][0]
            if len(page) < PAGE:
                return

    def judge(self, page: Sequence[Call]) -> None:
        """All checks that look at a call, at its number's and its contact's others, and at exclusions."""
        made = [call for call in page if call.attempt.is_call and self._is_in_extent(call.attempt)]
        around = self._around(made)
        for call in page:
            self._accounts.add(call.attempt.account_id)
        for call in made:
            self.report.calls += 1
            self.report.tests += call.is_test
            self.report.restored += call.is_restored
            self._judge_call(call, around)
        judged = {call.attempt.id for call in made}
        for call in page:
            attempt = call.attempt
            if not attempt.unreadable and (attempt.id in judged or attempt.lies_open):
                limit = self.asked.queue_limits.get(attempt.account_id, timedelta())
                definition = self._definition(attempt)
                self._note(Check.END, call, partial(judge_end, call, definition, limit, self.extent.until))

    def judge_lines(self) -> None:
        """Open calls and slots, over all calls of the accounts, in the order of time."""
        lines: dict[AccountId, OpenCalls] = {}
        campaign_lines: dict[CampaignId, OpenCalls] = {}
        starts: dict[AccountId, Starts] = {}
        names = self._names()
        for one in self._sent():
            is_judged = self._is_asked(one.sent_at) and self.extent.campaign_id in {None, one.campaign_id}
            whose = f"the account {names.get(one.account_id, '?')}"
            slots = starts.setdefault(one.account_id, Starts(whose))
            if not one.is_restored:
                slots.add(one.id, one.dial_at, _most_a_second(one.limits), is_judged=is_judged)
            if not one.is_call:
                continue
            open_calls = lines.setdefault(one.account_id, OpenCalls(whose))
            open_calls.add(one.id, one.sent_at, one.ended_at, _account_limit(one.limits), is_judged=is_judged)
            # A test call is not held to its campaign's own limit.
            if not one.is_test:
                own = campaign_lines.setdefault(one.campaign_id, OpenCalls("its campaign"))
                own.add(one.id, one.sent_at, one.ended_at, _campaign_limit(one.limits), is_judged=is_judged)
        over: dict[AttemptId, list[Finding]] = defaultdict(list)
        for each in (*lines.values(), *campaign_lines.values()):
            for attempt_id, finding in each.over_limit():
                over[attempt_id].append(finding)
        self._note_all(Check.LIMIT, sum(each.judged for each in lines.values()), over)
        fast = {one: [finding] for each in starts.values() for one, finding in each.too_fast()}
        self._note_all(Check.RATE, sum(each.judged for each in starts.values()), fast)

    def judge_unknown_calls(self) -> None:
        """What the provider told of calls that we do not know."""
        # Whose calls these are nobody knows, so no campaign is asked for them.
        if self.extent.campaign_id is None:
            for call_id, finding in self._unknown_calls().items():
                self.report.note(Check.ACCOUNT, [finding], call_id)
            for call_id, finding in self._orphans().items():
                self.report.note(Check.ACCOUNT, [finding], call_id)

    def judge_contacts(self) -> None:
        """Whether the attempts that contacts count are on record."""
        after: ContactId | None = ContactId(0)
        while after is not None:
            with self.begin() as connection:
                page, after = stored.short_contacts_after(connection, self.extent, after, WIDE_PAGE)
            for one in page:
                says = f"counts {one.counted} attempts, and {one.found} are on record"
                self.report.note(Check.ACCOUNT, [Finding(says=says)], None, one.id, one.campaign)

    def _judge_call(self, call: Call, around: _Around) -> None:
        attempt = call.attempt
        attempts_before = [one for one in around.to_contact[attempt.contact_id] if one.id < attempt.id]
        self._note(Check.RECORD, call, partial(judge_record, call, attempts_before))
        self._note(Check.ACCOUNT, call, partial(_judge_ids, attempt, around))
        if attempt.unreadable:
            return
        definition = self._definition(attempt)
        to_number = _before(attempt, around.to_number[attempt.phone_number])
        to_contact = _before(attempt, around.to_contact[attempt.contact_id])
        policies = self._policies(attempt, to_contact)
        exclusions = list(around.by_number.get(attempt.phone_number, ()))
        if call.person_key is not None:
            # An entry may be of both.
            of_person = around.by_person.get(call.person_key, ())
            exclusions += [one for one in of_person if one not in exclusions]
        self._note(Check.EXCLUSION, call, partial(judge_exclusions, call, exclusions, SETTLE))
        if call.is_restored:
            # What permitted it is lost, and its times are the provider's: it is counted, and stands beside the others.
            return
        self._note(Check.WINDOW, call, partial(judge_window, call, definition, self._rule_of))
        self._note(Check.ZONE, call, partial(judge_zone, call, definition))
        self._note(Check.CAP, call, partial(judge_caps, call, to_number, self._rule_of))
        self._note(Check.NUMBER, call, partial(judge_number, call, to_number))
        self._note(Check.INTERVAL, call, partial(judge_interval, call, to_contact, policies))
        self._note(Check.ATTEMPTS, call, partial(judge_attempts, call, to_contact, policies))

    def _policies(self, attempt: Attempt, to_contact: Sequence[Attempt]) -> Sequence[RetryPolicy] | None:
        """Those that held from the call before it to this one."""
        if not to_contact:
            return None
        between = range(to_contact[-1].campaign_revision, attempt.campaign_revision + 1)
        if not 0 < len(between) <= MOST_REVISIONS:
            return None
        return policies_of([self._definition(attempt, revision) for revision in between])

    def _around(self, made: Sequence[Call]) -> _Around:
        """What stands around these calls."""
        if not made:
            return _Around()
        numbers = {call.attempt.phone_number for call in made}
        persons = {call.person_key for call in made if call.person_key is not None}
        rules = [rule for call in made for name in call.rule_names if (rule := self._rule(name)) is not None]
        readable = [call.attempt.left_at for call in made if not call.attempt.unreadable]
        since = min(readable, default=self.extent.until) - memory_of(rules)
        with self.begin() as connection:
            to_number = stored.attempts_to(connection, numbers, since)
            contact_ids = {call.attempt.contact_id for call in made}
            to_contact = stored.attempts_of(connection, contact_ids)
            exclusions = stored.exclusions_of(connection, numbers, persons)
            ids = [call.attempt.id for call in made]
            shared_ids = stored.with_shared_id(connection, ids)
            several_calls = stored.with_several_calls(connection, ids)
        around = _Around(shared_ids=shared_ids, several_calls=several_calls)
        for one in to_number:
            around.to_number[one.phone_number].append(one)
        for one in to_contact:
            around.to_contact[one.contact_id].append(one)
        for entry in exclusions:
            if entry.phone_number is not None:
                around.by_number[entry.phone_number].append(entry)
            if entry.person_key is not None:
                around.by_person[entry.person_key].append(entry)
        return around

    def _sent(self) -> Iterator[Sent]:
        after: AttemptId | None = AttemptId(0)
        open_since = None if self.extent.since is None else self.extent.since - ONE_SECOND
        while self._accounts and after is not None:
            with self.begin() as connection:
                page, after = stored.sent_after(
                    connection, self.extent, open_since, self._accounts, after, PAGE
                )
            yield from page

    def _unknown_calls(self) -> dict[str, Finding]:
        """By what the provider calls them."""
        found: dict[str, Finding] = {}
        names = self._names()
        after = 0
        while True:
            with self.begin() as connection:
                page = stored.unknown_calls_after(connection, self.extent, after, PAGE)
            for one in page:
                called = one.provider_call_id or one.call_id or "without an id"
                says = (
                    f"is no call of ours: the account {names.get(one.account_id, '?')} told of it first at "
                    f"{one.received_at} UTC ({one.kind})"
                )
                found.setdefault(called, Finding(says=says))
            if len(page) < PAGE:
                return found
            after = page[-1].id

    def _orphans(self) -> dict[str, Finding]:
        """By our ids, as far as the events have them."""
        found: dict[str, Finding] = {}
        after: int | None = 0
        while after is not None:
            with self.begin() as connection:
                page, after = stored.orphaned_events_after(connection, self.extent, after, WIDE_PAGE)
            for one in page:
                called = one.call_id or one.provider_call_id or "without an id"
                says = f"is not on record any more, and the provider told of it at {one.received_at} UTC ({one.kind})"
                found.setdefault(called, Finding(says=says))
        return found

    def _names(self) -> dict[AccountId, str]:
        with self.begin() as connection:
            return {account.id: account.name for account in accounts.all_accounts(connection)}

    def _is_in_extent(self, attempt: Attempt) -> bool:
        """Whether it left in time to be asked about. What cannot be read is asked about whenever it left."""
        sent_at = attempt.sent_at
        if attempt.unreadable:
            return True
        if sent_at is not None and self.extent.until < sent_at <= attempt.read_at:
            return False
        return self._is_asked(attempt.left_at) or (sent_at is not None and self._is_asked(sent_at))

    def _is_asked(self, left_at: datetime) -> bool:
        return self.extent.since is None or left_at >= self.extent.since

    def _rule_of(self, call: Call, name: str) -> Rule | Finding:
        rule = self._rule(name)
        if rule is None:
            says = f"the rule book has no {name} any more: name the file that has it in OUTDIAL_RULES_FILE"
            return Finding(says=says, is_violation=False, rule=name)
        digests = call.permit.get("rule_digests")
        if digests is not None and digests.get(name) != rule_digest(rule):
            says = f"{name} says something else now than when it permitted"
            return Finding(says=says, is_violation=False, rule=name)
        return rule

    def _rule(self, name: str) -> Rule | None:
        if name not in self._rules:
            try:
                self._rules[name] = self.asked.book.find(name)
            except UnknownRule:
                self._rules[name] = None
        return self._rules[name]

    def _definition(self, attempt: Attempt, revision: int | None = None) -> CampaignDefinition | None:
        """What its campaign said in that revision, by default in the attempt's; None: nobody knows any more."""
        key = (attempt.campaign_id, attempt.campaign_revision if revision is None else revision)
        if key not in self._said:
            try:
                self._said[key] = self._kept(*key)
            except SPOILED:
                self._said[key] = None
        return self._said[key]

    def _kept(self, campaign_id: CampaignId, revision: int) -> CampaignDefinition | None:
        with self.begin() as connection:
            found = campaigns.definition_at(connection, campaign_id, revision, account="")
            if found is None:
                now = campaigns.load(connection, [campaign_id]).get(campaign_id)
                found = now.definition if now is not None and now.revision == revision else None
        return found

    def _note(self, check: Check, call: Call, judged: Callable[[], Findings | None]) -> None:
        try:
            findings = judged()
        except SPOILED as error:
            # A definition, or a number, of another kind than the column's: one row, of which the rest is judged.
            says = f"what is stored of it, or of its campaign, cannot be read ({type(error).__name__})"
            findings = [Finding(says=says, is_violation=False)]
        self.report.note(check, findings, call.attempt.call_id, call.attempt.contact_id, call.campaign)

    def _note_all(self, check: Check, judged: int, found: Mapping[AttemptId, Findings]) -> None:
        """Of so many calls, these were found wanting."""
        self.report.of[check].judged += judged - len(found)
        named: dict[AttemptId, stored.Whose] = {}
        kept = list(found)[: MOST_KEPT - len(self.report.broken)]
        for page in _in_pages(kept):
            with self.begin() as connection:
                named |= stored.whose(connection, page)
        for attempt_id, findings in found.items():
            whose = named.get(attempt_id)
            if whose is None:
                self.report.note(check, findings, str(attempt_id))
            else:
                self.report.note(check, findings, whose.call_id, whose.contact_id, whose.campaign)


@dataclass(slots=True, kw_only=True)
class _Around:
    """Calls and exclusions of the numbers, contacts and persons of one page, in the order of time."""

    to_number: defaultdict[str, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    to_contact: defaultdict[ContactId, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    by_number: defaultdict[str, list[Exclusion]] = field(default_factory=lambda: defaultdict(list))
    by_person: defaultdict[str, list[Exclusion]] = field(default_factory=lambda: defaultdict(list))
    shared_ids: Mapping[AttemptId, str] = field(default_factory=dict)
    several_calls: Mapping[AttemptId, int] = field(default_factory=dict)


def _judge_ids(attempt: Attempt, around: _Around) -> Findings:
    """Whether it is one call at the provider, and no other attempt is that call."""
    findings: list[Finding] = []
    if attempt.id in around.shared_ids:
        shared = around.shared_ids[attempt.id]
        findings.append(Finding(says=f"has the provider's id {shared}, as another call has"))
    if attempt.id in around.several_calls:
        calls = around.several_calls[attempt.id]
        findings.append(Finding(says=f"is {calls} calls at the provider, by the ids in its events"))
    return findings


def _before(attempt: Attempt, others: Iterable[Attempt]) -> list[Attempt]:
    """Those of the others, in the order of time, that were calls and left earlier."""
    moment = (attempt.left_at, attempt.id)
    found = [one for one in others if one.is_counted and (one.left_at, one.id) < moment]
    return sorted(found, key=lambda one: (one.left_at, one.id))


def _account_limit(limits: Limits | None) -> float:
    limit = None if limits is None else limits.get("account_calls")
    return UNKNOWN if limit is None else float(limit)


def _campaign_limit(limits: Limits | None) -> float:
    if limits is None:
        return UNKNOWN
    limit = limits.get("campaign_calls")
    return UNLIMITED if limit is None else float(limit)


def _most_a_second(limits: Limits | None) -> float:
    if limits is None:
        return UNKNOWN
    rate = limits.get("account_calls_per_second")
    return UNLIMITED if rate is None else float(rate) + float(limits.get("account_burst") or 1)


def _in_pages(ids: Sequence[AttemptId]) -> Iterator[Sequence[AttemptId]]:
    for begin in range(0, len(ids), PAGE):
        yield ids[begin : begin + PAGE]


def _campaign_id(connection: sa.Connection, name: str | None) -> CampaignId | None:
    if name is None:
        return None
    found = campaigns.by_name(connection, name)
    if found is None:
        raise NotFound("campaign", name, "`outdial campaign list` shows all there are.")
    return found.id
