"""Files in, chargers and vehicle models out; everything is kept or set aside with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from connectors.register.chargers import read_chargers
from connectors.register.reading import RejectionReason, UnknownFormat
from connectors.register.vehicles import read_vehicle_models
from models.charger import Protocol
from models.ids import TenantId
from models.vehicle import ConnectorStandard
from store.database import Store
from workers.import_command import import_chargers, import_vehicles


def station(**changes: Any) -> dict[str, Any]:
    return {
        "station": 77,
        "operator": "Stadtwerke Musterstadt",
        "city": "Musterstadt",
        "postal_code": "40213",
        "lat": 51.2,
        "lon": 6.8,
        "opening": "247",
        "status": "In Betrieb",
        "evses": [
            [["DC Fahrzeugkupplung Typ Combo 2 (CCS)", 150], ["AC Typ 2 Steckdose", 150]],
            [["AC Typ 2 Steckdose", 22], ["AC Schuko", 22], ["Etwas anderes", 3]],
        ],
        **changes,
    }


def vehicle(**changes: Any) -> dict[str, Any]:
    return {
        "id": "v-1",
        "brand": "Brand",
        "model": "Van",
        "variant": "L2",
        "release_year": 2022,
        "usable_battery_size": 60.0,
        "ac_charger": {"ports": ["type2"], "max_power": 11.0},
        "dc_charger": {
            "ports": ["ccs"],
            "max_power": 100.0,
            "charging_curve": [{"percentage": 0, "power": 90}, {"percentage": 100, "power": 10}],
        },
        "energy_consumption": {"average_consumption": 27.0},
        **changes,
    }


def as_bytes(*records: Any) -> bytes:
    return json.dumps(records).encode()


def test_a_station_is_taken_plug_by_plug() -> None:
    result = read_chargers(as_bytes(station()))
    assert [(c.charger_id, c.standard, c.power_kw) for c in result.kept] == [
        ("reg-77-1-1", ConnectorStandard.CCS_2, 150),
        ("reg-77-2-1", ConnectorStandard.TYPE_2, 22),
        ("reg-77-2-2", ConnectorStandard.SCHUKO, 3.7),
    ]
    assert [r.reason for r in result.rejected] == [
        RejectionReason.IMPLAUSIBLE_POWER,
        RejectionReason.UNKNOWN_PLUG,
    ]
    assert result.read == 5
    first = result.kept[0]
    assert (first.protocol, first.open_always, first.site_id) == (Protocol.NONE, True, "reg-77")


def test_what_cannot_be_is_set_aside_and_the_rest_goes_on() -> None:
    result = read_chargers(
        as_bytes(
            station(station=1, lat=0, lon=0),
            station(station=2, lat="north"),
            station(station=3, evses=[]),
            "no station at all",
            station(station=4, evses=[[["AC Typ 2 Steckdose", 0]]]),
            station(station=5, status="Außer Betrieb", evses=[[["AC Typ 2 Steckdose", 11]]]),
            station(station=5, evses=[[["AC Typ 2 Steckdose", 11]]]),
        )
    )
    assert [r.reason for r in result.rejected] == [
        RejectionReason.IMPOSSIBLE_PLACE,
        RejectionReason.UNREADABLE,
        RejectionReason.NO_PLUGS,
        RejectionReason.UNREADABLE,
        RejectionReason.IMPLAUSIBLE_POWER,
        RejectionReason.DUPLICATE,
    ]
    assert [(c.charger_id, c.plannable) for c in result.kept] == [("reg-5-1-1", False)]


def test_our_own_forms_are_read_too() -> None:
    own = read_chargers(as_bytes(station()))
    again = read_chargers(as_bytes(*(c.model_dump(mode="json") for c in own.kept)))
    assert again.kept == own.kept
    header = "charger_id,site_id,operator,network,latitude,longitude,protocol,standard,power_kw\n"
    table = header + "c-1,s-1,Op,Net,51.1,6.9,ocpp,IEC_62196_T2,22\nc-2,s-1,Op,Net,,,ocpp,IEC_62196_T2,22\n"
    result = read_chargers(table.encode())
    assert [c.charger_id for c in result.kept] == ["c-1"]
    assert [r.reason for r in result.rejected] == [RejectionReason.UNREADABLE]


@pytest.mark.parametrize("raw", [b"{broken", b'{"a": 1}', b"plain words", b"\xff\xfe\x00"])
def test_a_file_that_is_nothing_we_know_is_told_so(raw: bytes) -> None:
    with pytest.raises(UnknownFormat):
        read_chargers(raw)


def test_vehicle_models_keep_their_curve() -> None:
    broken_curve = vehicle(id="v-2")
    broken_curve["dc_charger"]["charging_curve"].reverse()
    content = {
        "data": [
            vehicle(),
            broken_curve,
            vehicle(id="v-3", usable_battery_size=None),
            vehicle(id="v-4", ac_charger=None, dc_charger=None),
            vehicle(id="v-5", ac_charger={"ports": ["type9"]}),
            vehicle(),
        ]
    }
    result = read_vehicle_models(json.dumps(content).encode())
    (model,) = result.kept
    assert (model.name, model.consumption_kwh_per_100_km) == ("Brand Van L2 (2022)", 27.0)
    assert [point.power_kw for point in model.dc_curve] == [90, 10]
    assert [r.reason for r in result.rejected] == [
        RejectionReason.IMPOSSIBLE_CURVE,
        RejectionReason.NO_BATTERY,
        RejectionReason.NO_PLUGS,
        RejectionReason.UNKNOWN_PLUG,
        RejectionReason.DUPLICATE,
    ]


@pytest.mark.asyncio
async def test_an_import_is_accounted_for_and_repeatable(store: Store, unique: Callable[[str], str]) -> None:
    tenant = TenantId(unique("imports"))
    async with store.platform() as unit:
        await unit.ensure_tenant(tenant)
    for _ in range(2):
        report = await import_chargers(store, tenant, as_bytes(station()), "import:test")
        assert (report.read, report.kept) == (5, 3)
        assert report.quarantined == {"implausible_power": 1, "unknown_plug": 1}
        models = await import_vehicles(
            store, tenant, as_bytes(vehicle(), vehicle(id="x", brand=None)), "import:v"
        )
        assert (models.kept, models.quarantined) == (1, {"unreadable_record": 1})
    async with store.tenant(tenant) as unit:
        assert len(await unit.chargers.list(50)) == 3
        assert sum((await unit.quarantine.counts()).values()) == 3
        assert (await unit.vehicles.model("v-1")) is not None
