"""`outdial simulate-provider` as a user runs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from outdial.cli.simulate import WELL_KNOWN_API_KEY
from outdial.simulator.ledger import read_ledger
from tests.support.processes import Process, Processes

LISTENING = r"^simulated provider listening on (http://\S+)$"


def place(url: str, api_key: str = WELL_KNOWN_API_KEY) -> httpx.Response:
    call: dict[str, Any] = {
        "call_id": "c1",
        "to": "+12015550101",
        "from": "+12125550100",
        "callback_url": "http://127.0.0.1:9/webhooks",
    }
    headers = {"Authorization": f"Bearer {api_key}", "Idempotency-Key": "c1"}
    return httpx.post(f"{url}/calls", json=call, headers=headers)


def start(process: Processes, *options: str, env: dict[str, str] | None = None) -> tuple[Process, str]:
    provider = process.outdial("simulate-provider", "--port", "0", *options, env=env)
    return provider, provider.wait_for_line(LISTENING)[1]


def test_it_takes_calls_without_any_option(process: Processes) -> None:
    provider, url = start(process)
    assert place(url).status_code == 201
    assert provider.terminate() == 0


def test_what_it_prints_first_is_all_that_a_caller_needs(process: Processes) -> None:
    provider, url = start(process)
    told = dict(re.findall(r"export (\w+)=(\S+)", provider.stdout))
    assert told.keys() == {
        "TELEPHONY_BASE_URL",
        "TELEPHONY_API_KEY",
        "TELEPHONY_WEBHOOK_SECRET",
        "OUTDIAL_PUBLIC_URL",
    }
    assert place(url, told["TELEPHONY_API_KEY"]).status_code == 201


def test_a_key_of_the_users_own_counts_and_is_not_shown(process: Processes) -> None:
    provider, url = start(process, env={"TELEPHONY_API_KEY": "my-own-key"})
    assert place(url).status_code == 401
    assert place(url, "my-own-key").status_code == 201
    assert "my-own-key" not in provider.stdout + provider.stderr


def test_options_reach_the_provider_and_its_ledger(process: Processes, tmp_path: Path) -> None:
    ledger, port_file = tmp_path / "ledger.ndjson", tmp_path / "port"
    _, url = start(process, "--error-before", "1", "--ledger", str(ledger), "--port-file", str(port_file))
    assert place(url).status_code == 503
    assert [post.code for post in read_ledger(ledger).posts] == ["overloaded"]
    assert url.endswith(f":{port_file.read_text().strip()}")


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--answer-rate", "2", "error: --answer-rate must lie between 0 and 1, not 2.0."),
        ("--talk-time", "-1", "error: --talk-time must not be negative, but is -1.0."),
        ("--webhook-secret", "guess", "error: --webhook-secret must start with whsec_."),
        ("--ledger", "/nowhere/ledger", "check the paths of --ledger"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(process: Processes, option: str, value: str, sentence: str) -> None:
    provider = process.outdial("simulate-provider", option, value)
    assert provider.wait() == 2
    assert sentence in provider.stderr
    assert "Traceback" not in provider.stderr


def test_a_port_that_is_taken_is_told_in_a_sentence(process: Processes) -> None:
    _, url = start(process)
    second = process.outdial("simulate-provider", "--port", url.rpartition(":")[2])
    assert second.wait() == 2
    assert "Address already in use" in second.stderr
