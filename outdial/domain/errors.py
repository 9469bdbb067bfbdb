"""Every error that Outdial raises on purpose, in one tree.

The class says what the caller can do; the fields carry the facts; the message is built from them.

    OutdialError
    ├── UserError                   the person at the keyboard can mend it: one sentence with place and cure
    │   ├── SettingsError
    │   ├── NotFound
    │   ├── CampaignFileError
    │   ├── InvalidPhoneNumber      (domain/phone_numbers.py)
    │   └── SchemaOutOfDate
    ├── TransactionLost             the host's `on_settled` broke the transaction that it was called in
    ├── CannotList                  a provider keeps no list of an account's calls
    ├── MissedMoment                a request could not leave in its moment; nothing was sent
    └── TelephonyProviderError      a provider's answer to "place this call" (what each means: domain/answers.py)
        ├── NotPlaced               nothing was placed; nothing is wrong with the contact
        │   ├── ProviderUnreachable
        │   └── RateLimited
        ├── NumberRejected          the called number is bad
        ├── CallerRejected          our caller number may not call
        ├── DestinationRejected     the account may not call this country
        ├── AccountRejected         every call of the account would fail
        ├── CallRejected            our request is wrong
        └── InDoubt                 nobody knows whether the call was placed
"""

from __future__ import annotations


class OutdialError(Exception):
    """The root of the tree."""


class UserError(OutdialError):
    """A mistake that its message tells how to mend; interfaces show it without a traceback."""


class SettingsError(UserError):
    """The environment is incomplete or wrong; the message names every variable at once."""


class NotFound(UserError):
    """What was named does not exist."""

    def __init__(self, what: str, name: str, cure: str = "") -> None:
        self.what = what
        self.name = name
        super().__init__(f"There is no {what} {name!r}.{' ' + cure if cure else ''}")


class CampaignFileError(UserError):
    """A campaign file is refused; `problems` holds one sentence for each thing that is wrong."""

    def __init__(self, file: str, problems: list[str]) -> None:
        self.file = file
        self.problems = problems
        super().__init__("\n".join(f"{file}: {problem}" for problem in problems))


class TransactionLost(OutdialError):
    """The host's `on_settled` broke the transaction that it was called in: it is run again, without that call."""


class SchemaOutOfDate(UserError):
    """The database's schema is behind or ahead of this program. `schema`: the one in which it was looked for."""

    def __init__(self, found: str | None, expected: str, schema: str | None = None) -> None:
        self.found = found
        self.expected = expected
        self.schema = schema
        if found is None:
            where = "" if schema is None else f" in {schema!r}"
            message = f"The database has no Outdial schema yet{where}: run `outdial db upgrade`."
        else:
            message = (
                f"The database's schema is at revision {found}, this program needs {expected}: "
                "run `outdial db upgrade`, or install the version of Outdial that the database was upgraded with."
            )
        super().__init__(message)


class MissedMoment(OutdialError):
    """No thread or connection was free while the request was allowed to leave. Nothing was sent."""


class CannotList(OutdialError):
    """The provider keeps no list of the account's calls that could be asked for. The message says how it showed."""


class TelephonyProviderError(OutdialError):
    """A provider did not simply accept a call. `error_code` is the provider's own code, if it gave one."""

    def __init__(
        self, detail: str = "", *, error_code: str | None = None, http_status: int | None = None
    ) -> None:
        self.detail = detail
        self.error_code = error_code
        self.http_status = http_status
        facts = [
            f"HTTP {http_status}" if http_status else "",
            f"code {error_code}" if error_code else "",
            detail,
        ]
        super().__init__("; ".join(fact for fact in facts if fact) or type(self).__name__)


class NotPlaced(TelephonyProviderError):
    """The provider surely did not place the call (412, or refused before acceptance). Release the contact."""


class ProviderUnreachable(NotPlaced):
    """No byte of the request left: connection refused, no such host, TLS failed on a fresh connection."""


class RateLimited(NotPlaced):
    """Too fast or too many (429, or 503 with the contract's error). `retry_after` is in seconds, if given."""

    def __init__(
        self,
        detail: str = "",
        *,
        retry_after: float | None = None,
        error_code: str | None = None,
        http_status: int | None = None,
    ) -> None:
        self.retry_after = retry_after
        super().__init__(detail, error_code=error_code, http_status=http_status)


class NumberRejected(TelephonyProviderError):
    """The called number cannot be reached, now or later."""


class CallerRejected(TelephonyProviderError):
    """The account may not show this caller number."""


class DestinationRejected(TelephonyProviderError):
    """The account may not call this country; the contact is fine."""


class AccountRejected(TelephonyProviderError):
    """Credentials, balance or suspension: every call of this account would fail."""


class CallRejected(TelephonyProviderError):
    """The provider finds our request wrong (any other 4xx)."""


class InDoubt(TelephonyProviderError):
    """The bytes may have arrived and no readable answer came: the call may exist. Never dial again unresolved."""
