"""The one reader of the environment. What is wrong in it is said at once and in full, and no secret is ever shown.

What accounts and campaigns are is not here but in the database; an account's secrets are read through
`resolve_secret`, from the place that the account names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

import platformdirs
import sqlalchemy as sa
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from outdial.domain.deployment_name import check_deployment_name
from outdial.domain.errors import SettingsError
from outdial.domain.http_url import check_http_url
from outdial.domain.patience import LEAST_FENCE_SECONDS, MARGIN_SECONDS, Patience
from outdial.domain.phone_numbers import normalize
from outdial.domain.secret_reference import SecretPlace, parse_reference
from outdial.domain.zones import zone

DATABASE_FILE: Final = "outdial.sqlite3"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class Settings(BaseSettings):
    """`database_url` and `listen_url` may hold a password: show `shown_database_url` instead.

    `listen_url`: a direct connection for LISTEN where `database_url` goes through a pooler. None: the same as that.
    `db_schema`: the Postgres schema of Outdial's tables. None: the default one; `create_engine` says what it may be.
    """

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: str = Field(
        default_factory=lambda: _url_of_own_file(),  # noqa: PLW0108 - defined below
        validation_alias="DATABASE_URL",
        repr=False,
    )
    listen_url: str | None = Field(default=None, validation_alias="OUTDIAL_LISTEN_URL", repr=False)
    db_schema: str | None = Field(default=None, validation_alias="OUTDIAL_DB_SCHEMA")
    public_url: Annotated[str, AfterValidator(check_http_url)] | None = Field(
        default=None, validation_alias="OUTDIAL_PUBLIC_URL"
    )
    telephony_callback_url: Annotated[str, AfterValidator(check_http_url)] | None = Field(
        default=None, validation_alias="TELEPHONY_CALLBACK_URL"
    )
    telephony_base_url: Annotated[str, AfterValidator(check_http_url)] | None = Field(
        default=None, validation_alias="TELEPHONY_BASE_URL"
    )
    telephony_api_key: SecretStr | None = Field(default=None, validation_alias="TELEPHONY_API_KEY")
    telephony_webhook_secret: SecretStr | None = Field(
        default=None, validation_alias="TELEPHONY_WEBHOOK_SECRET"
    )
    scheduler_batch: int = Field(default=25, ge=1, le=1000, validation_alias="SCHEDULER_BATCH")
    scheduler_time_zone: Annotated[str, AfterValidator(lambda name: zone(name).key)] = Field(
        default="UTC", validation_alias="SCHEDULER_TZ"
    )
    deployment: Annotated[str, AfterValidator(check_deployment_name)] | None = Field(
        default=None, validation_alias="OUTDIAL_DEPLOYMENT"
    )
    dial_only: Annotated[frozenset[str], NoDecode, BeforeValidator(lambda text: _numbers(text))] = Field(  # noqa: PLW0108 - defined below
        default=frozenset(), validation_alias="OUTDIAL_DIAL_ONLY"
    )
    post_timeout_seconds: float = Field(
        default=10.0, ge=1, le=120, validation_alias="OUTDIAL_POST_TIMEOUT_SECONDS"
    )
    lease_seconds: float = Field(default=20.0, ge=7, le=600, validation_alias="OUTDIAL_LEASE_SECONDS")
    unsent_seconds: float = Field(default=8.0, ge=6, le=60, validation_alias="OUTDIAL_UNSENT_SECONDS")
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)] = Field(
        default="INFO", validation_alias="OUTDIAL_LOG_LEVEL"
    )
    log_format: Annotated[LogFormat, BeforeValidator(str.lower)] = Field(
        default=LogFormat.TEXT, validation_alias="OUTDIAL_LOG_FORMAT"
    )

    @field_validator("database_url")
    @classmethod
    def _database_is_known(cls, url: str) -> str:
        return _check_database(url)

    @field_validator("listen_url")
    @classmethod
    def _listen_is_postgres(cls, url: str | None) -> str | None:
        return None if url is None else _check_postgres(url)

    @property
    def patience(self) -> Patience:
        """Raises SettingsError where the numbers do not go together."""
        try:
            return Patience(
                post_timeout_seconds=self.post_timeout_seconds,
                lease_seconds=self.lease_seconds,
                unsent_seconds=self.unsent_seconds,
            )
        except SettingsError as error:
            least = self.post_timeout_seconds + LEAST_FENCE_SECONDS + MARGIN_SECONDS
            raise SettingsError(
                f"OUTDIAL_LEASE_SECONDS is {self.lease_seconds:g}, and OUTDIAL_POST_TIMEOUT_SECONDS {self.post_timeout_seconds:g}: "
                f"set OUTDIAL_LEASE_SECONDS to {least:g} or more, everywhere."
            ) from error

    @property
    def shown_database_url(self) -> str:
        return show_database_url(self.database_url)


def load_settings() -> Settings:
    """The settings of this process. Raises `SettingsError` with a line for every wrong variable.

    Where no database is named, the folder of the default one is made.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        names = dict.fromkeys(str(problem["loc"][0]) for problem in error.errors(include_input=False))
        # Without the cause: pydantic's own words hold the values, secrets among them.
        raise SettingsError("\n".join(_problem(name, os.environ.get(name, "")) for name in names)) from None
    _ = settings.patience
    if "database_url" not in settings.model_fields_set:
        _make_own_folder()
    return settings


