"""StatusNotification (OCPP 1.6 section 4.9). An error code with a status other than Faulted is a warning."""

from __future__ import annotations

from connectors.ocpp.session import StationSession
from connectors.ocpp.truth.clock import instant
from connectors.ocpp.truth.faults import fault_reason
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json
from models.reason_codes import Phase
from models.station import StationEventKind


async def handle(session: StationSession, payload: Json) -> Answer:
    number, word, at = int(payload["connectorId"]), str(payload["status"]), instant(payload.get("timestamp"))
    code, vendor_id = str(payload["errorCode"]), str(payload.get("vendorId") or "")
    vendor_code, info = str(payload.get("vendorErrorCode") or ""), str(payload.get("info") or "")
    if code != "NoError" or word == "Faulted":
        body: dict[str, object] = {
            "connector": number, "status": word, "error_code": code, "vendor_id": vendor_id,
            "vendor_code": vendor_code, "info": info,
        }  # fmt: skip
        await session.note(StationEventKind.FAULT, body, at)
    if number < 1:
        return Answer({})  # connector 0 speaks for the station and says nothing about a plug
    transaction = await session.at_connector(number)
    fault = None
    if word == "Faulted":
        phase = Phase.SUSTAIN if transaction else Phase.CONFIRM
        fault = fault_reason(code, vendor_id, vendor_code, phase)
    words = f"ocpp1.6:{code} {vendor_code}".strip() if fault else ""
    await session.connector(number, word, at, fault=fault, vendor_code=words)
    if transaction is not None and word in ("SuspendedEV", "SuspendedEVSE"):
        await session.suspended(transaction.facts, at, by_vehicle=word == "SuspendedEV")
    return Answer({})
