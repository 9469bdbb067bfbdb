"""Which history of Postgres a connection speaks to: after a promotion it is another, and rows may have vanished.

The first eight digits of a WAL file's name are the timeline (PostgreSQL documentation, "Continuous Archiving",
"Timelines"); any user may ask for it.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

_CAN_TELL: Final = "outdial_tells_timeline"
_TIMELINE: Final = sa.text(
    "SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"
)


def timeline_of(connection: sa.Connection) -> str | None:
    """The timeline of the server behind this connection; None: it has none, or does not tell.

    Asked each time: behind a pooler the server may be another one than before.
    """
    if connection.dialect.name != "postgresql":
        return None
    can_tell: bool | None = connection.info.get(_CAN_TELL)
    if can_tell is None:
        # A server that only speaks like Postgres may not know the functions.
        try:
            with connection.begin_nested():
                connection.execute(_TIMELINE)
        except (sa.exc.ProgrammingError, sa.exc.NotSupportedError, sa.exc.InternalError):
            can_tell = False
        else:
            can_tell = True
        connection.info[_CAN_TELL] = can_tell
    timeline: str | None = connection.execute(_TIMELINE).scalar_one() if can_tell else None
    return timeline
