"""Statements over `calling_zones`: immutable rows, each one combination of time zones, country and subdivision."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from outdial.domain.ids import CallingZoneId
from outdial.domain.zones import CallingZone, ZoneSource
from outdial.storage.tables import calling_zones


def ensure(connection: sa.Connection, zones: Iterable[CallingZone]) -> dict[str, CallingZoneId]:
    """The ids of `zones` by their key, with rows made for those that have none."""
    wanted = {zone.key: zone for zone in zones}
    known = ids(connection, wanted)
    missing = [zone for key, zone in sorted(wanted.items()) if key not in known]
    if not missing:
        return known
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(
        insert(calling_zones).on_conflict_do_nothing(index_elements=["key"]),
        [
            {
                "key": zone.key,
                "time_zones": list(zone.time_zones),
                "country": zone.country,
                "subdivision": zone.subdivision,
                "source": str(zone.source),
            }
            for zone in missing
        ],
    )
    return ids(connection, wanted)


def ids(connection: sa.Connection, keys: Iterable[str]) -> dict[str, CallingZoneId]:
    """The ids of those of the zones, by their keys, that have a row."""
    query = sa.select(calling_zones.c.key, calling_zones.c.id).where(calling_zones.c.key.in_(tuple(keys)))
    return {key: CallingZoneId(zone_id) for key, zone_id in connection.execute(query)}


def load(connection: sa.Connection, ids: Iterable[CallingZoneId]) -> dict[CallingZoneId, CallingZone]:
    query = sa.select(calling_zones).where(calling_zones.c.id.in_(tuple(ids)))
    return {
        CallingZoneId(row["id"]): CallingZone(
            time_zones=tuple(row["time_zones"]),
            country=row["country"],
            subdivision=row["subdivision"],
            source=ZoneSource(row["source"]),
        )
        for row in connection.execute(query).mappings()
    }
