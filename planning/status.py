"""Whether a connector's reported status may still be believed."""

from __future__ import annotations

from datetime import datetime

from models.charger import Charger, ConnectorStatus

FRESH_S = 30 * 60
"""Within half an hour at most one port in ten changes its state; beyond it the report is only history."""


def fresh_status(charger: Charger, now: datetime) -> ConnectorStatus:
    """The reported status, or UNKNOWN when the report is undated or at least `FRESH_S` old. A report dated
    in the future (a partner's clock) counts as new."""
    if charger.status_at is None or (now - charger.status_at).total_seconds() >= FRESH_S:
        return ConnectorStatus.UNKNOWN
    return charger.status
