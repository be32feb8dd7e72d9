"""Simulated charge points, one process for all stations of a configuration.

python -m simulators.charge_points --config FILE --gateway ws://host:port/ocpp --control-port N
FILE: {"pace": TwinPace, "stations": [TwinStation, ...]}. Speaks OCPP 1.6J, 2.0.1 and 2.1; see
docs/simulators-charge-points.md for the control API.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException

from models.base import Message
from simulators.charge_point.connector import ConnectorTwin
from simulators.charge_point.station import StationTwin, run_stations
from simulators.twin import (
    Badge,
    ConnectorState,
    Fault,
    Ledger,
    LedgerEntry,
    Offline,
    Pause,
    PlugIn,
    TwinPace,
    TwinStation,
)


class ChargePointsConfig(Message):
    pace: TwinPace = TwinPace()
    stations: tuple[TwinStation, ...]


class LedgerView(Message):
    entries: list[LedgerEntry]


class ChargePoints:
    """All stations, and the control API over them."""

    def __init__(self, config: ChargePointsConfig, gateway_url: str) -> None:
        self.ledger = Ledger()
        self.stations = [StationTwin(s, config.pace, self.ledger, gateway_url) for s in config.stations]
        self.connectors: dict[str, ConnectorTwin] = {
            connector.connector.charger_id: connector
            for station in self.stations
            for connector in station.connectors.values()
        }

    def _connector(self, charger_id: str) -> ConnectorTwin:
        found = self.connectors.get(charger_id)
        if found is None:
            raise HTTPException(404, "no such connector here")
        return found

    def control(self) -> FastAPI:
        app = FastAPI(title="Simulated charge points")

        @app.post("/twin/connectors/{charger_id}/plug")
        async def plug(charger_id: str, vehicle: PlugIn) -> ConnectorState:  # pyright: ignore[reportUnusedFunction]
            connector = self._connector(charger_id)
            if not connector.plug(vehicle):
                raise HTTPException(409, "another vehicle stands there")
            return connector.state()

        @app.post("/twin/connectors/{charger_id}/unplug")
        async def unplug(charger_id: str) -> ConnectorState:  # pyright: ignore[reportUnusedFunction]
            connector = self._connector(charger_id)
            connector.unplug()
            return connector.state()

        @app.get("/twin/connectors/{charger_id}")
        async def state(charger_id: str) -> ConnectorState:  # pyright: ignore[reportUnusedFunction]
            return self._connector(charger_id).state()

        @app.post("/twin/connectors/{charger_id}/pause")
        async def pause(charger_id: str, body: Pause) -> ConnectorState:  # pyright: ignore[reportUnusedFunction]
            connector = self._connector(charger_id)
            connector.paused = body.paused
            return connector.state()

        @app.post("/twin/connectors/{charger_id}/badge")
        async def badge(charger_id: str, body: Badge) -> ConnectorState:  # pyright: ignore[reportUnusedFunction]
            connector = self._connector(charger_id)
            if not connector.badge(body.token_uid):
                raise HTTPException(409, "no vehicle is plugged in, or the connector is in use")
            return connector.state()

        @app.post("/twin/connectors/{charger_id}/end")
        async def end(charger_id: str) -> ConnectorState:  # pyright: ignore[reportUnusedFunction]
            connector = self._connector(charger_id)
            connector.end()
            return connector.state()

        @app.post("/twin/connectors/{charger_id}/offline")
        async def offline(charger_id: str, body: Offline) -> ConnectorState:  # pyright: ignore[reportUnusedFunction]
            connector = self._connector(charger_id)
            for station in self.stations:
                if connector in station.connectors.values():
                    station.drop(body.seconds)
            return connector.state()

        @app.post("/twin/connectors/{charger_id}/faults")
        async def add_fault(charger_id: str, fault: Fault) -> ConnectorState:  # pyright: ignore[reportUnusedFunction]
            connector = self._connector(charger_id)
            connector.faults.append(fault)
            return connector.state()

        @app.get("/twin/ledger")
        async def ledger() -> LedgerView:  # pyright: ignore[reportUnusedFunction]
            return LedgerView(entries=self.ledger.entries())

        return app


async def serve(config: ChargePointsConfig, gateway_url: str, control_port: int) -> None:
    """Until SIGTERM (uvicorn's own handling ends the control API, and the stations with it). Raises what a
    station failed with: sqlite3.Error or OSError of its `state_dir`, or a mistake in the twin itself."""
    twin = ChargePoints(config, gateway_url)
    stations = asyncio.create_task(run_stations(twin.stations))
    server = uvicorn.Server(
        uvicorn.Config(twin.control(), host="127.0.0.1", port=control_port, log_config=None, access_log=False)
    )
    stations.add_done_callback(lambda _: setattr(server, "should_exit", True))
    await server.serve()
    stations.cancel()
    await stations


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulated OCPP charge points")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--gateway", required=True, help="ws://host:port/ocpp")
    parser.add_argument("--control-port", type=int, required=True)
    given = parser.parse_args()
    config = ChargePointsConfig.model_validate_json(given.config.read_text())
    asyncio.run(serve(config, given.gateway, given.control_port))


if __name__ == "__main__":
    main()
