"""What a simulated charge point says about its connectors in OCPP 2.0.1 and 2.1."""

from __future__ import annotations

from datetime import datetime

from simulators.charge_point.meter import samples_2x
from simulators.charge_point.session import Flow, Json, Session, Speaker, stamp
from simulators.twin import FaultKind

_STOPPED = {"Fault": "Other", "Full": "StoppedByEV"}
_FAULT_STOPPED = {
    "CX002": "GroundFault",
    "CX004": "OvercurrentFault",
    "CX005": "PowerQuality",
    "CX006": "PowerQuality",
    "CX008": "EmergencyStop",
    "CX015": "PowerLoss",
}
_TRIGGER = {
    "Remote": "RemoteStop",
    "EVDisconnected": "EVDeparted",
    "Fault": "AbnormalCondition",
    "Full": "ChargingStateChanged",
    "Other": "ChargingRateChanged",
    "PowerLoss": "AbnormalCondition",
    "ImmediateReset": "ResetCommand",
}
_STREAM_INTERVAL_S = 1


class Teller2x:
    """A Teller. `streams_power` (2.1): a periodic event stream of each charge's power, N-block use cases."""

    def __init__(self, station: Speaker, *, is_21: bool, streams_power: bool) -> None:
        self._station = station
        self._is_21, self._streams_power = is_21, streams_power and is_21
        self._problems: dict[int, str] = {}
        self._streams: set[int] = set()
        self._events = 0

    # --- the connector ----------------------------------------------------------------------------------

    def status(self, number: int, word: str, mrec: str, at: datetime, *, front: bool = False) -> None:
        known = word if word in ("Available", "Faulted", "Unavailable", "Reserved") else "Occupied"
        body: Json = {"timestamp": stamp(at), "connectorStatus": known, "evseId": number, "connectorId": 1}
        self._station.say("StatusNotification", body, front=front)
        if front:
            return  # an old story
        before = self._problems.pop(number, "")
        if mrec:
            self._problems[number] = mrec
        if mrec != before:
            self._problem(number, mrec or before, at, cleared=not mrec)

    def _problem(self, number: int, mrec: str, at: datetime, *, cleared: bool) -> None:
        """N07; code and place as ChargeX asks: techCode on the EVSE's Problem."""
        event: Json = {
            "eventId": self._events,
            "timestamp": stamp(at),
            "trigger": "Alerting",
            "actualValue": "false" if cleared else "true",
            "techCode": mrec,
            "cleared": cleared,
            "eventNotificationType": "HardWiredNotification",
            "component": {"name": "EVSE", "evse": {"id": number}},
            "variable": {"name": "Problem"},
        }
        self._events += 1
        self._station.say("NotifyEvent", {"generatedAt": stamp(at), "seqNo": 0, "eventData": [event]})

    # --- the transaction --------------------------------------------------------------------------------

    def started(
        self, number: int, session: Session, flow: Flow, *, copies: int = 1, reordered: bool = False
    ) -> None:
        trigger = "RemoteStart" if session.remote_start_id is not None else "Authorized"
        begin = self._event(number, session, "Started", trigger, "EVConnected")
        begin["meterValue"] = [self._meter(session, flow, "Transaction.Begin")]
        begin["idToken"] = {"idToken": session.token_uid, "type": "Central"}
        if session.remote_start_id is not None:
            begin["transactionInfo"]["remoteStartId"] = session.remote_start_id
        if session.reservation_id is not None:
            begin["reservationId"] = session.reservation_id
        update = self._event(number, session, "Updated", "ChargingStateChanged", session.state)
        if reordered:
            update["idToken"] = begin["idToken"]
            update["transactionInfo"]["remoteStartId"] = session.remote_start_id or 0
        for body in [update, *[begin] * copies] if reordered else [*[begin] * copies, update]:
            self._say(number, session, body)
        if self._streams_power:
            self._open_stream(number)

    def changed(self, number: int, session: Session) -> None:
        body = self._event(number, session, "Updated", "ChargingStateChanged", session.state)
        self._say(number, session, body)

    def read(self, number: int, session: Session, flow: Flow, *, is_idle: bool) -> None:
        value = self._meter(session, flow, "Trigger")
        self._station.say("MeterValues", {"evseId": number, "meterValue": [value]})

    def metered(self, number: int, session: Session, flow: Flow, *, triggered: bool = False) -> None:
        trigger, context = ("Trigger", "Trigger") if triggered else ("MeterValuePeriodic", "Sample.Periodic")
        body = self._event(number, session, "Updated", trigger, session.state)
        body["meterValue"] = [self._meter(session, flow, context)]
        session.readings += 1
        self._say(number, session, body)
        if number in self._streams:
            point: Json = {"t": 0, "v": f"{flow.power_kw * 1000:.0f}"}
            base = stamp(self._station.clock())
            stream: Json = {"id": number, "pending": 0, "basetime": base, "data": [point]}
            self._station.send("NotifyPeriodicEventStream", stream)

    def ended(self, number: int, session: Session, reason: str, mrec: str) -> None:
        trigger = _TRIGGER.get(reason, "StopAuthorized")
        body = self._event(number, session, "Ended", trigger, "EVConnected")
        if reason != "Unsaid":
            fault_reason = _FAULT_STOPPED.get(mrec, "Other")
            body["transactionInfo"]["stoppedReason"] = (
                fault_reason if reason == "Fault" else _STOPPED.get(reason, reason)
            )
        body["meterValue"] = [self._meter(session, Flow(0.0, None, 0.0, 0.0), "Transaction.End")]
        self._say(number, session, body)
        if number in self._streams:
            self._streams.discard(number)
            self._station.say("ClosePeriodicEventStream", {"id": number})

    def _say(self, number: int, session: Session, body: Json) -> None:
        if FaultKind.VENDOR_FIELDS in session.faults:
            body = body | {
                "customData": {"vendorId": "org.example.twin", "relay": 1},
                "vendorState": {"relay": 1},
            }
        self._station.say_kept(number, session, "TransactionEvent", body)

    def _event(self, number: int, session: Session, kind: str, trigger: str, state: str) -> Json:
        body: Json = {
            "eventType": kind,
            "timestamp": stamp(self._station.clock()),
            "triggerReason": trigger,
            "seqNo": session.sequence,
            "transactionInfo": {"transactionId": session.reference, "chargingState": state},
            "evse": {"id": number, "connectorId": 1},
        }
        if self._is_21:
            body["transactionInfo"]["operationMode"] = "ChargingOnly"
        session.sequence += 1
        return body

    def _meter(self, session: Session, flow: Flow, context: str) -> Json:
        at = stamp(self._station.clock())
        return {"timestamp": at, "sampledValue": samples_2x(session, flow, at, context)}

    # --- streams (2.1) ----------------------------------------------------------------------------------

    def _open_stream(self, number: int) -> None:
        def take(reply: Json) -> None:
            if reply.get("status") == "Accepted":
                self._streams.add(number)

        params: Json = {"interval": _STREAM_INTERVAL_S, "values": 1}
        data: Json = {"id": number, "variableMonitoringId": number, "params": params}
        self._station.ask("OpenPeriodicEventStream", {"constantStreamData": data}, take)
