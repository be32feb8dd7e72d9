"""`backstop chargers` from end to end: the command in a process of its own, the API, Temporal, a gateway, and
a live station that is commissioned with what the command has shown."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvicorn
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.worker import Worker
from typer.testing import CliRunner

from activities.station_commands import StationBooks, StationCommands
from api.app import create_app
from api.keys import generate_key
from api.settings import ApiSettings
from connectors.ocpp.server import Gateway
from models.ids import TenantId
from simulators.charge_point.station import StationTwin
from simulators.twin import Ledger, TwinConnector, TwinPace, TwinStation
from store.database import Store
from tests.ocpp.conftest import Sink
from workers.bootstrap import sandbox
from workers.cli import app
from workers.gateway.bus import GatewayBus
from workers.gateway.house import OcppHouse
from workers.stack.ports import free_port
from workflows.station_command import StationCommand

CHECKOUT = Path(__file__).resolve().parents[2]
ALL = {"stations:write", "stations:command", "chargers:read"}


@dataclass
class Ended:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


@dataclass
class Prompt:
    """An operator's shell, and the house that it talks to."""

    store: Store
    tenant_id: TenantId
    gateway: Gateway
    environment: dict[str, str]
    station_id: str = field(default_factory=lambda: f"CP-{uuid.uuid4().hex[:8]}")

    async def start(self, *words: str, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "workers.cli", "chargers", *words],
            cwd=CHECKOUT,
            env={**self.environment, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *words: str, **environment: str) -> Ended:
        child = await self.start(*words, **environment)
        async with asyncio.timeout(120):
            out, err = await child.communicate()
        assert "Traceback" not in err.decode(), err.decode()
        return Ended(child.returncode or 0, out.decode(), err.decode())

    async def add(self, *more: str) -> Ended:
        words = ["--connectors", "2", "--power-kw", "22", "--phases", "3", "--place", "51.2,6.8"]
        return await self.run("add", self.station_id, *words, *more)

    @asynccontextmanager
    async def station(self, version: str, password: str) -> AsyncIterator[StationTwin]:
        """The station itself, switched on; it is connected and has booted."""
        connectors = tuple(
            TwinConnector(charger_id=f"{self.station_id}-{number}", number=number, power_kw=22)
            for number in (1, 2)
        )
        config = TwinStation.model_validate(
            {
                "station_id": self.station_id,
                "password": password,
                "ocpp_version": version,
                "connectors": connectors,
            }
        )
        twin = StationTwin(config, TwinPace(), Ledger(), f"ws://127.0.0.1:{self.gateway.port}/ocpp")
        running = asyncio.create_task(twin.run())
        try:
            async with asyncio.timeout(30):
                while not await self._has_booted():
                    await asyncio.sleep(0.05)
            yield twin
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _has_booted(self) -> bool:
        async with self.store.tenant(self.tenant_id) as unit:
            record = await unit.stations.get(self.station_id)
            chargers = await unit.chargers.by_station(self.station_id)
        known = all(charger.status_at is not None for charger in chargers)
        return record is not None and record.connected and record.booted_at is not None and known


@pytest_asyncio.fixture
async def prompt(temporal_client: Client, store: Store) -> AsyncIterator[Prompt]:
    mark = uuid.uuid4().hex[:8]
    tenant_id, queue, stop_queue = TenantId(f"t{mark}"), f"gateway-{mark}", f"stops-{mark}"
    plain, hashed = generate_key()
    async with store.platform() as unit:
        await unit.ensure_tenant(tenant_id)
        await unit.add_api_key(tenant_id, "operator", hashed, frozenset(ALL))
    gateway = Gateway(OcppHouse(store, queue, Sink()), meter_evidence_interval_s=0.0)
    await gateway.start("127.0.0.1", 0)
    bus = asyncio.create_task(GatewayBus(gateway, store, store.url).run())
    books, commands = StationBooks(store), StationCommands(gateway)
    settings = ApiSettings(cursor_secret=SecretStr("test"))
    served = create_app(store=store, client=temporal_client, settings=settings, stop_queue=stop_queue)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(served, port=port, log_config=None, access_log=False))
    server.install_signal_handlers = lambda: None  # type: ignore[method-assign]
    serving = asyncio.create_task(server.serve())
    async with (
        Worker(
            temporal_client,
            task_queue=stop_queue,
            workflows=[StationCommand],
            activities=[books.find_station, books.note_at_station],
            workflow_runner=sandbox(),
        ),
        Worker(temporal_client, task_queue=queue, activities=[commands.do_at_station]),
    ):
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CHECKOUT),
            "COLUMNS": "200",
            "BACKSTOP_URL": f"http://127.0.0.1:{port}",
            "BACKSTOP_API_KEY": plain,
        }
        yield Prompt(store, tenant_id, gateway, environment)
    server.should_exit = True
    await serving
    bus.cancel()
    await asyncio.gather(bus, return_exceptions=True)
    await gateway.stop()


