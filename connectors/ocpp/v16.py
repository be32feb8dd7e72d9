"""OCPP 1.6J: the actions a charge point sends, and the commands it takes. One row and one function each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from connectors.ocpp.ports import StartOfTransaction, TransactionFacts
from connectors.ocpp.schemas import Json
from connectors.ocpp.session import StationSession, instant
from models.charger import ConnectorStatus
from models.commands import ChargerCommand, CommandKind
from models.reason_catalogue import from_mrec, from_ocpp16_error, from_ocpp16_stop_reason
from models.reason_codes import Phase, ReasonCode

HEARTBEAT_S = 60
_STATUS = {
    "Available": ConnectorStatus.AVAILABLE,
    "Preparing": ConnectorStatus.OCCUPIED,
    "Charging": ConnectorStatus.OCCUPIED,
    "SuspendedEV": ConnectorStatus.OCCUPIED,
    "SuspendedEVSE": ConnectorStatus.OCCUPIED,
    "Finishing": ConnectorStatus.OCCUPIED,
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
    # Whether a token may charge was decided when the stop was planned; a refusal here would kill the very
    # start that we asked for (AuthorizeRemoteTxRequests).
    return {"idTagInfo": {"status": "Accepted"}}


async def start_transaction(session: StationSession, payload: Json) -> Json:
    """A start cannot be refused, only recorded. Repeats get the same transaction id."""
    start = StartOfTransaction(
        connector_number=int(payload["connectorId"]),
        id_tag=str(payload["idTag"]),
        started_at=instant(payload["timestamp"]),
        meter_start_wh=float(payload["meterStart"]),
    )
    facts = await session.started(start)
    return {"transactionId": facts.transaction_id, "idTagInfo": {"status": "Accepted"}}


async def stop_transaction(session: StationSession, payload: Json) -> Json:
    """An unknown or repeated stop is answered all the same: on an error the station would retry for ever."""
    facts = await _transaction(session, payload.get("transactionId"), None)
    if facts is not None:
        values: list[Json] = payload.get("transactionData") or []
        if values:
            await session.metered(facts, values, instant(payload["timestamp"]))
        word = str(payload.get("reason") or "Local")
        await session.ended(
            facts,
            instant(payload["timestamp"]),
            float(payload["meterStop"]),
            from_ocpp16_stop_reason(word, Phase.SUSTAIN),
            f"ocpp1.6:{word}",
        )
    return {"idTagInfo": {"status": "Accepted"}}


async def meter_values(session: StationSession, payload: Json) -> Json:
    facts = await _transaction(session, payload.get("transactionId"), int(payload["connectorId"]))
    values: list[Json] = payload["meterValue"]
    if facts is not None and values:
        await session.metered(facts, values, instant(values[-1].get("timestamp")))
    return {}


async def status_notification(session: StationSession, payload: Json) -> Json:
    number = int(payload["connectorId"])
    if number < 1:
        return {}  # connector 0 speaks for the station and says nothing about a plug
    word, at = str(payload["status"]), instant(payload.get("timestamp"))
    code, vendor = str(payload.get("errorCode", "NoError")), str(payload.get("vendorErrorCode") or "")
    fault: ReasonCode | None = None
    facts = await session.house.find(session.station, connector_number=number)
    if word == "Faulted":
        phase = Phase.SUSTAIN if facts else Phase.CONFIRM
        fault = from_mrec(vendor, phase) or from_ocpp16_error(code, phase) or _plain_fault(phase)
    await session.connector(
        number,
        _STATUS.get(word, ConnectorStatus.UNKNOWN),
        at,
        plugged=word == "Preparing",
        fault=fault,
        vendor_code=f"ocpp1.6:{code} {vendor}".strip() if fault else "",
    )
    if facts is not None and word in ("SuspendedEV", "SuspendedEVSE"):
        await session.suspended(facts, at, by_vehicle=word == "SuspendedEV")
    return {}


async def data_transfer(session: StationSession, payload: Json) -> Json:
    return {"status": "UnknownVendorId"}


async def _transaction(
    session: StationSession, transaction_id: Any, connector_number: int | None
) -> TransactionFacts | None:
    number = int(transaction_id) if transaction_id is not None else 0
    if number > 0:
        found = await session.house.find(session.station, transaction_id=number)
        if found is not None:
            return found
    if connector_number is None:  # -1 and 0 mean "none" to some stations: one open transaction is meant
        open_ones = await session.house.open_transactions(session.station)
        return open_ones[0] if len(open_ones) == 1 and number <= 0 else None
    return await session.house.find(session.station, connector_number=connector_number)


def _plain_fault(phase: Phase) -> ReasonCode:
    return ReasonCode.SUSTAIN_EVSE_FAULT if phase is Phase.SUSTAIN else ReasonCode.CONFIRM_EVSE_FAULT


ACTIONS: dict[str, Action] = {
    "BootNotification": boot_notification,
    "Heartbeat": heartbeat,
    "Authorize": authorize,
    "StartTransaction": start_transaction,
    "StopTransaction": stop_transaction,
    "MeterValues": meter_values,
    "StatusNotification": status_notification,
    "DataTransfer": data_transfer,
}


def request_of(command: ChargerCommand) -> tuple[str, Json]:
    """The CALL of a command. Raises ValueError for a stop without a usable transaction id."""
    number = command.charger.connector_number
    match command.kind:
        case CommandKind.START:
            # The connector is always named: many stations reject a start without it.
            return "RemoteStartTransaction", {"idTag": command.token_uid, "connectorId": number}
        case CommandKind.STOP:
            return "RemoteStopTransaction", {"transactionId": int(command.session_ref or "")}
        case CommandKind.UNLOCK:
            return "UnlockConnector", {"connectorId": number}
        case CommandKind.TRIGGER_STATUS:
            return "TriggerMessage", {"requestedMessage": "StatusNotification", "connectorId": number}


def trigger_status(number: int) -> tuple[str, Json]:
    return "TriggerMessage", {"requestedMessage": "StatusNotification", "connectorId": number}
