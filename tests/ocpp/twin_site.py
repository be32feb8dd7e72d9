"""Live simulated stations at the real gateway of the `site` fixture."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from connectors.ocpp.server import Gateway
from connectors.ocpp.wire.schemas import Json
from models.commands import CommandKind, CommandOutcome
from models.evidence import EvidenceKind
from simulators.charge_point.connector import ConnectorTwin
from simulators.charge_point.station import StationTwin
from simulators.charge_points import ChargePointsConfig
from simulators.twin import (
    Fault,
    FaultKind,
    Ledger,
    LedgerEntry,
    PlugIn,
    TwinConnector,
    TwinPace,
    TwinStation,
)
from store.sessions import Transaction
from tests.ocpp.conftest import PASSWORD, Site
from tests.ocpp.truth_site import rows
from workers.gateway.house import OcppHouse

CHECKOUT = Path(__file__).resolve().parents[2]
PACE = TwinPace(speed=240, meter_interval_s=0.25, connection_timeout_s=2, reconnect_s=0.05)
VAN = PlugIn(vehicle_id="van-1", soc_percent=20, battery_kwh=500, max_power_kw=100)
TICK_WH = 50_000 * 0.25 * PACE.speed / 3600
"""What the vehicle takes at most between two readings."""


async def until(holds: Callable[[], Any], seconds: float = 20) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := holds()):
            await asyncio.sleep(0.02)
    return found


async def until_true(holds: Callable[[], Awaitable[Any]], seconds: float = 20) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await holds()):
            await asyncio.sleep(0.05)
    return found


def station_of(site: Site, version: str, *faults: Fault | FaultKind, **more: Any) -> TwinStation:
    plan = tuple(fault if isinstance(fault, Fault) else Fault(kind=fault) for fault in faults)
    connector = TwinConnector(charger_id=site.charger(1).charger_id, number=1, power_kw=50, faults=plan)
    fields: dict[str, Any] = {
        "station_id": site.station_id,
        "password": PASSWORD,
        "ocpp_version": version,
        "connectors": (connector,),
        "message_interval_s": 0.05,
        **more,
    }
    return TwinStation.model_validate(fields)


@dataclass
class TwinSite:
    """One live station, what it said (action, payload), and what it knows to be true (its ledger)."""

    site: Site
    station: StationTwin
    ledger: Ledger
    said: list[tuple[str, Json]] = field(default_factory=list)

    @property
    def connector(self) -> ConnectorTwin:
        return self.station.connectors[1]

    def of(self, action: str) -> list[Json]:
        return [payload for name, payload in self.said if name == action]

    def booked(self, what: str) -> list[LedgerEntry]:
        return [entry for entry in self.ledger.entries() if entry.what == what]

    def listen(self) -> None:
        """To all frames, over reconnects; again after the gateway was changed."""

        def watch(direction: str, text: str) -> None:
            frame = json.loads(text)
            if direction == "in" and frame[0] == 2:
                self.said.append((frame[2], frame[3]))

        self.site.gateway.watch(self.site.station_id, watch)

    async def charge(self, *, readings: int = 2) -> str:
        """An attempt of ours, until energy has been told so often. Returns its id."""
        attempt_id = await self.site.attempt()
        self.connector.plug(VAN)
        sent = await self.site.gateway.send(self.site.command(CommandKind.START, attempt_id))
        assert sent.outcome is CommandOutcome.ACCEPTED
        await self.site.sink.until(EvidenceKind.ENERGY_FLOWING)
        await self.until_read(readings)
        return attempt_id

    def readings(self) -> int:
        return len(self.site.sink.of(EvidenceKind.METER))

    async def until_read(self, more: int) -> None:
        """So many more readings have been booked."""
        before = self.readings()
        await until(lambda: self.readings() >= before + more)

    async def ended(self) -> Transaction:
        """The only transaction, once it has ended and the station has nothing more to say."""

        async def over() -> bool:
            found = await rows(self.site)
            return bool(found) and found[0].ended_at is not None and not len(self.station.outbox)

        await until_true(over)
        (found,) = await rows(self.site)
        assert self.booked("message_lost") == []
        assert len(self.site.sink.of(EvidenceKind.SESSION_ENDED)) == 1
        return found

    @property
    def truth_wh(self) -> float:
        (entry,) = self.booked("session_ended")
        assert entry.energy_kwh
        return entry.energy_kwh * 1000


@asynccontextmanager
async def live(site: Site, version: str, *faults: Fault | FaultKind, **more: Any) -> AsyncGenerator[TwinSite]:
    """A station that has booted and said its status."""
    ledger = Ledger()
    url = site.url.removesuffix(f"/{site.station_id}")
    station = StationTwin(station_of(site, version, *faults, **more), PACE, ledger, url)
    made = TwinSite(site, station, ledger)
    made.listen()
    running = asyncio.create_task(station.run())
    try:
        await until(lambda: made.of("BootNotification") and not len(station.outbox))
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def other_gateway(site: Site, port: int) -> Gateway:
    """A new process of the gateway at the old one's port: nothing but the store is left of the old one."""
    house = OcppHouse(site.store, "backstop-ocpp-test", site.sink)
    gateway = Gateway(house, meter_evidence_interval_s=0.0, transfer_hosts={"example.org"})
    await gateway.start("127.0.0.1", port)
    site.gateway = gateway
    return gateway


# --- as a process of its own ----------------------------------------------------------------------------


class TwinProcess:
    """`python -m simulators.charge_points`, by its control API."""

    def __init__(
        self, child: asyncio.subprocess.Process, control: httpx.AsyncClient, charger_id: str
    ) -> None:
        self._child, self._control, self._charger_id = child, control, charger_id

    async def post(self, path: str, body: Json) -> None:
        path = f"/twin/connectors/{self._charger_id}/{path}"
        (await self._control.post(path, json=body)).raise_for_status()

    async def state(self) -> Json:
        return (await self._control.get(f"/twin/connectors/{self._charger_id}")).json()

    async def ledger(self) -> list[LedgerEntry]:
        entries = (await self._control.get("/twin/ledger")).json()["entries"]
        return [LedgerEntry.model_validate(entry) for entry in entries]

    async def kill(self) -> None:
        self._child.send_signal(signal.SIGKILL)
        await self._child.wait()


@asynccontextmanager
async def process(
    site: Site, version: str, folder: Path, port: int, **more: Any
) -> AsyncGenerator[TwinProcess]:
    station = station_of(site, version, state_dir=str(folder / "state"), **more)
    file = folder / "stations.json"
    file.write_text(ChargePointsConfig(pace=PACE, stations=(station,)).model_dump_json())
    url = site.url.removesuffix(f"/{site.station_id}")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators.charge_points", "--config", str(file), "--gateway", url,
        "--control-port", str(port), cwd=CHECKOUT,
    )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as control:
            made = TwinProcess(child, control, site.charger(1).charger_id)

            async def answers() -> bool:
                try:
                    await made.ledger()
                except httpx.TransportError:
                    return False
                return site.gateway.connection(site.station_id) is not None

            await until_true(answers)
            yield made
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
