"""The malformed corpus: messages about transactions as broken firmware really sends them.

They are answered with a CALLRESULT as long as it can be read what they are about: on an error the station
repeats them for ever (or drops them), and the session's energy is lost. `lenient` marks the few whose
essentials are gone or out of range: those may be refused, by the exact word."""

from __future__ import annotations

from typing import Any

from tests.ocpp.malformed_frames import V2, V16, Case, Expected, call

Payload = dict[str, Any]

_AT = "2026-01-01T00:00:00Z"
_YEAR_0, _YEAR_10000 = "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"
_ABSENT = object()
_OCCURRENCE = ("OccurenceConstraintViolation", "OccurrenceConstraintViolation")
_RANGE = ("PropertyConstraintViolation", "TypeConstraintViolation")


def _case(name: str, action: str, base: Payload, lenient: tuple[str, ...], changes: Payload) -> Case:
    versions = V2 if action == "TransactionEvent" or "evseId" in base else (V16,)
    payload = {key: value for key, value in {**base, **changes}.items() if value is not _ABSENT}
    codes = {
        version: frozenset(code for code in lenient if code not in _OCCURRENCE)
        | (frozenset({_OCCURRENCE[version != V16]}) if _OCCURRENCE[0] in lenient else frozenset())
        for version in versions
    }
    expected = {
        version: Expected(frozenset({3, 4} if lenient else {3}), codes[version], frozenset({name}))
        for version in versions
    }
    return Case(name, dict.fromkeys(versions, call(name, action, payload)), expected)


def _start(name: str, *lenient: str, **changes: Any) -> Case:
    base = {"connectorId": 1, "idTag": "TAG1", "meterStart": 5000, "timestamp": _AT}
    return _case(f"start-{name}", "StartTransaction", base, lenient, changes)


def _stop(name: str, *lenient: str, **changes: Any) -> Case:
    base = {"transactionId": 1, "meterStop": 9000, "timestamp": _AT, "reason": "Local"}
    return _case(f"stop-{name}", "StopTransaction", base, lenient, changes)


def _sample(value: Any, **more: Any) -> list[Payload]:
    return [{"timestamp": _AT, "sampledValue": [{"value": value, **more}]}]


def _meter_16(name: str, *lenient: str, **changes: Any) -> Case:
    base = {"connectorId": 1, "transactionId": 1, "meterValue": _sample("6000")}
    return _case(f"meter-16-{name}", "MeterValues", base, lenient, changes)


def _meter_2(name: str, *lenient: str, **changes: Any) -> Case:
    base = {"evseId": 1, "meterValue": _sample(6000)}
    return _case(f"meter-2-{name}", "MeterValues", base, lenient, changes)


def _event(name: str, *lenient: str, **changes: Any) -> Case:
    """Each about a transaction of its own, so that none ends another's."""
    base = {
        "eventType": "Updated",
        "timestamp": _AT,
        "triggerReason": "MeterValuePeriodic",
        "seqNo": 1,
        "transactionInfo": {"transactionId": f"tx-{name}"},
        "evse": {"id": 1, "connectorId": 1},
    }
    info = changes.pop("info", None)
    if info is not None:
        changes["transactionInfo"] = {**base["transactionInfo"], **info}
    return _case(f"tx-{name}", "TransactionEvent", base, lenient, changes)


_TOTAL = {"measurand": "Energy.Active.Import.Register"}

