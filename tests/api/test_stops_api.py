"""The API over ASGI, with a real store, a real Temporal server and the real stop worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi.routing import APIRoute
from pydantic import SecretStr
from temporalio.client import Client

from api.app import create_app
from api.keys import generate_key
from api.settings import ApiSettings
from connectors.ports import RoutedEvidence
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.ids import TenantId
from store.database import Store
from tests.workflows.conftest import Surroundings, patient_policy, surroundings


@dataclass
class Api:
    http: httpx.AsyncClient
    around: Surroundings
    keys: dict[str, str]

    def headers(self, who: str = "writer") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who]}"}

    def body(self, **changes: object) -> dict[str, Any]:
        return self.around.request(**changes).model_dump(mode="json")

    async def post(self, path: str, body: dict[str, Any], who: str = "writer") -> httpx.Response:
        return await self.http.post(path, json=body, headers=self.headers(who))

    async def get(self, path: str, who: str = "writer") -> httpx.Response:
        return await self.http.get(path, headers=self.headers(who))

    async def until(self, stop_id: str, ready: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while True:
                answer = await self.get(f"/v1/charging-stops/{stop_id}")
                if answer.status_code == 200 and ready(answer.json()):
                    return answer.json()
                await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def api(temporal_client: Client, store: Store) -> AsyncIterator[Api]:
    async with surroundings(temporal_client, store, policy=patient_policy()) as around:
        app = create_app(
            store=store,
            client=temporal_client,
            settings=ApiSettings(cursor_secret=SecretStr("test"), update_wait_s=3, key_cache_s=0),
            stop_queue=around.queue,
        )
        scopes = {
            "writer": {"stops:write", "stops:read", "chargers:read", "policies:write"},
            "reader": {"stops:read"},
            "driver": {"driver"},
            "powerless": {"something:else"},
            "admin": {"admin"},
        }
        keys: dict[str, str] = {}
        async with store.platform() as unit:
            await unit.ensure_tenant(TenantId("stranger"))
            for name, granted in scopes.items():
                keys[name], mark = generate_key()
                await unit.add_api_key(TenantId(around.tenant_id), name, mark, frozenset(granted))
            keys["stranger"], mark = generate_key()
            await unit.add_api_key(TenantId("stranger"), "all", mark, frozenset({"admin"}))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
            yield Api(http, around, keys)


@pytest.mark.asyncio
async def test_a_stop_is_started_once_per_key_and_content(api: Api) -> None:
    body = api.body()
    first = await api.post("/v1/charging-stops", body)
    assert first.status_code == 202
    stop_id = first.json()["stop_id"]
    assert first.headers["location"] == f"/v1/charging-stops/{stop_id}"
    again = await api.post("/v1/charging-stops", body)
    assert (again.status_code, again.json()["stop_id"]) == (200, stop_id)
    await api.until(stop_id, lambda view: view["phase"] == "en_route")
    later = await api.post("/v1/charging-stops", body)
    assert (later.status_code, later.json()["stop_id"]) == (200, stop_id)
    other = await api.post("/v1/charging-stops", {**body, "target_soc_percent": 70.0})
    assert other.status_code == 409
    assert other.headers["content-type"] == "application/problem+json"
    assert other.json()["code"] == "stop.conflicting_request"


@pytest.mark.asyncio
async def test_many_starts_at_once_make_one_stop(api: Api) -> None:
    body = api.body()
    answers = await asyncio.gather(*(api.post("/v1/charging-stops", body) for _ in range(12)))
    assert {a.status_code for a in answers} <= {200, 202}
    assert sum(a.status_code == 202 for a in answers) == 1
    assert len({a.json()["stop_id"] for a in answers}) == 1


@pytest.mark.asyncio
async def test_a_driver_reports_arrival_and_the_timeline_tells(api: Api) -> None:
    stop_id = (await api.post("/v1/charging-stops", api.body())).json()["stop_id"]
    await api.until(stop_id, lambda view: view["phase"] == "en_route")
    said = await api.post(f"/v1/charging-stops/{stop_id}/arrival", {"event_id": "a"}, "driver")
    assert (said.status_code, said.json()["duplicate"]) == (200, False)
    await api.until(stop_id, lambda view: view["phase"] == "charging")
    timeline = (await api.get(f"/v1/charging-stops/{stop_id}/timeline", "reader")).json()["data"]
    assert [event["seq"] for event in timeline] == list(range(1, len(timeline) + 1))
    assert {"plan.decided", "vehicle.arrived", "attempt.opened", "charge.confirmed"} <= {
        event["type"] for event in timeline
    }
    decisions = (await api.get(f"/v1/charging-stops/{stop_id}/decisions", "reader")).json()["data"]
    assert decisions[0]["candidates"][0]["charger"]["charger_id"] == "c1"
    feed = (await api.get("/v1/events", "reader")).json()
    assert feed["last_position"] >= len(timeline)


@pytest.mark.asyncio
async def test_a_read_shows_the_energy_of_now_without_a_word_to_the_stop(api: Api) -> None:
    """Meters stay out of the history: what a driver's app shows comes from them all the same."""
    stop_id = (await api.post("/v1/charging-stops", api.body())).json()["stop_id"]
    await api.until(stop_id, lambda view: view["phase"] == "en_route")
    await api.post(f"/v1/charging-stops/{stop_id}/arrival", {"event_id": "a"}, "driver")
    began = await api.until(stop_id, lambda view: view["phase"] == "charging")
    meter = Evidence(
        event_id="m",
        source=EvidenceSource.OCPP,
        kind=EvidenceKind.METER,
        observed_at=datetime.now(UTC),
        attempt_id=began["attempts"][0]["attempt_id"],
        charger_id="c1",
        energy_kwh=7.25,  # of 30: no turn that the stop is told of
    )
    await api.around.relay.accept(
        [RoutedEvidence(tenant_id=api.around.tenant_id, evidence=meter, stop_id=stop_id)]
    )
    view = await api.until(stop_id, lambda view: view["energy_kwh"] > 0)
    assert (view["energy_kwh"], view["attempts"][0]["energy_kwh"]) == (7.25, 7.25)
    assert view["version"] == began["version"]
    listed = (await api.get("/v1/charging-stops", "reader")).json()["data"]
    assert [one["energy_kwh"] for one in listed if one["stop_id"] == stop_id] == [7.25]
    assert (await api.get(f"/v1/charging-stops/{stop_id}", "stranger")).status_code == 404
    await api.post(f"/v1/charging-stops/{stop_id}/cancellation", {"event_id": "c"})
    closed = await api.until(stop_id, lambda view: view["outcome"] is not None)
    assert closed["energy_kwh"] == closed["result"]["energy_kwh"]


