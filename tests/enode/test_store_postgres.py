"""The connector's log on real PostgreSQL: one transaction per delivery, locks between writers, tenants apart,
and a replay from the raw log."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from connectors.enode.connections import ConfiguredConnections
from connectors.enode.fold import Signal
from connectors.enode.ingest import Ingest
from connectors.enode.ports import ActionNote, EnodeConnection
from connectors.enode.signature import sign
from connectors.enode.webhook import build_webhook
from models.ids import TenantId
from models.place import Place
from models.stop import StopPhase, StopRecord, StopRequest, StopView
from models.vehicle import VehicleState
from store.database import Store
from tests.enode.memory_log import MemoryLog
from tests.enode.servers import WEBHOOK_SECRET, serving
from tests.enode.test_commands_sockets import connection_to
from workers.enode_store import StoreTelematics

pytestmark = pytest.mark.asyncio

PLACE = Place(latitude=51.2, longitude=6.8)


async def new_connection(store: Store, tenant_id: str | None = None) -> EnodeConnection:
    tenant = tenant_id or f"t-{uuid.uuid4().hex[:12]}"
    async with store.platform() as unit:
        await unit.ensure_tenant(TenantId(tenant))
    connection = connection_to("http://127.0.0.1:9", connection_id=f"c-{uuid.uuid4().hex[:8]}")
    return connection.model_copy(update={"tenant_id": tenant})


def event(soc: float, at: datetime, car: str = "car-1", **charge: object) -> dict[str, Any]:
    return {
        "event": "user:vehicle:updated",
        "createdAt": at.isoformat(),
        "vehicle": {
            "id": car,
            "chargeState": {"batteryLevel": soc, "lastUpdated": at.isoformat()} | charge,
            "location": {
                "latitude": PLACE.latitude,
                "longitude": PLACE.longitude,
                "lastUpdated": at.isoformat(),
            },
        },
    }


async def live_stop(store: Store, tenant_id: str, now: datetime) -> str:
    key = f"tour-{uuid.uuid4().hex[:8]}"
    view = StopView(
        stop_id=f"stop_{uuid.uuid4().hex}",
        tenant_id=tenant_id,
        business_key=key,
        workflow_id=f"stop:{tenant_id}:{key}",
        vehicle_id="van-1",
        phase=StopPhase.EN_ROUTE,
        charger_id="ch-1",
        charger_place=PLACE,
        telematics_id="car-1",
        created_at=now - timedelta(minutes=5),
        updated_at=now,
        version=1,
    )
    request = StopRequest(
        business_key=key,
        token_uid="FLEET1",
        vehicle=VehicleState(vehicle_id="van-1", soc_percent=20, position=PLACE, telematics_id="car-1"),
    )
    async with store.tenant(TenantId(tenant_id)) as unit:
        await unit.stops.record(StopRecord(view=view, request=request))
    return view.stop_id


async def test_a_delivery_over_http_is_durable_when_it_is_acknowledged(store: Store) -> None:
    connection = await new_connection(store)
    now = datetime.now(UTC)
    stop_id = await live_stop(store, connection.tenant_id, now)
    woken: list[bool] = []
    log = StoreTelematics(store, on_evidence=lambda: woken.append(True))
    app = FastAPI()
    app.include_router(build_webhook(ConfiguredConnections([connection]), Ingest(log)))
    items: list[Any] = [
        event(20, now - timedelta(seconds=20), isPluggedIn=False),
        {"event": "user:vehicle:updated"},
        event(
            20, now - timedelta(seconds=10), isPluggedIn=True, powerDeliveryState="PLUGGED_IN:INITIALIZING"
        ),
        event(21, now, isPluggedIn=True, isCharging=True, chargeRate=50.0),
        {"event": "user:odd:thing", "createdAt": now.isoformat(), "note": "nul \u0000 here"},
    ]
    body = orjson.dumps(items)
    async with serving(app) as url, httpx.AsyncClient(trust_env=False) as http:
        headers = {"x-enode-delivery": "d-1", "x-enode-signature": sign(WEBHOOK_SECRET, body)}
        for _ in range(2):
            reply = await http.post(
                f"{url}/webhooks/enode/{connection.connection_id}", content=body, headers=headers
            )
            assert reply.status_code == 204
    assert woken == [True]
    fold = await log.fold_of(connection, "car-1")
    assert (fold.number(Signal.SOC_PERCENT), fold.energy_flows) == (21, True)
    async with store.tenant(TenantId(connection.tenant_id)) as unit:
        told = await unit.evidence.of_stop(stop_id)
    assert sorted(item.kind for item in told) == ["arrived", "energy_flowing", "plugged_in"]
    async with store.tenant(TenantId(connection.tenant_id)) as unit:
        kept = await unit.quarantine.list(10)
    assert len(kept) == 1


async def test_concurrent_writers_of_one_vehicle_lose_no_signal(store: Store) -> None:
    connection = await new_connection(store)
    ingest = Ingest(StoreTelematics(store))
    now = datetime.now(UTC)
    steps = [event(soc, now - timedelta(seconds=100 - soc), car=f"car-{soc % 2}") for soc in range(40)]
    extra = event(39, now - timedelta(seconds=500), isPluggedIn=True)
    extra["vehicle"]["id"] = "car-0"
    deliveries = [steps[i : i + 5] + ([extra] if i == 0 else []) for i in range(0, 40, 5)]
    deliveries += [list(reversed(batch)) for batch in deliveries]
    await asyncio.gather(*(ingest.deliver(connection, f"d-{n}", d, now) for n, d in enumerate(deliveries)))
    log = StoreTelematics(store)
    even, odd = await log.fold_of(connection, "car-0"), await log.fold_of(connection, "car-1")
    assert (even.number(Signal.SOC_PERCENT), odd.number(Signal.SOC_PERCENT)) == (38, 39)
    assert even.flag(Signal.PLUGGED_IN) is True


async def test_the_raw_log_replays_to_the_same_bytes(store: Store) -> None:
    connection = await new_connection(store)
    log, now = StoreTelematics(store), datetime.now(UTC)
    steps = [event(soc, now - timedelta(seconds=soc * 7 % 30), isCharging=soc % 2 == 0) for soc in range(20)]
    await Ingest(log).deliver(connection, "d", steps, now)
    memory = MemoryLog()
    for number, (_, raw, received_at) in enumerate(await log.raw_log(connection)):
        await Ingest(memory).deliver(connection, f"r{number}", [orjson.loads(raw)], received_at)
    assert memory.folds["car-1"].to_bytes() == (await log.fold_of(connection, "car-1")).to_bytes()


async def test_a_failure_keeps_nothing_and_the_retry_applies_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await new_connection(store)
    log, now = StoreTelematics(store), datetime.now(UTC)

    class Broken(Exception):
        pass

    def breaking(*_: object) -> Callable[..., object]:
        raise Broken

    with monkeypatch.context() as patch:
        patch.setattr("connectors.enode.ingest.derive", breaking)
        with pytest.raises(Broken):
            await Ingest(log).deliver(connection, "d", [event(40, now)], now)
    assert await log.raw_log(connection) == []
    report = await Ingest(log).deliver(connection, "d", [event(40, now)], now)
    assert (report.applied, report.duplicate) == (1, 0)
    again = await Ingest(log).deliver(connection, "d", [event(40, now)], now)
    assert (again.applied, again.duplicate) == (0, 1)


async def test_the_same_ids_in_two_tenants_stay_apart(store: Store) -> None:
    one, other = await new_connection(store), await new_connection(store)
    other = other.model_copy(update={"connection_id": one.connection_id})
    log, now = StoreTelematics(store), datetime.now(UTC)
    await Ingest(log).deliver(one, "d", [event(40, now)], now)
    assert (await log.fold_of(other, "car-1")).signals == {}
    note = ActionNote(stop_id="stop_1", attempt_id="a", charger_id="ch-1")
    await log.remember_action(one, "action-1", note)
    async with log.unit(one) as mine, log.unit(other) as theirs:
        assert await mine.action("action-1") == note
        assert await theirs.action("action-1") is None
