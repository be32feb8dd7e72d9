"""Chargers as the house sees them: one row per connector one can plug into."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from models.base import Message, UtcDatetime
from models.ids import ExternalId
from models.money import Currency
from models.place import Place
from models.vehicle import ConnectorStandard


class Protocol(StrEnum):
    """How a charger is commanded. `none` is listed only: it can be planned over, not started."""

    OCPP = "ocpp"
    OCPI = "ocpi"
    ENODE = "enode"
    NONE = "none"


class ConnectorStatus(StrEnum):
    """Normal form of OCPP 1.6/2.0.1 connector status and OCPI EVSE status."""

    AVAILABLE = "available"
    OCCUPIED = "occupied"
    RESERVED = "reserved"
    FAULTED = "faulted"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


class TariffTerms(Message):
    """Price terms as planning needs them, excl. VAT: per kWh, per started session, per hour of occupation."""

    currency: Currency = "EUR"
    energy_per_kwh: Decimal = Decimal("0")
    session_fee: Decimal = Decimal("0")
    occupation_per_hour: Decimal = Decimal("0")


class ConnectorHealth(Message):
    """What a connector's own line tells beyond its status. `connected`: a gateway holds the line, and said so
    last at `seen_at`. `state_since`: its last change. `changes_last_hour`: turns between usable and not, in
    the hour before its last report. `fault_code`: the vendor's words while it is faulted."""

    connected: bool
    seen_at: UtcDatetime | None = None
    state_since: UtcDatetime | None = None
    changes_last_hour: int = 0
    fault_code: str = ""


class Charger(Message):
    """One connector. `charger_id` is ours and unique per tenant; the protocol's own address stands beside."""

    charger_id: ExternalId
    site_id: ExternalId
    operator: str
    network: Annotated[str, Field(description="Name that policies prefer or forbid.")]
    region: Annotated[str, Field(description="ISO 3166-2 code or the tenant's own region name.")] = ""
    place: Place
    protocol: Protocol
    station_id: Annotated[str, Field(description="OCPP identity or OCPI location id.")] = ""
    evse_uid: Annotated[str, Field(description="OCPI EVSE uid, or the OCPP 2.x EVSE number.")] = ""
    connector_number: Annotated[int, Field(ge=0, description="OCPP connectorId; OCPI connector id.")] = 1
    standard: ConnectorStandard
    power_kw: Annotated[float, Field(gt=0)]
    tariff: TariffTerms | None = None
    status: ConnectorStatus = ConnectorStatus.UNKNOWN
    status_at: UtcDatetime | None = None
    open_always: bool | None = None
    start_successes: int = 0
    start_failures: int = 0
    health: ConnectorHealth | None = None
    """None: nobody watches its line (roaming, registers)."""
    plannable: bool = True
