"""The full stack on this machine: servers, our processes, the twin. What `make dev`, `make demo` and the
kill tests run; the process commands are those of docker-compose.yml."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from api.auth import Scope
from simulators.fault_plan import FaultPlan, plan_faults
from simulators.world import DemoWorld, demo_world
from store.database import Store
from store.migration import migrate
from workers.bootstrap import stop_signal
from workers.demo import MorningEnd, Patience, run_demo
from workers.oracle.reader import HouseReader
from workers.provisioning import create_api_key, provision_chargers, provision_stations
from workers.stack.chaos import Chaos, Child, Victim, plan_blows
from workers.stack.ports import free_ports
from workers.stack.postgres import Postgres
from workers.stack.processes import Ready, Supervisor, http_ready, until_ready
from workers.stack.settings import StackSettings
from workers.stack.temporal_config import PostgresDatabases
from workers.stack.temporal_schema import create_databases
from workers.stack.temporal_server import TemporalServer
from workers.stack.temporal_source import build_with_go

TENANT = "demo"
ALL_SCOPES = [str(scope) for scope in Scope]
OUR_PROCESSES = ("api", "worker", "planner", "gateway")
_VENDOR_CONNECTION = "twin"
_HERE = Path(__file__).resolve().parents[1]


@dataclass
class LocalStack:
    """Everything, in `folder`. Addresses are valid once `start` has returned. `temporal_on_postgres`: the
    shape of production, Temporal's own data in PostgreSQL too. `entry`: the module that our processes run."""

    folder: Path
    world: DemoWorld
    say: Callable[[str], None] = lambda text: None
    temporal_on_postgres: bool = False
    entry: str = "workers.cli"
    versioned: bool = True
    temporal: TemporalServer = field(init=False)
    postgres: Postgres = field(init=False)
    processes: Supervisor = field(init=False)
    api_key: str = field(default="", init=False)
    driver_key: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()
        self.temporal = TemporalServer(self.folder / "temporal")
        self.postgres = Postgres(self.folder / "postgres", tcp=self.temporal_on_postgres)
        self.processes = Supervisor(self.folder / "logs")
        ports = free_ports(6)
        self.api_port, self.gateway_port, self.gateway_health_port = ports[:3]
        self.charge_points_port, self.roaming_port, self.telematics_port = ports[3:]

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def gateway_url(self) -> str:
        return f"ws://127.0.0.1:{self.gateway_port}/ocpp"

    @property
    def control_urls(self) -> dict[str, str]:
        """Where each simulated partner is controlled and keeps its ledger."""
        return {
            "charge_points": f"http://127.0.0.1:{self.charge_points_port}",
            "roaming": f"http://127.0.0.1:{self.roaming_port}",
            "telematics": f"http://127.0.0.1:{self.telematics_port}",
        }

    @property
    def links(self) -> dict[str, str]:
        links = {"API docs": f"{self.api_url}/docs"}
        if self.temporal.ui_url:
            links["Temporal UI"] = f"{self.temporal.ui_url}/namespaces/default/workflows"
        return links

    @property
    def exports(self) -> list[str]:
        """Lines for the shell of whoever wants to call the API or use `bin/backstop` on this stack."""
        return [
            f"export BACKSTOP={self.api_url} KEY={self.api_key}",
            f"export BACKSTOP_URL={self.api_url} BACKSTOP_API_KEY={self.api_key}",
            f"export BACKSTOP_TEMPORAL_ADDRESS={self.temporal.address}",
            f"export BACKSTOP_DATABASE_URL='{self.postgres.url}'",
        ]

    async def start(self) -> None:
        """Servers, database, processes, twin; each is awaited. Raises what the first failing one raises."""
        self.say("Starting PostgreSQL and Temporal")
        if self.temporal_on_postgres:
            await self._start_as_in_production()
        else:
            await asyncio.gather(self.postgres.start(), self.temporal.start())
        url = self.postgres.url
        await asyncio.to_thread(migrate, url)
        await self._provision(url)
        self.say("Starting API, workers, gateway")
        self.processes.env.update(self._environment(url))
        for name in OUR_PROCESSES:
            self.processes.start(name, [sys.executable, "-m", self.entry, name], cwd=_HERE)
        await asyncio.gather(
            *(self.processes.wait_ready(name, ready) for name, ready in self._signs_of_life().items())
        )
        self.say("Starting the twin: charge points, a roaming partner, a telematics vendor")
        await self._start_twin()

    def _signs_of_life(self) -> dict[str, Ready]:
        return {
            "api": http_ready(f"{self.api_url}/readyz"),
            "gateway": http_ready(f"http://127.0.0.1:{self.gateway_health_port}/healthz"),
        }

    def victims(self) -> dict[str, Victim]:
        """What chaos may strike; servers that others run are spared."""
        signs = self._signs_of_life()
        found: dict[str, Victim] = {
            name: Child(self.processes, name, signs.get(name)) for name in OUR_PROCESSES
        }
        if not self.temporal.external:
            found["temporal"] = self.temporal.child
        if not self.postgres.external:
            found["postgres"] = self.postgres.child
        return found

    def chaos(self, seed: int, *, most: int | None = None) -> Chaos:
        """Blows every few seconds, by seed, to every process that is ours to strike."""
        victims = self.victims()
        return Chaos(victims, plan_blows(seed, tuple(victims)), most)

    async def reader(self) -> HouseReader:
        """Opens the house's own books for the oracle."""
        return HouseReader(await self.temporal.client(), self.postgres.url, TENANT)

    async def morning(
        self,
        plan: FaultPlan,
        console: Console,
        *,
        chaos: Chaos | None = None,
        patience: Patience | None = None,
        stays_up: bool = False,
    ) -> MorningEnd:
        """A fleet's morning on this stack, judged by everybody's books. The world has the plan's faults.
        `stays_up`: afterwards, so that its links will work and are shown."""
        return await run_demo(
            api_url=self.api_url,
            api_key=self.api_key,
            driver_key=self.driver_key,
            links=self.links if stays_up else {},
            world=self.world,
            plan=plan,
            control_urls=self.control_urls,
            folder=self.folder,
            console=console,
            reader=await self.reader(),
            chaos=chaos,
            patience=patience,
        )

    async def _start_as_in_production(self) -> None:
        settings = StackSettings.from_environment()
        await self.postgres.start()
        postgres = self.postgres
        databases = PostgresDatabases("127.0.0.1", postgres.port, "postgres", postgres.password)
        build = await build_with_go(settings)
        await create_databases(build, databases)
        self.temporal = TemporalServer(
            self.folder / "temporal", databases=databases, source=build, settings=settings
        )
        await self.temporal.start()

    async def _provision(self, url: str) -> None:
        store = Store(url, pool_size=2)
        try:
            await provision_chargers(store, TENANT, self.world.own_chargers(), self.world.policy())
            stations = {s.station_id: s.password for s in self.world.stations()}
            await provision_stations(store, TENANT, stations)
        finally:
            await store.dispose()
        self.api_key = await create_api_key(url, TENANT, "fleet backend", ALL_SCOPES)
        self.driver_key = await create_api_key(url, TENANT, "driver app", ["driver", "stops:read"])

    def _environment(self, url: str) -> dict[str, str]:
        self._webhook_secret = secrets.token_hex(32)
        self._client_secret = secrets.token_hex(16)
        connections = self.folder / "telematics.json"
        connections.parent.mkdir(parents=True, exist_ok=True)
        vendor = self.control_urls["telematics"]
        connection = {
            "connection_id": _VENDOR_CONNECTION,
            "tenant_id": TENANT,
            "base_url": vendor,
            "token_url": f"{vendor}/oauth/token",
            "client_id": "backstop",
            "client_secret": self._client_secret,
            "webhook_secret": self._webhook_secret,
        }
        connections.write_text(json.dumps([connection]))
        connections.chmod(0o600)
        return {
            "BACKSTOP_DATABASE_URL": url,
            "BACKSTOP_TEMPORAL_ADDRESS": self.temporal.address,
            "BACKSTOP_API_PORT": str(self.api_port),
            "BACKSTOP_PUBLIC_URL": self.api_url,
            "BACKSTOP_GATEWAY_PORT": str(self.gateway_port),
            "BACKSTOP_GATEWAY_HEALTH_PORT": str(self.gateway_health_port),
            # A charge of half an hour takes ten seconds here: what is told once a minute comes every 3 s.
            "BACKSTOP_METER_EVIDENCE_INTERVAL_S": "3",
            "BACKSTOP_QUIET_EVIDENCE_S": "5",
            # Kept state outlives the code under `make dev`: there no stop is bound to a version.
            "BACKSTOP_WORKER_VERSIONING": str(self.versioned).lower(),
            "BACKSTOP_BECOME_CURRENT": "true",
            "BACKSTOP_ENODE_CONFIG": str(connections),
            "PYTHONPATH": str(_HERE),
        }

    async def _start_twin(self) -> None:
        twin = self.folder / "twin"
        twin.mkdir(parents=True, exist_ok=True)
        token_a = secrets.token_hex(16)
        configs = {
            "charge_points": self.world.config_charge_points(),
            "roaming": self.world.config_roaming_partner(token_a=token_a),
            "telematics": self.world.config_telematics_vendor(
                client_id="backstop",
                client_secret=self._client_secret,
                webhook_url=f"{self.api_url}/webhooks/enode/{_VENDOR_CONNECTION}",
                webhook_secret=self._webhook_secret,
            ),
        }
        files = {name: twin / f"{name}.json" for name in configs}
        for name, text in configs.items():
            files[name].touch(mode=0o600)
            files[name].write_text(text)
        run = [sys.executable, "-m"]
        ocpp = ["--gateway", self.gateway_url, "--control-port", str(self.charge_points_port)]
        roaming, vendor = ["--port", str(self.roaming_port)], ["--port", str(self.telematics_port)]
        self.processes.start(
            "charge_points",
            [*run, "simulators.charge_points", "--config", str(files["charge_points"]), *ocpp],
            cwd=_HERE,
        )
        self.processes.start(
            "roaming",
            [*run, "simulators.roaming_partner", "--config", str(files["roaming"]), *roaming],
            cwd=_HERE,
        )
        self.processes.start(
            "telematics",
            [*run, "simulators.telematics_vendor", "--config", str(files["telematics"]), *vendor],
            cwd=_HERE,
        )
        for name, address in self.control_urls.items():
            await self.processes.wait_ready(name, http_ready(f"{address}/twin/ledger"))
        await self._register_partner(token_a)
        await until_ready(self._stations_are_connected, "the charge points' connections", 60)

    async def _register_partner(self, token_a: str) -> None:
        """The handshake, as an operator does it: `backstop partners register`."""
        versions = f"{self.control_urls['roaming']}/ocpi/versions"
        child = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "workers.cli", "partners", "register", versions, "--tenant", TENANT],
            cwd=_HERE,
            env={**self.processes.env, "BACKSTOP_OCPI_TOKEN_A": token_a, "PATH": "/usr/bin:/bin"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await child.communicate()
        if child.returncode != 0:
            raise RuntimeError(f"the roaming partner could not be registered: {out.decode()[-800:]}")

    async def _stations_are_connected(self) -> bool:
        store = Store(self.postgres.url, pool_size=1)
        try:
            async with store.platform() as unit:
                routes = [await unit.find_route(s.station_id) for s in self.world.stations()]
            return all(route is not None for route in routes)
        finally:
            await store.dispose()

    async def stop(self) -> None:
        """Our processes drain first, then the servers end."""
        await self.processes.stop_all()
        await asyncio.gather(self.temporal.stop(), self.postgres.stop())


@asynccontextmanager
async def local_stack(
    folder: Path,
    world: DemoWorld,
    say: Callable[[str], None],
    *,
    temporal_on_postgres: bool = False,
    entry: str = "workers.cli",
    versioned: bool = True,
) -> AsyncGenerator[LocalStack, None]:
    stack = LocalStack(folder, world, say, temporal_on_postgres, entry, versioned)
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


async def demo_main(*, keep: bool, stops: int, seed: int, chaos: bool = False) -> int:
    """`make demo`. Exit code 0 only when every stop ended and no invariant was broken. `chaos`: a process is
    killed or frozen every few seconds."""
    console = Console()
    world = demo_world(seed, stops)
    plan: FaultPlan = plan_faults(world, seed)
    world = plan.put_on(world)
    stopped = stop_signal()
    with tempfile.TemporaryDirectory(prefix="backstop-demo-", ignore_cleanup_errors=True) as folder:
        async with local_stack(Path(folder), world, console.print) as stack:
            blows = stack.chaos(seed) if chaos else None
            morning = asyncio.create_task(stack.morning(plan, console, chaos=blows, stays_up=keep))
            waiting = asyncio.create_task(stopped.wait())
            await asyncio.wait([morning, waiting], return_when=asyncio.FIRST_COMPLETED)
            if not morning.done():
                morning.cancel()
                await asyncio.gather(morning, return_exceptions=True)
                return 130
            code = morning.result().code
            if keep:
                _print_exports(console, stack)
                console.print("\nStaying up. Ctrl-C ends it.")
                await waiting
            else:
                console.print("\nAll of it ends now. To look around in it afterwards: make demo KEEP=1")
            waiting.cancel()
    return code


async def dev_main(state: Path) -> int:
    """`make dev`: the stack and a calm twin, state kept on disk."""
    console = Console()
    stopped = stop_signal()
    world = demo_world(seed=7)
    async with local_stack(state, world, console.print, versioned=False) as stack:
        console.print("\nBackstop is up.")
        for name, link in stack.links.items():
            console.print(f"  {name:12} {link}")
        console.print(f"  {'OCPP':12} {stack.gateway_url}/<station id>")
        for name, link in stack.control_urls.items():
            console.print(f"  {'twin':12} {link} ({name})")
        console.print()
        _print_exports(console, stack)
        console.print("  bin/backstop chargers list       # and: add, show, send, tail, limit, events")
        console.print(f"\nCtrl-C ends it; state is kept in {state}.", soft_wrap=True)
        await stopped.wait()
    return 0


def _print_exports(console: Console, stack: LocalStack) -> None:
    for line in stack.exports:
        console.print(f"  {line}", soft_wrap=True, markup=False)
