"""StatusNotification (OCPP 1.6 section 4.9). An error code with a status other than Faulted is a warning."""

from __future__ import annotations

from datetime import UTC, datetime

from connectors.ocpp.connectors import Report
from connectors.ocpp.session import StationSession
from connectors.ocpp.truth.clock import clamped, instant
from connectors.ocpp.truth.faults import fault_reason
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json
from models.reason_codes import Phase
from models.station import StationEventKind


async def handle(session: StationSession, payload: Json) -> Answer:
    now, when = datetime.now(UTC), payload.get("timestamp")
    number, word, at = int(payload["connectorId"]), str(payload["status"]), instant(when, now)
    session.lag.hear(at, now)
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
    detail = clamped(when, now)
    await session.connector(number, Report(word, at, f"ocpp1.6:{word}", fault, words, detail))
    if transaction is not None:
        await session.flow_said(transaction, word, at, detail)
    return Answer({})