def shown(text: str, name: str) -> str:
    found = re.search(rf"^  {re.escape(name)} +(\S+)$", text, re.MULTILINE)
    assert found is not None, text
    return found[1]


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])
async def test_a_newcomer_commissions_a_charger(prompt: Prompt, version: str) -> None:
    added = await prompt.add()
    assert added.code == 0, added.err
    password = shown(added.out, "password")
    assert bytes.fromhex(shown(added.out, "hex (1.6)")).decode() == password
    assert shown(added.out, "user") == prompt.station_id
    name = prompt.station_id
    async with prompt.station(version, password):
        listed = await prompt.run("list")
        assert re.search(rf"{name} +connected +{version}", listed.out), listed.out
        show = await prompt.run("show", name)
        assert "available" in show.out
        is_16 = version == "ocpp1.6"
        payload = '{"requestedMessage": "Heartbeat"}'
        sent = await prompt.run("send", name, "TriggerMessage", payload)
        assert (sent.code, sent.out.splitlines()[0]) == (0, "accepted"), sent.err
        bad = await prompt.run("send", name, "TriggerMessage", '{"nonsense": 1}')
        assert (bad.code, "FormationViolation" in bad.out) == (1, True), bad.out
        start = "RemoteStartTransaction" if is_16 else "RequestStartTransaction"
        guarded = await prompt.run("send", name, start, '{"idTag": "X"}')
        assert (guarded.code, "charging stop" in guarded.out) == (1, True)
        limited = await prompt.run("limit", name, "1", "6.9")
        assert (limited.code, limited.out.splitlines()[0]) == (0, "accepted"), limited.out + limited.err
        assert "applied: the station shows 6.9 kW" in limited.out
        cleared = await prompt.run("limit", name, "1", "--clear")
        assert (cleared.code, "cleared" in cleared.out) == (0, True), cleared.out
        log = await prompt.run("events", name, "--kind", "command")
        assert len(log.out.splitlines()) == 5
        assert "actor=operator" in log.out
    again = await prompt.add("--profile", "2")
    assert (again.code, "password" in again.out) == (0, False)
    lowered = await prompt.run("add", name, "--profile", "1")
    assert (lowered.code, lowered.err.startswith("station.security_downgrade:")) == (1, True)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_messages_are_seen_as_they_pass_and_without_secrets(prompt: Prompt) -> None:
    password = shown((await prompt.add()).out, "password")
    async with prompt.station("ocpp1.6", password):
        watching = await prompt.start("tail", prompt.station_id, "--json")
        assert watching.stdout is not None
        frames: list[dict[str, Any]] = []

        async def read() -> None:
            assert watching.stdout is not None
            async for line in watching.stdout:
                frames.append(json.loads(line))

        reading = asyncio.create_task(read())
        token = f"SECRET{uuid.uuid4().hex[:8]}"
        entry = {"idTag": token, "idTagInfo": {"status": "Accepted"}}
        body = {"listVersion": 1, "updateType": "Full", "localAuthorizationList": [entry]}
        async with asyncio.timeout(60):
            while not any("SendLocalList" in one["frame"] for one in frames):
                sent = await prompt.run("send", prompt.station_id, "SendLocalList", json.dumps(body))
                assert sent.code in (0, 1), sent.err
        assert {one["station_id"] for one in frames} == {prompt.station_id}
        assert {one["direction"] for one in frames} == {"in", "out"}
        assert token not in str(frames)
        watching.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            await watching.wait()
            await reading
        assert watching.stderr is not None
        assert "Traceback" not in (await watching.stderr.read()).decode()


@pytest.mark.slow
@pytest.mark.asyncio
async def test_what_goes_wrong_is_one_line_and_an_exit_code(prompt: Prompt) -> None:
    name = prompt.station_id
    cases: list[tuple[tuple[str, ...], dict[str, str], int, str]] = [
        (("list",), {"BACKSTOP_API_KEY": ""}, 2, "set BACKSTOP_API_KEY"),
        (("list",), {"BACKSTOP_API_KEY": "bsk_wrong"}, 1, "auth.invalid: "),
        (("list",), {"BACKSTOP_URL": f"http://127.0.0.1:{free_port()}"}, 3, "the API does not answer"),
        (("list",), {"BACKSTOP_URL": "nowhere"}, 2, "BACKSTOP_URL is no http address"),
        (("show", "never-seen"), {}, 1, "station.unknown: "),
        (("send", name, "Reset", "{"), {}, 2, "the payload is no JSON"),
        (("add", name, "--connectors", "1"), {}, 2, "connectors need --place"),
        (("add", "has:colon"), {}, 1, "request.invalid: path.station_id"),
        (("limit", name, "1"), {}, 2, "give a limit in kW, or --clear"),
        (("tail", "never-seen"), {}, 1, "station.unknown: "),
    ]
    ends = await asyncio.gather(*(prompt.run(*words, **around) for words, around, _, _ in cases))
    for (words, _, code, line), end in zip(cases, ends, strict=True):
        assert (end.code, end.err.startswith(line), len(end.err.splitlines())) == (code, True, 1), (
            words,
            end,
        )
    assert (await prompt.add("--json")).json()["created"] is True
    away = await prompt.run("send", name, "Reset", '{"type": "Soft"}')
    assert (away.code, away.out.startswith("unreachable NotSent")) == (3, True)


def test_keys_are_made_with_scopes_that_exist() -> None:
    refused = CliRunner().invoke(app, ["keys", "create", "x", "--scopes", "stations:write,stations:rule"])
    assert (refused.exit_code, "stations:rule" in refused.output) == (2, True)
    shown_scopes = CliRunner().invoke(app, ["keys", "create", "--help"], env={"COLUMNS": "300"}).output
    assert "stations:command" in shown_scopes
