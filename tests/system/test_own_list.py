"""`docs/own-list.md` is what a newcomer types and reads: here it is typed, and read, against a fake Twilio."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.support.fake_twilio import ACCOUNT_SID, AUTH_TOKEN, FakeTwilio, Fate
from tests.support.processes import ROOT
from tests.support.stack import Stack

PAGE: Final = ROOT / "docs" / "own-list.md"
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED: Final = re.compile(r"^`([\w.]+)`[^\n]*:\n\n\Z", re.MULTILINE)
# The test may run at any time of the day.
HOURS: Final = {
    'rule = "auto"': 'rule = "none"',
    'start = "09:00"': 'start = "00:00"',
    'end = "20:00"': 'end = "24:00"',
}
END: Final = "----- end of what {} said"


def fill_in(text: str, values: Mapping[str, str]) -> str:
    for ours, theirs in values.items():
        text = text.replace(ours, theirs)
    return text


def read_page(folder: Path) -> list[tuple[str, str]]:
    """Each command with what it answers; the page's files are written to `folder` on the way."""
    page, dialogue = PAGE.read_text(encoding="utf-8"), []
    for block in BLOCK.finditer(page):
        language, text = block.groups()
        if language != "console":
            named = NAMED.search(page[: block.start()])
            assert named is not None, f"no file name before: {text}"
            (folder / named[1]).write_text(fill_in(text, HOURS), encoding="utf-8")
            continue
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, answer = part.partition("\n")
            dialogue.append((command, answer))
    return dialogue


def type_in(commands: list[str], folder: Path, environment: dict[str, str]) -> list[str]:
    """What a shell says to each command, errors included."""
    lines = [f"{command}\necho '{END.format(at)}'" for at, command in enumerate(commands)]
    # The end of the shell ends the worker that the page starts in the background.
    script = "\n".join(["trap 'kill $(jobs -p)' EXIT", "exec 2>&1", *lines])
    told = subprocess.run(
        ["timeout", "--kill-after=10", "280", "bash", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    ).stdout
    answers = []
    for at, command in enumerate(commands):
        answer, found, told = told.partition(END.format(at) + "\n")
        assert found, f"the shell never came to the end of: {command}\n{answer}"
        answers.append(answer)
    return answers


def as_written(answer: str) -> str:
    """A pattern: … stands for anything, and a line of it alone for any lines."""
    lines = [
        "(?:.*\n)*?" if line == "…" else ".*?".join(map(re.escape, line.split("…"))) + "\n"
        for line in answer.splitlines()
    ]
    return "".join(lines)


@pytest.mark.timeout(300)
def test_every_step_of_the_page_answers_as_it_says(tmp_path: Path) -> None:
    dialogue = read_page(tmp_path)
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TELEPHONY_", "OUTDIAL_"))
        },
        "DATABASE_URL": f"sqlite:///{tmp_path / 'own.sqlite3'}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "200",
    }
    with FakeTwilio(lambda _to, _before: Fate(talk_seconds=2)) as twilio:
        of_the_reader = {
            "--adapter twilio": f"--adapter twilio --base-url {twilio.url}",
            "account_sid=AC…": f"account_sid={ACCOUNT_SID}",
            "TELEPHONY_API_KEY=…": f"TELEPHONY_API_KEY='{AUTH_TOKEN}'",
            "--with-worker": f"--with-worker --port {Stack.free_port()}",
        }
        commands = [fill_in(command, of_the_reader) for command, _ in dialogue]
        answers = type_in(commands, tmp_path, environment)
        called = sorted(call.to for call in twilio.calls.values())
    for (command, expected), answer in zip(dialogue, answers, strict=True):
        assert re.fullmatch(as_written(expected), answer), f"{command}\nanswers:\n{answer}\nnot:\n{expected}"
    # The test call, and the two who may be called: the one who asked not to be is not among them.
    assert called == ["+393334445566", "+393339998877", "+393471234567"]
    assert "completed" in (tmp_path / "results.csv").read_text(encoding="utf-8")
