"""The demo's own small world: an invented city, its chargers, and the vans of one morning.

Same seed, same world. Each van stands near one connector that suits it best (`likely_charger_id`), so that a
fault put there is a fault that its stop will meet; there are more plugs than vans, so most stops work out.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace
from decimal import Decimal
from math import cos, pi, sin

from models.base import Message
from models.charger import Charger, Protocol, TariffTerms
from models.place import Place
from models.policy import Policy
from models.stop import StopRequest
from models.vehicle import ConnectorStandard, VehicleState
from simulators.charge_point.device_state import OcppVersion
from simulators.city import (
    CENTRE,
    DISTRICT_STEP_M,
    DISTRICT_VANS,
    EVSES_PER_LOCATION,
    FAST_KW,
    FAST_TARIFF,
    HOME_EVSES,
    OCPP_SITES,
    ROAMING_SITES,
    SLOW_KW,
    SLOW_TARIFF,
    STATION_RING_M,
    moved,
)
from simulators.roaming.config import PartyConfig, RoamingConfig
from simulators.twin import TwinConnector, TwinLocation, TwinPace, TwinStation, VehicleTwin

COUNTRY_CODE = "DE"
PARTY_ID = "TWN"
PARTY_NAME = "Twin Roaming"
POLICY_ID = "demo"
CITY = "Ahrenwerth"
_VERSIONS: tuple[OcppVersion, ...] = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")


class DemoVan(Message):
    """One van and what it wants this morning. `stranded`: too empty to reach any charger."""

    vehicle_id: str
    telematics_id: str | None = None
    token_uid: str
    place: Place
    destination: Place
    soc_percent: float
    battery_kwh: float
    dc_max_power_kw: float
    target_soc_percent: float
    likely_charger_id: str
    stranded: bool = False

    @property
    def business_key(self) -> str:
        return f"morning.{self.vehicle_id}"


@dataclass(frozen=True)
class _Home:
    """A connector with room for one van, and the direction in which that van stands."""

    charger_id: str
    place: Place
    bearing: float
    fast: bool


@dataclass(frozen=True)
class DemoWorld:
    """Everything the demo needs to know before it starts. `twin_stations` and `twin_locations` describe the
    plugs to the simulators, `all_chargers` the same plugs to Backstop."""

    seed: int
    twin_stations: tuple[TwinStation, ...]
    twin_locations: tuple[TwinLocation, ...]
    all_chargers: tuple[Charger, ...]
    vans: tuple[DemoVan, ...]

    def chargers(self) -> list[Charger]:
        """All connectors, as the store takes them. Those of the roaming partner are here for planning without
        its simulator: in the stack they come from the partner's own locations."""
        return list(self.all_chargers)

    def own_chargers(self) -> list[Charger]:
        """Only the connectors on our own OCPP stations."""
        return [charger for charger in self.all_chargers if charger.protocol is Protocol.OCPP]

    def stations(self) -> list[TwinStation]:
        return list(self.twin_stations)

    def locations(self) -> list[TwinLocation]:
        return list(self.twin_locations)

    def vehicles(self) -> list[DemoVan]:
        return list(self.vans)

    def charger(self, charger_id: str) -> Charger:
        """Raises KeyError for a charger that is not of this world."""
        for charger in self.all_chargers:
            if charger.charger_id == charger_id:
                return charger
        raise KeyError(charger_id)

    def pace(self) -> TwinPace:
        """30 kWh in about ten seconds."""
        return TwinPace(seed=self.seed, speed=170.0, meter_interval_s=1.5, connection_timeout_s=6.0)

    def policy(self) -> Policy:
        """The default policy with a clockwork that fits a morning of under two minutes."""
        return Policy(
            policy_id=POLICY_ID,
            max_detour_km=12.0,
            arrival_grace_s=25,
            command_timeout_s=5,
            route_wait_s=3,
            offline_patience_s=5,
            confirmation_s=8,
            uncertain_guard_s=9,
            stall_s=20,
            idle_grace_s=4,
            settlement_s=15,
            human_deadline_s=20,
        )

    def stop_requests(self) -> list[StopRequest]:
        """One per van, in the order in which the fleet asks for them."""
        return [
            StopRequest(
                business_key=van.business_key,
                vehicle=VehicleState(
                    vehicle_id=van.vehicle_id,
                    battery_usable_kwh=van.battery_kwh,
                    connectors=(ConnectorStandard.CCS_2,),
                    dc_max_power_kw=van.dc_max_power_kw,
                    ac_max_power_kw=11.0,
                    consumption_kwh_per_100_km=26.0,
                    soc_percent=van.soc_percent,
                    position=van.place,
                    telematics_id=van.telematics_id,
                ),
                target_soc_percent=van.target_soc_percent,
                destination=van.destination,
                token_uid=van.token_uid,
                policy_id=POLICY_ID,
            )
            for van in self.vans
        ]

    def vehicle_twins(self) -> dict[str, VehicleTwin]:
        """By telematics id, as the simulated vendor takes them."""
        return {
            van.telematics_id: VehicleTwin(
                vehicle_id=van.vehicle_id,
                soc_percent=van.soc_percent,
                battery_kwh=van.battery_kwh,
                is_plugged_in=False,
                is_charging=False,
                power_kw=0.0,
                place=van.place,
            )
            for van in self.vans
            if van.telematics_id is not None
        }

    # --- configuration files of the simulators ----------------------------------------------------------

    def config_charge_points(self) -> str:
        return _ChargePointsConfig(pace=self.pace(), stations=self.twin_stations).model_dump_json(indent=1)

    def config_roaming_partner(
        self, *, token_a: str = "", emsp_versions_url: str = "", emsp_token_a: str = ""
    ) -> str:
        """With `token_a` the partner waits to be registered with; with the other two it registers itself."""
        return RoamingConfig(
            pace=self.pace(),
            party=PartyConfig(country_code=COUNTRY_CODE, party_id=PARTY_ID, name=PARTY_NAME),
            token_a=token_a,
            emsp_versions_url=emsp_versions_url,
            emsp_token_a=emsp_token_a,
            locations=self.twin_locations,
        ).model_dump_json(indent=1)

    def config_telematics_vendor(
        self, *, client_id: str, client_secret: str, webhook_url: str, webhook_secret: str
    ) -> str:
        return _VendorConfig(
            pace=self.pace(),
            client_id=client_id,
            client_secret=client_secret,
            webhook_url=webhook_url,
            webhook_secret=webhook_secret,
            vehicles=self.vehicle_twins(),
        ).model_dump_json(indent=1)

    def in_order(self, vehicle_ids: list[str]) -> DemoWorld:
        """The same world with its vans asking in this order."""
        by_id = {van.vehicle_id: van for van in self.vans}
        return replace(self, vans=tuple(by_id[vehicle_id] for vehicle_id in vehicle_ids))


