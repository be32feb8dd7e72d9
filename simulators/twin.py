"""What all simulated partners share: their configuration, the fault plan's words, and the command ledger.

Control API of each partner process (HTTP, JSON, loopback), beside the protocol it speaks:
  POST /twin/connectors/{charger_id}/plug    body PlugIn          a vehicle is plugged in
  POST /twin/connectors/{charger_id}/unplug                       it is unplugged
  GET  /twin/connectors/{charger_id}         -> ConnectorState
  POST /twin/connectors/{charger_id}/faults  body Fault           adds a fault to the plan
  POST /twin/connectors/{charger_id}/pause   body Pause           the site's load management pauses it
  POST /twin/connectors/{charger_id}/end                          the session ends, nobody says why
  GET  /twin/ledger                          -> {"entries": [LedgerEntry, ...]}
Charge points only: POST .../badge (body Badge), POST .../offline (body Offline). Roaming partner only:
POST .../status (body EvseState), POST .../vanish (body Vanish).
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
    """Faults a connector, a partner or a driver can be given. Each strikes `times` starts (STOP_*: stops),
    then is spent; NO_STATUS and WRONG_CLOCK hold as long as they are in the plan."""

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
    # On demand only: the demo's plan has none of those below.
    STOP_IGNORED = "stop_ignored"
    STOP_DROPPED = "stop_dropped"
    STOP_LATE = "stop_late"
    # OCPP stations only, and on demand only: the demo's plan has none of those below.
    KEEP_OLD_TIMESTAMPS = "keep_old_timestamps"
    REGISTER_RESET = "register_reset"
    REGISTER_ROLLOVER = "register_rollover"
    KWH_AND_WH_MIXED = "kwh_and_wh_mixed"
    MINUS_ONE_TRANSACTION = "minus_one_transaction"
    MISSING_METER_FIELDS = "missing_meter_fields"
    SIGNED_METER = "signed_meter"
    VENDOR_FIELDS = "vendor_fields"
    START_BEFORE_REPLY = "start_before_reply"
    BLACK_HOLE = "black_hole"
    SUSPENDED_EV = "suspended_ev"
    STALE_TRANSACTION = "stale_transaction"
    NO_STATUS = "no_status"
    WRONG_CLOCK = "wrong_clock"


SESSION_FAULTS = frozenset(
    {
        FaultKind.REGISTER_RESET,
        FaultKind.REGISTER_ROLLOVER,
        FaultKind.KWH_AND_WH_MIXED,
        FaultKind.MINUS_ONE_TRANSACTION,
        FaultKind.MISSING_METER_FIELDS,
        FaultKind.SIGNED_METER,
        FaultKind.VENDOR_FIELDS,
        FaultKind.SUSPENDED_EV,
    }
)
"""Struck when a charge begins; they colour all that is said about it."""

DEMO_FAULTS = (
    frozenset(FaultKind)
    - SESSION_FAULTS
    - {
        FaultKind.KEEP_OLD_TIMESTAMPS,
        FaultKind.START_BEFORE_REPLY,
        FaultKind.BLACK_HOLE,
        FaultKind.STALE_TRANSACTION,
        FaultKind.NO_STATUS,
        FaultKind.WRONG_CLOCK,
        FaultKind.STOP_IGNORED,
        FaultKind.STOP_DROPPED,
        FaultKind.STOP_LATE,
    }
)
"""What the demo's morning may meet; each of them strikes at least once."""


class Fault(Message):
    """`delay_s`: when within the start or charge it strikes (START_LATE: seconds after the start command;
    FAULT_MID_CHARGE, REGISTER_RESET: seconds after energy flows; GOES_OFFLINE, BLACK_HOLE: how long;
    STOP_LATE: seconds until the stop is answered and obeyed).
    `mrec`: FAULT_MID_CHARGE's ChargeX minimum required error code, CX001-CX026."""

    kind: FaultKind
    times: int = 1
    delay_s: float = 5.0
    mrec: str = Field(default="CX002", pattern=r"^CX0(0[1-9]|1\d|2[0-6])$")


class TwinConnector(Message):
    """`charger_id` is Backstop's id; the station or partner knows it as `number` / `evse_uid`."""

    charger_id: str
    number: int = 1
    evse_uid: str = ""
    standard: ConnectorStandard = ConnectorStandard.CCS_2
    power_kw: float = 50.0
    phases: int = Field(default=3, description="Phases in use; power limits in amperes are per phase.")
    voltage_v: float = Field(default=230.0, description="Phase to neutral.")
    faults: tuple[Fault, ...] = ()


class TwinStation(Message):
    """One simulated OCPP charge point. `password`: Basic auth; the user name is the station id."""

    station_id: str
    password: str
    ocpp_version: Literal["ocpp1.6", "ocpp2.0.1", "ocpp2.1"] = "ocpp1.6"
    connectors: tuple[TwinConnector, ...]
    state_dir: str | None = Field(
        default=None, description="Folder of what survives a kill: queue, open charges, registers, password."
    )
    boots_after_restart: bool = Field(
        default=True, description="False: it kept power; a new process goes on without BootNotification."
    )
    message_attempts: int = Field(
        default=5, ge=1, description="1.6 TransactionMessageAttempts, 2.x MessageAttempts[TransactionEvent]."
    )
    message_interval_s: float = Field(
        default=0.5, description="1.6 TransactionMessageRetryInterval, 2.x MessageAttemptInterval."
    )
    ca_file: str | None = Field(default=None, description="PEM: whom wss:// trusts. None: the system's.")
    cert_file: str | None = Field(default=None, description="PEM chain of the station (mutual TLS).")
    key_file: str | None = None
    streams_power: bool = Field(
        default=False, description="2.1: each charge opens an event stream and SENDs its power."
    )
    quirks: frozenset[str] = Field(default=frozenset(), description="Smart charging quirks, see DeviceTwin.")


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


class Pause(Message):
    """Load management beside Backstop: no power while it is on, and the session goes on."""

    paused: bool = True


class Badge(Message):
    """Somebody starts at the station itself, with the vehicle that is plugged in."""

    token_uid: str = "STRANGER"  # noqa: S105  a badge, no secret


class Offline(Message):
    """The station loses its connection, and stays away for so long."""

    seconds: float = 5.0


class EvseState(Message):
    """An OCPI EVSE status, as the partner says it from now on: CHARGING (somebody else's car), REMOVED."""

    status: str


class Vanish(Message):
    """The partner no longer lists the EVSE, or lists it again."""

    gone: bool = True


class ConnectorState(Message):
    status: str
    vehicle_id: str | None = None
    charging: bool = False
    power_kw: float = 0.0
    energy_kwh: float = 0.0
    soc_percent: float | None = None
    session_ref: str | None = None


LedgerWord = Literal[
    "command_start", "command_stop", "session_started", "session_ended", "message_lost", "other"
]


class LedgerEntry(Message):
    """One thing the partner received or did. `key` is what the command carried to correlate it: OCPP 2.x
    remoteStartId or 1.6 idTag, OCPI authorization_reference (start) or session id (stop).
    `message_lost`: a transaction message (`result`: its action) was refused to the last attempt, dropped."""

    at: UtcDatetime
    what: LedgerWord
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
        what: LedgerWord,
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
