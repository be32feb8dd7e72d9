"""The malformed corpus: well-formed CALLs whose payload breaks its schema, and what each version answers.

Messages about transactions are answered with a CALLRESULT as long as it can be read what they are about: on
an error the station would repeat them for ever, and an hour of energy would be lost."""

from __future__ import annotations

from typing import Any

from tests.ocpp.malformed_frames import ALL, V2, V16, V21, V201, Case, Expected, call, error

Payload = dict[str, Any]

_OCCURRENCE = {
    V16: "OccurenceConstraintViolation",  # OCPP 1.6's own spelling
    **dict.fromkeys(V2, "OccurrenceConstraintViolation"),
}
_TYPE = dict.fromkeys(ALL, "TypeConstraintViolation")
_PROPERTY = dict.fromkeys(ALL, "PropertyConstraintViolation")
Codes = dict[str, str]

_AT = "2026-01-01T00:00:00Z"
_BEYOND_INT64, _INT64_MAX_PLUS_1, _BEYOND_INT32 = -(10**30), 2**63, 2**31
_YEAR_0, _YEAR_10000 = "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"


def _case(
    name: str, versions: tuple[str, ...], action: str, payload: Payload, ok: bool, *codes: Codes
) -> Case:
    kinds = frozenset({3} if ok else ()) | frozenset({4} if codes else ())
    expected = {
        version: Expected(kinds, frozenset(code[version] for code in codes), frozenset({name}))
        for version in versions
    }
    return Case(name, dict.fromkeys(versions, call(name, action, payload)), expected)


# --- what is no transaction: refused by the exact word ---------------------------------------------------

_STATUS_16 = {"connectorId": 1, "errorCode": "NoError", "status": "Available", "timestamp": _AT}
_STATUS_2 = {"evseId": 1, "connectorId": 1, "connectorStatus": "Available", "timestamp": _AT}
_BOOT_2 = {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}}
_EVENT = {
    "eventId": 1,
    "timestamp": _AT,
    "trigger": "Alerting",
    "actualValue": "true",
    "techCode": "CX002",
    "component": {"name": "EVSE", "evse": {"id": 1}},
    "variable": {"name": "Problem"},
    "eventNotificationType": "HardWiredNotification",
}
_EVENTS = {"generatedAt": _AT, "seqNo": 0, "eventData": [_EVENT]}


def _without(payload: Payload, key: str) -> Payload:
    return {name: value for name, value in payload.items() if name != key}


def _status_16(name: str, ok: bool, *codes: Codes, **changes: Any) -> Case:
    return _case(f"status-16-{name}", (V16,), "StatusNotification", {**_STATUS_16, **changes}, ok, *codes)


def _status_2(name: str, ok: bool, *codes: Codes, **changes: Any) -> Case:
    return _case(f"status-2-{name}", V2, "StatusNotification", {**_STATUS_2, **changes}, ok, *codes)


def _boot_16(name: str, ok: bool, *codes: Codes, **changes: Any) -> Case:
    payload = {"chargePointVendor": "V", "chargePointModel": "M", **changes}
    return _case(f"boot-16-{name}", (V16,), "BootNotification", payload, ok, *codes)


def _boot_2(name: str, ok: bool, *codes: Codes, **changes: Any) -> Case:
    return _case(f"boot-2-{name}", V2, "BootNotification", {**_BOOT_2, **changes}, ok, *codes)


def _event(name: str, ok: bool, *codes: Codes, **changes: Any) -> Case:
    payload = {**_EVENTS, "eventData": [{**_EVENT, **changes}]}
    return _case(f"event-{name}", V2, "NotifyEvent", payload, ok, *codes)


