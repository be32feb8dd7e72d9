"""Certificates of stations (security profile 3), renewed before they end."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from connectors.ocpp import commands
from connectors.ocpp.connection import Connection
from connectors.ocpp.door.certificates import due_for_renewal

_CALL_S = 30.0
_AGAIN_AFTER = timedelta(hours=24)
"""A station that has its new certificate may show the old one until it connects again."""


async def renew_due(connections: Iterable[Connection], now: datetime) -> None:
    """Asks those whose certificate ends soon for a signing request; it comes as SignCertificate (A02).

    What counts is the certificate that the station shows: one that was signed may have been refused there."""
    for connection in connections:
        ends = _certificate_ends(connection)
        asked = connection.renewal_asked_at
        if ends is None or not due_for_renewal(ends, now) or (asked and now < asked + _AGAIN_AFTER):
            continue
        connection.renewal_asked_at = now
        await commands.renew_certificate(connection, _CALL_S)


def _certificate_ends(connection: Connection) -> datetime | None:
    if connection.session.station.settings.security_profile != 3:
        return None
    tls = connection.socket.transport.get_extra_info("ssl_object")
    peer = cast("dict[str, Any]", (tls.getpeercert() if tls is not None else None) or {})
    if "notAfter" not in peer:
        return None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(peer["notAfter"])), UTC)
