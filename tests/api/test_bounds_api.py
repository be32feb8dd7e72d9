"""What cannot be kept or reckoned with is refused at the door, as a problem document that names the field; no
input whatever makes a 500."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from temporalio.client import Client

from api.app import create_app
from api.keys import generate_key
from api.settings import ApiSettings
from models.ids import TenantId
from store.database import Store
from tests.models.odd_values import BAD_TEXT, ODD_INSTANTS, REQUEST, parts_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

STOPS = "/v1/charging-stops"
_USUAL = {
    "stop_id": "s", "charger_id": "c", "policy_id": "p", "station_id": "st", "number": "1", "command_id": "x",
}  # fmt: skip
BODIES: dict[str, dict[str, Any]] = {
    STOPS: REQUEST,
    f"{STOPS}/stop_1/arrival": {"event_id": "e", "charger_id": "c", "at": "2026-11-21T08:00:00Z"},
    f"{STOPS}/stop_1/problem": {"event_id": "e", "kind": "broken", "charger_id": "c", "note": "dark"},
    f"{STOPS}/stop_1/choice": {"event_id": "e", "charger_id": "c", "by": "fleet"},
    f"{STOPS}/stop_1/cancellation": {"event_id": "e", "by": "driver", "note": "home"},
    f"{STOPS}/stop_1/approval": {"event_id": "e", "approved": True, "charger_id": "c"},
}
_WITHIN = ("1e12", "2099-12-31T23:59:59+14:00", "2000-01-01T00:00:00-14:00")
"""Of the odd instants; the first are milliseconds."""
_FIGURES = ("target_soc_percent", "battery_usable_kwh", "soc_percent", "latitude", "longitude")


@dataclass
class Door:
    """The API without any worker: what is refused here never gets further."""

    http: httpx.AsyncClient
    routes: dict[str, Any]

    async def send(
        self, path: str, text: str | bytes, method: str = "POST", **headers: str
    ) -> httpx.Response:
        content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        given = {"content-type": "application/json", **headers}
        return await self.http.request(method, path, content=content, headers=given)

    async def refused(self, path: str, body: object, field: str) -> None:
        """As JSON with escapes: that is how a NUL or half a pair gets into a request."""
        answer = await self.send(path, json.dumps(body))
        assert answer.status_code == 422, (answer.status_code, field, answer.text[:300])
        problem = problem_of(answer)
        assert any(error["field"].endswith(field) for error in problem["errors"]), (field, problem["errors"])


def problem_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "code", "detail", "instance", "request_id"} <= set(problem)
    assert problem["status"] == answer.status_code
    assert len(answer.content) < 100_000, "an error is not an echo"
    return problem


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def door(temporal_client: Client, store: Store) -> AsyncIterator[Door]:
    app = create_app(
        store=store,
        client=temporal_client,
        settings=ApiSettings(cursor_secret=SecretStr("test"), update_wait_s=0.2, key_cache_s=60),
        stop_queue="nobody-listens-here",
    )
    plain, mark = generate_key()
    async with store.platform() as unit:
        await unit.ensure_tenant(TenantId("door"))
        await unit.add_api_key(TenantId("door"), "all", mark, frozenset({"admin"}))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {plain}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as http:
        yield Door(http, app.openapi()["paths"])


def _leaves(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for name, value in parts_of(document).items():
        below = isinstance(value, dict | list)
        found += _leaves(value, (*path, name)) if below else [(*path, name)]
    return found


def _with(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(document))
    at = copy
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return copy


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


@pytest.mark.parametrize("path", BODIES)
async def test_no_string_holds_what_cannot_be_kept(door: Door, path: str) -> None:
    body = BODIES[path]
    for leaf in _leaves(body):
        if isinstance(_at(body, leaf), str):
            for bad in [text for text in BAD_TEXT if leaf[-1] != "note" or "\n" not in text]:
                await door.refused(path, _with(body, leaf, bad), str(leaf[0] if len(leaf) == 1 else leaf[-1]))


async def test_instants_lie_in_this_century(door: Door) -> None:
    for bad in ODD_INSTANTS:
        if bad in _WITHIN:
            continue
        await door.refused(STOPS, _with(REQUEST, ("latest_arrival",), bad), "latest_arrival")
        await door.refused(STOPS, _with(REQUEST, ("latest_departure",), bad), "latest_departure")
        arrival = f"{STOPS}/stop_1/arrival"
        await door.refused(arrival, _with(BODIES[arrival], ("at",), bad), "at")


async def test_figures_are_finite_and_possible(door: Door) -> None:
    for leaf in _leaves(REQUEST):
        if leaf[-1] in _FIGURES:
            for bad in ("1e999", "-1e999", "NaN", "Infinity", "1e308", '"1e999"', '"nan"', "1" + "0" * 300):
                text = json.dumps(_with(REQUEST, leaf, "@@")).replace('"@@"', bad)
                answer = await door.send(STOPS, text)
                assert answer.status_code == 422, (leaf, bad, answer.text[:300])
                assert problem_of(answer)["errors"][0]["field"].endswith(str(leaf[-1]))
    for bad in ("1e999", '"1e999"', '"NaN"', "-1", '"0.0000000000001"', '"1e-999999"', '"1e999999999"'):
        answer = await door.send("/v1/policies", f'{{"policy_id": "p", "cost_ceiling": {bad}}}', "PUT")
        assert (answer.status_code, problem_of(answer)["code"]) == (422, "request.invalid"), bad
    for field, bad in (("revision", 2**31), ("confirmation_s", 1e-9), ("max_detour_km", 1e9)):
        answer = await door.send("/v1/policies", json.dumps({"policy_id": "p", field: bad}), "PUT")
        assert answer.status_code == 422, field


async def test_fields_of_the_callers_own_invention_are_named_as_they_can_be(door: Door) -> None:
    for name in ("\0", "\ud800", "\x1b[2J", "n" * 20_000):
        answer = await door.send(STOPS, json.dumps({**REQUEST, name: 1}))
        assert answer.status_code == 422
        assert all(len(error["field"]) <= 200 for error in problem_of(answer)["errors"])
    many = {f"surprise_{number}": 1 for number in range(3_000)}
    assert len(problem_of(await door.send(STOPS, json.dumps({**REQUEST, **many})))["errors"]) == 50


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_bodies_that_are_no_messages_are_refused_on_every_route(door: Door, method: str) -> None:
    deep = "[" * 30_000 + "]" * 30_000
    nested = '{"a":' * 9_000 + "1" + "}" * 9_000
    bodies: list[bytes] = [
        b"", b"{", b"null", b"[]", b'"x"', b"1e999", b"\0", b"\xff\xfe", b'{"a": "\xed\xa0\x80"}', b"NaN",
        deep.encode(), nested.encode(), b"9" * 5_000, b'{"event_id": "\\ud800"}',
        json.dumps({**REQUEST, "contract": [[[["\0"]]]]}).encode(),
        f'{{"business_key": {deep}}}'.encode(), f'{{"contract": {nested}}}'.encode(),
    ]  # fmt: skip
    for template, operations in door.routes.items():
        if method.lower() not in operations or not template.startswith("/v1/"):
            continue
        path = template.format(**_USUAL)
        for body in bodies:
            answer = await door.send(path, body, method)
            assert answer.status_code < 500, (path, body[:60], answer.text[:300])
            if answer.status_code >= 400:
                problem_of(answer)


async def test_ten_megabytes_are_not_read(door: Door) -> None:
    for path in BODIES:
        answer = await door.send(path, json.dumps({**BODIES[path], "event_id": "x" * 10_000_000}))
        assert (answer.status_code, problem_of(answer)["code"]) == (413, "request.too_large")


async def test_paths_queries_and_headers_never_break_anything(door: Door) -> None:
    """Every route, every parameter of it, by every kind of value."""
    odd = ["%00", "%FF", "%ED%A0%80", "%1b[2J", "..", "%F0%9F%9A%90", "'", "x" * 3_000]
    odd += ["1e999", "NaN", "-1", str(10**30), "9999-12-31T23:59:59-14:00"]
    for template, operations in door.routes.items():
        for method, operation in operations.items():
            if not template.startswith("/v1/") or "stream" in template or "tail" in template:
                continue
            named = [p for p in operation.get("parameters", []) if p["in"] in ("path", "query", "header")]
            for parameter in named:
                for value in odd:
                    answer = await _ask(door, method, template, parameter, value)
                    assert answer.status_code < 500, (
                        method,
                        template,
                        parameter["name"],
                        value,
                        answer.text[:300],
                    )
                    if answer.status_code >= 400:
                        problem_of(answer)


@pytest.mark.parametrize(
    ("vehicle", "field"),
    [
        ({"model_id": "nobody-imported-it"}, "vehicle.model_id"),
        ({"model_id": None, "battery_usable_kwh": None}, "vehicle.battery_usable_kwh"),
        ({"model_id": None, "connectors": []}, "vehicle.connectors"),
    ],
)
async def test_a_vehicle_that_no_plan_can_be_made_for_is_refused_and_leaves_no_stop(
    door: Door, vehicle: dict[str, Any], field: str
) -> None:
    key = f"unknown-{field}"
    body = {**REQUEST, "business_key": key, "vehicle": {**REQUEST["vehicle"], **vehicle}}
    await door.refused(STOPS, body, field)
    page = (await door.http.get(f"{STOPS}?limit=200")).json()
    assert key not in {stop["business_key"] for stop in page["data"]}


async def _ask(door: Door, method: str, template: str, parameter: Any, value: str) -> httpx.Response:
    usual = {
        "stop_id": "s",
        "charger_id": "c",
        "policy_id": "p",
        "station_id": "st",
        "number": "1",
        "command_id": "x",
    }
    name, where = parameter["name"], parameter["in"]
    path = template.format(**{**usual, **({name: value} if where == "path" else {})})
    query = f"?{name}={value}" if where == "query" else ""
    headers = {name: value} if where == "header" else {}
    url = httpx.URL("http://api").copy_with(raw_path=(path + query).encode())
    body = b"{}" if method in ("post", "put", "patch") else b""
    return await door.http.request(method.upper(), url, content=body, headers=headers)


@pytest.mark.parametrize("path", [f"{STOPS}/a%00b", f"{STOPS}?cursor=%00", "/v1/chargers?after=%ED%A0%80"])
async def test_what_is_no_text_in_an_address_is_the_callers_mistake(door: Door, path: str) -> None:
    url = httpx.URL("http://api").copy_with(raw_path=path.encode())
    answer = await door.http.get(url)
    assert (answer.status_code, problem_of(answer)["code"]) == (400, "request.malformed")


async def test_odd_headers_are_refused_or_let_be(door: Door) -> None:
    for name in ("Idempotency-Key", "X-Request-ID", "Authorization", "Content-Type", "Content-Length"):
        for value in (b"\xb2", b"a\x00b", b"\xff\xfe", b"x" * 5_000, b"\x1b[2J", b""):
            request = door.http.build_request("POST", STOPS, content=b"{}")
            request.headers = httpx.Headers(
                [
                    *((k, v) for k, v in request.headers.raw if k.lower() != name.lower().encode()),
                    (name.encode(), value),
                ]
            )
            answer = await door.http.send(request)
            assert 400 <= answer.status_code < 500, (name, value)
            problem_of(answer)