TRANSACTIONS: list[Case] = [
    _start("right"),
    _start("vendor-fields", vendorExtra={"deep": [1]}),
    _start("meter-string", meterStart="5000"),
    _start("meter-fraction", meterStart=5000.7),
    _start("meter-null", meterStart=None),
    _start("meter-missing", meterStart=_ABSENT),
    _start("meter-words", meterStart="five"),
    _start("meter-negative", meterStart=-5),
    _start("meter-beyond-int64", meterStart=10**30),
    _start("meter-2-to-63", meterStart=2**63),
    _start("meter-array", meterStart=[5000]),
    _start("connector-string", connectorId="1"),
    _start("connector-0", connectorId=0),
    _start("connector-99", connectorId=99),
    _start("connector-beyond-int32", *_RANGE, connectorId=2**31),
    _start("connector-beyond-int64", *_RANGE, connectorId=-(10**30)),
    _start("connector-missing", *_OCCURRENCE, connectorId=_ABSENT),
    _start("at-missing", timestamp=_ABSENT),
    _start("at-null", timestamp=None),
    _start("at-banana", timestamp="banana"),
    _start("at-number", timestamp=1767225600),
    _start("at-year-0", timestamp=_YEAR_0),
    _start("at-year-10000", timestamp=_YEAR_10000),
    _start("at-no-zone", timestamp="2026-01-01T00:00:00"),
    _start("tag-of-40", idTag="T" * 40),
    _start("tag-of-100k", idTag="T" * 100_000),
    _start("tag-number", idTag=17),
    _start("tag-null", idTag=None),
    _start("tag-missing", idTag=_ABSENT),
    _start("tag-with-nul", idTag="a\x00b"),
    _start("reservation-string", reservationId="none"),
    _start("empty", *_OCCURRENCE, connectorId=_ABSENT, idTag=_ABSENT, meterStart=_ABSENT, timestamp=_ABSENT),
    _stop("right"),
    _stop("number-string", transactionId="1"),
    _stop("number-minus-one", transactionId=-1),
    _stop("number-null", transactionId=None),
    _stop("number-missing", *_OCCURRENCE, transactionId=_ABSENT),
    _stop("number-words", *_RANGE, transactionId="none"),
    _stop("number-beyond-int32", transactionId=2**31),
    _stop("number-2-to-63", *_RANGE, transactionId=2**63),
    _stop("number-beyond-int64", *_RANGE, transactionId=10**30),
    _stop("meter-string", meterStop="9000"),
    _stop("meter-missing", meterStop=_ABSENT),
    _stop("meter-null", meterStop=None),
    _stop("meter-negative", meterStop=-1),
    _stop("meter-beyond-int64", meterStop=10**30),
    _stop("at-missing", timestamp=_ABSENT),
    _stop("at-banana", timestamp="banana"),
    _stop("at-year-0", timestamp=_YEAR_0),
    _stop("reason-unknown", reason="Bored"),
    _stop("reason-null", reason=None),
    _stop("tag-of-40", idTag="T" * 40),
    _stop("tag-with-nul", idTag="a\x00b"),
    _stop("data-object", transactionData={}),
    _stop("data-empty", transactionData=[]),
    _stop("data-of-null", transactionData=[None]),
    _stop("data-of-numbers", transactionData=[17]),
    _stop("data-without-samples", transactionData=[{"timestamp": _AT}]),
    _meter_16("right"),
    _meter_16("value-number", meterValue=_sample(6000)),
    _meter_16("value-empty", meterValue=_sample("")),
    _meter_16("value-null", meterValue=_sample(None)),
    _meter_16("value-words", meterValue=_sample("six thousand")),
    _meter_16("value-nan", meterValue=_sample("NaN")),
    _meter_16("value-infinite", meterValue=_sample("-Infinity")),
    _meter_16("value-beyond-double", meterValue=_sample("1e999")),
    _meter_16("value-array", meterValue=_sample([6000])),
    _meter_16("unit-unknown", meterValue=_sample("6", unit="kWH")),
    _meter_16("unit-number", meterValue=_sample("6", unit=17)),
    _meter_16("measurand-unknown", meterValue=_sample("6", measurand="Energy")),
    _meter_16("phase-unknown", meterValue=_sample("6", phase="L4", **_TOTAL)),
    _meter_16("2000-samples", meterValue=_sample("6000") * 2000),
    _meter_16("values-empty", meterValue=[]),
    _meter_16("values-object", meterValue={"timestamp": _AT, "sampledValue": [{"value": "6"}]}),
    _meter_16("values-of-null", meterValue=[None]),
    _meter_16("values-missing", *_OCCURRENCE, meterValue=_ABSENT),
    _meter_16("samples-missing", meterValue=[{"timestamp": _AT}]),
    _meter_16("samples-object", meterValue=[{"timestamp": _AT, "sampledValue": {"value": "6"}}]),
    _meter_16("samples-of-null", meterValue=[{"timestamp": _AT, "sampledValue": [None]}]),
    _meter_16("at-missing", meterValue=[{"sampledValue": [{"value": "6"}]}]),
    _meter_16("at-banana", meterValue=[{"timestamp": "banana", "sampledValue": [{"value": "6"}]}]),
    _meter_16("at-year-0", meterValue=[{"timestamp": _YEAR_0, "sampledValue": [{"value": "6"}]}]),
    _meter_16("transaction-string", transactionId="1"),
    _meter_16("transaction-null", transactionId=None),
    _meter_16("transaction-2-to-63", *_RANGE, transactionId=2**63),
    _meter_16("connector-string", connectorId="1"),
    _meter_16("connector-missing", *_OCCURRENCE, connectorId=_ABSENT),
    _meter_2("right"),
    _meter_2("value-string", meterValue=_sample("6000")),
    _meter_2("value-null", meterValue=_sample(None)),
    _meter_2("values-empty", meterValue=[]),
    _meter_2("values-of-null", meterValue=[None]),
    _meter_2("at-missing", meterValue=[{"sampledValue": [{"value": 6}]}]),
    _meter_2("evse-string", evseId="1"),
    _meter_2("evse-2-to-63", *_RANGE, evseId=2**63),
    _event("right"),
    _event("vendor-fields", vendorExtra={"deep": [1]}),
    _event("type-unknown", "PropertyConstraintViolation", eventType="Paused"),
    _event("type-missing", *_OCCURRENCE, eventType=_ABSENT),
    _event("info-missing", *_OCCURRENCE, transactionInfo=_ABSENT),
    _event("info-null", "TypeConstraintViolation", *_OCCURRENCE, transactionInfo=None),
    _event("reference-missing", *_OCCURRENCE, transactionInfo={}),
    _event("reference-number", "TypeConstraintViolation", transactionInfo={"transactionId": 17}),
    _event("reference-of-100", *_RANGE, transactionInfo={"transactionId": "t" * 100}),
    _event("reference-nul", *_RANGE, transactionInfo={"transactionId": "a\x00b"}),
    _event("at-missing", timestamp=_ABSENT),
    _event("at-banana", timestamp="banana"),
    _event("at-number", timestamp=1767225600),
    _event("at-year-0", timestamp=_YEAR_0),
    _event("at-year-10000", timestamp=_YEAR_10000),
    _event("trigger-missing", triggerReason=_ABSENT),
    _event("trigger-unknown", triggerReason="Whim"),
    _event("number-string", seqNo="1"),
    _event("number-missing", seqNo=_ABSENT),
    _event("number-negative", seqNo=-1),
    _event("number-beyond-int64", seqNo=10**30),
    _event("offline-string", offline="yes"),
    _event("evse-missing", evse=_ABSENT),
    _event("evse-null", evse=None),
    _event("evse-empty", evse={}),
    _event("evse-number", evse=1),
    _event("evse-string-id", evse={"id": "1"}),
    _event("evse-2-to-63", *_RANGE, evse={"id": 2**63}),
    _event("token-null", idToken=None),
    _event("token-string", idToken="TAG1"),
    _event("token-of-300", idToken={"idToken": "T" * 300, "type": "Central"}),
    _event("token-nul", eventType="Started", idToken={"idToken": "a\x00b", "type": "Central"}),
    _event("token-type-unknown", idToken={"idToken": "T", "type": "T" * 30}),
    _event("remote-start-string", info={"remoteStartId": "17"}),
    _event("remote-start-words", info={"remoteStartId": "none"}),
    _event("remote-start-2-to-63", info={"remoteStartId": 2**63}),
    _event("state-unknown", info={"chargingState": "Dreaming"}),
    _event("stopped-unknown", eventType="Ended", info={"stoppedReason": "Bored"}),
    _event("value-string", meterValue=_sample("6000", **_TOTAL)),
    _event("value-null", meterValue=_sample(None)),
    _event("value-huge", meterValue=_sample(1e300, **_TOTAL)),
    _event("values-empty", meterValue=[]),
    _event("values-object", meterValue={}),
    _event("values-of-null", meterValue=[None]),
    _event("samples-missing", meterValue=[{"timestamp": _AT}]),
    _event("unit-string", meterValue=_sample(6, unitOfMeasure="kWh")),
    _event("multiplier-huge", meterValue=_sample(6, unitOfMeasure={"unit": "Wh", "multiplier": 10**9})),
    _event("multiplier-string", meterValue=_sample(6, unitOfMeasure={"unit": "Wh", "multiplier": "3"})),
    _event("multiplier-words", meterValue=_sample(6, unitOfMeasure={"unit": "Wh", "multiplier": "k"})),
    _event("ended-unknown", eventType="Ended", info={"transactionId": "never-started"}),
]