PLAIN: list[Case] = [
    _case("status-empty", ALL, "StatusNotification", {}, False, _OCCURRENCE),
    _case("heartbeat-with-fields", ALL, "Heartbeat", {"x": 1, "": [None]}, True),
    _case("heartbeat-20k-fields", ALL, "Heartbeat", {f"f{n}": n for n in range(15_000)}, True),
    _case("data-transfer-200k", ALL, "DataTransfer", {"vendorId": "V", "data": "d" * 200_000}, True),
    _case("data-transfer-nameless", ALL, "DataTransfer", {"data": "d"}, False, _OCCURRENCE),
    _case("data-transfer-long-vendor", ALL, "DataTransfer", {"vendorId": "V" * 256}, False, _PROPERTY),
    _case("data-transfer-nul", ALL, "DataTransfer", {"vendorId": "a\x00b"}, True, _PROPERTY),
    _status_16("vendor-fields", True, vendorExtra={"deep": [1]}, x=None),
    _case(
        "status-16-no-error-code",
        (V16,),
        "StatusNotification",
        _without(_STATUS_16, "errorCode"),
        False,
        _OCCURRENCE,
    ),
    _status_16("connector-string", False, _TYPE, connectorId="1"),
    _status_16("connector-fraction", False, _TYPE, connectorId=1.5),
    _status_16("connector-null", False, _TYPE, connectorId=None),
    _status_16("connector-true", False, _TYPE, connectorId=True),
    _status_16("connector-negative", True, _PROPERTY, connectorId=-1),
    _status_16("connector-beyond-int32", True, _PROPERTY, connectorId=_BEYOND_INT32),
    _status_16("connector-2-to-63", False, _PROPERTY, _TYPE, connectorId=_INT64_MAX_PLUS_1),
    _status_16("connector-beyond-int64", False, _PROPERTY, _TYPE, connectorId=_BEYOND_INT64),
    _status_16("unknown", False, _PROPERTY, status="Sleeping"),
    _status_16("of-2", False, _PROPERTY, status="Occupied"),
    _status_16("number", False, _TYPE, _PROPERTY, status=1),
    _status_16("long-info", False, _PROPERTY, info="i" * 51),
    _status_16("nul-in-vendor-code", True, _PROPERTY, status="Faulted", vendorErrorCode="a\x00b"),
    _status_16("at-banana", False, _PROPERTY, timestamp="banana"),
    _status_16("at-empty", False, _PROPERTY, timestamp=""),
    _status_16("at-no-such-day", False, _PROPERTY, timestamp="2026-02-30T00:00:00Z"),
    _status_16("at-number", False, _TYPE, timestamp=1767225600),
    _status_16("at-year-0", True, _PROPERTY, timestamp=_YEAR_0),
    _status_16("at-year-10000", True, _PROPERTY, timestamp=_YEAR_10000),
    _status_16("at-year-9999", True, timestamp="9999-12-31T23:59:59Z"),
    _status_16("at-leap-second", True, _PROPERTY, timestamp="2026-06-30T23:59:60Z"),
    _status_2("vendor-fields", True, vendorExtra={"deep": [1]}),
    _status_2("custom-data-nameless", False, _OCCURRENCE, customData={"x": 1}),
    _case(
        "status-2-no-timestamp",
        V2,
        "StatusNotification",
        _without(_STATUS_2, "timestamp"),
        False,
        _OCCURRENCE,
    ),
    _status_2("evse-string", False, _TYPE, evseId="1"),
    _case(
        "status-201-evse-negative",
        (V201,),
        "StatusNotification",
        {**_STATUS_2, "evseId": -1},
        True,
        _PROPERTY,
    ),
    _case(
        "status-21-evse-negative", (V21,), "StatusNotification", {**_STATUS_2, "evseId": -1}, False, _PROPERTY
    ),
    _status_2("evse-beyond-int32", True, _PROPERTY, evseId=_BEYOND_INT32),
    _status_2("evse-2-to-63", False, _PROPERTY, _TYPE, evseId=_INT64_MAX_PLUS_1),
    _status_2("evse-beyond-int64", False, _PROPERTY, _TYPE, evseId=_BEYOND_INT64),
    _status_2("unknown", False, _PROPERTY, connectorStatus="Preparing"),
    _status_2("array", False, _TYPE, _PROPERTY, connectorStatus=["Available"]),
    _status_2("at-banana", False, _PROPERTY, timestamp="banana"),
    _status_2("at-number", False, _TYPE, timestamp=17),
    _status_2("at-year-0", True, _PROPERTY, timestamp=_YEAR_0),
    _status_2("at-year-10000", True, _PROPERTY, timestamp=_YEAR_10000),
    _boot_16("vendor-number", False, _TYPE, chargePointVendor=1),
    _boot_16("vendor-of-21", False, _PROPERTY, chargePointVendor="V" * 21),
    _boot_16("vendor-nul", True, _PROPERTY, chargePointVendor="a\x00b"),
    _boot_16("vendor-blank", True, chargePointVendor="", chargePointModel=""),
    _boot_16("emoji", True, chargePointVendor="\N{ELECTRIC PLUG}" * 20),
    _boot_2("reason-unknown", False, _PROPERTY, reason="Boredom"),
    _boot_2("station-array", False, _TYPE, chargingStation=[]),
    _boot_2("station-null", False, _TYPE, chargingStation=None),
    _boot_2("station-empty", False, _OCCURRENCE, chargingStation={}),
    _boot_2("model-of-21", False, _PROPERTY, chargingStation={"vendorName": "V", "model": "M" * 21}),
    _boot_2("model-nul", True, _PROPERTY, chargingStation={"vendorName": "V", "model": "a\x00b"}),
    _case("authorize-16-empty", (V16,), "Authorize", {}, False, _OCCURRENCE),
    _case("authorize-16-of-21", (V16,), "Authorize", {"idTag": "T" * 21}, False, _PROPERTY),
    _case("authorize-16-number", (V16,), "Authorize", {"idTag": 17}, False, _TYPE),
    _case("authorize-16-nul", (V16,), "Authorize", {"idTag": "a\x00b"}, True, _PROPERTY),
    _case("authorize-2-empty", V2, "Authorize", {}, False, _OCCURRENCE),
    _case("authorize-2-string", V2, "Authorize", {"idToken": "TAG1"}, False, _TYPE),
    _case(
        "authorize-2-long",
        V2,
        "Authorize",
        {"idToken": {"idToken": "T" * 256, "type": "Local"}},
        False,
        _PROPERTY,
    ),
    _case(
        "authorize-201-type-unknown",
        (V201,),
        "Authorize",
        {"idToken": {"idToken": "T", "type": "Telepathy"}},
        False,
        _PROPERTY,
    ),
    _case("event-none", V2, "NotifyEvent", {**_EVENTS, "eventData": []}, False, _PROPERTY, _OCCURRENCE),
    _case("event-data-object", V2, "NotifyEvent", {**_EVENTS, "eventData": {}}, False, _TYPE),
    _case("event-data-of-null", V2, "NotifyEvent", {**_EVENTS, "eventData": [None]}, False, _TYPE),
    _case(
        "event-generated-banana", V2, "NotifyEvent", {**_EVENTS, "generatedAt": "banana"}, False, _PROPERTY
    ),
    _event("at-banana", False, _PROPERTY, timestamp="banana"),
    _event("trigger-unknown", False, _PROPERTY, trigger="Whim"),
    _event("component-null", False, _TYPE, component=None),
    _event("component-nameless", False, _OCCURRENCE, component={"evse": {"id": 1}}),
    _event("evse-beyond-int64", False, _PROPERTY, _TYPE, component={"name": "EVSE", "evse": {"id": 10**30}}),
    _event("evse-beyond-int32", True, _PROPERTY, component={"name": "EVSE", "evse": {"id": 2**31}}),
    _event("code-nul", True, _PROPERTY, techCode="a\x00b"),
]

