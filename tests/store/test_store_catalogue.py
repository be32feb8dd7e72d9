"""Chargers, vehicle models and policies."""

from __future__ import annotations

import pytest

from models.charger import Charger, ConnectorStatus
from models.ids import TenantId
from models.place import Place
from models.policy import Policy
from models.vehicle import ConnectorStandard, VehicleModel
from store.database import Store
from store.errors import PolicyConflict
from tests.store.store_samples import HOME, after, charger

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_chargers_are_written_and_read_back(store: Store, tenant: TenantId) -> None:
    one = charger("ch-1", evse_uid="E1", status_at=after(0))
    two = charger("ch-2", evse_uid="E2")
    async with store.tenant(tenant) as unit:
        assert await unit.chargers.upsert([two, one, one]) == 2
        assert await unit.chargers.upsert([]) == 0
        assert await unit.chargers.get("ch-1") == one
        assert await unit.chargers.get("ch-9") is None
        assert await unit.chargers.by_station("st-1") == [one, two]
        assert await unit.chargers.list(1) == [one]
        assert await unit.chargers.list(9, after="ch-1") == [two]


async def test_many_chargers_in_one_go(store: Store, tenant: TenantId) -> None:
    many = [charger(f"ch-{number:04}", status_at=after(0)) for number in range(1200)]
    async with store.tenant(tenant) as unit:
        assert await unit.chargers.upsert(many) == 1200
        assert len(await unit.chargers.list(2000)) == 1200


async def status_of(store: Store, tenant: TenantId) -> tuple[ConnectorStatus, object]:
    async with store.tenant(tenant) as unit:
        found = await unit.chargers.get("ch-1")
    assert found is not None
    return found.status, found.status_at


async def test_an_older_status_is_ignored(store: Store, tenant: TenantId) -> None:
    async with store.tenant(tenant) as unit:
        await unit.chargers.upsert([charger()])
        await unit.chargers.set_status("ch-1", ConnectorStatus.OCCUPIED, after(60))
        await unit.chargers.set_status("ch-1", ConnectorStatus.AVAILABLE, after(30))
    assert await status_of(store, tenant) == (ConnectorStatus.OCCUPIED, after(60))
    async with store.tenant(tenant) as unit:
        await unit.chargers.set_status("ch-1", ConnectorStatus.FAULTED, after(61))
    assert await status_of(store, tenant) == (ConnectorStatus.FAULTED, after(61))


async def test_a_catalogue_brings_a_newer_status_and_never_an_older_one(
    store: Store, tenant: TenantId
) -> None:
    async with store.tenant(tenant) as unit:
        await unit.chargers.upsert([charger()])
        await unit.chargers.set_status("ch-1", ConnectorStatus.OCCUPIED, after(60))
        await unit.chargers.count_start("ch-1", True)
        await unit.chargers.upsert([charger(operator="Renamed")])
        await unit.chargers.upsert([charger(status=ConnectorStatus.FAULTED, status_at=after(30))])
    assert await status_of(store, tenant) == (ConnectorStatus.OCCUPIED, after(60))
    async with store.tenant(tenant) as unit:
        await unit.chargers.upsert([charger(status=ConnectorStatus.FAULTED, status_at=after(90))])
        found = await unit.chargers.get("ch-1")
    assert found is not None
    assert (found.status, found.status_at) == (ConnectorStatus.FAULTED, after(90))
    assert found.start_successes == 1  # what we counted is ours: a catalogue does not reset it


async def test_starts_are_counted(store: Store, tenant: TenantId) -> None:
    async with store.tenant(tenant) as unit:
        await unit.chargers.upsert([charger()])
        for success in (True, True, False):
            await unit.chargers.count_start("ch-1", success)
        found = await unit.chargers.get("ch-1")
    assert found is not None
    assert (found.start_successes, found.start_failures) == (2, 1)


async def test_nearby_is_by_distance_then_id(store: Store, tenant: TenantId) -> None:
    async with store.tenant(tenant) as unit:
        far, near = charger("ch-a", 4.0), charger("ch-z", 1.0)
        same, beyond = charger("ch-b", 4.0), charger("ch-c", 5.5)
        # In the corner of the bounding box, outside the circle.
        corner = charger("ch-d").model_copy(
            update={"place": Place(latitude=HOME.latitude + 0.042, longitude=HOME.longitude + 0.066)}
        )
        await unit.chargers.upsert([far, near, same, beyond, corner])

        async def found(limit: int) -> list[str]:
            return [each.charger_id for each in await unit.chargers.nearby(HOME, 5.0, limit)]

        assert await found(9) == ["ch-z", "ch-a", "ch-b"]
        assert await found(2) == ["ch-z", "ch-a"]


@pytest.mark.parametrize("from_east", [True, False])
async def test_nearby_looks_across_the_date_line(store: Store, tenant: TenantId, from_east: bool) -> None:
    def at(name: str, longitude: float) -> Charger:
        place = Place(latitude=-16.8, longitude=longitude)
        return charger(name).model_copy(update={"place": place})

    async with store.tenant(tenant) as unit:
        await unit.chargers.upsert([at("west", 179.99), at("east", -179.99)])
        here = Place(latitude=-16.8, longitude=-179.995 if from_east else 179.995)
        assert {each.charger_id for each in await unit.chargers.nearby(here, 5.0, 9)} == {"east", "west"}


async def test_vehicle_models(store: Store, tenant: TenantId) -> None:
    van = VehicleModel(
        model_id="m1", name="Van", battery_usable_kwh=60, connectors=(ConnectorStandard.CCS_2,)
    )
    better = van.model_copy(update={"battery_usable_kwh": 75.0})
    async with store.tenant(tenant) as unit:
        assert await unit.vehicles.upsert_models([van]) == 1
        assert await unit.vehicles.model("m1") == van
        await unit.vehicles.upsert_models([better])
        assert await unit.vehicles.model("m1") == better
        assert await unit.vehicles.model("m9") is None


async def test_the_newest_revision_is_active_and_the_default_always_there(
    store: Store, tenant: TenantId
) -> None:
    first = Policy(policy_id="night", max_attempts=2)
    second = first.model_copy(update={"revision": 2, "max_attempts": 3})
    async with store.tenant(tenant) as unit:
        assert await unit.policies.active(None) == Policy()
        await unit.policies.put(second)
        await unit.policies.put(first)
        await unit.policies.put(first)  # the same again is no conflict
        assert await unit.policies.active("night") == second
        assert await unit.policies.active(None) == Policy()


async def test_a_revision_is_never_changed(store: Store, tenant: TenantId) -> None:
    async with store.tenant(tenant) as unit:
        await unit.policies.put(Policy(max_attempts=2))
        with pytest.raises(PolicyConflict):
            await unit.policies.put(Policy(max_attempts=3))
        assert (await unit.policies.active(None)).max_attempts == 2
