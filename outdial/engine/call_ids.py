"""Makes call ids: UUIDs of version 7 (RFC 9562 §5.7), whose order is the order of time, so that their index stays warm."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable

from outdial.clock import Clock
from outdial.domain.ids import CallId


def call_id_factory(clock: Clock) -> Callable[[], CallId]:
    """A maker of new call ids by `clock`."""

    def new_call_id() -> CallId:
        milliseconds = int(clock.now().timestamp() * 1000) & ((1 << 48) - 1)
        tail = secrets.randbits(74)
        value = milliseconds << 80 | 0x7 << 76 | (tail >> 62) << 64 | 0b10 << 62 | tail & ((1 << 62) - 1)
        return CallId(str(uuid.UUID(int=value)))

    return new_call_id