# --- what we do not serve --------------------------------------------------------------------------------


def _not_served(name: str, versions: tuple[str, ...], code: str, action: str, payload: Payload) -> Case:
    return Case(
        name, dict.fromkeys(versions, call(name, action, payload)), dict.fromkeys(versions, error(name, code))
    )


_REMOTE_START_2 = {"idToken": {"idToken": "T", "type": "Local"}, "remoteStartId": 1}
UNSERVED: list[Case] = [
    _not_served(
        "remote-start-from-station", (V16,), "NotSupported", "RemoteStartTransaction", {"idTag": "T"}
    ),
    _not_served("request-start-from-station", V2, "NotSupported", "RequestStartTransaction", _REMOTE_START_2),
    _not_served("reset-from-station", (V16,), "NotSupported", "Reset", {"type": "Hard"}),
    _not_served("reset-from-station-2", V2, "NotSupported", "Reset", {"type": "Immediate"}),
    _not_served("set-variables-from-station", V2, "NotSupported", "SetVariables", {"setVariableData": []}),
    _not_served("change-configuration-wrong", (V16,), "NotSupported", "ChangeConfiguration", {"key": 1}),
    _not_served("get-composite-schedule", ALL, "NotSupported", "GetCompositeSchedule", {}),
    _not_served("start-transaction-in-2", V2, "NotImplemented", "StartTransaction", {}),
    _not_served("transaction-event-in-16", (V16,), "NotImplemented", "TransactionEvent", {}),
    _not_served("remote-start-in-2", V2, "NotImplemented", "RemoteStartTransaction", {"idTag": "T"}),
    _not_served("battery-swap-in-16-and-201", (V16, V201), "NotImplemented", "BatterySwap", {}),
    _not_served("battery-swap-in-21", (V21,), "NotSupported", "BatterySwap", {}),
    _not_served("send-as-call", (V16, V201), "NotImplemented", "NotifyPeriodicEventStream", {}),
    _not_served("send-as-call-in-21", (V21,), "NotSupported", "NotifyPeriodicEventStream", {}),
    _not_served("ev-certificate", V2, "NotSupported", "Get15118EVCertificate", {"action": "Install"}),
]

PAYLOADS: list[Case] = [*PLAIN, *UNSERVED]
