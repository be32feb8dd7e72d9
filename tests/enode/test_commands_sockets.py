"""Commands and reads against the simulated vendor over real sockets."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio

from connectors.enode.client import EnodeClient, EnodeClients, EnodeError, TokenUnavailable, http_client
from connectors.enode.commands import EnodeCommandPort
from connectors.enode.connections import ConfiguredConnections
from connectors.enode.ports import EnodeConnection
from connectors.enode.vehicle_state import EnodeVehicleState
from models.charger import Charger, Protocol
from models.commands import ChargerCommand, CommandKind, CommandOutcome
from models.place import Place
from models.reason_codes import ReasonCode
from models.vehicle import ConnectorStandard
from simulators.twin import VehicleTwin
from tests.enode.memory_log import MemoryLog
from tests.enode.servers import WEBHOOK_SECRET, RunningVendor, running_vendor, until

pytestmark = pytest.mark.asyncio

CHARGER = Charger(
    charger_id="ch-1",
    site_id="site-1",
    operator="op",
    network="net",
    place=Place(latitude=51.0, longitude=6.7),
    protocol=Protocol.ENODE,
    standard=ConnectorStandard.TYPE_2,
    power_kw=11,
)


def connection_to(url: str, secret: str = "client-secret", connection_id: str = "c1") -> EnodeConnection:
    return EnodeConnection.model_validate(
        {
            "connection_id": connection_id,
            "tenant_id": "demo",
            "base_url": url,
            "token_url": f"{url}/oauth/token",
            "client_id": "client",
            "client_secret": secret,
            "webhook_secret": WEBHOOK_SECRET,
        }
    )


def command(kind: CommandKind = CommandKind.START, timeout_s: float = 5.0) -> ChargerCommand:
    return ChargerCommand(
        command_id="cmd-1",
        tenant_id="demo",
        stop_id="stop_1",
        attempt_id="attempt-1",
        kind=kind,
        charger=CHARGER,
        token_uid="FLEET1",
        remote_start_id=1,
        vehicle_telematics_id="car-1",
        timeout_s=timeout_s,
    )


@dataclass
class Rig:
    vendor: RunningVendor
    port: EnodeCommandPort
    state: EnodeVehicleState
    client: EnodeClient
    log: MemoryLog


@pytest_asyncio.fixture
async def rig() -> AsyncGenerator[Rig]:
    car = VehicleTwin(vehicle_id="van-1", soc_percent=40, is_plugged_in=True, place=CHARGER.place)
    async with running_vendor(vehicles={"car-1": car}) as vendor, http_client() as http:
        connection = connection_to(vendor.url)
        connections, clients, log = ConfiguredConnections([connection]), EnodeClients(http), MemoryLog()
        port = EnodeCommandPort(connections, clients, log)
        state = EnodeVehicleState(connections, clients)
        yield Rig(vendor, port, state, clients.of(connection), log)


async def test_a_pending_action_is_accepted_noted_and_starts_the_charge(rig: Rig) -> None:
    reply = await rig.port.send(command())
    assert (reply.outcome, reply.vendor_code) == (CommandOutcome.ACCEPTED, "PENDING")
    ledger = rig.vendor.vendor.fleet.ledger
    await until(lambda: any(e.what == "session_started" for e in ledger.entries()))
    assert [e.what for e in ledger.entries()].count("command_start") == 1
    assert [note.attempt_id for note in rig.log.notes.values()] == ["attempt-1"]
    stopped = await rig.port.send(command(CommandKind.STOP))
    assert stopped.outcome is CommandOutcome.ACCEPTED
    await until(lambda: any(e.what == "session_ended" for e in ledger.entries()))


@pytest.mark.parametrize(
    ("fault", "outcome", "reason", "detail"),
    [
        ("cancelled_in_reply", CommandOutcome.REJECTED, ReasonCode.START_VEHICLE_REFUSED, "CANCELLED"),
        ("plan_owns_device", CommandOutcome.REJECTED, ReasonCode.START_VEHICLE_REFUSED, "plan"),
        ("rate_limited", CommandOutcome.UNREACHABLE, ReasonCode.START_PARTNER_ERROR, "Retry-After: 2"),
        ("rate_limited_bare", CommandOutcome.UNREACHABLE, ReasonCode.START_PARTNER_ERROR, "rate limited"),
        ("server_error", CommandOutcome.UNCERTAIN, ReasonCode.START_PARTNER_ERROR, ""),
        ("timeout_after_acting", CommandOutcome.UNCERTAIN, ReasonCode.START_PARTNER_TIMEOUT, "TimeoutError"),
        ("timeout", CommandOutcome.UNCERTAIN, ReasonCode.START_PARTNER_TIMEOUT, "TimeoutError"),
    ],
)
async def test_faults_of_the_vendor_are_told_apart(
    rig: Rig, fault: str, outcome: CommandOutcome, reason: ReasonCode, detail: str
) -> None:
    await rig.vendor.faults(fault)
    reply = await rig.port.send(command(timeout_s=0.5))
    assert (reply.outcome, reply.reason) == (outcome, reason)
    assert detail in reply.detail
    starts = [e for e in rig.vendor.vendor.fleet.ledger.entries() if e.what == "command_start"]
    assert len(starts) == (1 if fault in ("cancelled_in_reply", "timeout_after_acting") else 0)


async def test_nobody_listening_is_unreachable_and_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with http_client() as http:
        connections = ConfiguredConnections([connection_to(url)])
        port = EnodeCommandPort(connections, EnodeClients(http), MemoryLog())
        reply = await port.send(command())
        assert (reply.outcome, reply.reason) == (
            CommandOutcome.UNREACHABLE,
            ReasonCode.START_PARTNER_ERROR,
        )
        assert await EnodeVehicleState(connections, EnodeClients(http)).read("demo", "car-1") is None


async def test_the_token_is_cached_and_renewed_once_when_revoked(rig: Rig) -> None:
    assert await rig.client.vehicle("car-1") is not None
    assert await rig.client.vehicle("car-1") is not None
    assert len(rig.vendor.vendor.tokens) == 1
    await rig.vendor.faults("token_revoked:1")
    reply = await rig.port.send(command())
    assert reply.outcome is CommandOutcome.ACCEPTED
    starts = [e for e in rig.vendor.vendor.fleet.ledger.entries() if e.what == "command_start"]
    assert len(starts) == 1
    await rig.vendor.faults("token_revoked")
    revoked = await rig.port.send(command())
    assert (revoked.outcome, revoked.vendor_code) == (CommandOutcome.REJECTED, "401")


async def test_wrong_credentials_send_nothing_and_leak_nothing(rig: Rig) -> None:
    async with http_client() as http:
        connection = connection_to(rig.vendor.url, secret="not-the-secret")
        client = EnodeClients(http).of(connection)
        with pytest.raises(TokenUnavailable) as failure:
            await client.vehicle("car-1")
        assert "not-the-secret" not in str(failure.value) + repr(connection)


async def test_reading_a_vehicle(rig: Rig) -> None:
    snapshot = await rig.state.read("demo", "car-1")
    assert snapshot is not None
    assert (snapshot.soc_percent, snapshot.is_plugged_in, snapshot.position) == (40, True, CHARGER.place)
    assert await rig.state.read("demo", "car-unknown") is None
    assert await rig.state.read("other-tenant", "car-1") is None
    await rig.vendor.faults("null_values")
    unknown = await rig.state.read("demo", "car-1")
    assert unknown is not None
    assert (unknown.soc_percent, unknown.is_plugged_in, unknown.position) == (None, None, None)


async def test_paging_reads_every_vehicle_once(rig: Rig) -> None:
    for number in range(120):
        await rig.vendor.put(f"fleet-{number:03}", soc_percent=50)
    pages = [page async for page in rig.client.vehicle_pages()]
    ids = [vehicle["id"] for page in pages for vehicle in page]
    assert len(ids) == len(set(ids)) == 121
    assert [len(page) for page in pages] == [50, 50, 21]


async def test_redirects_are_not_followed_and_large_bodies_are_cut() -> None:
    from fastapi import FastAPI, Response
    from fastapi.responses import RedirectResponse

    from tests.enode.servers import serving

    app = FastAPI()

    @app.post("/oauth/token")
    async def token() -> dict[str, object]:  # pyright: ignore[reportUnusedFunction]
        return {"access_token": "t", "expires_in": 3600}

    @app.get("/vehicles/away")
    async def away() -> RedirectResponse:  # pyright: ignore[reportUnusedFunction]
        return RedirectResponse("http://127.0.0.1:9/stolen")

    @app.get("/vehicles/huge")
    async def huge() -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response(b"x" * (9 * 1024 * 1024))

    async with serving(app) as url, http_client() as http:
        client = EnodeClient(connection_to(url), http)
        with pytest.raises(EnodeError, match="307"):
            await client.vehicle("away")
        with pytest.raises(EnodeError, match="too large"):
            await client.vehicle("huge")


async def test_a_command_without_a_linked_vehicle_is_not_supported(rig: Rig) -> None:
    reply = await rig.port.send(command().model_copy(update={"vehicle_telematics_id": None}))
    assert (reply.outcome, reply.reason) == (CommandOutcome.REJECTED, ReasonCode.START_NOT_SUPPORTED)
    unlock = await rig.port.send(command(CommandKind.UNLOCK))
    assert unlock.reason is ReasonCode.START_NOT_SUPPORTED


async def test_the_vendor_runs_as_a_process_of_its_own(tmp_path: object) -> None:
    """`python -m simulators.telematics_vendor`, stopped with SIGTERM."""
    import asyncio
    import signal
    import sys
    from pathlib import Path

    config = Path(str(tmp_path)) / "vendor.json"
    config.write_text('{"client_id":"client","client_secret":"client-secret","vehicles":{"car-1":{}}}')
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators.telematics_vendor", "--config", str(config), "--port", str(port)
    )
    try:
        async with httpx.AsyncClient(trust_env=False) as http:

            async def up() -> bool:
                try:
                    return (await http.get(f"http://127.0.0.1:{port}/twin/ledger")).status_code == 200
                except httpx.HTTPError:
                    return False

            await until(up)
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 10)
    assert process.returncode in (0, -signal.SIGTERM)
