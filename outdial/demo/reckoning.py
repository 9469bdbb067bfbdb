"""The two accounts of a demo, ours and the provider's, held against each other call by call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from outdial.domain.contact import FINAL_STATES, ContactState
from outdial.operations.campaigns import list_campaigns
from outdial.operations.imports import Counts
from outdial.operations.results import read_results
from outdial.simulator.ledger import Ledger
from outdial.storage.database import Database

SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactEntry:
    """`call_ids` are those of the calls that the provider took, as far as we know."""

    phone_number: str
    state: ContactState
    call_ids: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignBook:
    """All of a campaign: what its list had, and what became of each contact."""

    name: str
    rows: Counts
    contacts: Sequence[ContactEntry]

    @property
    def states(self) -> Counter[ContactState]:
        return Counter(contact.state for contact in self.contacts)

    @property
    def calls(self) -> int:
        return sum(len(contact.call_ids) for contact in self.contacts)

    @property
    def called_again(self) -> int:
        return sum(len(contact.call_ids) > 1 for contact in self.contacts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A claim about the run; `difference` None: it holds."""

    claim: str
    difference: str | None = None


def read_books(database: Database, rows: Mapping[str, Counts]) -> list[CampaignBook]:
    """The campaigns as the database has them; `rows` are the counts of their imports, by name."""
    books = []
    for progress in database.run(list_campaigns):
        campaign = progress.campaign
        contacts = [
            ContactEntry(
                phone_number=result.contact["phone_number"],
                state=ContactState(result.contact["state"]),
                call_ids=[one["call_id"] for one in result.attempts if one["started_at"] is not None],
            )
            for result in read_results(database.begin_reading, campaign.id, ())
        ]
        name = campaign.definition.name
        books.append(CampaignBook(name=name, rows=rows[name], contacts=contacts))
    return books


def compare(
    books: Sequence[CampaignBook],
    ledger: Ledger,
    *,
    lines: int,
    calls_per_second: float,
    never_call: Collection[str],
) -> list[Check]:
    """All that must be true, with the evidence where it is not. `never_call`: numbers that were excluded beforehand."""
    return [
        _rows_are_accounted_for(books),
        _contacts_are_final(books),
        _same_calls(books, ledger),
        _same_calls_per_contact(books, ledger),
        _at_most("lines in use at once", ledger.max_concurrent(), lines),
        # A burst of one on top of the rate.
        _at_most("starts in one second", ledger.max_starts_in_any_second(), int(calls_per_second) + 1),
        _none("no number had two calls at once", "had two calls at once", ledger.calls_per_number_overlap()),
        _none(
            "no excluded number was called",
            "was excluded, and called",
            {call.to for call in ledger.calls.values()} & set(never_call),
        ),
    ]


def _rows_are_accounted_for(books: Sequence[CampaignBook]) -> Check:
    rows = sum(book.rows.rows for book in books)
    claim = f"{rows} rows of the lists: each was accepted, rejected or a repetition"
    for book in books:
        counts = book.rows
        if counts.rows != counts.accepted + counts.rejected + counts.repeated + counts.already_there:
            return Check(claim=claim, difference=f"{book.name}: {counts}")
        if counts.accepted != len(book.contacts):
            found = (
                f"{book.name}: {counts.accepted} rows were accepted, {len(book.contacts)} contacts are there"
            )
            return Check(claim=claim, difference=found)
    return Check(claim=claim)


def _contacts_are_final(books: Sequence[CampaignBook]) -> Check:
    contacts = [contact for book in books for contact in book.contacts]
    waiting = {contact.phone_number for contact in contacts if contact.state not in FINAL_STATES}
    return _none(f"{len(contacts)} contacts: each has come to its end", "still waits", waiting)


def _same_calls(books: Sequence[CampaignBook], ledger: Ledger) -> Check:
    known = Counter(call_id for book in books for contact in book.contacts for call_id in contact.call_ids)
    claim = (
        f"{len(ledger.calls)} calls in the provider's ledger, {known.total()} in the database, the same ones"
    )
    differences = [
        *_named("is unknown to the database", ledger.accepted_call_ids - known.keys()),
        *_named("is unknown to the provider", known.keys() - ledger.accepted_call_ids),
        *_named("was placed twice", ledger.doubled_call_ids),
        *_named("is still open at the provider", ledger.open_call_ids),
    ]
    return Check(claim=claim, difference="; ".join(differences) or None)


def _same_calls_per_contact(books: Sequence[CampaignBook], ledger: Ledger) -> Check:
    ours: Counter[str] = Counter()
    for book in books:
        for contact in book.contacts:
            ours[contact.phone_number] += len(contact.call_ids)
    theirs = Counter(call.to for call in ledger.calls.values())
    differing = {number for number in ours.keys() | theirs.keys() if ours[number] != theirs[number]}
    return _none("every contact was called as often as the provider says", "was called otherwise", differing)


def _at_most(what: str, most: int, limit: int) -> Check:
    claim = f"most {what}: {most}, of {limit} allowed"
    return Check(claim=claim, difference=f"{most} is over the limit of {limit}" if most > limit else None)


def _none(claim: str, fault: str, those: Collection[str]) -> Check:
    return Check(claim=claim, difference="; ".join(_named(fault, those)) or None)


def _named(fault: str, those: Collection[str]) -> Iterator[str]:
    """At most one text: the first few, and how many more."""
    if those:
        more = f" and {len(those) - SHOWN} more" if len(those) > SHOWN else ""
        yield f"{', '.join(sorted(those)[:SHOWN])}{more} {fault}"
