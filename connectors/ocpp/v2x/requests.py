"""OCPP 2.0.1 and 2.1: the CALLs that a stop's commands become."""

from __future__ import annotations

from connectors.ocpp.wire.schemas import Json
from models.commands import ChargerCommand, CommandKind


def request_of(command: ChargerCommand) -> tuple[str, Json]:
    """The CALL of a command. Raises ValueError for a stop without a transaction id."""
    evse_id = command.charger.connector_number
    match command.kind:
        case CommandKind.START:
            return "RequestStartTransaction", {
                "idToken": {"idToken": command.token_uid, "type": "Central"},
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


def trigger_certificate() -> tuple[str, Json]:
    return "TriggerMessage", {"requestedMessage": "SignChargingStationCertificate"}


def transaction_status(reference: str) -> tuple[str, Json]:
    return "GetTransactionStatus", {"transactionId": reference}


def set_password(password: bytes) -> tuple[str, Json]:
    """A passwordString of 16 to 40 characters (2.0.1 part 2, A01)."""
    return "SetVariables", {
        "setVariableData": [
            {
                "component": {"name": "SecurityCtrlr"},
                "variable": {"name": "BasicAuthPassword"},
                "attributeValue": password.decode("ascii"),
            }
        ]
    }


def ask_rate_unit() -> tuple[str, Json]:
    asked = {"component": {"name": "SmartChargingCtrlr"}, "variable": {"name": "RateUnit"}}
    return "GetVariables", {"getVariableData": [asked]}


def read_rate_unit(reply: Json) -> str:
    results: list[Json] = reply.get("getVariableResult") or []
    return str(results[0].get("attributeValue") or "") if results else ""
