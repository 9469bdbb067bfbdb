"""`outdial demo` as a user runs it, and the comparison that its exit code rests on."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer

from outdial.cli.demo import demo
from outdial.demo.children import environment
from outdial.demo.files import fictional_numbers
from outdial.demo.reckoning import CampaignBook, Check, ContactEntry, compare
from outdial.demo.run import DemoResult
from outdial.domain.contact import ContactState
from outdial.operations.imports import Counts
from outdial.simulator.ledger import read_ledger
from tests.support.processes import Process, Processes

SOMEBODY_ELSES = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/precious",
    "TELEPHONY_API_KEY": "precious",
    "TELEPHONY_BASE_URL": "http://127.0.0.1:1",
    "OUTDIAL_PUBLIC_URL": "http://127.0.0.1:1",
    "OUTDIAL_LOG_LEVEL": "nonsense",
}
ANNA, BRUNO, CARLA = "+12015550101", "+12025550101", "+12035550101"


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the demo puts its folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def start(process: Processes, temporary: Path, *options: str) -> Process:
    return process.outdial("demo", *options, env={**SOMEBODY_ELSES, "TMPDIR": str(temporary)})


def processes_of(temporary: Path) -> list[psutil.Process]:
    """All that run with a temporary folder of this test's own."""
    found = []
    for one in psutil.process_iter():
        try:
            if one.environ().get("TMPDIR") == str(temporary) and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except psutil.Error:
            continue
    return found


def wait_until_gone(temporary: Path, timeout_seconds: float = 20) -> None:
    deadline = time.monotonic() + timeout_seconds
    while left := processes_of(temporary):
        assert time.monotonic() < deadline, f"still running: {[one.cmdline() for one in left]}"
        time.sleep(0.05)


def test_demo_accounts_for_every_contact_and_leaves_nothing_behind(
    process: Processes, temporary: Path
) -> None:
    running = start(process, temporary, "--contacts", "40", "--lines", "20")
    assert running.wait(100) == 0, running.stdout + running.stderr
    assert "accounts agree" in running.stdout
    assert "DIFFERS" not in running.stdout
    assert not list(temporary.iterdir())
    assert not processes_of(temporary)


def test_interrupted_demo_leaves_nothing_behind(process: Processes, temporary: Path) -> None:
    running = start(process, temporary, "--contacts", "2000")
    running.wait_for_line("calls/s", 60)
    running.send(signal.SIGINT)
    assert running.wait(40) == 130
    assert not list(temporary.iterdir())
    assert not processes_of(temporary)


def test_killed_demo_takes_its_processes_with_it(process: Processes, temporary: Path) -> None:
    running = start(process, temporary, "--contacts", "2000")
    running.wait_for_line("calls/s", 60)
    assert len(processes_of(temporary)) == 3
    running.send(signal.SIGKILL)
    running.wait()
    wait_until_gone(temporary)


@pytest.mark.parametrize(
    ("option", "value"), [("--contacts", "5"), ("--contacts", "20001"), ("--lines", "0")]
)
def test_impossible_size_is_refused_in_a_sentence(process: Processes, option: str, value: str) -> None:
    running = process.outdial("demo", option, value)
    assert running.wait() == 2
    assert running.stderr.startswith(f"error: {option} is ")
    assert "write a whole number from" in running.stderr


