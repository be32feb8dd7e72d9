"""Chargers as the house sees them: one row per connector one can plug into."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from models.base import Count, HeardInstant, Message, PeerId, VendorWord
from models.ids import ExternalId
from models.money import Currency, Fee, UnitPrice
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
    energy_per_kwh: UnitPrice = Decimal("0")
    session_fee: Fee = Decimal("0")
    occupation_per_hour: UnitPrice = Decimal("0")


_BEYOND = ("greater_than_equal", "less_than_equal", "finite_number")


def _priced_or_none(value: Any, read: ValidatorFunctionWrapHandler) -> TariffTerms | None:
    try:
        return read(value)
    except ValidationError as error:
        if all(fault["type"] in _BEYOND for fault in error.errors()):
            return None  # a wrong price is worse than none; a charger that has one is still a charger
        raise


class ConnectorHealth(Message):
    """What a connector's own line tells beyond its status. `connected`: a gateway holds the line, and said so
    last at `seen_at`. `state_since`: its last change. `changes_last_hour`: turns between usable and not, in
    the hour before its last report. `fault_code`: the vendor's words while it is faulted."""

    connected: bool
    seen_at: HeardInstant = None
    state_since: HeardInstant = None
    changes_last_hour: int = 0
    fault_code: VendorWord = ""


class Charger(Message):
    """One connector. `charger_id` is ours and unique per tenant; the protocol's own address stands beside.

    Names are cleaned and a price or an instant that cannot be true is left out; an address that cannot be
    said back to the peer, or a power beyond physics, makes no charger (ValidationError)."""

    charger_id: ExternalId
    site_id: ExternalId
    operator: VendorWord
    network: Annotated[VendorWord, Field(description="Name that policies prefer or forbid.")]
    region: Annotated[VendorWord, Field(description="ISO 3166-2 code or the tenant's own region name.")] = ""
    place: Place
    protocol: Protocol
    station_id: Annotated[PeerId, Field(description="OCPP identity or OCPI location id.")] = ""
    evse_uid: Annotated[PeerId, Field(description="OCPI EVSE uid, or the OCPP 2.x EVSE number.")] = ""
    connector_number: Annotated[Count, Field(description="OCPP connectorId; OCPI connector id.")] = 1
    standard: ConnectorStandard
    power_kw: Annotated[float, Field(gt=0, le=10_000)]
    tariff: Annotated[TariffTerms | None, WrapValidator(_priced_or_none)] = None
    status: ConnectorStatus = ConnectorStatus.UNKNOWN
    status_at: HeardInstant = None
    open_always: bool | None = None
    start_successes: Count = 0
    start_failures: Count = 0
    health: ConnectorHealth | None = None
    """None: nobody watches its line (roaming, registers)."""
    plannable: bool = True
    private: Annotated[
        bool, Field(description="Only vehicles of the tenant can reach it (a depot behind a gate).")
    ] = False
