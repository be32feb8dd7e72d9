"""OCPP 1.6J: the CALLs that a stop's commands become."""

from __future__ import annotations

from connectors.ocpp.wire.schemas import Json
from models.commands import ChargerCommand, CommandKind


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
            return trigger_status(number)


def trigger_status(number: int) -> tuple[str, Json]:
    return "TriggerMessage", {"requestedMessage": "StatusNotification", "connectorId": number}


def trigger_certificate() -> tuple[str, Json]:
    return "ExtendedTriggerMessage", {"requestedMessage": "SignChargePointCertificate"}


def set_password(password: bytes) -> tuple[str, Json]:
    """The key is raw bytes, told as hex (security white paper ed. 3, 2.5.1)."""
    return "ChangeConfiguration", {"key": "AuthorizationKey", "value": password.hex().upper()}


def ask_rate_unit() -> tuple[str, Json]:
    return "GetConfiguration", {"key": ["ChargingScheduleAllowedChargingRateUnit"]}


def read_rate_unit(reply: Json) -> str:
    """The station's words: Current, Power, or both by comma."""
    keys: list[Json] = reply.get("configurationKey") or []
    return str(keys[0].get("value") or "") if keys else ""
