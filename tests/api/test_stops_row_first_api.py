"""A stop's row comes first: after a 202 a read finds it and a cancel is kept, whoever is away."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from api.app import create_app
from api.keys import generate_key
from api.settings import ApiSettings
from models.stop import StopOutcome
from store.database import Store
from tests.store.store_samples import request
from tests.workers.lost_stops import Lost, lost

pytestmark = pytest.mark.asyncio(loop_scope="session")
_STOPS = "/v1/charging-stops"


@pytest_asyncio.fixture(loop_scope="session")
async def town(store: Store, temporal_client: Client) -> Lost:
    made = lost(store, temporal_client)
    async with store.platform() as unit:
        await unit.ensure_tenant(made.tenant)
    return made


@asynccontextmanager
async def api(town: Lost, client: Client | None = None) -> AsyncGenerator[httpx.AsyncClient]:
    """`client`: to Temporal, as the API has it."""
    app = create_app(
        store=town.store,
        client=client or town.client,
        settings=ApiSettings(cursor_secret=SecretStr("test"), update_wait_s=0.5, key_cache_s=0),
        stop_queue=town.queue,
    )
    plain, mark = generate_key()
    async with town.store.platform() as unit:
        await unit.add_api_key(town.tenant, "w", mark, frozenset({"stops:write", "stops:read"}))
    headers = {"Authorization": f"Bearer {plain}"}
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as http:
        yield http


@asynccontextmanager
async def cut_off(client: Client) -> AsyncGenerator[Client]:
    """A client that was connected, and whose server is away now."""
    host, port = client.service_client.config.target_host.rsplit(":", 1)
    pipes: list[asyncio.StreamWriter] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        pipes.extend([writer, back])

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while chunk := await source.read(65536):
                    sink.write(chunk)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, back), pump(there, writer))

    line = await asyncio.start_server(pipe, "127.0.0.1", 0)
    address = line.sockets[0].getsockname()
    made = await Client.connect(f"127.0.0.1:{address[1]}", data_converter=pydantic_data_converter)
    line.close()
    for writer in pipes:
        writer.close()
    yield made


def body() -> dict[str, Any]:
    return request(f"tour-{uuid.uuid4().hex[:8]}").model_dump(mode="json")


async def test_after_202_a_read_works_though_no_worker_runs(town: Lost) -> None:
    async with api(town) as http:
        wish = body()
        started = await http.post(_STOPS, json=wish)
        assert started.status_code == 202
        found = await http.get(f"{_STOPS}/{started.json()['stop_id']}")
        assert (found.status_code, found.json()["phase"]) == (200, "planning")
        assert found.json()["waits_for"] == "a worker to begin"
        again = await http.post(_STOPS, json=wish)
        assert (again.status_code, again.json()["stop_id"]) == (200, started.json()["stop_id"])
        other = await http.post(_STOPS, json={**wish, "target_soc_percent": 60})
        assert (other.status_code, other.json()["code"]) == (409, "stop.conflicting_request")
        assert [one["stop_id"] for one in (await http.get(_STOPS)).json()["data"]] == [
            found.json()["stop_id"]
        ]


async def test_of_many_repeats_one_starts(town: Lost) -> None:
    async with api(town) as http:
        for _ in range(5):
            wish = body()
            answers = await asyncio.gather(*(http.post(_STOPS, json=wish) for _ in range(12)))
            assert sorted(answer.status_code for answer in answers) == [200] * 11 + [202]


async def test_a_cancel_before_any_worker_is_kept_and_takes_effect(town: Lost) -> None:
    async with api(town) as http:
        stop_id = (await http.post(_STOPS, json=body())).json()["stop_id"]
        said = await http.post(f"{_STOPS}/{stop_id}/cancellation", json={"event_id": "c"})
        assert (said.status_code, said.json()["pending"]) == (202, True)
        arrival = await http.post(f"{_STOPS}/{stop_id}/arrival", json={"event_id": "a"})
        assert arrival.status_code == 503  # only a cancel is kept: an arrival would be old by then
        async with town.worker():
            await town.round_until(stop_id, lambda view: view.outcome is StopOutcome.CANCELLED)
        late = await http.post(f"{_STOPS}/{stop_id}/cancellation", json={"event_id": "d"})
        assert (late.status_code, late.json()["code"]) == (409, "stop.closed")


async def test_while_temporal_is_away_a_stop_is_taken_and_runs_later(town: Lost) -> None:
    async with cut_off(town.client) as away, api(town, away) as http:
        started = await http.post(_STOPS, json=body())
        assert started.status_code == 202
        stop_id = started.json()["stop_id"]
        assert (await http.get(f"{_STOPS}/{stop_id}")).status_code == 200
        said = await http.post(f"{_STOPS}/{stop_id}/cancellation", json={"event_id": "c"})
        assert (said.status_code, said.json()["pending"]) == (202, True)
    handle = town.client.get_workflow_handle(started.json()["workflow_id"])
    with pytest.raises(RPCError):
        await handle.describe()
    async with town.worker():
        await town.round_until(stop_id, lambda view: view.outcome is StopOutcome.CANCELLED)


async def test_a_key_whose_workflow_has_another_request_is_refused(town: Lost) -> None:
    """It was begun before rows came first, say: the row that this call made is taken back."""
    wish = body()
    async with api(town) as http:
        assert (await http.post(_STOPS, json=wish)).status_code == 202
        stop_id = (await http.post(_STOPS, json=wish)).json()["stop_id"]
        async with town.store.tenant(town.tenant) as unit:
            await unit.stops.intake.withdraw(stop_id)
        other = await http.post(_STOPS, json={**wish, "target_soc_percent": 60})
        assert (other.status_code, other.json()["code"]) == (409, "stop.conflicting_request")
        assert (await http.get(f"{_STOPS}/{stop_id}")).status_code == 404
        assert (await http.post(_STOPS, json=wish)).status_code == 202
