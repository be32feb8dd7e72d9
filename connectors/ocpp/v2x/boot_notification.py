"""BootNotification (OCPP 2.0.1 part 2, B01 to B03)."""

from __future__ import annotations

from connectors.ocpp.boot import booted
from connectors.ocpp.session import StationSession
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json
from models.station import StationIdentity


async def handle(session: StationSession, payload: Json) -> Answer:
    station: Json = payload["chargingStation"]
    identity = StationIdentity(
        vendor=str(station["vendorName"]),
        model=str(station["model"]),
        serial_number=str(station.get("serialNumber") or ""),
        firmware_version=str(station.get("firmwareVersion") or ""),
    )
    return Answer(await booted(session, identity))
