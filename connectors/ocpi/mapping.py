"""From OCPI locations and tariffs to chargers."""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal
from typing import Final

from connectors.ocpi.enums import EvseStatus, TariffDimension
from connectors.ocpi.objects import Connector, Evse, GeoLocation, Location, Tariff
from connectors.ocpi.ports import ChargerAddress, PartnerLink
from models.base import FIRST_INSTANT
from models.charger import Charger, ConnectorStatus, Protocol, TariffTerms
from models.place import Place
from models.vehicle import ConnectorStandard

_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9*._:~-]")
_ID_LENGTH: Final = 64
_REMOTE_START: Final = "REMOTE_START_STOP_CAPABLE"

_STATUS: Final = {
    EvseStatus.AVAILABLE: ConnectorStatus.AVAILABLE,
    EvseStatus.CHARGING: ConnectorStatus.OCCUPIED,
    EvseStatus.BLOCKED: ConnectorStatus.OCCUPIED,
    EvseStatus.RESERVED: ConnectorStatus.RESERVED,
    EvseStatus.INOPERATIVE: ConnectorStatus.FAULTED,
    EvseStatus.OUTOFORDER: ConnectorStatus.FAULTED,
}
_OUT_OF_PLAN: Final = (EvseStatus.REMOVED, EvseStatus.PLANNED)


class Unmappable(ValueError):
    """A location or EVSE that is well formed and yet no charger of ours, with the reason."""


def _safe_id(text: str) -> str:
    clean = _NOT_IN_IDS.sub("-", text)
    if clean == text and len(text) <= _ID_LENGTH:
        return text
    # Two ids that read alike after cleaning or cutting must not become one charger.
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{clean[: _ID_LENGTH - 9]}~{mark}"


def charger_id_for(country_code: str, party_id: str, evse_uid: str, connector_id: str) -> str:
    """Our charger id of a partner's connector: `<country>*<party>*<evse uid>*<connector id>`, country and
    party in upper case ("DE*RBX*E1001*1"). Where that is longer than 64 characters or has characters that
    ids must not have, it is cleaned, cut, and ends in `~` and eight hex digits of its hash."""
    return _safe_id(f"{country_code.upper()}*{party_id.upper()}*{evse_uid}*{connector_id}")


def site_id_for(country_code: str, party_id: str, location_id: str) -> str:
    """Our site id of a partner's location: `<country>*<party>*<location id>`, as with chargers."""
    return _safe_id(f"{country_code.upper()}*{party_id.upper()}*{location_id}")


def status_of(status: str) -> ConnectorStatus:
    """Our status of an EVSE status; what we do not know is `unknown`."""
    return (
        _STATUS.get(EvseStatus(status), ConnectorStatus.UNKNOWN)
        if status in set(EvseStatus)
        else (ConnectorStatus.UNKNOWN)
    )


def terms_of(tariff: Tariff) -> TariffTerms | None:
    """The tariff as planning's simple terms, or None when it has more to it (restrictions, price levels,
    charging time, minimum or maximum): a wrong price is worse than none."""
    if tariff.min_price is not None or tariff.max_price is not None:
        return None
    prices: dict[str, Decimal] = {}
    for element in tariff.elements:
        if element.restrictions and any(value is not None for value in element.restrictions.values()):
            return None
        for component in element.price_components:
            # The first element with a dimension prices it; a later one can never apply.
            prices.setdefault(str(component.type), component.price)
    if not set(prices) <= {TariffDimension.ENERGY, TariffDimension.FLAT, TariffDimension.PARKING_TIME}:
        return None
    zero = Decimal(0)
    return TariffTerms(
        currency=tariff.currency,
        energy_per_kwh=prices.get(TariffDimension.ENERGY, zero),
        session_fee=prices.get(TariffDimension.FLAT, zero),
        occupation_per_hour=prices.get(TariffDimension.PARKING_TIME, zero),
    )


def _power_kw(connector: Connector) -> float:
    if connector.max_electric_power:
        return float(connector.max_electric_power) / 1000
    phases = {"AC_3_PHASE": 3, "AC_2_PHASE": 2, "AC_2_PHASE_SPLIT": 2}.get(connector.power_type, 1)
    voltage = float(connector.max_voltage)
    # Some feeds give the line-to-line voltage of three-phase connectors: that counts sqrt(3) times, not 3.
    factor = 3**0.5 if phases == 3 and voltage > 300 else phases
    return voltage * float(connector.max_amperage) * factor / 1000


def _standard(connector: Connector) -> ConnectorStandard:
    known = connector.standard in set(ConnectorStandard)
    return ConnectorStandard(connector.standard) if known else ConnectorStandard.OTHER


def _place(coordinates: GeoLocation) -> Place:
    return Place(latitude=float(coordinates.latitude), longitude=float(coordinates.longitude))


def chargers_of(
    link: PartnerLink, location: Location, terms: dict[str, TariffTerms | None], *, vanished: bool = False
) -> list[tuple[Charger, ChargerAddress]]:
    """One charger per connector, with the partner's own address. `terms`: by tariff id. `vanished`: the
    partner no longer lists the location. Raises Unmappable."""
    try:
        place = _place(location.coordinates)
    except ValueError as error:
        raise Unmappable("coordinates are unusable") from error
    found: list[tuple[Charger, ChargerAddress]] = []
    for evse in location.evses or []:
        for index, connector in enumerate(evse.connectors):
            try:
                charger = _charger(link, location, evse, connector, index, place, terms, vanished)
            except ValueError as error:
                raise Unmappable(f"connector {index + 1} of an EVSE is unusable") from error
            address = ChargerAddress(
                partner_id=link.partner_id,
                country_code=location.country_code,
                party_id=location.party_id,
                location_id=location.id,
                evse_uid=evse.uid,
                connector_id=connector.id,
            )
            found.append((charger, address))
    return found


def _charger(
    link: PartnerLink,
    location: Location,
    evse: Evse,
    connector: Connector,
    index: int,
    place: Place,
    terms: dict[str, TariffTerms | None],
    vanished: bool,
) -> Charger:
    tariff = next((terms[key] for key in connector.tariff_ids or [] if key in terms), None)
    remote = evse.capabilities is None or _REMOTE_START in evse.capabilities
    # Short digits only: int() of a long id would be no connector number, and slow.
    number = int(connector.id) if re.fullmatch(r"[0-9]{1,6}", connector.id) else index + 1
    is_dated = evse.last_updated.at >= FIRST_INSTANT
    always = location.opening_times.twentyfourseven if location.opening_times else None
    return Charger(
        charger_id=charger_id_for(location.country_code, location.party_id, evse.uid, connector.id),
        site_id=site_id_for(location.country_code, location.party_id, location.id),
        operator=location.operator.name if location.operator else link.name,
        network=link.name or f"{location.country_code}*{location.party_id}",
        region=location.state or location.country,
        place=place if evse.coordinates is None else _place(evse.coordinates),
        protocol=Protocol.OCPI if remote else Protocol.NONE,
        station_id=location.id,
        evse_uid=evse.uid,
        connector_number=number,
        standard=_standard(connector),
        power_kw=_power_kw(connector),
        tariff=tariff,
        status=status_of(evse.status),
        # Some feeds leave the EVSE's own time at its default.
        status_at=evse.last_updated.at if is_dated else location.last_updated.at,
        open_always=always,
        plannable=not vanished and evse.status not in _OUT_OF_PLAN,
    )