def test_demo_whose_accounts_differ_fails_and_keeps_the_evidence(
    monkeypatch: pytest.MonkeyPatch, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = DemoResult(books=[book()], checks=[Check(claim="all is well", difference="it is not")])
    monkeypatch.setattr("outdial.demo.run.run_demo", lambda *_: result)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with pytest.raises(typer.Exit) as ended:
        demo()
    assert ended.value.exit_code == 1
    said = capsys.readouterr().out
    assert "accounts differ" in said
    assert "it is not" in said
    (kept,) = temporary.iterdir()
    assert str(kept) in said


def test_children_are_told_nothing_of_the_users_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SOMEBODY_ELSES.items():
        monkeypatch.setenv(name, value)
    given = environment({"DATABASE_URL": "sqlite:///demo"})
    assert given.keys() & SOMEBODY_ELSES.keys() == {"DATABASE_URL"}
    assert given["DATABASE_URL"] == "sqlite:///demo"


def test_demo_has_a_fictional_number_for_everybody() -> None:
    numbers = [number for number, _ in zip(fictional_numbers(), range(20_000), strict=False)]
    assert len(set(numbers)) == 20_000
    assert all(number[5:10] == "55501" for number in numbers)


# --- the comparison ---------------------------------------------------------------------------------------------------


Ledger = Callable[..., Any]
CALLS = {"c1": ANNA, "c2": BRUNO, "c3": BRUNO}


def book(calls: Mapping[str, str] = CALLS, *, rows: Counts | None = None) -> CampaignBook:
    contacts = [
        ContactEntry(
            phone_number=number,
            state=ContactState.COMPLETED,
            call_ids=[call_id for call_id, to in calls.items() if to == number],
        )
        for number in (ANNA, BRUNO)
    ]
    counts = rows or Counts(rows=4, pending=2, rejected=1, repeated=1)
    return CampaignBook(name="survey", rows=counts, contacts=contacts)


def start_line(call_id: str, to: str, at: float) -> dict[str, Any]:
    names = {"call_id": call_id, "provider_call_id": f"P-{call_id}", "to": to, "from": "+12125550100"}
    return {"at": at, "kind": "start", "status": 201, **names}


def end_line(call_id: str, to: str, at: float) -> dict[str, Any]:
    return {"at": at, "kind": "ended", "call_id": call_id, "to": to, "ending": "completed"}


@pytest.fixture
def ledger(tmp_path: Path) -> Callable[[Sequence[dict[str, Any]]], Any]:
    def read(lines: Sequence[dict[str, Any]]) -> Any:
        path = tmp_path / "ledger.ndjson"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return read_ledger(path)

    return read


def one_after_the_other(calls: Mapping[str, str] = CALLS) -> list[dict[str, Any]]:
    lines = []
    for at, (call_id, to) in enumerate(calls.items()):
        lines += [start_line(call_id, to, at), end_line(call_id, to, at + 0.5)]
    return lines


def differences(
    books: Sequence[CampaignBook], ledger: Any, *, lines: int = 1, never_call: Sequence[str] = ()
) -> list[str]:
    checks = compare(books, ledger, lines=lines, calls_per_second=1, never_call=never_call)
    return [check.difference for check in checks if check.difference is not None]


def test_accounts_that_tell_the_same_story_agree(ledger: Ledger) -> None:
    assert differences([book()], ledger(one_after_the_other())) == []


def test_a_call_that_the_database_does_not_know_is_named(ledger: Ledger) -> None:
    found = differences([book()], ledger(one_after_the_other({**CALLS, "stray": CARLA})))
    assert found == ["stray is unknown to the database", f"{CARLA} was called otherwise"]


def test_a_call_that_only_the_database_knows_is_named(ledger: Ledger) -> None:
    found = differences([book({**CALLS, "ghost": ANNA})], ledger(one_after_the_other()))
    assert found == ["ghost is unknown to the provider", f"{ANNA} was called otherwise"]


def test_more_lines_than_allowed_are_a_difference(ledger: Ledger) -> None:
    both = [start_line("c1", ANNA, 0), start_line("c2", BRUNO, 1), start_line("c3", BRUNO, 3)]
    ends = [end_line("c1", ANNA, 2), end_line("c2", BRUNO, 2), end_line("c3", BRUNO, 4)]
    seen = ledger([*both[:2], *ends[:2], both[2], ends[2]])
    assert differences([book()], seen) == ["2 is over the limit of 1"]
    assert differences([book()], seen, lines=2) == []


def test_a_number_with_two_calls_at_once_is_a_difference(ledger: Ledger) -> None:
    seen = ledger(
        [
            *one_after_the_other({"c1": ANNA}),
            start_line("c2", BRUNO, 2),
            start_line("c3", BRUNO, 3),
            end_line("c2", BRUNO, 4),
            end_line("c3", BRUNO, 5),
        ]
    )
    assert differences([book()], seen, lines=2) == [f"{BRUNO} had two calls at once"]


def test_a_call_to_an_excluded_number_is_a_difference(ledger: Ledger) -> None:
    found = differences([book()], ledger(one_after_the_other()), never_call=[ANNA, CARLA])
    assert found == [f"{ANNA} was excluded, and called"]


def test_a_row_that_became_nothing_is_a_difference(ledger: Ledger) -> None:
    lost = book(rows=Counts(rows=5, pending=2, rejected=1, repeated=1))
    assert len(differences([lost], ledger(one_after_the_other()))) == 1
