"""How new the data are by which it is worked out who may be called when: said where calls begin."""

from __future__ import annotations

import logging

from outdial.cli.output import warn
from outdial.clock import Clock
from outdial.domain.zones import zone_data_version

log = logging.getLogger("outdial.data")


def log_zone_data(clock: Clock) -> None:
    """One line in the log of a process that dials, and another where the data are old."""
    log.info("time zones are those of tzdata %s", zone_data_version().version)
    warning = _warning(clock)
    if warning is not None:
        log.warning("%s", warning)


def warn_if_old(clock: Clock) -> None:
    warning = _warning(clock)
    if warning is not None:
        warn(f"warning: {warning}")


def _warning(clock: Clock) -> str | None:
    zone_data = zone_data_version()
    if not zone_data.is_old(clock.now().date()):
        return None
    return (
        f"the time zone data (tzdata {zone_data.version}) are older than half a year: update them with "
        "`pip install --upgrade tzdata`, since clocks change by law at shorter notice."
    )
