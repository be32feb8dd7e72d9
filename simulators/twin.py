"""What all simulated partners share: their configuration, the fault plan's words, and the command ledger.

Control API of each partner process (HTTP, JSON, loopback), beside the protocol it speaks:
  POST /twin/connectors/{charger_id}/plug    body PlugIn          a vehicle is plugged in
  POST /twin/connectors/{charger_id}/unplug                       it is unplugged
  GET  /twin/connectors/{charger_id}         -> ConnectorState
  POST /twin/connectors/{charger_id}/faults  body Fault           adds a fault to the plan
  GET  /twin/ledger                          -> {"entries": [LedgerEntry, ...]}
The telematics vendor has `PUT /twin/vehicles/{telematics_id}` (body VehicleTwin) in place of the connectors.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from models.base import Message, UtcDatetime
from models.charger import TariffTerms
from models.place import Place
from models.vehicle import ConnectorStandard


class FaultKind(StrEnum):
    """Faults a connector, a partner or a driver can be given. Each strikes `times` starts, then is spent."""

    REJECT = "reject"
    ACCEPT_NEVER_START = "accept_never_start"
    START_LATE = "start_late"
    FAULT_MID_CHARGE = "fault_mid_charge"
    OCCUPIED_ON_ARRIVAL = "occupied_on_arrival"
    GOES_OFFLINE = "goes_offline"
    PARTNER_5XX = "partner_5xx"
    PARTNER_TIMEOUT = "partner_timeout"
    DUPLICATE_EVENTS = "duplicate_events"
    REORDERED_EVENTS = "reordered_events"
    NO_SHOW = "no_show"


class Fault(Message):
    """`delay_s`: when within the start or charge it strikes (START_LATE: seconds after the start command;
    FAULT_MID_CHARGE: seconds after energy flows; GOES_OFFLINE: how long)."""

    kind: FaultKind
    times: int = 1
    delay_s: float = 5.0


class TwinConnector(Message):
    """`charger_id` is Backstop's id; the station or partner knows it as `number` / `evse_uid`."""

    charger_id: str
    number: int = 1
    evse_uid: str = ""
    standard: ConnectorStandard = ConnectorStandard.CCS_2
    power_kw: float = 50.0
    faults: tuple[Fault, ...] = ()


class TwinStation(Message):
    """One simulated OCPP charge point. `password`: Basic auth; the user name is the station id."""

    station_id: str
    password: str
    ocpp_version: Literal["ocpp1.6", "ocpp2.0.1"] = "ocpp1.6"
    connectors: tuple[TwinConnector, ...]


class TwinLocation(Message):
    """One location of the simulated roaming partner; each connector is an EVSE with one connector."""

    location_id: str
    name: str
    city: str = "Musterstadt"
    place: Place
    connectors: tuple[TwinConnector, ...]
    tariff: TariffTerms = TariffTerms()


class VehicleTwin(Message):
    """A vehicle at the simulated telematics vendor. A PUT replaces what is given and keeps the rest."""

    vehicle_id: str = ""
    soc_percent: float | None = None
    battery_kwh: float | None = None
    is_plugged_in: bool | None = None
    is_charging: bool | None = None
    power_kw: float | None = None
    place: Place | None = None
    refuses_commands: bool = False


class TwinPace(Message):
    """`speed`: simulated seconds of charging per real second, so that 30 kWh take seconds. Protocol timings
    (time-outs, intervals) stay real seconds."""

    seed: int = 7
    speed: float = 120.0
    meter_interval_s: float = 2.0
    connection_timeout_s: float = Field(
        default=6.0, description="OCPP ConnectionTimeOut: plug-in after start."
    )
    reconnect_s: float = 1.0


class PlugIn(Message):
    vehicle_id: str
    soc_percent: float
    battery_kwh: float
    max_power_kw: float
    target_soc_percent: float = Field(default=100.0, description="The vehicle stops drawing here.")
    token_uid: str = ""


class ConnectorState(Message):
    status: str
    vehicle_id: str | None = None
    charging: bool = False
    power_kw: float = 0.0
    energy_kwh: float = 0.0
    soc_percent: float | None = None
    session_ref: str | None = None


class LedgerEntry(Message):
    """One thing the partner received or did. `key` is what the command carried to correlate it: OCPP 2.x
    remoteStartId or 1.6 idTag, OCPI authorization_reference (start) or session id (stop)."""

    at: UtcDatetime
    what: Literal["command_start", "command_stop", "session_started", "session_ended", "other"]
    charger_id: str
    key: str = ""
    result: str = ""
    vehicle_id: str | None = None
    session_ref: str | None = None
    energy_kwh: float | None = None


class Ledger:
    """Append-only record of commands received and sessions made: the oracle for the invariants."""

    def __init__(self) -> None:
        self._entries: list[LedgerEntry] = []
        self._lock = threading.Lock()

    def add(
        self,
        what: Literal["command_start", "command_stop", "session_started", "session_ended", "other"],
        charger_id: str,
        *,
        key: str = "",
        result: str = "",
        vehicle_id: str | None = None,
        session_ref: str | None = None,
        energy_kwh: float | None = None,
    ) -> None:
        entry = LedgerEntry(
            at=datetime.now(UTC),
            what=what,
            charger_id=charger_id,
            key=key,
            result=result,
            vehicle_id=vehicle_id,
            session_ref=session_ref,
            energy_kwh=energy_kwh,
        )
        with self._lock:
            self._entries.append(entry)

    def entries(self) -> list[LedgerEntry]:
        with self._lock:
            return list(self._entries)
