"""A Temporal server for this process: an existing one, a cached build, a `temporal` command, or a build.

Order: BACKSTOP_TEMPORAL_ADDRESS; the cached build; `temporal` on PATH or the SDK's own download (both run
`start-dev`); the Go build.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import temporalio.api.enums.v1
from google.protobuf.duration_pb2 import Duration
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode

from models.contract import SEARCH_ATTRIBUTES
from workers.stack.processes import end, spawn, until_ready
from workers.stack.temporal_build import Programs, build, cached
from workers.stack.temporal_config import ServerPorts, postgres_store, sqlite_store, write_config

ADDRESS_SETTING = "BACKSTOP_TEMPORAL_ADDRESS"
NAMESPACE = "default"
_DOWNLOAD_VERSION = "v1.9.1"  # the command whose start-dev is server 1.32.0
_DOWNLOAD_WAIT_S = 180


@dataclass
class TemporalServer:
    """One server and its UI; state in `folder`. `datastores`: another persistence than the SQLite file."""

    folder: Path
    ports: ServerPorts = field(default_factory=ServerPorts)
    datastores: dict[str, Any] | None = None
    shards: int = 1
    _children: list[subprocess.Popen[bytes]] = field(default_factory=lambda: [], init=False)
    source: str = field(default="", init=False)

    @property
    def address(self) -> str:
        return os.environ.get(ADDRESS_SETTING) or f"127.0.0.1:{self.ports.grpc['frontend']}"

    @property
    def ui_url(self) -> str:
        return os.environ.get("BACKSTOP_TEMPORAL_UI") or f"http://127.0.0.1:{self.ports.ui}"

    async def start(self, seconds: float = 90.0) -> None:
        """Start, wait for health, register namespace and search attributes. Raises TemporalMissing or
        TimeoutError; a second start on the same folder finds everything as it was left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.environ.get(ADDRESS_SETTING):
            self.source = "environment"
        else:
            await self._start_own()
        await until_ready(self._answers, f"Temporal at {self.address}", seconds)
        client = await self.client()
        await register(client)

    async def _start_own(self) -> None:
        programs = cached()
        if programs is None and self.datastores is None:
            command = shutil.which("temporal") or await asyncio.to_thread(_download)
            if command is not None:
                self.source = "temporal command"
                self._spawn_dev(command)
                return
        self.source = "cached build" if programs else "new build"
        self._spawn_stock(programs or await asyncio.to_thread(build))

    def _spawn_stock(self, programs: Programs) -> None:
        stores = self.datastores or sqlite_store(self.folder / "temporal.db")
        config = write_config(self.folder / "config", self.ports, stores, self.shards)
        logs = self.folder / "logs"
        server = [str(programs.server), "--config-file", str(config), "--allow-no-auth", "start"]
        self._children.append(spawn(server, log=logs / "temporal.log"))
        ui = [str(programs.ui), "-r", "/", "-c", str(config.parent / "ui"), "-e", "local", "start"]
        self._children.append(spawn(ui, log=logs / "temporal-ui.log"))

    def _spawn_dev(self, command: str) -> None:
        argv = [command, "server", "start-dev", "--ip", "127.0.0.1"]
        argv += ["--port", str(self.ports.grpc["frontend"]), "--ui-port", str(self.ports.ui)]
        argv += ["--db-filename", str(self.folder / "temporal-dev.db"), "--log-level", "warn"]
        argv += ["--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true"]
        self._children.append(spawn(argv, log=self.folder / "logs" / "temporal.log"))

    async def client(self) -> Client:
        return await Client.connect(self.address, namespace=NAMESPACE, data_converter=pydantic_data_converter)

    async def _answers(self) -> bool:
        if self._children and self._children[0].poll() is not None:
            raise RuntimeError(f"Temporal ended at start: see {self.folder / 'logs' / 'temporal.log'}")
        try:
            client = await Client.connect(self.address, namespace=NAMESPACE, lazy=False)
            return await client.service_client.check_health(timeout=timedelta(seconds=2))
        except (RPCError, RuntimeError):
            return False

    async def ui_answers(self) -> bool:
        async with httpx.AsyncClient(timeout=3) as http:
            try:
                return (await http.get(f"{self.ui_url}/api/v1/namespaces")).status_code == 200
            except httpx.HTTPError:
                return False

    @property
    def pid(self) -> int:
        return self._children[0].pid

    def kill(self) -> None:
        """kill -9 of server and UI, for drills."""
        for child in self._children:
            child.kill()
            child.wait()
        self._children.clear()

    async def stop(self) -> None:
        children, self._children = self._children, []
        await asyncio.gather(*(asyncio.to_thread(end, child, 10.0) for child in children))


async def register(client: Client) -> None:
    """Namespace and search attributes; both may be there already."""
    service = client.workflow_service
    try:
        await service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        retention = Duration(seconds=7 * 24 * 3600)
        try:
            await service.register_namespace(
                RegisterNamespaceRequest(
                    namespace=client.namespace, workflow_execution_retention_period=retention
                )
            )
        except RPCError as again:
            if again.status is not RPCStatusCode.ALREADY_EXISTS:
                raise
    await until_ready(lambda: _attributes_usable(client), "Temporal's search attributes", 60)


async def _attributes_usable(client: Client) -> bool:
    kinds = temporalio.api.enums.v1.IndexedValueType
    try:
        known = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
        missing = {
            name: kinds.Value(f"INDEXED_VALUE_TYPE_{kind.upper()}")
            for name, kind in SEARCH_ATTRIBUTES.items()
            if name not in known.custom_attributes
        }
        if not missing:
            return True
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
        )
    except RPCError:
        return False  # the namespace is not known everywhere yet
    return False


def _download() -> str | None:
    """The SDK's own download of the `temporal` command. Offline the answer is "no", at once."""

    async def fetch() -> str | None:
        from temporalio.testing import WorkflowEnvironment

        folder = Path.home() / ".cache" / "backstop"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            async with asyncio.timeout(_DOWNLOAD_WAIT_S):
                environment = await WorkflowEnvironment.start_local(
                    dev_server_download_version=_DOWNLOAD_VERSION, download_dest_dir=str(folder)
                )
        except (RuntimeError, TimeoutError):
            return None
        await environment.shutdown()
        found = sorted(folder.glob("temporal*cli*"))
        return str(found[-1]) if found else None

    return asyncio.run(fetch())


async def prepare_postgres_store(postgres_url: str, sql_tool: Path, suffix: str) -> dict[str, Any]:
    """Make Temporal's two databases on a PostgreSQL server (production's shape) and fill their schemas."""
    from sqlalchemy.engine import make_url

    parts = make_url(postgres_url)
    names = (f"temporal_{suffix}", f"temporal_visibility_{suffix}")
    for name, schema in zip(names, ("temporal", "visibility"), strict=True):
        base = [str(sql_tool), "--plugin", "postgres12", "--ep", str(parts.host), "-p", str(parts.port)]
        base += ["-u", str(parts.username), "--pw", parts.password or "", "--db", name]
        steps = (
            ["create"],
            ["setup-schema", "-v", "0.0"],
            ["update-schema", "--schema-name", f"postgresql/v12/{schema}"],
        )
        for step in steps:
            done = await asyncio.create_subprocess_exec(
                *base, *step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            out, _ = await done.communicate()
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(step)} of {name}: {out.decode(errors='replace')[-500:]}")
    return postgres_store(postgres_url, *names)
