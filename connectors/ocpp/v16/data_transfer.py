"""DataTransfer (OCPP 1.6 section 4.3): kept, and refused; no vendor's extension is known here."""

from __future__ import annotations

from connectors.ocpp.redaction import masked
from connectors.ocpp.session import StationSession
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json
from models.station import StationEventKind


async def handle(session: StationSession, payload: Json) -> Answer:
    body: dict[str, object] = {
        "vendor_id": payload["vendorId"],
        "message_id": str(payload.get("messageId") or ""),
        "data": str(masked(payload.get("data") or ""))[:2000],
    }
    await session.note(StationEventKind.DATA, body)
    return Answer({"status": "UnknownVendorId"})
