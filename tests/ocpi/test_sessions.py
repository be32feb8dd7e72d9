"""Sessions and charge records from the partner to evidence: calm, doubled, shuffled, broken, late."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from connectors.ocpi.pull import pull_charge_records, pull_sessions
from connectors.ocpi.wire import Instant
from models.charger import ConnectorStatus
from models.commands import ChargerCommand
from models.evidence import EvidenceKind
from models.ids import TenantId
from models.reason_codes import ReasonCode
from simulators.roaming.config import header
from simulators.twin import FaultKind
from store.database import Store
from tests.ocpi.world import World, until, world

pytestmark = pytest.mark.asyncio
K = EvidenceKind


async def charged(w: World) -> ChargerCommand:
    """Registers, starts, and waits until the partner has said everything."""
    await w.register()
    w.plug(soc=20, target=40)
    start = await w.intend()
    await w.port.send(start)
    await w.heard(start, K.CHARGE_RECORD)
    await w.heard(start, K.SESSION_ENDED)
    await w.quiet()
    return start


async def test_a_calm_charge(store: Store) -> None:
    async with world(store) as w:
        start = await charged(w)
        kinds = await w.kinds(start)
        assert kinds[0] in (K.COMMAND_ACCEPTED, K.SESSION_PENDING)
        order = [kind for kind in dict.fromkeys(kinds) if kind is not K.COMMAND_ACCEPTED]
        assert order == [
            K.SESSION_PENDING,
            K.SESSION_STARTED,
            K.ENERGY_FLOWING,
            K.METER,
            K.SESSION_ENDED,
            K.CHARGE_RECORD,
        ]
        ended, record = await w.heard(start, K.SESSION_ENDED), await w.heard(start, K.CHARGE_RECORD)
        assert ended.energy_kwh == pytest.approx(10.0, abs=0.01)
        assert record.energy_kwh == ended.energy_kwh
        assert record.cost is not None
        assert record.cost.amount == pytest.approx(Decimal("6.0"), abs=Decimal("0.01"))
        assert {item.session_ref for item in (ended, record)} == {ended.session_ref}
        assert {item.attempt_id for item in await w.evidence(start)} == {start.attempt_id}
        ledger = [entry.what for entry in w.partner.ledger.entries()]
        assert ledger == ["command_start", "session_started", "session_ended"]
        assert w.partner.courier.given_up == 0
        assert await w.set_aside() == []


async def test_doubled_events_change_nothing(store: Store) -> None:
    async with world(store) as w:
        w.fault(FaultKind.DUPLICATE_EVENTS)
        start = await charged(w)
        ids = Counter(item.event_id for item in await w.evidence(start))
        assert set(ids.values()) == {1}
        kinds = Counter(await w.kinds(start))
        assert (kinds[K.SESSION_STARTED], kinds[K.SESSION_ENDED], kinds[K.CHARGE_RECORD]) == (1, 1, 1)


@pytest.mark.parametrize("hold_s", [30.0, 0.1])
async def test_shuffled_events_end_in_the_same_state(store: Store, hold_s: float) -> None:
    async with world(store) as w:
        w.fault(FaultKind.REORDERED_EVENTS, delay_s=hold_s)
        start = await charged(w)
        kinds = await w.kinds(start)
        assert kinds.index(K.CHARGE_RECORD) < kinds.index(K.SESSION_ENDED)
        assert kinds.count(K.SESSION_STARTED) == kinds.count(K.SESSION_ENDED) == 1
        ended = await w.heard(start, K.SESSION_ENDED)
        link = await w.register()
        async with w.roaming.unit(link) as unit:
            [stored] = await unit.all("session")
        assert (stored.body["status"], stored.body["id"]) == ("COMPLETED", ended.session_ref)


async def test_faults_of_the_charger_reach_the_stop(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        w.fault(FaultKind.FAULT_MID_CHARGE, delay_s=0.2)
        w.plug(soc=0, target=100)
        start = await w.intend()
        await w.port.send(start)
        record = await w.heard(start, K.CHARGE_RECORD)
        assert 0 < (record.energy_kwh or 0) < 50
        await w.quiet()
        assert (await w.charger()).status is ConnectorStatus.FAULTED
        w.partner.by_charger(w.charger_id()).unplug()
        await w.quiet()
        assert (await w.charger()).status is ConnectorStatus.AVAILABLE


async def test_a_late_session_still_finds_its_attempt(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        w.fault(FaultKind.START_LATE, delay_s=0.8)
        w.plug()
        start = await w.intend()
        await w.port.send(start)
        assert (await w.heard(start, K.COMMAND_FAILED)).reason is ReasonCode.START_TIMEOUT
        assert (await w.heard(start, K.SESSION_STARTED)).attempt_id == start.attempt_id


async def test_accepted_and_never_started_gives_no_session(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        w.fault(FaultKind.ACCEPT_NEVER_START)
        w.plug()
        start = await w.intend()
        await w.port.send(start)
        await w.heard(start, K.COMMAND_ACCEPTED)
        await w.quiet()
        assert await w.kinds(start) == [K.COMMAND_ACCEPTED]


def session_body(reference: str | None, **changes: Any) -> dict[str, Any]:
    now = str(Instant.of(datetime.now(UTC)))
    body: dict[str, Any] = {
        "country_code": "DE",
        "party_id": "RBX",
        "id": "S1",
        "start_date_time": now,
        "kwh": 0,
        "cdr_token": {"uid": "FLEET1", "type": "APP_USER", "contract_id": "DE-BST-FLEET1"},
        "auth_method": "COMMAND",
        "location_id": "LOC1",
        "evse_uid": "E1",
        "connector_id": "1",
        "currency": "EUR",
        "status": "ACTIVE",
        "last_updated": now,
    }
    if reference is not None:
        body["authorization_reference"] = reference
    return body | changes


async def push(w: World, method: str, path: str, body: Any) -> tuple[int, int]:
    assert w.partner.peer is not None
    url = f"{w.us.base_url}/{path}"
    reply = await w.http.request(method, url, json=body, headers=header(w.partner.peer.token_out))
    return reply.status_code, reply.json()["status_code"]


async def test_correlation_falls_back_to_token_evse_and_time(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        start = await w.intend()
        for number, reference in enumerate((None, "replaced-by-the-hub")):
            body = session_body(reference, id=f"S{number}")
            assert await push(w, "PUT", f"sessions/DE/RBX/S{number}", body) == (200, 1000)
        assert (await w.kinds(start)).count(K.SESSION_STARTED) == 2
        stranger = session_body(None, id="S9", cdr_token={"uid": "OTHER", "type": "RFID", "contract_id": "x"})
        assert await push(w, "PUT", "sessions/DE/RBX/S9", stranger) == (200, 1000)
        async with w.store.tenant(TenantId(w.tenant_id)) as unit:
            kept = await unit.evidence.unmatched(10)
        assert [item.session_ref for item in kept] == ["S9"]


async def test_put_and_patch_rules(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        start = await w.intend()
        path = "sessions/DE/RBX/S1"
        now = datetime.now(UTC)
        at = lambda s: str(Instant.of(now + timedelta(seconds=s)))  # noqa: E731
        body = session_body(start.attempt_id, last_updated=at(0))
        assert await push(w, "PATCH", path, {"kwh": 1, "last_updated": at(1)}) == (404, 2003)
        assert await push(w, "PUT", "sessions/DE/RBX/OTHER", body) == (200, 2001)
        assert await push(w, "PUT", "sessions/NL/XXX/S1", body) == (404, 2001)
        assert await push(w, "PUT", path, body | {"kwh": "much"}) == (200, 2001)
        assert await push(w, "PUT", path, [body]) == (200, 2001)
        assert await push(w, "PUT", path, body) == (200, 1000)
        assert await push(w, "PATCH", path, {"kwh": 1}) == (200, 2001)
        period = {"start_date_time": at(1), "dimensions": [{"type": "ENERGY", "volume": 1.5}]}
        patch = {"kwh": 1.5, "charging_periods": [period], "last_updated": at(5)}
        for _ in range(2):
            assert await push(w, "PATCH", path, patch) == (200, 1000)
        assert await push(w, "PATCH", path, {"kwh": 0.5, "last_updated": at(2)}) == (200, 1000)
        link = await w.register()
        async with w.roaming.unit(link) as unit:
            [stored] = await unit.all("session")
        assert (stored.body["kwh"], stored.body["charging_periods"]) == (1.5, [period])
        assert sorted(await w.set_aside()) == ["no_object", "older_than_stored", "session_unreadable"]
        assert await push(w, "PATCH", path, {"status": "INVALID", "last_updated": at(9)}) == (200, 1000)
        invalid = await w.heard(start, K.SESSION_INVALID)
        assert invalid.reason is ReasonCode.CONFIRM_SESSION_INVALID


async def test_locations_take_parts(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        later = str(Instant.of(datetime.now(UTC) + timedelta(seconds=5)))
        patch = {"status": "SOMETHING_NEW", "last_updated": later}
        assert await push(w, "PATCH", "locations/DE/RBX/LOC1/e1", patch) == (200, 1000)
        assert (await w.charger()).status is ConnectorStatus.UNKNOWN
        assert await push(w, "PATCH", "locations/DE/RBX/LOC1/E1", {"status": "AVAILABLE"}) == (200, 2001)
        old = {"status": "AVAILABLE", "last_updated": "2020-01-01T00:00:00Z"}
        assert await push(w, "PATCH", "locations/DE/RBX/LOC1/E1", old) == (200, 1000)
        assert (await w.charger()).status is ConnectorStatus.UNKNOWN
        assert await push(w, "PATCH", "locations/DE/RBX/LOC1/E7", patch) == (404, 2003)
        power = {"max_electric_power": 22000, "last_updated": later}
        assert await push(w, "PATCH", "locations/DE/RBX/LOC1/E1/1", power) == (200, 1000)
        assert (await w.charger()).power_kw == 22.0
        removed = {"status": "REMOVED", "last_updated": later}
        assert await push(w, "PATCH", "locations/DE/RBX/LOC1/E1", removed) == (200, 1000)
        assert not (await w.charger()).plannable
        assert await push(w, "GET", "locations/DE/RBX/LOC1/E1/1", None) == (200, 1000)
        assert await push(w, "GET", "tariffs/DE/RBX/T-LOC1", None) == (200, 1000)
        assert await push(w, "DELETE", "tariffs/DE/RBX/T-LOC1", None) == (200, 1000)
        assert await push(w, "GET", "tariffs/DE/RBX/T-LOC1", None) == (404, 2003)


async def test_charge_records_do_not_change(store: Store) -> None:
    async with world(store) as w:
        start = await charged(w)
        [record] = w.partner.objects["cdrs"].values()
        assert await push(w, "POST", "cdrs", record) == (201, 1000)
        assert await push(w, "POST", "cdrs", record | {"total_energy": 99}) == (200, 2001)
        credit = record | {"id": "C-credit", "credit": True, "credit_reference_id": record["id"]}
        assert await push(w, "POST", "cdrs", credit) == (201, 1000)
        assert await push(w, "POST", "cdrs", record | {"party_id": "XXX"}) == (200, 2001)
        assert (await w.kinds(start)).count(K.CHARGE_RECORD) == 1
        assert sorted(await w.set_aside()) == [
            "charge_record_changed",
            "charge_record_is_credit",
            "foreign_party",
        ]
        assert w.partner.peer is not None
        reply = await w.http.post(
            f"{w.us.base_url}/cdrs", json=record, headers=header(w.partner.peer.token_out)
        )
        shown = await w.http.get(reply.headers["location"], headers=header(w.partner.peer.token_out))
        assert shown.json()["data"]["id"] == record["id"]


async def test_what_was_missed_can_be_pulled_and_doubles_nothing(store: Store) -> None:
    async with world(store) as w:
        start = await charged(w)
        link = await w.register()
        before = len(await w.evidence(start))
        since = datetime.now(UTC) - timedelta(hours=1)
        assert (await pull_sessions(w.http, w.intake, link, since)).taken == 1
        assert (await pull_charge_records(w.http, w.intake, link, since)).taken == 1
        assert len(await w.evidence(start)) == before


async def test_pushes_survive_an_outage_of_ours(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        peer = w.partner.peer
        assert peer is not None
        w.partner.peer = peer.model_copy(
            update={"endpoints": {k: "http://127.0.0.1:1" for k in peer.endpoints}}
        )
        w.plug()
        start = await w.intend()
        await w.port.send(start)
        await until(lambda: any(e.what == "session_ended" for e in w.partner.ledger.entries()))
        assert K.SESSION_STARTED not in await w.kinds(start)
        w.partner.peer = peer
        await w.heard(start, K.CHARGE_RECORD)
        await w.heard(start, K.SESSION_ENDED)
        await w.quiet()
        assert w.partner.courier.given_up == 0