def resolve_secret(reference: str) -> str:
    """The secret that `env:NAME` or `file:PATH` names, without the line break at its end.

    Raises `SettingsError`, in words that never repeat what may be the secret itself.
    """
    try:
        found = parse_reference(reference)
    except ValueError as error:
        raise SettingsError(f"The reference to a secret {error}.") from error
    secret = _from_environment(found.name) if found.place is SecretPlace.ENV else _from_file(found.name)
    if not secret.isprintable() or secret != secret.strip():
        raise SettingsError(
            f"The secret in {reference} holds line breaks or spaces around it: write it on one line."
        )
    return secret


def show_database_url(url: str) -> str:
    """The URL without its password."""
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except (sa.exc.ArgumentError, ValueError):
        return "(unreadable)"


def own_rules_file() -> Path | None:
    """`OUTDIAL_RULES_FILE`: calling rules of one's own, which join those of the package."""
    path = os.environ.get("OUTDIAL_RULES_FILE", "")
    return Path(path) if path else None


def wants_tracebacks() -> bool:
    """Whether `OUTDIAL_DEBUG` asks for the whole story of an unexpected error."""
    return os.environ.get("OUTDIAL_DEBUG", "") not in {"", "0"}


def _problem(name: str, value: str) -> str:
    shown = {"DATABASE_URL": show_database_url, "OUTDIAL_LISTEN_URL": show_database_url}.get(name, _as_given)(
        value
    )
    return f"{name} is {shown}: {CURES[name]}"


def _as_given(value: str) -> str:
    # A URL that was refused may have been refused for the password in it.
    return "(not shown)" if "@" in value else repr(value)


_URL_CURE: Final = "write an http:// or https:// URL with a host and without user name or password"
CURES: Final[Mapping[str, str]] = {
    "DATABASE_URL": (
        "write postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE, "
        "or leave it unset for a file in your own data folder"
    ),
    "OUTDIAL_LISTEN_URL": "write the postgresql:// URL of a direct connection, or leave it unset",
    "OUTDIAL_PUBLIC_URL": f"{_URL_CURE}, under which the provider reaches this installation",
    "TELEPHONY_CALLBACK_URL": f"{_URL_CURE}, to which the provider sends its webhooks",
    "TELEPHONY_BASE_URL": f"{_URL_CURE}, at which the provider takes calls",
    "SCHEDULER_BATCH": "write a whole number from 1 to 1000",
    "SCHEDULER_TZ": "write a time zone such as 'Europe/Rome' or 'UTC'",
    "OUTDIAL_DEPLOYMENT": "write the name that `outdial init --deployment` gave to the database",
    "OUTDIAL_DIAL_ONLY": "write phone numbers with + and country code, with commas between them, or leave it unset",
    "OUTDIAL_POST_TIMEOUT_SECONDS": "write a number of seconds from 1 to 120",
    "OUTDIAL_LEASE_SECONDS": "write a number of seconds from 7 to 600",
    "OUTDIAL_UNSENT_SECONDS": "write a number of seconds from 6 to 60",
    "OUTDIAL_LOG_LEVEL": "write DEBUG, INFO, WARNING or ERROR",
    "OUTDIAL_LOG_FORMAT": "write text or json",
}


def _numbers(text: str | frozenset[str]) -> frozenset[str]:
    """What is set but names nobody is a mistake: it must not mean everybody, as the default does."""
    if isinstance(text, frozenset):
        return text
    found = frozenset(normalize(one).e164 for one in text.split(",") if one.strip())
    if not found:
        raise ValueError("no number")
    return found


def _check_database(text: str) -> str:
    url = _parsed(text)
    if url.get_backend_name() == "sqlite":
        # Each connection would have a database of its own there.
        if url.drivername not in {"sqlite", "sqlite+pysqlite"} or url.database in {None, "", ":memory:"}:
            raise ValueError("no file")
        return text
    return _check_postgres(text)


def _check_postgres(text: str) -> str:
    if _parsed(text).drivername not in {"postgres", "postgresql", "postgresql+psycopg"}:
        raise ValueError("no Postgres")
    return text


def _parsed(text: str) -> sa.URL:
    try:
        return sa.make_url(text)
    except sa.exc.ArgumentError as error:
        raise ValueError("no URL") from error


def _own_folder() -> Path:
    return platformdirs.user_data_path("outdial", appauthor=False)


def _url_of_own_file() -> str:
    return sa.URL.create("sqlite", database=str(_own_folder() / DATABASE_FILE)).render_as_string()


def _make_own_folder() -> None:
    folder = _own_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"DATABASE_URL is not set, and the folder {folder} for the database cannot be made "
            f"({error.strerror}): set DATABASE_URL."
        ) from error


def _from_environment(name: str) -> str:
    secret = os.environ.get(name)
    if secret is None:
        raise SettingsError(
            f"The environment variable {name}, which should hold a secret, is not set: set it."
        )
    return _not_empty(secret, f"env:{name}")


def _from_file(path: str) -> str:
    try:
        secret = Path(path).read_text("utf-8")
    except OSError as error:
        raise SettingsError(
            f"The file {path}, which should hold a secret, cannot be read ({error.strerror}): "
            "check the path and its permissions."
        ) from error
    except UnicodeDecodeError:
        # Without the cause: it carries the file's content.
        raise SettingsError(f"The file {path}, which should hold a secret, is not UTF-8 text.") from None
    return _not_empty(secret, f"file:{path}")


def _not_empty(secret: str, reference: str) -> str:
    without_line_break = secret.rstrip("\r\n")
    if not without_line_break:
        raise SettingsError(f"The secret in {reference} is empty: write it there.")
    return without_line_break
