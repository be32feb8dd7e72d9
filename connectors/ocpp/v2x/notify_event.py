"""NotifyEvent (OCPP 2.0.1 part 2, N07, G01, G05): faults, with the MREC code as techCode of a connector's
Problem, and statuses, for AvailabilityState may come here instead of in a StatusNotification.

Every event is kept in the station's log, cleared or raised, whatever its component."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from connectors.ocpp.connectors import Report
from connectors.ocpp.redaction import masked
from connectors.ocpp.session import StationSession
from connectors.ocpp.truth.clock import instant
from connectors.ocpp.truth.faults import mrec_of, mrec_words, plain_fault
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json
from models.reason_codes import Phase
from models.station import StationEventKind

_RAISED = ("true", "1", "faulted")
_STATUSES = {word.lower(): word for word in ("Available", "Occupied", "Reserved", "Unavailable", "Faulted")}
_PLUGS = ("Connector", "EVSE")


async def handle(session: StationSession, payload: Json) -> Answer:
    events: list[Json] = payload["eventData"]
    for event in events:
        await _take(session, event)
    return Answer({})


async def _take(session: StationSession, event: Json) -> None:
    component, name = event["component"], str(event["variable"]["name"])
    evse: Json = component.get("evse") or {}
    number, code = int(evse.get("id") or 0), str(event.get("techCode") or "")
    value, at = str(event.get("actualValue", "")).lower(), instant(event.get("timestamp"))
    raised = value in _RAISED and not event.get("cleared")
    body: dict[str, Any] = {
        "connector": number,
        "component": component["name"],
        "variable": name,
        "value": _shown(event),
        "trigger": event["trigger"],
        "code": code,
        "info": str(event.get("techInfo") or "")[:500],
        "cleared": bool(event.get("cleared")),
    }
    await session.note(StationEventKind.FAULT if code or raised else StationEventKind.REPORT, body, at)
    if number < 1:
        return
    status = _STATUSES.get(value) if name == "AvailabilityState" and component["name"] in _PLUGS else None
    if status is not None and status != "Faulted":
        await session.connector(number, Report(status, at, f"ocpp2.0.1:{status}"))
    elif raised and (name == "Problem" or status is not None):
        await _faulted(session, number, code, at, said_so=status is not None)


def _shown(event: Json) -> str:
    """The value as an operator may see it: a monitored variable may be a password."""
    shown = masked({"variable": event["variable"], "actualValue": event.get("actualValue", "")})
    return str(shown["actualValue"])[:100]


async def _faulted(session: StationSession, number: int, code: str, at: datetime, *, said_so: bool) -> None:
    """`said_so`: the connector calls itself faulted; else only an MREC code makes a problem a fault: a
    vendor's own code is kept as words and decides nothing."""
    phase = Phase.SUSTAIN if await session.at_connector(number) else Phase.CONFIRM
    reason = mrec_of(code, phase)
    if reason is None and not said_so:
        return
    if session.track(number).at == at:
        at += timedelta(microseconds=1)  # what follows a status of the same moment is news of its own
    words = mrec_words(code) if reason is not None else "ocpp2.0.1:Faulted"
    fault = reason or plain_fault(phase)
    await session.connector(number, Report("Faulted", at, "ocpp2.0.1:Faulted", fault, words))
