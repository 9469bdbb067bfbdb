"""The environment: read once, checked in full, and never repeated where it is secret."""

import pickle
from pathlib import Path

import pytest

from outdial.domain.errors import SettingsError
from outdial.settings import LogFormat, load_settings, resolve_secret, wants_tracebacks


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_empty_environment_gives_the_defaults() -> None:
    settings = load_settings()
    assert (settings.scheduler_batch, settings.scheduler_time_zone) == (25, "UTC")
    assert (settings.log_level, settings.log_format) == ("INFO", LogFormat.TEXT)
    for name in (
        "public_url",
        "telephony_callback_url",
        "telephony_base_url",
        "telephony_api_key",
        "listen_url",
    ):
        assert getattr(settings, name) is None


def test_default_database_is_a_file_whose_folder_is_made() -> None:
    settings = load_settings()
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    assert path.is_absolute()
    assert path.parent.is_dir()
    assert not path.exists()


def test_data_folder_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match="set DATABASE_URL"):
        load_settings()


def test_every_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "DATABASE_URL": "postgresql://u:p@db/outdial",
        "OUTDIAL_LISTEN_URL": "postgresql://u:p@direct/outdial",
        "OUTDIAL_PUBLIC_URL": "https://calls.example.com",
        "TELEPHONY_CALLBACK_URL": "https://calls.example.com/hook/",
        "TELEPHONY_BASE_URL": "https://voice.example.net/v1",
        "TELEPHONY_API_KEY": "sk_1",
        "TELEPHONY_WEBHOOK_SECRET": "whsec_1",
        "SCHEDULER_BATCH": "1000",
        "SCHEDULER_TZ": "Europe/Rome",
        "OUTDIAL_LOG_LEVEL": "debug",
        "OUTDIAL_LOG_FORMAT": "JSON",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.database_url == given["DATABASE_URL"]
    assert settings.listen_url == given["OUTDIAL_LISTEN_URL"]
    assert settings.public_url == given["OUTDIAL_PUBLIC_URL"]
    assert settings.telephony_callback_url == given["TELEPHONY_CALLBACK_URL"]
    assert settings.telephony_base_url == given["TELEPHONY_BASE_URL"]
    assert settings.telephony_api_key is not None
    assert settings.telephony_api_key.get_secret_value() == "sk_1"
    assert settings.telephony_webhook_secret is not None
    assert settings.telephony_webhook_secret.get_secret_value() == "whsec_1"
    assert (settings.scheduler_batch, settings.scheduler_time_zone) == (1000, "Europe/Rome")
    assert (settings.log_level, settings.log_format) == ("DEBUG", LogFormat.JSON)


def test_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTDIAL_PUBLIC_URL", "")
    monkeypatch.setenv("SCHEDULER_BATCH", "")
    settings = load_settings()
    assert (settings.public_url, settings.scheduler_batch) == (None, 25)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://u@host/db"),
        ("DATABASE_URL", "postgresql+asyncpg://u@host/db"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "outdial.sqlite3"),
        ("OUTDIAL_LISTEN_URL", "sqlite:///x"),
        ("OUTDIAL_PUBLIC_URL", "calls.example.com"),
        ("OUTDIAL_PUBLIC_URL", "https://"),
        ("OUTDIAL_PUBLIC_URL", "https://[::1"),
        ("TELEPHONY_CALLBACK_URL", "ftp://x"),
        ("TELEPHONY_BASE_URL", "http://x:y"),
        ("SCHEDULER_BATCH", "0"),
        ("SCHEDULER_BATCH", "1001"),
        ("SCHEDULER_BATCH", "many"),
        ("SCHEDULER_TZ", "Rome"),
        ("SCHEDULER_TZ", "CET"),
        ("OUTDIAL_LOG_LEVEL", "LOUD"),
        ("OUTDIAL_LOG_FORMAT", "xml"),
    ],
)
def test_wrong_variable_is_named_with_its_value_and_a_cure(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    [line] = str(raised.value).splitlines()
    assert line.startswith(f"{name} is ")
    assert ": write " in line


def test_all_wrong_variables_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["DATABASE_URL", "SCHEDULER_BATCH", "SCHEDULER_TZ", "OUTDIAL_PUBLIC_URL"]
    for name in names:
        monkeypatch.setenv(name, "wrong")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert sorted(line.split(" ")[0] for line in str(raised.value).splitlines()) == sorted(names)


def test_password_of_a_wrong_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://u:hunter2@host/db")
    monkeypatch.setenv("TELEPHONY_BASE_URL", "https://u:hunter3@host")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "hunter" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@host/db")
    monkeypatch.setenv("OUTDIAL_LISTEN_URL", "postgresql://u:hunter2@host/db")
    monkeypatch.setenv("TELEPHONY_API_KEY", "hunter2")
    monkeypatch.setenv("TELEPHONY_WEBHOOK_SECRET", "hunter2")
    settings = load_settings()
    assert "hunter2" not in repr(settings) + str(settings) + settings.shown_database_url
    assert settings.shown_database_url == "postgresql://u:***@host/db"


def test_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk_1")
    assert resolve_secret("env:MY_KEY") == "sk_1"


@pytest.mark.parametrize("line_break", ["", "\n", "\r\n"])
def test_secret_comes_from_a_file_without_its_last_line_break(tmp_path: Path, line_break: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(f"sk_1{line_break}".encode())
    assert resolve_secret(f"file:{path}") == "sk_1"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("env:NOT_THERE", "NOT_THERE, which should hold a secret, is not set"),
        ("env:EMPTY", "env:EMPTY is empty"),
        ("file:/not/there", "/not/there, which should hold a secret, cannot be read"),
        ("file:/", "cannot be read"),
        ("env:", "must say where"),
        ("file:", "must say where"),
    ],
)
def test_missing_secret_is_said(reference: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "\n")
    with pytest.raises(SettingsError, match=words):
        resolve_secret(reference)


@pytest.mark.parametrize("content", [b"", b"\n", b"hunter2\nhunter3", b" hunter2", b"\xff\xfe"])
def test_secret_that_is_no_single_line_of_text_is_refused_unseen(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        resolve_secret(f"file:{path}")
    assert "hunter" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "pasted", ["sk_live_hunter2", "whsec_hunter2", "env:sk-hunter2", "vault:hunter2", ""]
)
def test_secret_pasted_as_a_reference_is_not_repeated(pasted: str) -> None:
    with pytest.raises(SettingsError, match="env:NAME") as raised:
        resolve_secret(pasted)
    assert "hunter2" not in str(raised.value)
    assert b"hunter2" not in pickle.dumps(raised.value.args)


@pytest.mark.parametrize(("value", "expected"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_tracebacks_are_asked_for_by_a_variable(
    value: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("OUTDIAL_DEBUG", value)
    assert wants_tracebacks() is expected


def test_fences_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTDIAL_DEPLOYMENT", "production")
    monkeypatch.setenv("OUTDIAL_DIAL_ONLY", "+39 347 1234567, +393471234568,")
    settings = load_settings()
    assert settings.deployment == "production"
    assert settings.dial_only == {"+393471234567", "+393471234568"}


@pytest.mark.parametrize("value", [" , ", "3471234567", "+39347123456789012"])
def test_a_fence_of_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("OUTDIAL_DIAL_ONLY", value)
    with pytest.raises(SettingsError, match="OUTDIAL_DIAL_ONLY is"):
        load_settings()
