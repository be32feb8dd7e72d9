"""The one place where concrete parts meet: settings become a store, a client, connectors and workers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from typing import Protocol as TypedProtocol

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import TLSConfig
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxRestrictions

from activities.charger_commands import ChargerCommands
from activities.planner import Planner
from activities.station_commands import StationBooks, StationCommands
from activities.stop_records import StopRecords
from connectors.ports import CommandPort, StationPort
from models.charger import Protocol
from models.contract import PLANNER_QUEUE, ROAMING_QUEUE, STOP_QUEUE, TELEMATICS_QUEUE
from store.database import Store
from workers.evidence_relay import EvidenceRelay
from workers.observability import LogContextInterceptor, stop_tracing, temporal_runtime, tracing_interceptors
from workers.settings import Settings
from workers.versions import deployment_of
from workers.workflow_code import keep_workflow_code
from workers.workflow_sandbox import ContextFreeSandbox
from workflows.charging_stop import ChargingStop
from workflows.intake import IntakeRunner
from workflows.session_keeper import SessionKeeper
from workflows.station_command import StationCommand


class GatewayPort(CommandPort, StationPort, TypedProtocol):
    """Both of a gateway's faces."""


FIXED_QUEUES = {Protocol.OCPI: ROAMING_QUEUE, Protocol.ENODE: TELEMATICS_QUEUE}


@dataclass
class House:
    """What every process has: settings, the store, a Temporal client, and the way evidence goes in."""

    settings: Settings
    store: Store
    client: Client
    relay: EvidenceRelay


async def connect_temporal(settings: Settings, service: str) -> Client:
    """A client with our data converter; tracing and metrics where settings switch them on. Keeps trying
    while the server is away: start order of processes does not matter."""
    runtime = temporal_runtime(settings)
    key = settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else None
    while True:
        try:
            return await Client.connect(
                settings.temporal_address,
                namespace=settings.temporal_namespace,
                api_key=key,
                tls=TLSConfig() if settings.temporal_tls else False,
                data_converter=pydantic_data_converter,
                interceptors=tracing_interceptors(settings, service),
                runtime=runtime,
            )
        except RuntimeError:
            await asyncio.sleep(0.5)


@asynccontextmanager
async def open_house(settings: Settings, service: str) -> AsyncGenerator[House, None]:
    store = Store(settings.database_url)
    client = await connect_temporal(settings, service)
    relay = EvidenceRelay(store, client, settings.quiet_evidence_s)
    relay.start()
    try:
        yield House(settings, store, client, relay)
    finally:
        await relay.stop()
        await store.dispose()
        await asyncio.to_thread(stop_tracing, settings, service)  # it blocks while it sends what waits


def stop_signal() -> asyncio.Event:
    """Set on SIGTERM or SIGINT: every process then drains and ends."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped


def sandbox() -> ContextFreeSandbox:
    """Words and rules pass through: they are pure, and a layer rule keeps them so. Our workflow code itself
    is imported anew for each run, under guard, from what this process has kept of it. What nobody can read
    fails no workflow task (workflows/intake.py): every worker and replayer of ours runs on this."""
    keep_workflow_code()
    return ContextFreeSandbox(
        runner_class=IntakeRunner,
        restrictions=SandboxRestrictions.default.with_passthrough_modules("models", "stops"),
    )


def record_activities(records: StopRecords) -> list[Callable[..., Any]]:
    """All that a stop's workflow does on our own store."""
    return [
        records.open_stop,
        records.record_stop,
        records.open_attempt,
        records.take_back_holds,
        records.find_route,
        records.find_charger,
        records.look_around,
        records.follow_session,
        records.price_session,
        records.session_facts,
        records.amend_stop,
    ]


def stop_worker(house: House, *, task_queue: str = STOP_QUEUE) -> Worker:
    """Workflows of stops and the activities on our own store."""
    records = StopRecords(house.store, FIXED_QUEUES)
    books = StationBooks(house.store)
    settings = house.settings
    return Worker(
        house.client,
        task_queue=task_queue,
        workflows=[ChargingStop, SessionKeeper, StationCommand],
        activities=[*record_activities(records), books.find_station, books.note_at_station],
        workflow_runner=sandbox(),
        deployment_config=deployment_of(settings),
        max_cached_workflows=settings.workflow_cache,
        max_concurrent_workflow_tasks=settings.workflow_tasks,
        interceptors=[LogContextInterceptor()],
        max_concurrent_activities=settings.max_concurrent_activities,
        graceful_shutdown_timeout=timedelta(seconds=settings.drain_s),
    )


def command_worker(house: House, task_queue: str, ports: dict[Protocol, CommandPort]) -> Worker:
    """Commands to peers that have a queue of their own (a gateway, the roaming partners, the vehicles)."""
    commands = ChargerCommands(house.store, ports)
    return Worker(
        house.client,
        task_queue=task_queue,
        activities=[commands.command_charger],
        interceptors=[LogContextInterceptor()],
        max_concurrent_activities=house.settings.max_concurrent_activities,
        graceful_shutdown_timeout=timedelta(seconds=house.settings.drain_s),
    )


def gateway_worker(house: House, task_queue: str, gateway: GatewayPort) -> Worker:
    """What is done through the sockets of one gateway: commands of stops, tasks of operators."""
    commands = ChargerCommands(house.store, {Protocol.OCPP: gateway})
    return Worker(
        house.client,
        task_queue=task_queue,
        activities=[commands.command_charger, StationCommands(gateway).do_at_station],
        interceptors=[LogContextInterceptor()],
        max_concurrent_activities=house.settings.max_concurrent_activities,
        graceful_shutdown_timeout=timedelta(seconds=house.settings.drain_s),
    )


def planner_worker(house: House, *, task_queue: str = PLANNER_QUEUE) -> Worker:
    return Worker(
        house.client,
        task_queue=task_queue,
        activities=[Planner(house.store).plan_stop],
        interceptors=[LogContextInterceptor()],
        max_concurrent_activities=8,
        graceful_shutdown_timeout=timedelta(seconds=house.settings.drain_s),
    )


async def run_until(stopped: asyncio.Event, *workers: Worker) -> None:
    """Run workers side by side; on the stop signal they drain and end."""
    running = [asyncio.create_task(worker.run()) for worker in workers]
    waiting = asyncio.create_task(stopped.wait())
    done, _ = await asyncio.wait([waiting, *running], return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(*(worker.shutdown() for worker in workers))
    waiting.cancel()
    for task in done - {waiting}:
        task.result()  # a worker that ended by itself: say why
    await asyncio.gather(*running)
