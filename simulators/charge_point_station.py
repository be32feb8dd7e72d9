"""One simulated charge point: its socket, its queue, and the two dialects it may speak.

Messages about transactions are queued, delivered in order, and survive an outage, as real firmware does;
after an outage the station reconnects without Boot and replays.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from simulators.charge_point_connector import ConnectorTwin, Session, now
from simulators.twin import Ledger, TwinPace, TwinStation

Json = dict[str, Any]
_REPLY_S = 10.0
_TRIES = 5


def stamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Message:
    """A CALL to deliver. The payload is made when it is sent: a 1.6 transaction id may come only then."""

    action: str
    payload: Callable[[], Json]
    on_reply: Callable[[Json], None] = lambda reply: None
    keep: bool = True
    tries: int = 0


class StationTwin:
    """Connects for ever, answers commands, delivers its queue."""

    def __init__(self, station: TwinStation, pace: TwinPace, ledger: Ledger, gateway_url: str) -> None:
        self.station = station
        self.pace = pace
        self.url = f"{gateway_url.rstrip('/')}/{station.station_id}"
        self.is_16 = station.ocpp_version == "ocpp1.6"
        teller = Teller16(self) if self.is_16 else Teller201(self)
        self.connectors = {
            c.number: ConnectorTwin(c, pace, ledger, teller, self.drop) for c in station.connectors
        }
        self._queue: deque[Message] = deque()
        self._news = asyncio.Event()
        self._awaited: dict[str, asyncio.Future[Json | None]] = {}
        self._socket: ClientConnection | None = None
        self._offline_until = 0.0
        self._booted = False

    # --- connection -------------------------------------------------------------------------------------

    def drop(self, seconds: float) -> None:
        """Lose the connection, and stay away for so long."""
        self._offline_until = asyncio.get_running_loop().time() + seconds
        if self._socket is not None:
            self._socket.transport.abort()

    async def run(self) -> None:
        user = f"{self.station.station_id}:{self.station.password}".encode()
        headers = {"Authorization": "Basic " + base64.b64encode(user).decode()}
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, self._offline_until - loop.time()))
            try:
                async with connect(
                    self.url,
                    subprotocols=[Subprotocol(self.station.ocpp_version)],
                    additional_headers=headers,
                    compression=None,
                    ping_interval=20,
                    proxy=None,
                ) as socket:
                    await self._live(socket)
            except (OSError, WebSocketException, InvalidStatus, TimeoutError):
                pass  # the gateway is away: try again, for ever
            finally:
                self._socket = None
            await asyncio.sleep(self.pace.reconnect_s)

    async def _live(self, socket: ClientConnection) -> None:
        self._socket = socket
        tasks = [asyncio.create_task(self._deliver(socket)), asyncio.create_task(self._heartbeat())]
        if not self._booted:
            self._boot()
        try:
            async for raw in socket:
                await self._receive(socket, json.loads(raw))
        finally:
            for task in tasks:
                task.cancel()
            for awaited in self._awaited.values():
                if not awaited.done():
                    awaited.set_exception(ConnectionError())
            self._awaited.clear()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _boot(self) -> None:
        self._booted = True
        if self.is_16:
            body: Json = {"chargePointVendor": "Twin", "chargePointModel": "T16"}
        else:
            body = {"reason": "PowerUp", "chargingStation": {"vendorName": "Twin", "model": "T201"}}
        self.say("BootNotification", lambda: body, front=True)
        for connector in self.connectors.values():
            self.status(connector.number, connector.status, "NoError")

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(30)
            self.say("Heartbeat", dict, keep=False)

    # --- delivery ---------------------------------------------------------------------------------------

    def say(
        self,
        action: str,
        payload: Callable[[], Json],
        on_reply: Callable[[Json], None] = lambda reply: None,
        *,
        keep: bool = True,
        front: bool = False,
    ) -> None:
        message = Message(action, payload, on_reply, keep)
        if not keep and self._socket is None:
            return
        if front:
            self._queue.appendleft(message)
        else:
            self._queue.append(message)
        self._news.set()

    async def _deliver(self, socket: ClientConnection) -> None:
        while True:
            while self._queue:
                message = self._queue[0]
                reply = await self._call(socket, message.action, message.payload())
                if reply is None:
                    message.tries += 1
                    if message.tries < _TRIES and message.keep:
                        await asyncio.sleep(0.5 * message.tries)
                        continue
                else:
                    message.on_reply(reply)
                if self._queue and self._queue[0] is message:
                    self._queue.popleft()
            self._news.clear()
            await self._news.wait()

    async def _call(self, socket: ClientConnection, action: str, payload: Json) -> Json | None:
        """The result; None for a CALLERROR or silence. Raises ConnectionError when the socket is lost."""
        message_id = str(uuid.uuid4())
        awaited: asyncio.Future[Json | None] = asyncio.get_running_loop().create_future()
        self._awaited[message_id] = awaited
        await socket.send(json.dumps([2, message_id, action, payload]))
        try:
            async with asyncio.timeout(_REPLY_S):
                return await awaited
        except TimeoutError:
            return None
        finally:
            self._awaited.pop(message_id, None)

    async def _receive(self, socket: ClientConnection, frame: list[Any]) -> None:
        kind, message_id = frame[0], frame[1]
        if kind == 2:
            action, payload = str(frame[2]), frame[3]
            if action in ("RemoteStartTransaction", "RequestStartTransaction"):
                number = int(payload.get("connectorId") or payload.get("evseId") or 1)
                if self.connectors[number].goes_offline():
                    return
            reply = self._answer(action, payload)
            refusal: list[Any] = [4, message_id, "NotImplemented", "", {}]
            answer: list[Any] = refusal if reply is None else [3, message_id, reply]
            await socket.send(json.dumps(answer))
            return
        awaited = self._awaited.get(message_id)
        if awaited is not None and not awaited.done():
            awaited.set_result(frame[2] if kind == 3 else None)

    # --- commands ---------------------------------------------------------------------------------------

    def _answer(self, action: str, payload: Json) -> Json | None:
        match action:
            case "RemoteStartTransaction":
                token = str(payload["idTag"])
                connector = self.connectors[int(payload.get("connectorId") or 1)]
                return _status(connector.remote_start(token, token, None))
            case "RequestStartTransaction":
                token, remote = str(payload["idToken"]["idToken"]), int(payload["remoteStartId"])
                connector = self.connectors[int(payload.get("evseId") or 1)]
                return _status(connector.remote_start(str(remote), token, remote))
            case "RemoteStopTransaction" | "RequestStopTransaction":
                key = str(payload["transactionId"])
                # Every connector is asked; the one that knows the transaction writes it down.
                holder = next((c for c in self.connectors.values() if _holds(c, key)), None)
                chosen = holder or next(iter(self.connectors.values()))
                return _status(chosen.remote_stop(key))
            case "UnlockConnector":
                return {"status": "Unlocked"}
            case "TriggerMessage":
                for connector in self.connectors.values():
                    self.status(connector.number, connector.status, "NoError")
                return {"status": "Accepted"}
            case _:
                return None

    def status(self, number: int, word: str, error: str) -> None:
        at = stamp(now())
        if self.is_16:
            body: Json = {"connectorId": number, "errorCode": error, "status": word, "timestamp": at}
        else:
            known = word if word in ("Available", "Faulted", "Unavailable", "Reserved") else "Occupied"
            body = {"timestamp": at, "connectorStatus": known, "evseId": number, "connectorId": 1}
        self.say("StatusNotification", lambda: body)


def _holds(connector: ConnectorTwin, key: str) -> bool:
    session = connector.session
    return session is not None and key in (session.reference, str(session.number))


def _status(accepted: bool) -> Json:
    return {"status": "Accepted" if accepted else "Rejected"}


class Teller16:
    """OCPP 1.6."""

    _REASONS = {"Fault": "Other", "Full": "Local"}

    def __init__(self, station: StationTwin) -> None:
        self._station = station

    def status(self, number: int, word: str, error: str = "NoError") -> None:
        self._station.status(number, word, error)

    def started(self, number: int, session: Session, copies: int, reordered: bool) -> None:
        body: Json = {
            "connectorId": number,
            "idTag": session.token_uid,
            "meterStart": round(session.meter_start_wh),
            "timestamp": stamp(now()),
        }
        session.meter_start_wh = float(body["meterStart"])

        def take(reply: Json) -> None:
            session.number = int(reply["transactionId"])

        if reordered:  # what the connector does overtakes what the transaction says
            self.status(number, "Charging")
        for _ in range(copies):
            self._station.say("StartTransaction", lambda: body, take)

    def metered(self, number: int, session: Session, power_kw: float, soc_percent: float) -> None:
        at, total = stamp(now()), f"{session.meter_start_wh + session.energy_wh:.1f}"
        sampled: list[Json] = [
            {"value": total, "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
            {"value": f"{power_kw * 1000:.0f}", "measurand": "Power.Active.Import", "unit": "W"},
            {"value": f"{soc_percent:.0f}", "measurand": "SoC", "unit": "Percent"},
        ]
        self._station.say(
            "MeterValues",
            lambda: {
                "connectorId": number,
                "transactionId": session.number or -1,
                "meterValue": [{"timestamp": at, "sampledValue": sampled}],
            },
        )

    def ended(self, number: int, session: Session, reason: str) -> None:
        at, total = stamp(now()), round(session.meter_start_wh + session.energy_wh)
        word = self._REASONS.get(reason, reason)
        self._station.say(
            "StopTransaction",
            lambda: {
                "transactionId": session.number or -1,
                "meterStop": total,
                "timestamp": at,
                "reason": word,
                "idTag": session.token_uid,
            },
        )


class Teller201:
    """OCPP 2.0.1."""

    _STOPPED = {"Fault": "GroundFault", "Full": "StoppedByEV"}
    _TRIGGER = {
        "Remote": "RemoteStop",
        "EVDisconnected": "EVDeparted",
        "Fault": "AbnormalCondition",
        "Full": "ChargingStateChanged",
    }

    def __init__(self, station: StationTwin) -> None:
        self._station = station

    def status(self, number: int, word: str, error: str = "NoError") -> None:
        self._station.status(number, word, error)

    def started(self, number: int, session: Session, copies: int, reordered: bool) -> None:
        begin = self._event(number, session, "Started", "RemoteStart", "EVConnected")
        begin["transactionInfo"]["remoteStartId"] = session.remote_start_id or 0
        begin["idToken"] = {"idToken": session.token_uid, "type": "Central"}
        update = self._event(number, session, "Updated", "ChargingStateChanged", "Charging")
        if reordered:
            update["idToken"] = begin["idToken"]
            update["transactionInfo"]["remoteStartId"] = session.remote_start_id or 0
        order = [update, *[begin] * copies] if reordered else [*[begin] * copies, update]
        for body in order:
            self._say(body)

    def metered(self, number: int, session: Session, power_kw: float, soc_percent: float) -> None:
        body = self._event(number, session, "Updated", "MeterValuePeriodic", "Charging")
        body["meterValue"] = [self._meter(session, power_kw, soc_percent)]
        self._say(body)

    def ended(self, number: int, session: Session, reason: str) -> None:
        body = self._event(
            number, session, "Ended", self._TRIGGER.get(reason, "StopAuthorized"), "EVConnected"
        )
        body["transactionInfo"]["stoppedReason"] = self._STOPPED.get(reason, reason)
        body["meterValue"] = [self._meter(session, 0.0, None)]
        self._say(body)

    def _say(self, body: Json) -> None:
        self._station.say("TransactionEvent", lambda: body)

    def _event(self, number: int, session: Session, kind: str, trigger: str, state: str) -> Json:
        body: Json = {
            "eventType": kind,
            "timestamp": stamp(now()),
            "triggerReason": trigger,
            "seqNo": session.sequence,
            "transactionInfo": {"transactionId": session.reference, "chargingState": state},
            "evse": {"id": number, "connectorId": 1},
        }
        if kind == "Started":
            body["meterValue"] = [self._meter(session, 0.0, None)]
        session.sequence += 1
        return body

    def _meter(self, session: Session, power_kw: float, soc_percent: float | None) -> Json:
        sampled: list[Json] = [
            {
                "value": session.meter_start_wh + session.energy_wh,
                "measurand": "Energy.Active.Import.Register",
                "unitOfMeasure": {"unit": "Wh"},
            },
            {"value": power_kw, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "kW"}},
        ]
        if soc_percent is not None:
            sampled.append({"value": soc_percent, "measurand": "SoC"})
        return {"timestamp": stamp(now()), "sampledValue": sampled}


async def run_stations(stations: list[StationTwin]) -> None:
    """All of them, each on its own socket."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*(station.run() for station in stations))
