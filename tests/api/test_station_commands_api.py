"""Commands to stations over the API: once per key, waited for, found again."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client

from models.charging_limit import LimitReply, LimitState, ReadBack
from models.commands import CommandOutcome
from models.contract import station_workflow_id
from models.station_commands import StationReply, StationTask, StationTaskKind
from store.database import Store
from tests.api.stations_bench import StationsApi, accept, stations_api

RESET: dict[str, Any] = {"action": "Reset", "payload": {"type": "Soft"}}


@pytest_asyncio.fixture
async def api(temporal_client: Client, store: Store) -> AsyncIterator[StationsApi]:
    async with stations_api(temporal_client, store) as made:
        yield made


@pytest_asyncio.fixture
async def held(api: StationsApi) -> str:
    station_id = await api.add()
    await api.hold(station_id)
    return station_id


async def limited(task: StationTask) -> StationReply:
    assert task.limit is not None
    clearing = task.kind is StationTaskKind.CLEAR_LIMIT
    reply = LimitReply(
        limit_id=task.limit.limit_id,
        state=LimitState.CLEARED if clearing else LimitState.APPLIED,
        read_back_kw=None if clearing else task.limit.periods[0].limit_kw,
        read_back_by=None if clearing else ReadBack.COMPOSITE_SCHEDULE,
    )
    return StationReply(outcome=CommandOutcome.ACCEPTED, limit=reply)


@pytest.mark.asyncio
async def test_a_command_is_sent_once_per_key_and_written_down(api: StationsApi, held: str) -> None:
    key = f"reset-{uuid.uuid4().hex}"
    path = f"/stations/{held}/commands"
    first = await api.ask("POST", path, RESET, "commander", key)
    assert first.status_code == 200
    assert first.json() == {
        "object": "station_command",
        "command_id": key,
        "station_id": held,
        "kind": "call",
        "action": "Reset",
        "status": "done",
        "reply": {
            "outcome": "accepted",
            "payload": {"status": "Accepted"},
            "error_code": "",
            "detail": "",
            "limit": None,
        },
    }
    assert first.headers["location"] == f"/v1/stations/{held}/commands/{key}"
    again = await api.ask("POST", path, {**RESET, "timeout_s": 5}, "commander", key)
    assert (again.status_code, again.json()) == (200, first.json())
    read = await api.ask("GET", f"{path}/{key}", who="commander")
    assert read.json() == first.json()
    assert len(api.gateway.done) == 1
    sent = api.gateway.done[0]
    assert (sent.action, sent.payload, sent.actor) == ("Reset", {"type": "Soft"}, "commander")
    log = (await api.ask("GET", f"/stations/{held}/events?kind=command")).json()["data"]
    assert [(line["event"]["body"]["actor"], line["event"]["body"]["outcome"]) for line in log] == [
        ("commander", "accepted")
    ]
    without = [await api.ask("POST", path, RESET) for _ in range(2)]
    assert len({answer.json()["command_id"] for answer in without}) == 2
    assert len(api.gateway.done) == 3


@pytest.mark.asyncio
async def test_operators_find_a_stations_commands_in_the_temporal_ui(
    api: StationsApi, held: str, temporal_client: Client
) -> None:
    key = f"k-{uuid.uuid4().hex}"
    await api.ask("POST", f"/stations/{held}/commands", RESET, key=key)
    async with asyncio.timeout(30):  # visibility follows
        while True:
            found = [one.id async for one in temporal_client.list_workflows(f'StationId = "{held}"')]
            if found:
                break
            await asyncio.sleep(0.1)
    assert found == [station_workflow_id(api.tenant_id, key)]


@pytest.mark.asyncio
async def test_a_key_stands_for_one_command(api: StationsApi, held: str) -> None:
    key, other = f"k-{uuid.uuid4().hex}", await api.add()
    await api.ask("POST", f"/stations/{held}/commands", RESET, key=key)
    for path, body in [
        (f"/stations/{held}/commands", {**RESET, "payload": {"type": "Hard"}}),
        (f"/stations/{other}/commands", RESET),
        (f"/stations/{held}/password", None),
    ]:
        answer = await api.ask("POST", path, body, key=key)
        assert (answer.status_code, answer.json()["code"]) == (409, "command.conflicting_request")
    elsewhere = await api.ask("GET", f"/stations/{other}/commands/{key}")
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "command.unknown")
    assert len(api.gateway.done) == 1


@pytest.mark.asyncio
async def test_many_at_once_with_one_key_send_once(api: StationsApi, held: str) -> None:
    key = f"k-{uuid.uuid4().hex}"
    answers = await asyncio.gather(
        *(api.ask("POST", f"/stations/{held}/commands", RESET, key=key) for _ in range(10))
    )
    assert {a.status_code for a in answers} == {200}
    assert len(api.gateway.done) == 1


@pytest.mark.asyncio
async def test_what_the_station_says_is_told_as_it_is(api: StationsApi, held: str) -> None:
    said = StationReply(outcome=CommandOutcome.REJECTED, error_code="NotSupported\0", detail="no")

    async def refuse(task: StationTask) -> StationReply:
        return said

    api.gateway.answer = refuse
    answer = await api.ask("POST", f"/stations/{held}/commands", RESET)
    assert (answer.status_code, answer.json()["reply"]["outcome"]) == (200, "rejected")
    log = (await api.ask("GET", f"/stations/{held}/events?kind=command")).json()["data"]
    assert log[0]["event"]["body"]["error_code"] == "NotSupported"
    away = await api.add()
    nobody = await api.ask("POST", f"/stations/{away}/commands", RESET)
    assert (nobody.status_code, nobody.json()["reply"]["outcome"]) == (200, "unreachable")


@pytest.mark.asyncio
async def test_a_slow_station_is_202_and_the_command_is_found_again(
    temporal_client: Client, store: Store
) -> None:
    async with stations_api(temporal_client, store, command_wait_s=0.3) as api:
        station_id = await api.add()
        await api.hold(station_id)
        go = asyncio.Event()

        async def slowly(task: StationTask) -> StationReply:
            await go.wait()
            return await accept(task)

        api.gateway.answer = slowly
        first = await api.ask("POST", f"/stations/{station_id}/commands", RESET, key="slow")
        assert (first.status_code, first.json()["status"], first.json()["reply"]) == (202, "running", None)
        path = first.headers["location"].removeprefix("/v1")
        assert (await api.ask("GET", path)).json()["status"] == "running"
        go.set()
        async with asyncio.timeout(10):
            while (read := (await api.ask("GET", path)).json())["status"] == "running":
                await asyncio.sleep(0.05)
        assert read["reply"]["outcome"] == "accepted"
        again = await api.ask("POST", f"/stations/{station_id}/commands", RESET, key="slow")
        assert (again.status_code, again.json()) == (200, read)
        assert len(api.gateway.done) == 1


@pytest.mark.asyncio
async def test_a_command_that_operators_end_is_lost_not_done(temporal_client: Client, store: Store) -> None:
    async with stations_api(temporal_client, store, command_wait_s=0.2) as api:
        station_id = await api.add()
        await api.hold(station_id)
        go = asyncio.Event()

        async def slowly(task: StationTask) -> StationReply:
            await go.wait()
            return await accept(task)

        api.gateway.answer = slowly
        await api.ask("POST", f"/stations/{station_id}/commands", RESET, key="ended")
        handle = temporal_client.get_workflow_handle(station_workflow_id(api.tenant_id, "ended"))
        await handle.terminate()
        view = (await api.ask("GET", f"/stations/{station_id}/commands/ended")).json()
        assert (view["status"], view["reply"]) == ("lost", None)
        go.set()


@pytest.mark.asyncio
async def test_limits_are_set_and_cleared(api: StationsApi, held: str) -> None:
    api.gateway.answer = limited
    await api.ask("PUT", f"/stations/{held}", {"phases": 3})
    path = f"/stations/{held}/connectors/1/limit"
    key = f"limit-{uuid.uuid4().hex}"
    answer = await api.ask("PUT", path, {"limit_kw": 7.4}, "commander", key)
    assert answer.status_code == 200
    assert answer.json()["reply"]["limit"] == {
        "limit_id": key,
        "state": "applied",
        "read_back_kw": 7.4,
        "read_back_by": "composite_schedule",
        "vendor_code": "",
        "detail": "",
    }
    limit = api.gateway.done[0].limit
    assert limit is not None
    assert (limit.purpose, limit.phases, limit.connector_number) == ("default", 3, 1)
    again = await api.ask("PUT", path, {"limit_kw": 7.4}, "commander", key)
    assert (again.json(), len(api.gateway.done)) == (answer.json(), 1)
    async with api.store.tenant(api.tenant_id) as unit:
        await unit.stations.put_limit(limit, LimitReply(limit_id=key, state=LimitState.APPLIED))
    cleared = await api.ask("DELETE", path, who="commander")
    assert cleared.json()["reply"]["limit"]["state"] == "cleared"
    sent = api.gateway.done[1].limit
    assert sent is not None
    assert (sent.periods[0].limit_kw, sent.purpose) == (7.4, "default")
    await api.ask(
        "PUT",
        f"/stations/{held}/connectors/0/limit",
        {"periods": [{"limit_kw": 50}, {"start_s": 600, "limit_kw": 20}], "phases": None},
    )
    whole = api.gateway.done[2].limit
    assert whole is not None
    assert (whole.purpose, whole.phases, len(whole.periods)) == ("station", None, 2)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("number", "body", "status", "code"),
    [
        (1, {}, 422, "request.invalid"),
        (1, {"limit_kw": 1, "periods": [{"limit_kw": 1}]}, 422, "request.invalid"),
        (1, {"limit_kw": -1}, 422, "request.invalid"),
        (1, {"limit_kw": 5, "purpose": "transaction"}, 422, "limit.impossible"),
        (1, {"limit_kw": 5, "purpose": "station"}, 422, "limit.impossible"),
        (1, {"periods": [{"start_s": 5, "limit_kw": 1}]}, 422, "limit.impossible"),
        (9, {"limit_kw": 5}, 404, "connector.unknown"),
        (101, {"limit_kw": 5}, 422, "request.invalid"),
    ],
)
async def test_limits_that_cannot_be_are_refused(
    api: StationsApi, held: str, number: int, body: dict[str, Any], status: int, code: str
) -> None:
    answer = await api.ask("PUT", f"/stations/{held}/connectors/{number}/limit", body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert api.gateway.done == []


@pytest.mark.asyncio
async def test_passwords_and_certificates_are_renewed_over_the_line(api: StationsApi, held: str) -> None:
    for what, kind in [
        ("password", StationTaskKind.ROTATE_PASSWORD),
        ("certificate", StationTaskKind.RENEW_CERTIFICATE),
    ]:
        answer = await api.ask("POST", f"/stations/{held}/{what}", {"timeout_s": 7}, "writer")
        assert (answer.status_code, answer.json()["kind"]) == (200, str(kind))
        assert (api.gateway.done[-1].kind, api.gateway.done[-1].timeout_s) == (kind, 7)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"payload": {}}, None),
        ({"action": "not an action"}, None),
        ({"action": "Reset", "timeout_s": 0}, None),
        ({"action": "Reset", "timeout_s": 301}, None),
        ({"action": "Reset", "kind": "rotate_password"}, None),
        ({"action": "Reset", "payload": []}, None),
        (RESET, "with blank"),
        (RESET, "x" * 101),
    ],
)
async def test_bad_commands_are_refused(api: StationsApi, held: str, body: Any, key: str | None) -> None:
    answer = await api.ask("POST", f"/stations/{held}/commands", body, key=key)
    assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid")


@pytest.mark.asyncio
@pytest.mark.parametrize("value", ["NaN", '"\\ud800"', "[" * 400 + "]" * 400])
async def test_payloads_that_are_no_plain_json_break_nothing(api: StationsApi, held: str, value: str) -> None:
    answer = await api.http.post(
        f"/v1/stations/{held}/commands",
        content=f'{{"action": "Reset", "payload": {{"x": {value}}}}}',
        headers={**api.headers("admin"), "Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid")


@pytest.mark.asyncio
async def test_unknown_commands_are_not_found(api: StationsApi, held: str) -> None:
    answer = await api.ask("GET", f"/stations/{held}/commands/never")
    assert (answer.status_code, answer.json()["code"]) == (404, "command.unknown")
    bad = await api.ask("GET", f"/stations/{held}/commands/with%20blank")
    assert bad.status_code == 422
