"""One complete calm stop, with its real work: store, planner, command ledger, evidence through the relay.

The charger is a port that answers at once: protocol peers have benchmarks of their own.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from temporalio.client import Client
from temporalio.worker import Worker

from activities.charger_commands import ChargerCommands
from activities.planner import Planner
from activities.stop_records import StopRecords
from connectors.ports import CommandPort, RoutedEvidence
from models.charger import Charger, ConnectorStatus, Protocol, TariffTerms
from models.commands import ChargerCommand, CommandKind, CommandOutcome, CommandReply
from models.contract import PLANNER_QUEUE, STOP_WORKFLOW, UPDATE_ARRIVED
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.ids import TenantId, workflow_id_for
from models.place import Place
from models.stop import ArrivalReport, ChargingStopInput, Receipt, StopRequest, StopResult
from models.vehicle import ConnectorStandard, VehicleState
from store.database import Store
from store.migration import migrate
from workers.bootstrap import record_activities, sandbox
from workers.evidence_relay import EvidenceRelay
from workers.stack.postgres import Postgres
from workers.stack.temporal_server import TemporalServer
from workflows.charging_stop import ChargingStop
from workflows.session_keeper import SessionKeeper

TENANT = TenantId("bench")
_HOME = Place(latitude=51.22, longitude=6.77)
CHARGERS = 120
ChargerT = TypeVar("ChargerT", bound=CommandPort)


@asynccontextmanager
async def servers(folder: Path) -> AsyncGenerator[tuple[Client, Store]]:
    """Temporal and PostgreSQL, as durable as in production."""
    async with TemporalServer(folder / "temporal", ui=False) as temporal, Postgres(folder / "pg") as postgres:
        await asyncio.to_thread(migrate, postgres.url)
        store = Store(postgres.url, pool_size=20)
        try:
            yield await temporal.client(), store
        finally:
            await store.dispose()


class InstantCharger:
    """Accepts, starts, delivers and ends, all through the relay."""

    def __init__(self, relay: EvidenceRelay) -> None:
        self._relay = relay
        self._running: set[asyncio.Task[None]] = set()

    async def send(self, command: ChargerCommand) -> CommandReply:
        if command.kind is CommandKind.START:
            task = asyncio.create_task(self._session(command))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return CommandReply(outcome=CommandOutcome.ACCEPTED)

    async def _session(self, command: ChargerCommand) -> None:
        await say(self._relay, command, EvidenceKind.SESSION_STARTED, 0.0)
        await asyncio.sleep(0.2)
        await say(self._relay, command, EvidenceKind.SESSION_ENDED, 31.0)


async def say(relay: EvidenceRelay, command: ChargerCommand, kind: EvidenceKind, energy_kwh: float) -> None:
    """Returns when it is stored, as a charger's message is before it is answered."""
    evidence = Evidence(
        event_id=f"{command.attempt_id}:{kind}",
        source=EvidenceSource.OCPP,
        kind=kind,
        observed_at=datetime.now(UTC),
        attempt_id=command.attempt_id,
        session_ref=command.attempt_id,
        energy_kwh=energy_kwh,
    )
    await relay.accept([RoutedEvidence(tenant_id=TENANT, evidence=evidence, stop_id=command.stop_id)])


def _chargers() -> list[Charger]:
    return [
        Charger(
            charger_id=f"c{number:03}",
            site_id=f"s{number // 4}",
            operator=f"op{number % 5}",
            network="net",
            place=Place(latitude=51.22 + number * 0.0005, longitude=6.77),
            protocol=Protocol.OCPP,
            station_id=f"st{number // 4}",
            connector_number=number % 4 + 1,
            standard=ConnectorStandard.CCS_2,
            power_kw=150,
            status=ConnectorStatus.AVAILABLE,
            tariff=TariffTerms.model_validate({"energy_per_kwh": "0.45"}),
        )
        for number in range(CHARGERS)
    ]


def request_of(key: str, chargers: Sequence[str]) -> StopRequest:
    """A stop at one of these connectors: waiting for one another is not measured here."""
    return StopRequest(
        business_key=key,
        token_uid=key[-12:],
        excluded_charger_ids=tuple(f"c{n:03}" for n in range(CHARGERS) if f"c{n:03}" not in chargers),
        vehicle=VehicleState(
            vehicle_id=key,
            battery_usable_kwh=60,
            connectors=(ConnectorStandard.CCS_2,),
            dc_max_power_kw=150,
            soc_percent=30,
            position=_HOME,
        ),
    )


@asynccontextmanager
async def workers(
    client: Client, store: Store, charger: Callable[[EvidenceRelay], ChargerT]
) -> AsyncGenerator[tuple[str, ChargerT]]:
    """All that runs stops: the queue to start them on, and the charger (made with the relay it speaks to)."""
    async with store.platform() as platform:
        await platform.ensure_tenant(TENANT)
    async with store.tenant(TENANT) as unit:
        await unit.chargers.upsert(_chargers())
    relay = EvidenceRelay(store, client, 15.0)
    relay.start()
    queue, commands = f"stops-{uuid.uuid4().hex}", f"commands-{uuid.uuid4().hex}"
    records, made = StopRecords(store, {Protocol.OCPP: commands}), charger(relay)
    port = ChargerCommands(store, {Protocol.OCPP: made})
    async with AsyncExitStack() as stack:
        for worker in (
            Worker(
                client,
                task_queue=queue,
                workflows=[ChargingStop, SessionKeeper],
                workflow_runner=sandbox(),
                activities=record_activities(records),
            ),
            Worker(client, task_queue=commands, activities=[port.command_charger]),
            Worker(client, task_queue=PLANNER_QUEUE, activities=[Planner(store).plan_stop]),
        ):
            await stack.enter_async_context(worker)
        yield queue, made
        await relay.stop()


@asynccontextmanager
async def calm_stops(client: Client, store: Store) -> AsyncGenerator[Callable[[], Awaitable[int]]]:
    """A callable that runs one stop to its end and returns the size of its history."""
    async with workers(client, store, InstantCharger) as (queue, _):
        numbers = itertools.count()

        async def one() -> int:
            key = f"bench-{uuid.uuid4().hex[:12]}"
            request = request_of(key, [f"c{next(numbers) % CHARGERS:03}"])
            handle = await client.start_workflow(
                STOP_WORKFLOW,
                ChargingStopInput(tenant_id=TENANT, request=request),
                id=workflow_id_for(TENANT, key),
                task_queue=queue,
                result_type=StopResult,
            )
            arrival = ArrivalReport(event_id="a", charger_id=None)
            await handle.execute_update(UPDATE_ARRIVED, arrival, result_type=Receipt)
            result = await handle.result()
            assert result.outcome == "charged", result
            return len((await handle.fetch_history()).events)

        yield one
