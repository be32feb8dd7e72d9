"""Objects of OCPI 2.2.1 as they stand on the wire (sections 7 to 13). Required is what the specification
requires; what we do not act on is kept by `extra`."""

from __future__ import annotations

from typing import Any

from connectors.ocpi.enums import (
    CommandResponseText,
    CommandResultText,
    EvseStatusText,
    InterfaceRoleText,
    PartyKindText,
    SessionStatusText,
    TariffDimensionText,
    TokenTypeText,
    WhitelistText,
)
from connectors.ocpi.wire import CiString, Instant, Number, Wire


class DisplayText(Wire):
    language: str
    text: str


class BusinessDetails(Wire):
    name: str


class Price(Wire):
    excl_vat: Number
    incl_vat: Number | None = None


class GeoLocation(Wire):
    latitude: str | float
    longitude: str | float


# --- versions and credentials -----------------------------------------------------------------------------


class Version(Wire):
    version: str
    url: str


class Endpoint(Wire):
    identifier: str
    role: InterfaceRoleText
    url: str


class VersionDetails(Wire):
    version: str
    endpoints: list[Endpoint]


class CredentialsRole(Wire):
    role: PartyKindText
    business_details: BusinessDetails
    party_id: CiString
    country_code: CiString


class Credentials(Wire):
    token: str
    url: str
    roles: list[CredentialsRole]


# --- locations and tariffs --------------------------------------------------------------------------------


class Connector(Wire):
    id: CiString
    standard: str
    format: str
    power_type: str
    max_voltage: Number
    max_amperage: Number
    max_electric_power: Number | None = None
    tariff_ids: list[CiString] | None = None
    last_updated: Instant


class Evse(Wire):
    uid: CiString
    evse_id: CiString | None = None
    status: EvseStatusText
    capabilities: list[str] | None = None
    connectors: list[Connector]
    coordinates: GeoLocation | None = None
    last_updated: Instant


class Hours(Wire):
    twentyfourseven: bool | None = None


class Location(Wire):
    country_code: CiString
    party_id: CiString
    id: CiString
    publish: bool
    name: str | None = None
    address: str
    city: str
    state: str | None = None
    country: str
    coordinates: GeoLocation
    evses: list[Evse] | None = None
    operator: BusinessDetails | None = None
    time_zone: str
    opening_times: Hours | None = None
    last_updated: Instant


class PriceComponent(Wire):
    type: TariffDimensionText
    price: Number
    vat: Number | None = None
    step_size: int


class TariffElement(Wire):
    price_components: list[PriceComponent]
    restrictions: dict[str, Any] | None = None


class Tariff(Wire):
    country_code: CiString
    party_id: CiString
    id: CiString
    currency: str
    type: str | None = None
    min_price: Price | None = None
    max_price: Price | None = None
    elements: list[TariffElement]
    last_updated: Instant


# --- tokens, sessions, charge records ---------------------------------------------------------------------


class Token(Wire):
    country_code: CiString
    party_id: CiString
    uid: CiString
    type: TokenTypeText
    contract_id: CiString
    issuer: str
    valid: bool
    whitelist: WhitelistText
    last_updated: Instant


class CdrToken(Wire):
    country_code: CiString | None = None
    party_id: CiString | None = None
    uid: CiString
    type: TokenTypeText
    contract_id: CiString


class CdrDimension(Wire):
    type: str
    volume: Number


class ChargingPeriod(Wire):
    start_date_time: Instant
    dimensions: list[CdrDimension]
    tariff_id: CiString | None = None


class Session(Wire):
    country_code: CiString
    party_id: CiString
    id: CiString
    start_date_time: Instant
    end_date_time: Instant | None = None
    kwh: Number
    cdr_token: CdrToken
    auth_method: str
    authorization_reference: CiString | None = None
    location_id: CiString
    evse_uid: CiString
    connector_id: CiString
    currency: str
    charging_periods: list[ChargingPeriod] | None = None
    total_cost: Price | None = None
    status: SessionStatusText
    last_updated: Instant


class CdrLocation(Wire):
    id: CiString
    evse_uid: CiString
    evse_id: CiString
    connector_id: CiString


class Cdr(Wire):
    country_code: CiString
    party_id: CiString
    id: CiString
    start_date_time: Instant
    end_date_time: Instant
    session_id: CiString | None = None
    cdr_token: CdrToken
    auth_method: str
    authorization_reference: CiString | None = None
    cdr_location: CdrLocation
    currency: str
    charging_periods: list[ChargingPeriod]
    total_cost: Price
    total_energy: Number
    total_time: Number
    total_parking_time: Number | None = None
    remark: str | None = None
    credit: bool | None = None
    credit_reference_id: CiString | None = None
    last_updated: Instant


# --- commands ---------------------------------------------------------------------------------------------


class CommandResponse(Wire):
    result: CommandResponseText
    timeout: int | None = None
    message: list[DisplayText] | DisplayText | None = None


class CommandResult(Wire):
    result: CommandResultText
    message: list[DisplayText] | DisplayText | None = None


def said(message: list[DisplayText] | DisplayText | None) -> str:
    """A partner's messages as one line for the audit, cut to 300 characters."""
    items = message if isinstance(message, list) else [message] if message else []
    return "; ".join(item.text for item in items)[:300]
