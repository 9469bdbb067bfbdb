"""How the simulated provider says no: the contract's JSON `error` object and its codes."""

from dataclasses import dataclass
from typing import Final

STATUS_OF: Final[dict[str, int]] = {
    "invalid_number": 400,  # the called number does not exist or is malformed
    "invalid_caller": 400,  # the account may not show this caller number
    "destination_not_allowed": 400,  # geographic permission
    "unauthorized": 401,  # wrong or missing bearer token
    "not_found": 404,  # no such call, or no ledger is kept
    "expired": 412,  # read after `not_after`; nothing was placed
    "invalid_request": 422,  # the message itself is malformed
    "rate_limited": 429,  # more starts in a second than the account may make; nothing was placed
    "concurrency_exceeded": 429,  # more open calls than the account may have; nothing was placed
    "internal_error": 500,  # says nothing about whether the call was placed
    "overloaded": 503,  # with this JSON the provider promises that nothing was placed
}
RETRIED_LATER: Final = frozenset({"rate_limited", "concurrency_exceeded", "overloaded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that is not a call. `code` is a key of `STATUS_OF`."""

    code: str
    message: str

    @property
    def status(self) -> int:
        return STATUS_OF[self.code]

    def to_json(self) -> dict[str, object]:
        return {"error": {"code": self.code, "message": self.message}}