class _ChargePointsConfig(Message):
    pace: TwinPace
    stations: tuple[TwinStation, ...]


class _VendorConfig(Message):
    pace: TwinPace
    client_id: str
    client_secret: str
    webhook_url: str
    webhook_secret: str
    vehicles: dict[str, VehicleTwin]
    faults: tuple[str, ...] = ()


def demo_world(seed: int, stops: int = 40) -> DemoWorld:
    """A city for so many vans; beyond 40 it grows by districts. From 10 vans on, the last one is stranded."""
    builder = _Builder(seed)
    districts = max(1, -(-stops // DISTRICT_VANS))
    for number in range(districts):
        builder.add_district(number)
    return builder.finish(stops)


class _Builder:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = random.Random(seed)
        self._stations: list[TwinStation] = []
        self._locations: list[TwinLocation] = []
        self._chargers: list[Charger] = []
        self._homes: list[_Home] = []

    def add_district(self, number: int) -> None:
        centre = moved(CENTRE, (number % 4) * DISTRICT_STEP_M, (number // 4) * DISTRICT_STEP_M)
        suffix = "" if number == 0 else f"-{number + 1}"
        station_number = 0
        for site_number, (_, operator, east_km, north_km, count) in enumerate(OCPP_SITES):
            site_id = f"{'depot' if site_number == 0 else f'hub-{site_number}'}{suffix}"
            site = moved(centre, east_km * 1000, north_km * 1000)
            for index in range(count):
                station_number += 1
                # All three at each site, so that every dialect meets every fault.
                version = _VERSIONS[index % len(_VERSIONS)]
                bearing = 2 * pi * index / count + site_number
                station_id = f"AW{number + 1}-CP{station_number:02}"
                # The last two stations have one van each: a station that goes offline takes one stop along.
                alone = site_number == len(OCPP_SITES) - 1 and index >= count - 2
                self._add_station(station_id, site_id, operator, site, bearing, version, alone)
        for site_number, (name, east_km, north_km, price) in enumerate(ROAMING_SITES):
            place = moved(centre, east_km * 1000, north_km * 1000)
            label = f"LOC{number + 1}{site_number + 1:02}"
            self._add_location(label, f"{name}{suffix}", place, Decimal(price), site_number)

    def _add_station(
        self,
        station_id: str,
        site_id: str,
        operator: str,
        site: Place,
        bearing: float,
        version: OcppVersion,
        alone: bool,
    ) -> None:
        place = moved(site, sin(bearing) * STATION_RING_M, cos(bearing) * STATION_RING_M)
        connectors: list[TwinConnector] = []
        for number, (power_kw, tariff) in enumerate(
            ((FAST_KW, FAST_TARIFF), (SLOW_KW, SLOW_TARIFF)), start=1
        ):
            charger_id = f"{station_id}:{number}"
            evse_uid = "" if version == "ocpp1.6" else str(number)
            connectors.append(
                TwinConnector(charger_id=charger_id, number=number, evse_uid=evse_uid, power_kw=power_kw)
            )
            self._chargers.append(
                Charger(
                    charger_id=charger_id,
                    site_id=site_id,
                    operator=operator,
                    network=operator,
                    region="DE-NW",
                    place=place,
                    protocol=Protocol.OCPP,
                    station_id=station_id,
                    evse_uid=evse_uid,
                    connector_number=number,
                    standard=ConnectorStandard.CCS_2,
                    power_kw=power_kw,
                    tariff=tariff,
                    open_always=True,
                )
            )
            if not (alone and number == 2):
                self._homes.append(_Home(charger_id, place, bearing, fast=power_kw == FAST_KW))
        digest = hashlib.sha256(f"{self._seed}:{station_id}".encode()).hexdigest()
        self._stations.append(
            TwinStation(
                station_id=station_id,
                password=digest[:24],
                ocpp_version=version,
                connectors=tuple(connectors),
            )
        )

    def _add_location(self, label: str, name: str, place: Place, price: Decimal, number: int) -> None:
        tariff = TariffTerms(energy_per_kwh=price)
        connectors: list[TwinConnector] = []
        for index in range(EVSES_PER_LOCATION):
            evse_uid = f"{label}E{index + 1}"
            # The first is slow: of equals, the planner takes the first, and slow vans see them as equals.
            power_kw = SLOW_KW if index == 0 else FAST_KW
            charger_id = f"{COUNTRY_CODE}*{PARTY_ID}*{evse_uid}*1"
            connectors.append(
                TwinConnector(charger_id=charger_id, number=1, evse_uid=evse_uid, power_kw=power_kw)
            )
            self._chargers.append(
                Charger(
                    charger_id=charger_id,
                    site_id=f"{COUNTRY_CODE}*{PARTY_ID}*{label}",
                    operator=PARTY_NAME,
                    network=PARTY_NAME,
                    region="DE-NW",
                    place=place,
                    protocol=Protocol.OCPI,
                    station_id=label,
                    evse_uid=evse_uid,
                    connector_number=1,
                    standard=ConnectorStandard.CCS_2,
                    power_kw=power_kw,
                    tariff=tariff,
                    open_always=True,
                )
            )
            if index < HOME_EVSES:
                bearing = number * 0.8 + index * 2.1
                self._homes.append(_Home(charger_id, place, bearing, fast=power_kw == FAST_KW))
        self._locations.append(
            TwinLocation(
                location_id=label,
                name=name,
                city=CITY,
                place=place,
                connectors=tuple(connectors),
                tariff=tariff,
            )
        )

    def finish(self, stops: int) -> DemoWorld:
        homes = list(self._homes)
        self._random.shuffle(homes)
        vans = [
            self._van(number, home, stranded=stops >= 10 and number == stops)
            for number, home in enumerate(homes[:stops], start=1)
        ]
        return DemoWorld(
            seed=self._seed,
            twin_stations=tuple(self._stations),
            twin_locations=tuple(self._locations),
            all_chargers=tuple(self._chargers),
            vans=tuple(vans),
        )

    def _van(self, number: int, home: _Home, *, stranded: bool) -> DemoVan:
        rng = self._random
        away_m, onward_m = rng.uniform(260, 380), rng.uniform(400, 900)
        if stranded:
            away_m = 9_000.0
        east, north = sin(home.bearing), cos(home.bearing)
        place = moved(home.place, east * away_m, north * away_m)
        battery_kwh = rng.choice((55.0, 60.0, 68.0))
        soc = rng.uniform(26, 40) if home.fast else rng.uniform(38, 48)
        return DemoVan(
            vehicle_id=f"van-{number:03}",
            telematics_id=f"tele-{number:03}" if number % 2 else None,
            token_uid=f"FLEET{number:03}",
            place=place,
            destination=moved(place, east * onward_m, north * onward_m),
            soc_percent=8.2 if stranded else round(soc, 1),
            battery_kwh=battery_kwh,
            dc_max_power_kw=110.0 if home.fast else 50.0,
            target_soc_percent=80.0,
            likely_charger_id=home.charger_id,
            stranded=stranded,
        )
