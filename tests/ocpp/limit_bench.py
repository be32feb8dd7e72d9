"""Limits over the real gateway at a live simulated station: what is sent, what the station really does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from connectors.ocpp.connection import Connection
from connectors.ocpp.wire.schemas import Json
from models.charging_limit import ChargingLimit, ChargingTraits, LimitPeriod, LimitPurpose, LimitReply
from models.commands import CommandKind, CommandOutcome
from models.ids import remote_start_id_for
from models.station import StationEventKind
from models.vehicle import ConnectorStandard
from simulators.charge_point.power import InstalledProfile
from simulators.charge_point.station import StationTwin
from simulators.twin import Ledger, PlugIn, TwinConnector, TwinPace, TwinStation
from store.stations import StoredLimit
from tests.ocpp.case_station import settle
from tests.ocpp.conftest import PASSWORD, Site

Version = Literal["ocpp1.6", "ocpp2.0.1", "ocpp2.1"]
VERSIONS: tuple[Version, ...] = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
AC, DC = ConnectorStandard.TYPE_2, ConnectorStandard.CCS_2
POWER_KW = {AC: 22.0, DC: 350.0}
PACE = TwinPace(speed=600, meter_interval_s=30, connection_timeout_s=1, reconnect_s=0.05)
SETTLE_S = 1.5


async def until(true: Callable[[], Any], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.02)


@dataclass
class LimitBench:
    site: Site
    station: StationTwin
    ledger: Ledger
    standard: ConnectorStandard
    asked: list[tuple[str, Json]] = field(default_factory=list)

    # --- limits -------------------------------------------------------------------------------------------

    def limit(
        self, *kw: float, number: int = 1, purpose: LimitPurpose = LimitPurpose.DEFAULT, **more: Any
    ) -> Any:
        """Periods of ten minutes each."""
        fields: Json = {
            "limit_id": f"limit-{number}-{purpose}-{kw}",
            "tenant_id": self.site.tenant_id,
            "station_id": self.site.station_id,
            "connector_number": 0 if purpose is LimitPurpose.STATION else number,
            "purpose": purpose,
            "periods": tuple(LimitPeriod(start_s=n * 600, limit_kw=x) for n, x in enumerate(kw)),
            "phases": 3 if self.standard is AC else None,
        }
        return ChargingLimit.model_validate(fields | more)

    async def set(self, *kw: float, **more: Any) -> Any:
        return await self.site.gateway.set_limit(self.limit(*kw, **more))

    async def rows(self) -> dict[tuple[int, str], StoredLimit]:
        async with self.site.store.tenant(self.site.tenant_id) as unit:
            found = await unit.stations.limits(self.site.station_id)
        return {(row.limit.connector_number, str(row.limit.purpose)): row for row in found}

    async def log(self) -> list[Json]:
        """Bodies of the station's LIMIT lines, oldest first."""
        async with self.site.store.tenant(self.site.tenant_id) as unit:
            events = await unit.stations.events(self.site.station_id, 100, StationEventKind.LIMIT)
        return [event.body for event in reversed(events)]

    async def told(self, reply: LimitReply, number: int, purpose: str) -> None:
        """The row of the place and the last LIMIT line say what the reply says."""
        assert (await self.rows())[number, purpose].reply == reply
        line = (await self.log())[-1]
        assert (line["connector"], line["purpose"]) == (number, purpose)
        said = reply.model_dump(mode="json", exclude={"detail"})
        assert {name: line[name] for name in said} == said

    # --- the station --------------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection:
        held = self.site.gateway.connection(self.site.station_id)
        assert held is not None
        return held

    @property
    def installed(self) -> list[InstalledProfile]:
        return self.station.commands.device.profiles.limits.profiles

    def calls(self, action: str) -> list[Json]:
        """What the gateway has sent so far."""
        return [payload for name, payload in self.asked if name == action]

    def power_kw(self, number: int = 1) -> float:
        return self.station.connectors[number].state().power_kw

    def in_force_kw(self, number: int = 1) -> float | None:
        """What the device's own profiles allow."""
        return self.station.limit_kw(number)

    async def until_drawn(self, kw: float, number: int = 1) -> None:
        """The connector really draws so much."""
        await until(lambda: abs(self.power_kw(number) - kw) < 0.005 * kw + 1e-6)

    # --- charges ------------------------------------------------------------------------------------------

    async def charge(self, number: int = 1) -> str:
        """A charge of ours; its session reference."""
        attempt_id = await self.site.attempt(f"TAG{number}", number)
        vehicle = PlugIn(vehicle_id=f"van-{number}", soc_percent=20, battery_kwh=5000, max_power_kw=350)
        assert self.station.connectors[number].plug(vehicle)
        start = self.site.command(
            CommandKind.START,
            attempt_id,
            charger=self.site.charger(number),
            token_uid=f"TAG{number}",
            remote_start_id=remote_start_id_for(attempt_id),
        )
        assert (await self.site.gateway.send(start)).outcome is CommandOutcome.ACCEPTED
        async with asyncio.timeout(10):
            while (mine := await self.connection.session.at_connector(number)) is None:
                await asyncio.sleep(0.02)
        connector = self.station.connectors[number]
        if self.in_force_kw(number) != 0:
            await until(lambda: connector.state().power_kw > 0)
        return mine.facts.session_ref

    async def ask_for_meter(self, number: int = 1) -> None:
        """The station's own interval is longer than a test."""
        where = {"connectorId": number} if self.connection.is_16 else {"evse": {"id": number}}
        body = {"requestedMessage": "MeterValues", **where}
        reply = await self.site.gateway.request(self.site.station_id, "TriggerMessage", body, 5.0)
        assert reply.outcome is CommandOutcome.ACCEPTED
        await asyncio.sleep(0.05)

    async def stop(self, number: int = 1) -> None:
        self.station.connectors[number].stop("Local")
        async with asyncio.timeout(10):
            while await self.connection.session.at_connector(number) is not None:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def live(
    site: Site,
    version: Version,
    standard: ConnectorStandard = AC,
    *,
    quirks: Collection[str] = (),
    failsafe_kw: float | None = None,
    unit: Literal["A", "W"] | None = None,
    allowed_units: str | None = None,
) -> AsyncGenerator[LimitBench]:
    """A booted station with two connectors, its failsafe (if any) installed."""
    phases = 3 if standard is AC else None
    await settle(site, failsafe_kw=failsafe_kw, phases=phases, traits=ChargingTraits(unit=unit))
    ledger = Ledger()
    config = TwinStation(
        station_id=site.station_id,
        password=PASSWORD,
        ocpp_version=version,
        quirks=frozenset(quirks),
        connectors=tuple(
            TwinConnector(
                charger_id=f"{site.station_id}-{n}", number=n, standard=standard, power_kw=POWER_KW[standard]
            )
            for n in (1, 2)
        ),
    )
    station = StationTwin(config, PACE, ledger, f"ws://127.0.0.1:{site.gateway.port}/ocpp")
    if allowed_units is not None:
        station.commands.device.settings.preset("ChargingScheduleAllowedChargingRateUnit", allowed_units)
    bench = LimitBench(site, station, ledger, standard)

    def watch(direction: str, text: str) -> None:
        frame = json.loads(text)
        if direction == "out" and frame[0] == 2:
            bench.asked.append((frame[2], frame[3]))

    site.gateway.watch(site.station_id, watch)
    running = asyncio.create_task(station.run())
    try:
        await until(lambda: site.gateway.connection(site.station_id) and not len(station.outbox))
        setattr(bench.connection.limits, "_settle_s", SETTLE_S)  # noqa: B010  patience is all we shorten
        expected = 0 if failsafe_kw is None else 2
        async with asyncio.timeout(10):
            while len(await bench.rows()) < expected or not await _greeted(bench):
                await asyncio.sleep(0.02)
        yield bench
    finally:
        site.gateway.watch(site.station_id, None)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _greeted(bench: LimitBench) -> bool:
    async with bench.site.store.tenant(bench.site.tenant_id) as unit:
        return bool(await unit.stations.events(bench.site.station_id, 1, StationEventKind.BOOT))
