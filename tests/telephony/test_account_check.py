"""What `account check` says of an account, in one sentence, without any call being placed."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import httpx
import pytest

from outdial import HttpTelephonyProvider
from outdial.clock import SystemClock
from outdial.domain.account import Account
from outdial.domain.ids import AccountId
from outdial.domain.pacing import Rate
from outdial.operations.account_check import Diagnosis, check_account


def diagnose(answer: Callable[[httpx.Request], httpx.Response], base_url: str) -> Diagnosis:
    client = httpx.Client(transport=httpx.MockTransport(answer))
    return check(base_url, client)


def check(base_url: str, client: httpx.Client | None = None) -> Diagnosis:
    account = Account(
        id=AccountId(1),
        name="main",
        adapter="http",
        base_url=base_url,
        api_key_ref="env:KEY",
        max_concurrent_calls=1,
        rate=Rate(calls_per_second=None),
    )
    provider = HttpTelephonyProvider(base_url, "key", client=client)
    try:
        return check_account(account, provider, SystemClock())
    finally:
        provider.close()


def answering(
    status: int, body: object = None, *, ahead: float = 0
) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.method == "GET", "a check places no call"
        date = format_datetime(datetime.now(UTC) - timedelta(seconds=ahead), usegmt=True)
        return httpx.Response(status, json=body, headers={"Date": date})

    return answer


URL = "https://gateway.example.com"
WELL = {"calls": []}


def test_an_account_that_works_is_well() -> None:
    found = diagnose(answering(200, WELL), URL)
    assert (found.is_well, found.says) == (True, "Account main: the gateway answers and takes the API key.")


@pytest.mark.parametrize(("ahead", "words"), [(45, "ahead of"), (-45, "behind")])
def test_a_wrong_clock_is_told(ahead: float, words: str) -> None:
    found = diagnose(answering(200, WELL, ahead=ahead), URL)
    assert not found.is_well
    assert f"s {words} the provider's: set it by NTP" in found.says


@pytest.mark.parametrize("ahead", [25, -25])
def test_a_clock_that_is_nearly_right_is_well(ahead: float) -> None:
    assert diagnose(answering(200, WELL, ahead=ahead), URL).is_well


def test_a_wrong_key_is_told_with_its_place() -> None:
    found = diagnose(answering(401, {"error": "unauthorized"}), URL)
    assert not found.is_well
    assert "check the API key in env:KEY" in found.says


def test_a_wrong_base_url_is_told() -> None:
    assert "is the base URL right?" in diagnose(answering(404), URL).says
    assert "is the base URL right?" in diagnose(answering(200, "hello"), URL).says


def failing(cause: OSError) -> Callable[[httpx.Request], httpx.Response]:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(str(cause)) from cause

    return fail


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "is not known to the DNS"),
        (ssl.SSLCertVerificationError("certificate has expired"), "TLS with gateway.example.com fails"),
    ],
)
def test_what_keeps_us_from_reaching_the_provider_is_told(cause: OSError, words: str) -> None:
    found = diagnose(failing(cause), URL)
    assert not found.is_well
    assert words in found.says


def test_nobody_at_the_port_is_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert "nobody listens at 127.0.0.1" in check(f"http://127.0.0.1:{port}").says


@pytest.fixture
def plain_http_port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_https_where_there_is_none_is_told(plain_http_port: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert "TLS with 127.0.0.1" in check(f"https://127.0.0.1:{plain_http_port}").says
