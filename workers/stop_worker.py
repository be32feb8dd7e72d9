"""The stop worker: workflows of stops, roaming commands, vehicle commands."""

from __future__ import annotations

import asyncio

from connectors.ports import CommandPort
from models.charger import Protocol
from models.contract import ROAMING_QUEUE, TELEMATICS_QUEUE
from workers.bootstrap import command_worker, open_house, run_until, stop_signal, stop_worker
from workers.partners import open_roaming, open_telematics
from workers.settings import Settings
from workers.stop_reconciler import StopReconciler
from workers.versions import become_current


async def run_stop_worker(settings: Settings) -> None:
    """Serve until SIGTERM; then finish what runs (at most `drain_s`) and end."""
    stopped = stop_signal()
    async with (
        open_house(settings, "worker") as house,
        open_roaming(house) as roaming,
        open_telematics(house) as telematics,
    ):
        roaming_ports: dict[Protocol, CommandPort] = {Protocol.OCPI: roaming.commands}
        vehicle_ports: dict[Protocol, CommandPort] = {Protocol.ENODE: telematics.commands}
        reconciler = StopReconciler(house.store, house.client)
        reconciler.start()
        becoming_current = asyncio.create_task(become_current(house.client, settings))
        try:
            await run_until(
                stopped,
                stop_worker(house),
                command_worker(house, ROAMING_QUEUE, roaming_ports),
                command_worker(house, TELEMATICS_QUEUE, vehicle_ports),
            )
        finally:
            becoming_current.cancel()
            await reconciler.stop()
