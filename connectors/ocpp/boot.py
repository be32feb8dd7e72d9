"""What follows a boot, in every version."""

from __future__ import annotations

from datetime import UTC, datetime

from connectors.ocpp.action import HEARTBEAT_S, PENDING_RETRY_S
from connectors.ocpp.session import StationSession
from connectors.ocpp.truth.clock import now_text
from connectors.ocpp.wire.schemas import Json
from models.station import Admission, StationIdentity

_WORDS = {
    Admission.ACCEPTED: "Accepted",
    Admission.PENDING: "Pending",
    Admission.REJECTED: "Rejected",
}


async def booted(session: StationSession, identity: StationIdentity) -> Json:
    """The answer to BootNotification. Until it is Accepted, the station may tell us nothing else."""
    session.identity = identity
    session.station = await session.house.refreshed(session.station)  # Pending may have become Accepted
    session.admission = session.station.settings.admission
    await session.house.booted(session.station, identity, datetime.now(UTC))
    if session.booted is not None:
        session.booted.set()
    accepted = session.admission is Admission.ACCEPTED
    return {
        "currentTime": now_text(),
        "interval": HEARTBEAT_S if accepted else PENDING_RETRY_S,
        "status": _WORDS[session.admission],
    }
