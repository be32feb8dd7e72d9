"""Expected wait for a free connector on arrival, in seconds."""

from __future__ import annotations

from datetime import datetime
from math import exp

from models.charger import Charger, ConnectorStatus
from models.vehicle import DC_STANDARDS
from planning.status import fresh_status

MEAN_DC_SESSION_S = 25 * 60
MEAN_AC_SESSION_S = 120 * 60
UNKNOWN_OCCUPIED_PERCENT = 20
"""Share of time a connector is taken where no live status says otherwise."""


def mean_session_s(charger: Charger) -> int:
    """How long a stranger (or a colleague ahead of us) holds this connector."""
    return MEAN_DC_SESSION_S if charger.standard in DC_STANDARDS else MEAN_AC_SESSION_S


def expected_wait_s(charger: Charger, now: datetime, drive_s: int, ahead: int = 0) -> int:
    """Wait on arrival after `drive_s`, with `ahead` vehicles of ours before us at this connector.

    A session seen running is taken as exponential: what is left of it fades with our drive.
    """
    mean_s = mean_session_s(charger)
    status = fresh_status(charger, now)
    if status is ConnectorStatus.AVAILABLE:
        strangers_s = 0
    elif status in (ConnectorStatus.OCCUPIED, ConnectorStatus.RESERVED):
        # On a line that is held, the session is seen running now, whenever it began.
        seen_at = now if charger.health is not None else charger.status_at or now
        since_s = max(0.0, (now - seen_at).total_seconds()) + drive_s
        strangers_s = round(mean_s * exp(-since_s / mean_s))
    else:
        strangers_s = mean_s * UNKNOWN_OCCUPIED_PERCENT // 100
    return strangers_s + max(0, ahead) * mean_s
