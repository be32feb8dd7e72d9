"""What the simulated drivers are told before they set off: a plan each, and the way to all they meet."""

from __future__ import annotations

import random

from pydantic import Field

from models.base import Message
from models.place import Place
from simulators.fault_plan import DriverTrouble, FaultPlan
from simulators.twin import TwinPace
from simulators.world import DemoWorld


class DriverPlan(Message):
    """One driver. `drive_s`: the first drive, compressed to real seconds; a no-show never sets off."""

    stop_id: str
    vehicle_id: str
    telematics_id: str | None = None
    token_uid: str = ""
    place: Place
    soc_percent: float
    battery_kwh: float
    max_power_kw: float
    target_soc_percent: float
    drive_s: float
    trouble: DriverTrouble | None = None


class DriversConfig(Message):
    """Configuration file (JSON). `control_urls`: charger id to the base URL of the twin that has it;
    `telematics_url`: of the simulated vendor, if there is one. `haste`: divides every wait of the drivers.
    The file holds a key: keep it private."""

    api_url: str
    api_key: str
    pace: TwinPace = TwinPace()
    control_urls: dict[str, str]
    telematics_url: str | None = None
    drivers: tuple[DriverPlan, ...]
    fleet: int = Field(
        default=0,
        ge=0,
        description="Stops of all, other processes' drivers included; 0: there are no others.",
    )
    haste: float = Field(default=1.0, gt=0)


def drivers_config(
    world: DemoWorld,
    faults: FaultPlan,
    *,
    api_url: str,
    api_key: str,
    charge_points_url: str,
    roaming_url: str,
    telematics_url: str | None,
    stop_ids: dict[str, str],
) -> DriversConfig:
    """The drivers of a demo world. `stop_ids`: by business key. Where only some are sent out, the others are
    taken out of `drivers`; `fleet` stays."""
    rng = random.Random(world.seed)
    own = {charger.charger_id for charger in world.own_chargers()}
    return DriversConfig(
        api_url=api_url,
        api_key=api_key,
        pace=world.pace(),
        control_urls={
            charger.charger_id: charge_points_url if charger.charger_id in own else roaming_url
            for charger in world.chargers()
        },
        telematics_url=telematics_url,
        drivers=tuple(
            DriverPlan(
                stop_id=stop_ids[van.business_key],
                vehicle_id=van.vehicle_id,
                telematics_id=van.telematics_id,
                token_uid=van.token_uid,
                place=van.place,
                soc_percent=van.soc_percent,
                battery_kwh=van.battery_kwh,
                max_power_kw=van.dc_max_power_kw,
                target_soc_percent=van.target_soc_percent,
                drive_s=round(rng.uniform(2.0, 6.0), 1),
                trouble=faults.drivers.get(van.vehicle_id),
            )
            for van in world.vans
        ),
        fleet=len(world.vans),
    )
