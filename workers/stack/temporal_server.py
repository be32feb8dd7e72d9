"""A Temporal server with its UI for development, demo and tests: own ports, own database, ended with us."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from models.contract import SEARCH_ATTRIBUTES
from workers.stack.chaos import Child
from workers.stack.processes import ChildFailed, Supervisor, http_ready, until_ready
from workers.stack.settings import StackSettings
from workers.stack.temporal_config import (
    DYNAMIC,
    Persistence,
    PostgresDatabases,
    SqliteFile,
    TemporalPorts,
    write_server_config,
    write_ui_config,
)
from workers.stack.temporal_namespace import prepare_namespace
from workers.stack.temporal_source import (
    DevServer,
    External,
    Say,
    Source,
    StockBuild,
    build_with_go,
    resolve,
    say_to_stderr,
)

_SERVER, _UI = "temporal", "temporal-ui"
_TRIES = 3


@dataclass
class TemporalServer:
    """One server and its UI, state in `folder`; or the one that BACKSTOP_TEMPORAL_ADDRESS names.

    A killed server comes back by itself on its data and at the same address. `databases`: PostgreSQL in place
    of the SQLite file (stock build only, see temporal_schema.py). `source`: leave out to have it found."""

    folder: Path
    databases: PostgresDatabases | None = None
    source: Source | None = None
    namespace: str = "default"
    ui: bool = True
    settings: StackSettings = field(default_factory=StackSettings.from_environment)
    say: Say = say_to_stderr
    _supervisor: Supervisor = field(init=False)
    _ports: TemporalPorts | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()
        self._supervisor = Supervisor(self.folder / "logs")

    async def __aenter__(self) -> TemporalServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def external(self) -> bool:
        """Others run it: it is neither started, stopped nor killed here."""
        return isinstance(self.source, External)

    @property
    def address(self) -> str:
        """host:port for clients; the same over restarts."""
        if isinstance(self.source, External):
            return self.source.address
        return f"127.0.0.1:{self._own_ports.frontend}"

    @property
    def ui_url(self) -> str | None:
        """None where nobody told us (an external server)."""
        if isinstance(self.source, External):
            return self.source.ui_url
        return f"http://127.0.0.1:{self._own_ports.ui}" if self.ui else None

    @property
    def pid(self) -> int:
        return self._supervisor.pid(_SERVER)

    @property
    def restarts(self) -> int:
        """How often it came back after an unexpected end."""
        return self._supervisor.restarts(_SERVER)

    @property
    def _own_ports(self) -> TemporalPorts:
        if self._ports is None:
            raise RuntimeError("the Temporal server is not started")
        return self._ports

    async def start(self, seconds: float = 90.0) -> None:
        """Find or make the programs (the first time on a machine this may take minutes, and says so), start,
        wait for health, prepare the namespace. Raises TemporalMissing, ChildFailed, TimeoutError."""
        if self.source is None:
            self.source = await self._find()
        if self._supervisor.names():
            return
        try:
            if not isinstance(self.source, External):
                await self._start_own(self.source, seconds)
            await until_ready(self.answers, f"Temporal at {self.address}", seconds)
            await prepare_namespace(await self.client(), seconds)
            if self.ui_url is not None and not self.external:
                await self._supervisor.wait_ready(self._ui_child, self.ui_answers, seconds)
        except BaseException:
            await self.stop()
            raise

    async def _find(self) -> Source:
        if self.databases is not None:  # only the stock server runs on PostgreSQL
            return await build_with_go(self.settings, self.say)
        return await resolve(self.settings, self.say)

    async def _start_own(self, source: StockBuild | DevServer, seconds: float) -> None:
        noted = self.folder / "ports.json"
        self._ports = self._ports or TemporalPorts.kept_in(noted)
        for attempt in range(1, _TRIES + 1):
            if isinstance(source, StockBuild):
                self._launch_stock(source)
            else:
                self._launch_dev(source)
            try:
                await self._supervisor.wait_ready(_SERVER, self.answers, seconds)
            except ChildFailed:
                # Most likely somebody took one of ten ports between the choice and the start.
                await self._supervisor.stop_all()
                if attempt == _TRIES:
                    raise
                self._ports = TemporalPorts.fresh(noted)
            else:
                return

    def _launch_stock(self, source: StockBuild) -> None:
        persistence: Persistence = self.databases or SqliteFile(self.folder / "temporal.db")
        config = write_server_config(self.folder / "config", self._own_ports, persistence)
        argv = [str(source.server), "--config-file", str(config), "--allow-no-auth", "start"]
        self._supervisor.start(_SERVER, argv, cwd=self.folder)
        if self.ui:
            shown = write_ui_config(self.folder / "config", self._own_ports, self.namespace)
            argv = [str(source.ui), "-r", str(shown.parent), "-c", ".", "-e", shown.stem, "start"]
            self._supervisor.start(_UI, argv, cwd=self.folder)

    def _launch_dev(self, source: DevServer) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = self._own_ports
        argv = [str(source.command), "server", "start-dev", "--ip", "127.0.0.1", "--log-level", "warn"]
        argv += ["--port", str(ports.frontend), "--http-port", str(ports.http)]
        argv += ["--db-filename", str(self.folder / "temporal-dev.db"), "--namespace", self.namespace]
        argv += ["--ui-port", str(ports.ui)] if self.ui else ["--headless"]
        for name, kind in SEARCH_ATTRIBUTES.items():
            argv += ["--search-attribute", f"{name}={kind}"]
        for key, value in DYNAMIC.items():
            shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
            argv += ["--dynamic-config-value", f"{key}={shown}"]
        self._supervisor.start(_SERVER, argv, cwd=self.folder)

    @property
    def _ui_child(self) -> str:
        return _UI if _UI in self._supervisor.names() else _SERVER

    async def client(self) -> Client:
        """A new client with our data converter."""
        return await Client.connect(
            self.address, namespace=self.namespace, data_converter=pydantic_data_converter
        )

    async def answers(self) -> bool:
        """The server's frontend says that it serves."""
        try:
            async with asyncio.timeout(5):
                client = await Client.connect(self.address)
            return await client.service_client.check_health(timeout=timedelta(seconds=2))
        except (RPCError, RuntimeError, TimeoutError):
            return False

    async def ui_answers(self) -> bool:
        """The UI serves its page, and reaches the server."""
        if self.ui_url is None:
            return False
        page, data = http_ready(f"{self.ui_url}/"), http_ready(f"{self.ui_url}/api/v1/namespaces")
        return await page() and await data()

    @property
    def child(self) -> Child:
        """The server itself, for chaos."""
        return Child(self._supervisor, _SERVER, self.answers)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """For drills: it comes back; `wait_back()` waits for that."""
        self._supervisor.kill(_SERVER, number)

    async def wait_back(self, restarts: int = 0, seconds: float = 60.0) -> None:
        """Wait until it was started again more than `restarts` times and answers."""
        await self._supervisor.wait_restarted(_SERVER, restarts, seconds)
        await until_ready(self.answers, "Temporal after a restart", seconds)

    async def restart(self) -> None:
        """A clean stop and a start on the same data and at the same address."""
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        """Ask both to end; safe to call twice. An external server is left alone."""
        await self._supervisor.stop_all()
