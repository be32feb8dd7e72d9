"""Whether a connector's reported status may still be believed."""

from __future__ import annotations

from datetime import datetime

from models.charger import Charger, ConnectorStatus

FRESH_S = 30 * 60
"""Within half an hour at most one port in ten changes its state; beyond it the report is only history."""
LINE_FRESH_S = 3 * 60
"""Gateways say several times a minute which lines they hold; one not named so long is a dead gateway's."""
LINE_GRACE_S = 60
"""A line is given up for a moment when its gateway restarts or its network blinks: that is no outage yet."""
FLAPPING_CHANGES = 6
"""Turns between usable and not within an hour, from which on a connector counts as flapping."""
_FLAPS_FOR_S = 60 * 60


def fresh_status(charger: Charger, now: datetime) -> ConnectorStatus:
    """The reported status as far as it may be believed at `now`. A report dated in the future (a partner's
    clock) counts as new.

    With a line of its own (`health`): OFFLINE once nobody has held it for `LINE_GRACE_S`; the report,
    however old, while it is held, for OCPP reports only changes; UNKNOWN when its gateway has fallen silent
    for `LINE_FRESH_S`.
    Without one: UNKNOWN when the report is undated or at least `FRESH_S` old."""
    health = charger.health
    if health is not None:
        if not health.connected and not _was_held_lately(health.seen_at, now):
            return ConnectorStatus.OFFLINE
        if health.seen_at is None or (now - health.seen_at).total_seconds() >= LINE_FRESH_S:
            return ConnectorStatus.UNKNOWN
        return charger.status
    if charger.status_at is None or (now - charger.status_at).total_seconds() >= FRESH_S:
        return ConnectorStatus.UNKNOWN
    return charger.status


def _was_held_lately(seen_at: datetime | None, now: datetime) -> bool:
    return seen_at is not None and (now - seen_at).total_seconds() < LINE_GRACE_S


def is_flapping(charger: Charger, now: datetime) -> bool:
    """Whether the connector turned between usable and not too often of late. The count is as of its last
    report: an hour without a change ends it."""
    health = charger.health
    if health is None or health.changes_last_hour < FLAPPING_CHANGES:
        return False
    changed_at = health.state_since or charger.status_at
    return changed_at is not None and (now - changed_at).total_seconds() < _FLAPS_FOR_S
