"""Commissioning over the API: stations, connectors, passwords, and what is read of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from fastapi.routing import APIRoute
from temporalio.client import Client

from api import station_commands, station_messages, stations
from api.auth import Scope
from api.station_bodies import StationBody
from models.charging_limit import ChargingLimit, LimitPeriod, LimitPurpose, LimitReply, LimitState
from models.station import StationEvent, StationEventKind, StationIdentity, StationSettings
from models.station_passwords import matches
from store.database import Store
from store.journal import JournalEvent
from store.stations import VendorField
from tests.api.stations_bench import CONNECTOR, StationsApi, stations_api

COMMAND = {"action": "Reset", "payload": {"type": "Soft"}}
LIMIT = {"limit_kw": 11, "phases": 3}
ROUTES: dict[tuple[str, str], tuple[Any, str]] = {
    ("get", "/v1/stations"): (None, "reader"),
    ("put", "/v1/stations/{station_id}"): ({}, "writer"),
    ("get", "/v1/stations/{station_id}"): (None, "reader"),
    ("get", "/v1/stations/{station_id}/events"): (None, "reader"),
    ("get", "/v1/stations/{station_id}/limits"): (None, "reader"),
    ("get", "/v1/stations/{station_id}/transactions"): (None, "reader"),
    ("get", "/v1/vendor-fields"): (None, "reader"),
    ("post", "/v1/stations/{station_id}/commands"): (COMMAND, "commander"),
    ("get", "/v1/stations/{station_id}/commands/{command_id}"): (None, "commander"),
    ("put", "/v1/stations/{station_id}/connectors/{number}/limit"): (LIMIT, "commander"),
    ("delete", "/v1/stations/{station_id}/connectors/{number}/limit"): (None, "commander"),
    ("post", "/v1/stations/{station_id}/password"): (None, "writer"),
    ("post", "/v1/stations/{station_id}/certificate"): (None, "writer"),
    ("get", "/v1/stations/{station_id}/messages"): (None, "commander"),
}


@pytest_asyncio.fixture
async def api(temporal_client: Client, store: Store) -> AsyncIterator[StationsApi]:
    async with stations_api(temporal_client, store) as made:
        yield made


@pytest.mark.asyncio
async def test_every_route_knows_its_scope_and_its_tenant(api: StationsApi) -> None:
    """Generated from the routes: anonymous and wrong key 401, every key without the scope 403, a
    stranger with every scope sees 404 (and 409 where he would take the id)."""
    station_id = await api.add()
    done = await api.ask("POST", f"/stations/{station_id}/commands", COMMAND, key="first")
    assert done.status_code == 200
    document = (await api.http.get("/openapi.json")).json()
    found = {
        (verb, path)
        for path, item in document["paths"].items()
        for verb in item
        if path.startswith(("/v1/stations", "/v1/vendor-fields"))
    }
    assert found == set(ROUTES)
    for (verb, template), (body, right) in ROUTES.items():
        path = template.format(station_id=station_id, number=1, command_id="first")

        async def call(headers: dict[str, str]) -> tuple[int, str]:
            answer = await api.http.request(verb, path, json=body, headers=headers)  # noqa: B023
            return answer.status_code, answer.json().get("code", "")

        assert await call({}) == (401, "auth.missing"), path
        assert await call({"Authorization": "Bearer bsk_wrong"}) == (401, "auth.invalid"), path
        for who in ("writer", "commander", "reader", "powerless"):
            if who != right:
                assert await call(api.headers(who)) == (403, "auth.scope_missing"), (verb, path, who)
        if "station_id" in template:
            expected = {"put": (409, "station.taken")}.get(verb, (404, "station.unknown"))
            if "limit" in template:
                expected = (404, "station.unknown")
            if "command_id" in template:
                expected = (404, "command.unknown")
            assert await call(api.headers("stranger")) in [expected], (verb, path)
        if not path.endswith("/messages"):
            assert (await call(api.headers(right)))[0] in (200, 202), (verb, path)
    assert (await api.ask("GET", "/stations", who="stranger")).json()["data"] == []


@pytest.mark.asyncio
async def test_a_new_station_gets_its_password_once_and_only_its_hash_is_kept(api: StationsApi) -> None:
    answer = await api.ask("PUT", "/stations/CP*new=1", {"connectors": [CONNECTOR], "failsafe_kw": 22})
    assert answer.status_code == 201
    made = answer.json()
    shown = made["credentials"]
    assert shown["username"] == "CP*new=1"
    assert bytes.fromhex(shown["password_hex"]).decode() == shown["password"]
    assert len(shown["password_hex"]) == 40  # 1.6: AuthorizationKey
    assert 16 <= len(shown["password"]) <= 40  # 2.0.1: BasicAuthPassword
    assert (made["created"], made["reconnect_needed"]) == (True, False)
    assert made["connectors"][0]["charger_id"] == "CP*new~1-1"
    assert (made["connectors"][0]["protocol"], made["connectors"][0]["station_id"]) == ("ocpp", "CP*new=1")
    async with api.store.platform() as unit:
        kept = await unit.station("CP*new=1")
    assert kept is not None
    assert matches(kept.password_hash, shown["password"].encode())
    again = await api.ask("PUT", "/stations/CP*new=1", {"phases": 3})
    assert (again.status_code, again.json()["credentials"]) == (200, None)
    settings = again.json()["station"]["settings"]
    assert (settings["failsafe_kw"], settings["phases"]) == (22, 3)  # what is left out stays
    assert len(again.json()["connectors"]) == 1
    cleared = await api.ask("PUT", "/stations/CP*new=1", {"failsafe_kw": None})
    assert cleared.json()["station"]["settings"]["failsafe_kw"] is None
    read = await api.ask("GET", "/stations/CP*new=1")
    assert shown["password"] not in read.text
    assert "hash" not in read.text
    replaced = (await api.ask("PUT", "/stations/CP*new=1", {"replace_password": True})).json()
    async with api.store.platform() as unit:
        kept = await unit.station("CP*new=1")
    assert kept is not None
    assert matches(kept.password_hash, replaced["credentials"]["password"].encode())
    assert not matches(kept.password_hash, shown["password"].encode())


@pytest.mark.asyncio
async def test_of_many_who_make_a_station_one_gets_a_password(api: StationsApi) -> None:
    answers = await asyncio.gather(*(api.ask("PUT", "/stations/CP-race", {}) for _ in range(8)))
    assert sorted(a.status_code for a in answers) == [200] * 7 + [201]
    assert sum(a.json()["credentials"] is not None for a in answers) == 1


@pytest.mark.asyncio
async def test_a_security_profile_is_not_lowered_by_accident(api: StationsApi) -> None:
    station_id = await api.add(security_profile=2)
    kept = await api.ask("PUT", f"/stations/{station_id}", {"admission": "pending"})
    assert kept.json()["station"]["settings"]["security_profile"] == 2
    refused = await api.ask("PUT", f"/stations/{station_id}", {"security_profile": 1})
    assert (refused.status_code, refused.json()["code"]) == (409, "station.security_downgrade")
    meant = {"security_profile": 1, "allow_downgrade": True}
    assert (await api.ask("PUT", f"/stations/{station_id}", meant)).status_code == 200
    assert (await api.ask("PUT", f"/stations/{station_id}", {"security_profile": 3})).status_code == 200


@pytest.mark.asyncio
async def test_connectors_keep_their_names(api: StationsApi) -> None:
    station_id = await api.add(connectors=[{**CONNECTOR, "charger_id": "bay-7"}])
    path = f"/stations/{station_id}"
    kept = await api.ask("PUT", path, {"connectors": [{**CONNECTOR, "power_kw": 50}]})
    assert [(c["charger_id"], c["power_kw"]) for c in kept.json()["connectors"]] == [("bay-7", 50)]
    renamed = await api.ask("PUT", path, {"connectors": [{**CONNECTOR, "charger_id": "bay-8"}]})
    assert (renamed.status_code, renamed.json()["code"]) == (409, "connector.taken")
    other = await api.ask("PUT", "/stations/CP-other", {"connectors": [{**CONNECTOR, "charger_id": "bay-7"}]})
    assert (other.status_code, other.json()["code"]) == (409, "charger.taken")
    assert (await api.ask("GET", "/stations/CP-other")).status_code == 404  # all of it, or nothing
    twice = await api.ask("PUT", path, {"connectors": [CONNECTOR, CONNECTOR]})
    assert (twice.status_code, twice.json()["code"]) == (422, "request.invalid")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/stations/has:colon", {}),
        ("/stations/" + "x" * 49, {}),
        ("/stations/CP1", {"security_profile": 4}),
        ("/stations/CP1", {"protocol_pin": "ocpp1.5"}),
        ("/stations/CP1", {"surprise": 1}),
        ("/stations/CP1", {"traits": {"unti": "A"}}),
        ("/stations/CP1", {"connectors": [{**CONNECTOR, "number": 0}]}),
        ("/stations/CP1", {"connectors": [{**CONNECTOR, "power_kw": 0}]}),
        ("/stations/CP1", []),
    ],
)
async def test_what_cannot_be_is_told_by_field(api: StationsApi, path: str, body: Any) -> None:
    answer = await api.ask("PUT", path, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid")
    assert answer.json()["errors"]


@pytest.mark.asyncio
async def test_a_connected_station_is_said_to_need_a_reconnect(api: StationsApi) -> None:
    station_id = await api.add()
    await api.hold(station_id)
    path = f"/stations/{station_id}"
    same = await api.ask("PUT", path, {"connectors": [{**CONNECTOR, "power_kw": 22}]})
    assert same.json()["reconnect_needed"] is False
    assert (await api.ask("PUT", path, {"phases": 3})).json()["reconnect_needed"] is True
    more = await api.ask("PUT", path, {"connectors": [{**CONNECTOR, "number": 3}]})
    assert more.json()["reconnect_needed"] is True


@pytest.mark.asyncio
async def test_stations_are_listed_page_by_page_and_shown_with_their_health(api: StationsApi) -> None:
    names = [await api.add(f"{name}-{api.tenant_id}") for name in ("a", "b", "c")]
    await api.hold(names[1])
    identity = StationIdentity(vendor="ACME", model="M1")
    async with api.store.tenant(api.tenant_id) as unit:
        await unit.stations.booted(names[1], identity, datetime.now(UTC))
    first = (await api.ask("GET", "/stations?limit=2", who="reader")).json()
    assert [s["settings"]["station_id"] for s in first["data"]] == names[:2]
    rest = (await api.ask("GET", f"/stations?limit=2&after={first['next_after']}")).json()
    assert ([s["settings"]["station_id"] for s in rest["data"]], rest["next_after"]) == (names[2:], None)
    shown = (await api.ask("GET", f"/stations/{names[1]}", who="reader")).json()
    assert (shown["station"]["connected"], shown["station"]["identity"]["model"]) == (True, "M1")
    assert [c["health"]["connected"] for c in shown["connectors"]] == [True, True]
    assert shown["open_transactions"] == []


@pytest.mark.asyncio
async def test_transactions_are_shown_with_energy_and_findings_and_without_tokens(api: StationsApi) -> None:
    station_id = await api.add()
    start = datetime(2026, 3, 1, 6, tzinfo=UTC)
    async with api.store.tenant(api.tenant_id) as unit:
        rows = [
            await unit.sessions.open_transaction(
                station_id, 1, "SECRETTAG", start + timedelta(hours=n), 1000.0, None
            )
            for n in range(3)
        ]
        await unit.journal.append(
            [
                JournalEvent(
                    station_id=station_id,
                    transaction_id=rows[2].transaction_id,
                    connector_number=1,
                    kind="meter",
                    observed_at=start + timedelta(hours=3, minutes=minute),
                    register_wh=register_wh,
                )
                for minute, register_wh in ((9, 3500.0), (3, 2000.0), (12, None))
            ]
        )
        await unit.sessions.close_transaction(
            rows[0].transaction_id, start + timedelta(hours=1), 9000.0, "Local", 8000.0, "meter_reset late"
        )
        await unit.sessions.close_transaction(
            rows[1].transaction_id, start + timedelta(hours=2), None, "Local"
        )
    page = (await api.ask("GET", f"/stations/{station_id}/transactions?limit=2", who="reader")).json()
    assert [t["energy_kwh"] for t in page["data"]] == [2.5, None]
    last = (await api.ask("GET", f"/stations/{station_id}/transactions?before={page['next_before']}")).json()
    assert [(t["energy_kwh"], t["findings"]) for t in last["data"]] == [(8.0, ["meter_reset", "late"])]
    assert last["next_before"] is None
    shown = await api.ask("GET", f"/stations/{station_id}")
    assert [t["energy_kwh"] for t in shown.json()["open_transactions"]] == [2.5]
    assert "SECRETTAG" not in shown.text + str(page) + str(last)


@pytest.mark.asyncio
async def test_log_limits_and_vendor_fields_are_read(api: StationsApi) -> None:
    station_id = await api.add()
    now = datetime.now(UTC)
    limit = ChargingLimit(
        limit_id="l1",
        tenant_id=api.tenant_id,
        station_id=station_id,
        connector_number=1,
        purpose=LimitPurpose.DEFAULT,
        periods=(LimitPeriod(limit_kw=11),),
    )
    async with api.store.tenant(api.tenant_id) as unit:
        for number in range(3):
            event = StationEvent(kind=StationEventKind.DATA, observed_at=now, body={"n": number})
            await unit.stations.note([(station_id, event)])
        boot = StationEvent(kind=StationEventKind.BOOT, observed_at=now)
        await unit.stations.note([(station_id, boot)])
        await unit.stations.put_limit(limit, LimitReply(limit_id="l1", state=LimitState.APPLIED))
        await unit.stations.count_fields(
            [VendorField(model="ACME M1", action="StatusNotification", field="x", messages=7)]
        )
    log = (await api.ask("GET", f"/stations/{station_id}/events?kind=data&limit=2", who="reader")).json()
    assert [line["event"]["body"]["n"] for line in log["data"]] == [2, 1]
    rest = (
        await api.ask("GET", f"/stations/{station_id}/events?kind=data&before={log['next_before']}")
    ).json()
    assert ([line["event"]["body"]["n"] for line in rest["data"]], rest["next_before"]) == ([0], None)
    every = (await api.ask("GET", f"/stations/{station_id}/events")).json()["data"]
    assert [line["event"]["kind"] for line in every] == ["boot", "data", "data", "data"]
    wrong = await api.ask("GET", f"/stations/{station_id}/events?kind=gossip")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "request.invalid")
    limits = (await api.ask("GET", f"/stations/{station_id}/limits", who="reader")).json()["data"]
    assert [(one["limit"]["limit_id"], one["reply"]["state"]) for one in limits] == [("l1", "applied")]
    fields = (await api.ask("GET", "/vendor-fields", who="reader")).json()["data"]
    assert [(one["model"], one["field"], one["messages"]) for one in fields] == [("ACME M1", "x", 7)]


def test_the_body_has_every_setting_of_a_station() -> None:
    ours = set(StationBody.model_fields) - {"connectors", "allow_downgrade", "replace_password"}
    assert ours == set(StationSettings.model_fields) - {"station_id"}
    assert StationBody().settings() == {}
    defaults = StationSettings(station_id="CP1").model_dump(exclude={"station_id"})
    assert StationBody().model_dump(include=ours) == defaults


def test_every_route_of_stations_is_documented() -> None:
    for router in (stations.router, station_commands.router, station_messages.router):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            assert route.description, route.path
    assert {"stations:write", "stations:command"} <= set(Scope)
