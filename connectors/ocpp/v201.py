"""OCPP 2.0.1: actions a charging station sends, and commands it takes. One row and one function each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from connectors.ocpp.meter import energy_wh
from connectors.ocpp.ports import StartOfTransaction
from connectors.ocpp.schemas import Json
from connectors.ocpp.session import StationSession, instant
from models.charger import ConnectorStatus
from models.commands import ChargerCommand, CommandKind
from models.reason_catalogue import from_mrec, from_ocpp201_stopped_reason
from models.reason_codes import Phase, ReasonCode

HEARTBEAT_S = 60
_STATUS = {
    "Available": ConnectorStatus.AVAILABLE,
    "Occupied": ConnectorStatus.OCCUPIED,
    "Reserved": ConnectorStatus.RESERVED,
    "Unavailable": ConnectorStatus.FAULTED,
    "Faulted": ConnectorStatus.FAULTED,
}
Action = Callable[[StationSession, Json], Awaitable[Json]]


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


async def boot_notification(session: StationSession, payload: Json) -> Json:
    session.booted.set()
    return {"currentTime": _now(), "interval": HEARTBEAT_S, "status": "Accepted"}


async def heartbeat(session: StationSession, payload: Json) -> Json:
    return {"currentTime": _now()}


async def authorize(session: StationSession, payload: Json) -> Json:
    return {"idTokenInfo": {"status": "Accepted"}}


async def transaction_event(session: StationSession, payload: Json) -> Json:
    """Started, Updated, Ended, in any order and more than once: the first that comes opens the row, the end
    stands once told (part 2, E; part 4 section 5.3)."""
    info: Json = payload["transactionInfo"]
    reference, kind = str(info["transactionId"]), str(payload["eventType"])
    at = instant(payload["timestamp"])
    values: list[Json] = payload.get("meterValue") or []
    known = await session.house.find(session.station, transaction_ref=reference)
    if known is None or kind == "Started":
        evse: Json = payload.get("evse") or {}
        token: Json = payload.get("idToken") or {}
        remote = info.get("remoteStartId")
        start = StartOfTransaction(
            connector_number=int(evse.get("id") or 1),
            id_tag=str(token.get("idToken") or ""),
            started_at=at,
            meter_start_wh=energy_wh(values) if kind == "Started" else None,
            transaction_ref=reference,
            remote_start_id=int(remote) if remote is not None else None,
        )
        known = await session.started(start)
    if known.ended_at is not None:
        return {}
    if kind == "Ended":
        word = str(info.get("stoppedReason") or "Local")
        reason = from_ocpp201_stopped_reason(word, Phase.SUSTAIN)
        await session.ended(known, at, energy_wh(values), reason, f"ocpp2.0.1:{word}")
        return {}
    await session.metered(known, values, at)
    state = info.get("chargingState")
    if state in ("SuspendedEV", "SuspendedEVSE"):
        await session.suspended(known, at, by_vehicle=state == "SuspendedEV")
    return {}


async def meter_values(session: StationSession, payload: Json) -> Json:
    facts = await session.house.find(session.station, connector_number=int(payload["evseId"]))
    values: list[Json] = payload["meterValue"]
    if facts is not None and values:
        await session.metered(facts, values, instant(values[-1].get("timestamp")))
    return {}


async def status_notification(session: StationSession, payload: Json) -> Json:
    number, word = int(payload["evseId"]), str(payload["connectorStatus"])
    if number < 1:
        return {}
    at = instant(payload.get("timestamp"))
    facts = await session.house.find(session.station, connector_number=number)
    fault = None
    if word == "Faulted":
        fault = ReasonCode.SUSTAIN_EVSE_FAULT if facts else ReasonCode.CONFIRM_EVSE_FAULT
    await session.connector(
        number,
        _STATUS.get(word, ConnectorStatus.UNKNOWN),
        at,
        plugged=word == "Occupied",
        fault=fault,
        vendor_code="ocpp2.0.1:Faulted" if fault else "",
    )
    return {}


async def notify_event(session: StationSession, payload: Json) -> Json:
    """Faults come here in 2.x, with the MREC code as techCode (ChargeX)."""
    events: list[Json] = payload["eventData"]
    for event in events:
        component: Json = event.get("component") or {}
        evse: Json = component.get("evse") or {}
        number = int(evse.get("id") or 0)
        code = str(event.get("techCode") or "")
        raised = str(event.get("actualValue", "")).lower() == "true"
        if number < 1 or not code or not raised:
            continue
        facts = await session.house.find(session.station, connector_number=number)
        phase = Phase.SUSTAIN if facts else Phase.CONFIRM
        fault = from_mrec(code, phase)
        if fault is not None:
            at = instant(event.get("timestamp"))
            await session.connector(
                number, ConnectorStatus.FAULTED, at, fault=fault, vendor_code=f"mrec:{code}"
            )
    return {}


async def notify_report(session: StationSession, payload: Json) -> Json:
    return {}


async def data_transfer(session: StationSession, payload: Json) -> Json:
    return {"status": "UnknownVendorId"}


ACTIONS: dict[str, Action] = {
    "BootNotification": boot_notification,
    "Heartbeat": heartbeat,
    "Authorize": authorize,
    "TransactionEvent": transaction_event,
    "MeterValues": meter_values,
    "StatusNotification": status_notification,
    "NotifyEvent": notify_event,
    "NotifyReport": notify_report,
    "DataTransfer": data_transfer,
}


def request_of(command: ChargerCommand) -> tuple[str, Json]:
    """The CALL of a command. Raises ValueError for a stop without a transaction id."""
    evse_id = command.charger.connector_number
    match command.kind:
        case CommandKind.START:
            token: dict[str, Any] = {"idToken": command.token_uid, "type": "Central"}
            return "RequestStartTransaction", {
                "idToken": token,
                "remoteStartId": command.remote_start_id,
                "evseId": evse_id,
            }
        case CommandKind.STOP:
            if not command.session_ref:
                raise ValueError("no transaction to stop")
            return "RequestStopTransaction", {"transactionId": command.session_ref}
        case CommandKind.UNLOCK:
            return "UnlockConnector", {"evseId": evse_id, "connectorId": 1}
        case CommandKind.TRIGGER_STATUS:
            return trigger_status(evse_id)


def trigger_status(number: int) -> tuple[str, Json]:
    return "TriggerMessage", {
        "requestedMessage": "StatusNotification",
        "evse": {"id": number, "connectorId": 1},
    }
