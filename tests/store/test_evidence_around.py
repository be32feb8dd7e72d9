"""What a stop finds when it turns to a charger: earlier plugs, faults not healed, its vehicle's last word."""

from __future__ import annotations

import uuid
from datetime import datetime

import pytest
import pytest_asyncio

from models.activity_messages import LookAround
from models.charger import ConnectorStatus
from models.evidence import EvidenceKind, EvidenceSource
from models.ids import TenantId
from store.database import Store
from store.evidence_rows import Heard
from tests.store.store_samples import NOW, after, attempt, charger, evidence, intent

pytestmark = pytest.mark.asyncio(loop_scope="session")

PLUGGED, FREED, FAULTED, OFFLINE = (
    EvidenceKind.PLUGGED_IN,
    EvidenceKind.CONNECTOR_AVAILABLE,
    EvidenceKind.CONNECTOR_FAULTED,
    EvidenceKind.STATION_OFFLINE,
)


class Place:
    def __init__(self, store: Store, tenant: TenantId) -> None:
        self.store, self.tenant = store, tenant

    async def built(self) -> Place:
        await self.state()
        return self

    async def state(
        self, status: ConnectorStatus = ConnectorStatus.UNKNOWN, at: datetime | None = None
    ) -> None:
        states: dict[str, object] = {"status": status, "status_at": at}
        async with self.store.tenant(self.tenant) as unit:
            await unit.chargers.upsert(
                [
                    charger("ch-1", **states),
                    charger("ch-2", connector_number=2, **states),
                    charger("ch-9", site_id="site-9", station_id="st-9", **states),
                ]
            )

    async def hears(
        self,
        second: float,
        kind: EvidenceKind,
        charger_id: str | None = "ch-1",
        car: str | None = None,
        **fields: float,
    ) -> None:
        item = evidence(
            f"{charger_id or car}:{kind}:{second}",
            kind=kind,
            charger_id=charger_id,
            source=EvidenceSource.TELEMATICS if car else EvidenceSource.OCPP,
            observed_at=after(second),
            **fields,
        )
        async with self.store.tenant(self.tenant) as unit:
            await unit.evidence.take([Heard(item, None, car)])

    async def around(
        self, since: datetime = NOW, stop_id: str = "stop-1", car: str | None = "car-1"
    ) -> list[str]:
        asked = LookAround(
            tenant_id=self.tenant,
            stop_id=stop_id,
            charger_id="ch-1",
            site_id="site-1",
            telematics_id=car,
            since=since,
        )
        async with self.store.tenant(self.tenant) as unit:
            return [item.event_id for item in await unit.evidence.around(asked)]


@pytest_asyncio.fixture(loop_scope="session")
async def place(store: Store, tenant: TenantId) -> Place:
    return await Place(store, tenant).built()


async def test_a_plug_from_before_the_plan_is_found(place: Place) -> None:
    assert await place.around() == []
    await place.hears(60, PLUGGED)
    await place.hears(30, PLUGGED)
    await place.hears(40, PLUGGED, "ch-2")
    await place.hears(50, PLUGGED, "ch-9")
    assert await place.around() == ["ch-2:plugged_in:40", "ch-1:plugged_in:60"]
    assert await place.around(since=after(50)) == ["ch-1:plugged_in:60"]


async def test_a_plug_that_was_pulled_is_not(place: Place) -> None:
    await place.hears(60, PLUGGED)
    await place.hears(90, FREED)
    assert await place.around() == []
    await place.hears(120, PLUGGED)
    assert await place.around() == ["ch-1:plugged_in:120"]
    await place.state(ConnectorStatus.OCCUPIED, after(130))
    assert await place.around() == ["ch-1:plugged_in:120"]
    await place.state(ConnectorStatus.AVAILABLE, after(140))  # what planning reads may be newer
    assert await place.around() == []


async def test_a_plug_where_another_stop_of_ours_charges_is_not(place: Place) -> None:
    await place.hears(60, PLUGGED)
    await place.hears(61, PLUGGED, "ch-2")
    async with place.store.tenant(place.tenant) as unit:
        other = attempt("stop-other", charger_id="ch-2")
        await unit.attempts.open(intent(other, "stop-other", vehicle_id=f"van-{uuid.uuid4().hex[:6]}"))
    assert await place.around() == ["ch-1:plugged_in:60"]
    assert await place.around(stop_id="stop-other") == ["ch-1:plugged_in:60", "ch-2:plugged_in:61"]


async def test_faults_that_are_not_healed_are_found_at_the_charger_alone(place: Place) -> None:
    await place.hears(10, OFFLINE)
    await place.hears(20, FAULTED)
    await place.hears(21, FAULTED, "ch-2")
    assert await place.around() == ["ch-1:station_offline:10", "ch-1:connector_faulted:20"]
    await place.hears(30, EvidenceKind.STATION_ONLINE)
    assert await place.around() == ["ch-1:connector_faulted:20"]
    await place.state(ConnectorStatus.FAULTED, after(35))
    assert await place.around() == ["ch-1:connector_faulted:20"]
    await place.state(ConnectorStatus.AVAILABLE, after(40))
    assert await place.around() == []


async def test_the_vehicles_last_words_are_found(place: Place) -> None:
    await place.hears(10, EvidenceKind.ARRIVED, "ch-2", "car-1")
    await place.hears(20, PLUGGED, None, "car-1")
    await place.hears(25, EvidenceKind.ENERGY_FLOWING, None, "car-1")
    await place.hears(26, PLUGGED, None, "car-2")
    expected = ["ch-2:arrived:10", "car-1:plugged_in:20", "car-1:energy_flowing:25"]
    assert await place.around() == expected
    assert await place.around(car=None) == []
    await place.hears(30, EvidenceKind.UNPLUGGED, None, "car-1")
    assert await place.around() == ["car-1:unplugged:30"]  # that visit is over
    await place.hears(40, PLUGGED, None, "car-1")
    await place.hears(41, EvidenceKind.ARRIVED, "ch-9", "car-1")  # it has gone elsewhere since
    assert await place.around() == ["car-1:plugged_in:40"]


async def test_an_arrival_that_the_vehicle_has_driven_away_from_is_none(place: Place) -> None:
    await place.hears(10, EvidenceKind.ARRIVED, "ch-1", "car-1")
    await place.hears(20, EvidenceKind.VEHICLE_PROGRESS, "ch-1", "car-1", distance_km=0.2)
    await place.hears(30, EvidenceKind.VEHICLE_PROGRESS, "ch-9", "car-1", distance_km=40.0)
    assert await place.around() == ["ch-1:arrived:10"]  # near, and far from another
    await place.hears(40, EvidenceKind.VEHICLE_PROGRESS, None, "car-1", distance_km=30.0)
    assert await place.around() == []


async def test_another_tenant_sees_nothing_of_it(place: Place, store: Store) -> None:
    await place.hears(60, PLUGGED)
    await place.hears(61, PLUGGED, None, "car-1")
    other = await Place(store, TenantId(f"{place.tenant}-b")).built()
    assert await other.around() == []
