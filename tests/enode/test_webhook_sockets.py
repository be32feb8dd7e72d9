"""The webhook and the simulated vendor, both over real sockets: what is told becomes state and evidence
whatever the vendor does to the deliveries."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY

from connectors.enode.client import EnodeClients, http_client
from connectors.enode.commands import EnodeCommandPort
from connectors.enode.connections import ConfiguredConnections
from connectors.enode.fold import Signal, VehicleFold
from connectors.enode.ingest import Ingest
from connectors.enode.ports import StopWatch
from connectors.enode.signature import sign
from connectors.enode.vehicle_state import EnodeResync, GapWatch
from connectors.enode.webhook import build_webhook
from models.commands import CommandKind
from models.evidence import EvidenceKind
from models.place import Place
from models.reason_codes import ReasonCode
from models.stop import StopPhase
from tests.enode.memory_log import MemoryLog
from tests.enode.servers import WEBHOOK_SECRET, RunningVendor, running_vendor, serving, until
from tests.enode.test_commands_sockets import command, connection_to

pytestmark = pytest.mark.asyncio

CHARGER_PLACE = Place(latitude=51.2, longitude=6.8)
ON_THE_WAY = {"latitude": 51.25, "longitude": 6.8}


def watch(phase: StopPhase = StopPhase.EN_ROUTE) -> StopWatch:
    return StopWatch(
        stop_id="stop_1",
        phase=phase,
        since=datetime.now(UTC) - timedelta(minutes=1),
        charger_id="ch-1",
        charger_place=CHARGER_PLACE,
    )


@dataclass
class Rig:
    """Our webhook on `url`, a vendor that pushes to it, and one HTTP client of the test."""

    url: str
    vendor: RunningVendor
    log: MemoryLog
    http: httpx.AsyncClient
    gaps: GapWatch
    port: EnodeCommandPort
    resync: EnodeResync
    connections: ConfiguredConnections

    def fold(self, telematics_id: str = "car-1") -> VehicleFold:
        return self.log.folds.get(telematics_id, VehicleFold())

    async def post(
        self, body: bytes, *, signature: str | None = None, delivery: str = "d-1", connection: str = "c1"
    ) -> int:
        headers = {"x-enode-delivery": delivery, "x-enode-signature": signature or sign(WEBHOOK_SECRET, body)}
        reply = await self.http.post(f"{self.url}/webhooks/enode/{connection}", content=body, headers=headers)
        return reply.status_code


@asynccontextmanager
async def rig(live: StopWatch | None = None, heartbeat_interval_s: float = 60.0) -> AsyncGenerator[Rig]:
    log, gaps = MemoryLog(live), GapWatch()
    app = FastAPI()
    async with serving(app) as url:
        webhook_url = f"{url}/webhooks/enode/c1"
        async with (
            running_vendor(webhook_url, heartbeat_interval_s=heartbeat_interval_s) as vendor,
            http_client() as http,
            httpx.AsyncClient(trust_env=False) as test_http,
        ):
            connections = ConfiguredConnections([connection_to(vendor.url)])
            ingest, clients = Ingest(log), EnodeClients(http)
            app.include_router(build_webhook(connections, ingest, gaps))
            port = EnodeCommandPort(connections, clients, log)
            resync = EnodeResync(connections, clients, ingest, gaps)
            yield Rig(url, vendor, log, test_http, gaps, port, resync, connections)


def event(
    soc: object = 40, at: datetime | None = None, car: str = "car-1", **charge: object
) -> dict[str, Any]:
    moment = (at or datetime.now(UTC)).isoformat()
    return {
        "event": "user:vehicle:updated",
        "createdAt": moment,
        "version": "2024-10-01",
        "vehicle": {"id": car, "chargeState": {"batteryLevel": soc, "lastUpdated": moment} | charge},
    }


async def test_a_charge_becomes_evidence_step_by_step() -> None:
    async with rig(watch()) as r:
        await r.vendor.put("car-1", soc_percent=20, is_plugged_in=False, place=ON_THE_WAY)
        await r.vendor.quiet()
        assert r.log.kinds == []
        for _ in range(3):
            await r.vendor.put("car-1", place=CHARGER_PLACE.model_dump())
        await r.vendor.put("car-1", is_plugged_in=True)
        await r.vendor.put("car-1", is_charging=True, power_kw=50)
        await r.vendor.quiet()
        await r.vendor.put("car-1", soc_percent=60)
        await r.vendor.put("car-1", is_charging=False)
        await r.vendor.put("car-1", is_plugged_in=False)
        await r.vendor.quiet()
        assert r.log.kinds == [
            "arrived",
            "plugged_in",
            "energy_flowing",
            "meter",
            "suspended_by_vehicle",
            "unplugged",
        ]
        flowing = next(i for i in r.log.evidence.values() if i.evidence.kind is EvidenceKind.ENERGY_FLOWING)
        assert (flowing.evidence.power_kw, flowing.evidence.soc_percent) == (50, 20)
        assert {(i.stop_id, i.tenant_id) for i in r.log.evidence.values()} == {("stop_1", "demo")}
        assert "51.2" not in str([i.evidence for i in r.log.evidence.values()])


@pytest.mark.parametrize(
    "faults",
    [
        ["duplicate"],
        ["reordered"],
        ["late:1"],
        ["wrong_signature:2"],
        ["broken_event"],
        ["unknown_event"],
        ["duplicate", "broken_event", "wrong_signature:1", "late:1", "reordered"],
    ],
)
async def test_the_last_state_is_right_whatever_happens_to_the_deliveries(faults: list[str]) -> None:
    async with rig(watch(StopPhase.CONFIRMING)) as r:
        await r.vendor.faults(*faults)
        for soc in range(20, 30):
            await r.vendor.put("car-1", soc_percent=soc, is_plugged_in=True, is_charging=True, power_kw=50)
        await until(lambda: r.fold().number(Signal.SOC_PERCENT) == 29)
        await r.vendor.quiet()
        straight = r.vendor.vendor.fleet.cars["car-1"]
        assert (r.fold().flag(Signal.CHARGING), r.fold().power_kw) == (straight.charging, 50)
        assert r.log.kinds.count("energy_flowing") == 1
        assert r.log.kinds.count("plugged_in") == 1
        if "broken_event" in faults:
            assert {reason for reason, _ in r.log.quarantined} >= {"schema"}


async def test_a_late_delivery_does_not_move_the_state_backwards() -> None:
    async with rig() as r:
        await r.vendor.faults("late:1")
        await r.vendor.put("car-1", soc_percent=10)
        await until(lambda: r.vendor.vendor.pusher.pending == 0)
        await r.vendor.put("car-1", soc_percent=90)
        await until(lambda: len(r.log.raw) == 2)
        assert r.fold().number(Signal.SOC_PERCENT) == 90


async def test_wrong_signature_is_refused_before_anything_is_read() -> None:
    async with rig() as r:
        before = (
            REGISTRY.get_sample_value("backstop_enode_deliveries_total", {"result": "bad_signature"}) or 0
        )
        body = orjson.dumps([event()])
        for forged in ("sha1=" + "0" * 40, "", "sha1=ü", sign(WEBHOOK_SECRET + "x", body)):
            headers = [
                (b"x-enode-delivery", b"d"),
                (b"x-enode-signature", forged.encode("latin-1")),
            ]
            reply = await r.http.post(f"{r.url}/webhooks/enode/c1", content=body, headers=headers)
            assert reply.status_code == 401
        assert await r.post(b"{not json", signature="sha1=00") == 401
        assert (r.log.raw, r.log.folds) == ({}, {})
        assert {reason for reason, _ in r.log.quarantined} == {"bad_signature"}
        after = REGISTRY.get_sample_value("backstop_enode_deliveries_total", {"result": "bad_signature"})
        assert after == before + 5
        for _ in range(20):
            await r.post(body, signature="sha1=00")
        assert len(r.log.quarantined) <= 20, "a flood of forgeries must not fill the disk"


async def test_one_broken_event_of_a_hundred_is_quarantined_and_the_others_count() -> None:
    async with rig() as r:
        items: list[Any] = [event(car=f"car-{n}") for n in range(100)]
        items[50] = {"event": "user:vehicle:updated", "vehicle": "gone"}
        assert await r.post(orjson.dumps(items)) == 204
        assert len(r.log.folds) == 99
        assert [reason for reason, _ in r.log.quarantined] == ["schema"]
        assert await r.post(orjson.dumps(items)) == 204
        assert len(r.log.quarantined) == 1
        assert len(r.log.raw) == 100


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (event(soc=6500), "schema"),
        (event(soc="40"), "schema"),
        (event(at=datetime.now(UTC) + timedelta(days=1)), "future_clock"),
        (event() | {"createdAt": "yesterday"}, "schema"),
        (event() | {"createdAt": "2026-11-21T10:00:00"}, "schema"),
        (event(car="../../etc/passwd"), "schema"),
        (event(powerDeliveryState="\u0000"), "schema"),
        (event() | {"vehicle": None}, "schema"),
        ({"event": "user:vendor-action:updated", "createdAt": "2026-11-21T10:00:00Z"}, "schema"),
        (17, "schema"),
        (None, "schema"),
        ([], "schema"),
    ],
)
async def test_unusable_events_are_kept_with_a_reason(item: object, reason: str) -> None:
    async with rig() as r:
        assert await r.post(orjson.dumps([item, event(car="car-2")])) == 204
        assert [found for found, _ in r.log.quarantined] == [reason]
        assert list(r.log.folds) == ["car-2"]


@pytest.mark.parametrize(
    "body", [b"{", b"", b"{}", b'"x"', orjson.dumps([event()] * 101), b"[" * 5000, b"\xff"]
)
async def test_authentic_bodies_that_nobody_can_read_are_kept_and_acknowledged(body: bytes) -> None:
    async with rig() as r:
        assert await r.post(body) == 204
        assert len(r.log.quarantined) == 1
        assert r.log.folds == {}


async def test_too_large_bodies_and_unknown_connections() -> None:
    async with rig() as r:
        assert await r.post(b"[" + b" " * (5 * 1024 * 1024) + b"]") == 413
        assert await r.post(orjson.dumps([event()]), connection="nobody") == 404
        assert r.log.raw == {}


async def test_unknown_events_are_kept_and_the_payload_never_names_the_tenant() -> None:
    async with rig(watch()) as r:
        items = [
            {"event": "user:toaster:updated", "createdAt": "2026-11-21T10:00:00Z", "action": "toast"},
            event(isPluggedIn=True) | {"tenant_id": "evil", "user": {"id": "evil"}},
        ]
        assert await r.post(orjson.dumps(items)) == 204
        assert len(r.log.raw) == 2
        assert {item.tenant_id for item in r.log.evidence.values()} == {"demo"}


async def test_null_does_not_erase_and_an_old_rate_is_no_energy() -> None:
    async with rig(watch(StopPhase.CONFIRMING)) as r:
        t0 = datetime.now(UTC) - timedelta(minutes=5)
        steps = [
            event(40, t0, isPluggedIn=True, isCharging=True, chargeRate=50),
            event(None, t0 + timedelta(seconds=10), isCharging=False, chargeRate=None),
            event(None, t0 + timedelta(seconds=20), isCharging=True, chargeRate=None),
        ]
        for number, step in enumerate(steps):
            assert await r.post(orjson.dumps([step]), delivery=f"d-{number}") == 204
        assert r.fold().number(Signal.SOC_PERCENT) == 40
        assert r.fold().energy_flows is False
        # Seen before the stop began: it belongs to no stop.
        assert {item.stop_id for item in r.log.evidence.values()} == {None}


async def test_actions_are_confirmed_failed_or_superseded() -> None:
    async with rig(watch(StopPhase.STARTING)) as r:
        await r.vendor.put("car-1", soc_percent=20, is_plugged_in=True)
        await r.port.send(command())
        await until(lambda: "command_accepted" in r.log.kinds)
        await until(lambda: "energy_flowing" in r.log.kinds)
        accepted = next(
            i for i in r.log.evidence.values() if i.evidence.kind is EvidenceKind.COMMAND_ACCEPTED
        )
        assert (accepted.stop_id, accepted.evidence.attempt_id) == ("stop_1", "attempt-1")
        await r.vendor.faults("action_fails:1")
        await r.port.send(command())
        await until(lambda: "command_failed" in r.log.kinds)
        await r.vendor.faults("action_pending_forever")
        await r.port.send(command())
        await r.port.send(command(CommandKind.STOP))
        await until(lambda: r.log.kinds.count("command_failed") == 2)
        failed = [
            i.evidence for i in r.log.evidence.values() if i.evidence.kind is EvidenceKind.COMMAND_FAILED
        ]
        assert [item.reason for item in failed] == [ReasonCode.START_VEHICLE_REFUSED] * 2
        assert [item.vendor_code for item in failed] == [
            "START:FAILED:NO_RESPONSE",
            "START:CANCELLED:SUPERSEDED",
        ]


async def test_heartbeats_show_a_backlog_and_a_resync_closes_the_gap() -> None:
    async with rig(heartbeat_interval_s=0.1) as r:
        assert r.gaps.has_gap("c1"), "what happened while we were down is unknown"
        await until(lambda: not r.gaps.has_gap("c1"))
        await r.vendor.faults("lost", "heartbeat_silent")
        for number in range(60):
            await r.vendor.put(f"car-{number}", soc_percent=number)
        await r.vendor.quiet()
        assert r.log.folds == {}
        beat = {
            "event": "system:heartbeat",
            "createdAt": datetime.now(UTC).isoformat(),
            "pendingEvents": 5000,
        }
        assert await r.post(orjson.dumps([beat])) == 204
        assert REGISTRY.get_sample_value("backstop_enode_pending_events", {"connection": "c1"}) == 5000
        assert r.gaps.has_gap("c1")
        (connection,) = await r.connections.all()
        assert await r.resync.resync(connection) == 60
        assert r.fold("car-42").number(Signal.SOC_PERCENT) == 42
        assert not r.gaps.has_gap("c1")
        raw = len(r.log.raw)
        await r.resync.resync(connection)
        assert len(r.log.raw) == raw, "an unchanged vehicle is nothing new"


async def test_the_resync_loop_runs_at_once_and_survives_a_broken_vendor() -> None:
    import asyncio

    async with rig() as r:
        await r.vendor.faults("lost", "server_error:1")
        await r.vendor.put("car-1", soc_percent=33)
        stopping = asyncio.Event()
        loop = asyncio.create_task(r.resync.run(stopping, interval_s=0.05))
        await until(lambda: r.fold().number(Signal.SOC_PERCENT) == 33)
        stopping.set()
        await asyncio.wait_for(loop, 5)
