"""What each status word of OCPP means: the state of the connector, and what planning makes of it."""

from __future__ import annotations

from connectors.ocpp.truth.connector_state import ConnectorState
from models.charger import ConnectorStatus

S, C = ConnectorState, ConnectorStatus
WORDS_16 = {
    "Available": (S.FREE, C.AVAILABLE),
    "Preparing": (S.OCCUPIED, C.OCCUPIED),
    "Charging": (S.CHARGING, C.OCCUPIED),
    "SuspendedEV": (S.PAUSED_BY_VEHICLE, C.OCCUPIED),
    "SuspendedEVSE": (S.PAUSED_BY_STATION, C.OCCUPIED),
    "Finishing": (S.FINISHING, C.OCCUPIED),
    "Reserved": (S.RESERVED, C.RESERVED),
    "Unavailable": (S.OUT_OF_SERVICE, C.FAULTED),
    "Faulted": (S.FAULTED, C.FAULTED),
}
WORDS_2X = {
    "Available": (S.FREE, C.AVAILABLE),
    "Occupied": (S.OCCUPIED, C.OCCUPIED),
    "Reserved": (S.RESERVED, C.RESERVED),
    "Unavailable": (S.OUT_OF_SERVICE, C.FAULTED),
    "Faulted": (S.FAULTED, C.FAULTED),
}
