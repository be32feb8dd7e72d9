"""What a simulated charge point says about its connectors in OCPP 1.6."""

from __future__ import annotations

from datetime import datetime

from simulators.charge_point.meter import samples_16
from simulators.charge_point.session import CHARGEX_VENDOR, Flow, Json, Session, Speaker, stamp
from simulators.twin import FaultKind

_REASONS = {"Fault": "Other", "Full": "Local"}
_FAULT_REASONS = {"CX008": "EmergencyStop", "CX015": "PowerLoss"}
_ERROR_CODES = {
    "": "NoError",
    "CX001": "ConnectorLockFailure",
    "CX002": "GroundFailure",
    "CX003": "HighTemperature",
    "CX004": "OverCurrentFailure",
    "CX005": "OverVoltage",
    "CX006": "UnderVoltage",
    "CX007": "WeakSignal",
}
_IDLE = Flow(0.0, None, 0.0, 0.0)


class Teller16:
    """A Teller. Transaction ids are left open (None): the outbox fills in what the central system gave."""

    def __init__(self, station: Speaker) -> None:
        self._station = station

    def status(self, number: int, word: str, mrec: str, at: datetime, *, front: bool = False) -> None:
        error = _ERROR_CODES.get(mrec, "OtherError")
        body: Json = {"connectorId": number, "errorCode": error, "status": word, "timestamp": stamp(at)}
        if mrec:
            body |= {"vendorId": CHARGEX_VENDOR, "vendorErrorCode": mrec}
        self._station.say("StatusNotification", body, front=front)

    def started(
        self, number: int, session: Session, flow: Flow, *, copies: int = 1, reordered: bool = False
    ) -> None:
        at = self._station.clock()
        body: Json = {
            "connectorId": number,
            "idTag": session.token_uid,
            "meterStart": round(session.meter_start_wh),
            "timestamp": stamp(at),
        }
        if session.reservation_id is not None:
            body["reservationId"] = session.reservation_id
        session.meter_start_wh = float(body["meterStart"])
        if reordered:  # what the connector does overtakes what the transaction says
            self.status(number, "Charging", "", at)
        for _ in range(copies):
            self._say(number, session, "StartTransaction", body)

    def changed(self, number: int, session: Session) -> None:
        """1.6 has no word for it but the connector's status."""

    def read(self, number: int, session: Session, flow: Flow, *, is_idle: bool) -> None:
        if not is_idle:
            self.metered(number, session, flow, triggered=True)
            return
        at = stamp(self._station.clock())
        value: Json = {"timestamp": at, "sampledValue": samples_16(session, flow, at, "Trigger")}
        self._station.say("MeterValues", {"connectorId": number, "meterValue": [value]})

    def metered(self, number: int, session: Session, flow: Flow, *, triggered: bool = False) -> None:
        at = stamp(self._station.clock())
        context = "Trigger" if triggered else "Sample.Periodic"
        sampled = samples_16(session, flow, at, context)
        session.readings += 1
        body: Json = {
            "connectorId": number,
            "transactionId": None,
            "meterValue": [{"timestamp": at, "sampledValue": sampled}],
        }
        self._say(number, session, "MeterValues", body)

    def ended(self, number: int, session: Session, reason: str, mrec: str) -> None:
        at = stamp(self._station.clock())
        fault_reason = _FAULT_REASONS.get(mrec, "Other")
        body: Json = {
            "transactionId": -1 if FaultKind.MINUS_ONE_TRANSACTION in session.faults else None,
            "meterStop": round(session.register_wh),
            "timestamp": at,
            "reason": fault_reason if reason == "Fault" else _REASONS.get(reason, reason),
            "idTag": session.token_uid,
        }
        if reason == "Unsaid":
            del body["reason"]
        if FaultKind.SIGNED_METER in session.faults:
            signed = samples_16(session, _IDLE, at, "Transaction.End")[:2]
            body["transactionData"] = [{"timestamp": at, "sampledValue": signed}]
        self._say(number, session, "StopTransaction", body)

    def _say(self, number: int, session: Session, action: str, body: Json) -> None:
        if FaultKind.VENDOR_FIELDS in session.faults:
            body = body | {"vendorFirmwareTag": "twin", "vendorState": {"relay": 1}}
        self._station.say_kept(number, session, action, body)