@pytest.mark.asyncio
async def test_cancelled_is_closed_and_closed_refuses(api: Api) -> None:
    stop_id = (await api.post("/v1/charging-stops", api.body())).json()["stop_id"]
    await api.until(stop_id, lambda view: view["phase"] == "en_route")
    cancelled = await api.post(
        f"/v1/charging-stops/{stop_id}/cancellation", {"event_id": "c", "by": "driver"}
    )
    assert cancelled.status_code == 200
    view = await api.until(stop_id, lambda v: v["outcome"] is not None)
    assert (view["outcome"], view["reason"]) == ("cancelled", "stop.cancelled_by_driver")
    refused = await api.post(f"/v1/charging-stops/{stop_id}/arrival", {"event_id": "late"})
    assert (refused.status_code, refused.json()["code"]) == (409, "stop.closed")


@pytest.mark.asyncio
async def test_refusals_of_a_stop_keep_their_codes(api: Api) -> None:
    stop_id = (await api.post("/v1/charging-stops", api.body())).json()["stop_id"]
    await api.until(stop_id, lambda view: view["phase"] == "en_route")
    path = f"/v1/charging-stops/{stop_id}"
    nowhere = await api.post(f"{path}/arrival", {"event_id": "x", "charger_id": "nowhere"})
    assert (nowhere.status_code, nowhere.json()["code"]) == (422, "charger.not_offered")
    approval = await api.post(f"{path}/approval", {"event_id": "y", "approved": True})
    assert (approval.status_code, approval.json()["code"]) == (409, "approval.not_awaited")


@pytest.mark.asyncio
async def test_pages_are_complete_and_cursors_are_ours(api: Api) -> None:
    ids = {(await api.post("/v1/charging-stops", api.body())).json()["stop_id"] for _ in range(5)}
    for stop_id in ids:
        await api.until(stop_id, lambda view: view["phase"] == "en_route")
    seen: list[str] = []
    path = "/v1/charging-stops?limit=2"
    while True:
        page = (await api.get(path)).json()
        seen += [stop["stop_id"] for stop in page["data"]]
        if page["next_cursor"] is None:
            break
        path = f"/v1/charging-stops?limit=2&cursor={page['next_cursor']}"
    assert len(seen) == len(set(seen)) == 5
    assert set(seen) == ids
    forged = await api.get("/v1/charging-stops?cursor=Zm9yZ2VkZm9yZ2VkZm9yZ2Vk")
    assert (forged.status_code, forged.json()["code"]) == (422, "cursor.invalid")


