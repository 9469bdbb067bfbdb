import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "api_key": "key",
    "webhook_secret": "whsec_YWJj",
    "ring_time_mean_seconds": 60,
    "slow_answer": 1.0,
    "slow_answer_seconds": 60,
}


def start(options: dict[str, object]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "outdial.simulator", json.dumps(options)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_process_announces_itself_and_exits_0_on_a_signal_with_calls_open(tmp_path, signal_number):
    port_file, ledger = tmp_path / "port", tmp_path / "ledger.ndjson"
    with start(SETTINGS | {"port_file": str(port_file), "ledger_path": str(ledger)}) as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("simulated provider listening on ").strip()
        assert url == f"http://127.0.0.1:{int(port_file.read_text())}"
        body = {"call_id": "a", "to": "+390612345678", "from": "+3902", "callback_url": "http://127.0.0.1:1/"}
        headers = {"authorization": "Bearer key", "idempotency-key": "a"}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/calls", json=body, headers=headers, timeout=0.3)
        with httpx.Client(base_url=url) as idle:
            assert idle.get("/stats").json()["open_calls"] == 1
            began = time.monotonic()
            process.send_signal(signal_number)
            assert process.wait(5) == 0
        assert time.monotonic() - began < 2
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert '"call_id":"a"' in ledger.read_text()


@pytest.mark.parametrize(
    "options", [{"api_key": "key"}, SETTINGS | {"answer_rate": 7}, SETTINGS | {"port": "x"}]
)
def test_impossible_settings_end_the_process_with_a_sentence(options):
    with start(options) as process:
        _, complaint = process.communicate(timeout=10)
    assert process.returncode == 2
    assert complaint.startswith("the simulated provider could not start: ")
    assert "Traceback" not in complaint
