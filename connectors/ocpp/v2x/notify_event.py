"""NotifyEvent (OCPP 2.0.1 part 2, N07, G05): faults, with the MREC code as techCode of a connector's Problem.

Every event is kept in the station's log, cleared or raised, whatever its component."""

from __future__ import annotations

from typing import Any

from connectors.ocpp.clock import instant
from connectors.ocpp.faults import fault_reason
from connectors.ocpp.rpc import Answer
from connectors.ocpp.schemas import Json
from connectors.ocpp.session import StationSession
from models.reason_catalogue import from_mrec
from models.reason_codes import Phase
from models.station import StationEventKind

_RAISED = ("true", "1", "faulted")


async def handle(session: StationSession, payload: Json) -> Answer:
    events: list[Json] = payload["eventData"]
    for event in events:
        await _take(session, event)
    return Answer({})


async def _take(session: StationSession, event: Json) -> None:
    component: Json = event["component"]
    variable: Json = event["variable"]
    evse: Json = component.get("evse") or {}
    number, code = int(evse.get("id") or 0), str(event.get("techCode") or "")
    value, at = str(event.get("actualValue", "")).lower(), instant(event.get("timestamp"))
    raised = value in _RAISED and not event.get("cleared")
    body: dict[str, Any] = {
        "connector": number,
        "component": component["name"],
        "variable": variable["name"],
        "value": value[:100],
        "trigger": event["trigger"],
        "code": code,
        "info": str(event.get("techInfo") or "")[:500],
        "cleared": bool(event.get("cleared")),
    }
    await session.note(StationEventKind.FAULT if code or raised else StationEventKind.REPORT, body, at)
    if number < 1 or not code or not raised or variable["name"] not in ("Problem", "AvailabilityState"):
        return
    transaction = await session.at_connector(number)
    phase = Phase.SUSTAIN if transaction else Phase.CONFIRM
    if from_mrec(code.split(",")[0].strip(), phase) is None:
        return  # a vendor's own code: kept as words, decides nothing
    fault = fault_reason("", "", code, phase)
    await session.connector(number, "Faulted", at, fault=fault, vendor_code=f"mrec:{code}")