@pytest.mark.asyncio
async def test_bad_bodies_get_a_typed_error_that_names_the_field(api: Api) -> None:
    body = api.body()
    del body["token_uid"]
    answer = await api.post("/v1/charging-stops", {**body, "surprise": 1})
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "request.invalid"
    assert {error["field"] for error in problem["errors"]} == {"body.token_uid", "body.surprise"}
    assert problem["request_id"] == answer.headers["x-request-id"]
    unknown = await api.http.get("/v1/nothing", headers={"X-Request-ID": "mine-1"})
    assert (unknown.status_code, unknown.json()["request_id"]) == (404, "mine-1")
    method = await api.http.delete("/v1/charging-stops")
    assert (method.status_code, method.json()["code"]) == (405, "method.not_allowed")
    large = await api.http.post("/v1/charging-stops", content=b"x" * 70_000, headers=api.headers())
    assert (large.status_code, large.json()["code"]) == (413, "request.too_large")


@pytest.mark.asyncio
async def test_every_route_refuses_strangers(api: Api) -> None:
    """Generated from the routes: anonymous 401, wrong key 401, wrong scope 403, other tenant's stop 404."""
    stop_id = (await api.post("/v1/charging-stops", api.body())).json()["stop_id"]
    await api.until(stop_id, lambda view: view["phase"] == "en_route")
    transport = api.http._transport  # pyright: ignore[reportPrivateUsage]
    assert isinstance(transport, httpx.ASGITransport)
    document = (await api.http.get("/openapi.json")).json()
    pairs = [
        (verb, path) for path, item in document["paths"].items() for verb in item if path.startswith("/v1/")
    ]
    assert len(pairs) >= 15
    bodies: dict[str, dict[str, Any]] = {
        "arrival": {"event_id": "e"},
        "problem": {"event_id": "e", "kind": "occupied"},
        "choice": {"event_id": "e", "charger_id": "c1"},
        "cancellation": {"event_id": "e"},
        "approval": {"event_id": "e", "approved": True},
    }
    for verb, template in pairs:
        if template.startswith("/v1/stations"):
            continue  # test_stations_api.py
        path = template.format(stop_id=stop_id, charger_id="c1", policy_id="default")
        body = bodies.get(path.rsplit("/", 1)[-1], {})
        sent: dict[str, Any] = {} if verb == "get" else {"json": body}

        async def call(headers: dict[str, str]) -> httpx.Response:
            return await api.http.request(verb.upper(), path, headers=headers, **sent)  # noqa: B023

        assert (await call({})).status_code == 401, path
        assert (await call({"Authorization": "Bearer bsk_wrong"})).status_code == 401, path
        assert (await call(api.headers("powerless"))).status_code == 403, path
        if "stop_id" in template:
            assert (await call(api.headers("stranger"))).status_code == 404, path
    listed = (await api.get("/v1/charging-stops", "stranger")).json()["data"]
    assert stop_id not in [stop["stop_id"] for stop in listed]


@pytest.mark.asyncio
async def test_no_worker_is_503_and_the_request_is_not_lost(temporal_client: Client, store: Store) -> None:
    async with surroundings(temporal_client, store) as around:
        pass
    queue = f"nobody-{around.queue}"
    app = create_app(
        store=store,
        client=temporal_client,
        settings=ApiSettings(cursor_secret=SecretStr("test"), update_wait_s=0.5),
        stop_queue=queue,
    )
    plain, mark = generate_key()
    async with store.platform() as unit:
        await unit.add_api_key(TenantId(around.tenant_id), "w", mark, frozenset({"stops:write"}))
    transport = httpx.ASGITransport(app=app)
    headers = {"Authorization": f"Bearer {plain}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as http:
        body = around.request().model_dump(mode="json")
        started = await http.post("/v1/charging-stops", json=body)
        assert started.status_code == 202
        again = await http.post("/v1/charging-stops", json=body)
        assert (again.status_code, again.json()["stop_id"]) == (200, started.json()["stop_id"])
        conflict = await http.post("/v1/charging-stops", json={**body, "target_soc_percent": 60})
        assert conflict.status_code == 409
        ready = await http.get("/readyz")
        assert ready.status_code == 503
    handle = temporal_client.get_workflow_handle(started.json()["workflow_id"])
    await handle.terminate()


def test_every_route_is_documented_with_its_errors() -> None:
    from api import health, reads, stops

    for router in (stops.router, reads.router, health.router):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            assert route.description or route.path == "/v1/chargers/{charger_id}", route.path
