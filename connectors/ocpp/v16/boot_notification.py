"""BootNotification (OCPP 1.6 section 4.2)."""

from __future__ import annotations

from connectors.ocpp.boot import booted
from connectors.ocpp.session import StationSession
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json
from models.station import StationIdentity


async def handle(session: StationSession, payload: Json) -> Answer:
    identity = StationIdentity(
        vendor=str(payload["chargePointVendor"]),
        model=str(payload["chargePointModel"]),
        serial_number=str(
            payload.get("chargePointSerialNumber") or payload.get("chargeBoxSerialNumber") or ""
        ),
        firmware_version=str(payload.get("firmwareVersion") or ""),
    )
    return Answer(await booted(session, identity))
