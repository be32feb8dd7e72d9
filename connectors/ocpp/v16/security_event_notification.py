"""SecurityEventNotification (OCPP 1.6 security white paper ed. 3, A04; 2.0.1 part 2 A04): kept, every one."""

from __future__ import annotations

from connectors.ocpp.session import StationSession
from connectors.ocpp.truth.clock import instant
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json
from models.station import StationEventKind


async def handle(session: StationSession, payload: Json) -> Answer:
    body: dict[str, object] = {
        "type": str(payload["type"]),
        "info": str(payload.get("techInfo") or "")[:255],
    }
    await session.note(StationEventKind.SECURITY, body, instant(payload.get("timestamp")))
    return Answer({})
