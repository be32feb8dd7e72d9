"""What a partner's locations tell stops on their way: by push of the whole, of an EVSE, of a connector, and
by pull; each turn once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from connectors.ocpi.evidence import CLAMPED, of_charge_record, of_session
from connectors.ocpi.objects import Cdr, Session
from connectors.ocpi.pull import pull_locations
from connectors.ocpi.wire import Instant
from connectors.ports import RoutedEvidence
from models.evidence import Evidence, EvidenceKind
from models.ids import TenantId
from simulators.roaming.config import header
from simulators.twin import FaultKind
from store.database import Store
from tests.ocpi.test_sessions import charged, push, session_body
from tests.ocpi.world import World, until, world

pytestmark = pytest.mark.asyncio
K = EvidenceKind
_EVSE = "locations/DE/RBX/LOC1/E1"


def soon(seconds: float) -> str:
    return str(Instant.of(datetime.now(UTC) + timedelta(seconds=seconds)))


async def told(w: World) -> list[Evidence]:
    """What was said of connectors, oldest first."""
    async with w.store.tenant(TenantId(w.tenant_id)) as unit:
        found = await unit.evidence.unmatched(100)
    return [item for item in reversed(found) if item.vendor_code.startswith("evse:")]


async def words(w: World) -> list[tuple[str, str]]:
    return [(item.kind.value.removeprefix("connector_"), item.vendor_code) for item in await told(w)]


async def evse(w: World, status: str, seconds: float) -> None:
    assert await push(w, "PATCH", _EVSE, {"status": status, "last_updated": soon(seconds)}) == (200, 1000)


async def stored(w: World) -> dict[str, Any]:
    assert w.partner.peer is not None
    url = f"{w.us.base_url}/locations/DE/RBX/LOC1"
    return (await w.http.get(url, headers=header(w.partner.peer.token_out))).json()["data"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("CHARGING", "occupied"),
        ("RESERVED", "occupied"),
        ("BLOCKED", "occupied"),
        ("OUTOFORDER", "faulted"),
        ("INOPERATIVE", "faulted"),
        ("REMOVED", "charger_removed"),
        ("PLANNED", "charger_removed"),
    ],
)
async def test_each_turn_is_told_once_and_its_end(store: Store, status: str, kind: str) -> None:
    async with world(store) as w:
        await w.register()
        assert await told(w) == [], "as it always was"
        for second in range(3):
            await evse(w, status, second)
        for second in range(3):
            await evse(w, "AVAILABLE", 10 + second)
        assert await words(w) == [(kind, f"evse:{status}"), ("available", "evse:AVAILABLE")]
        assert {item.charger_id for item in await told(w)} == {w.charger_id()}


async def test_one_turn_into_another(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        for second, status in enumerate(("CHARGING", "BLOCKED", "OUTOFORDER", "UNKNOWN", "AVAILABLE")):
            await evse(w, status, second)
        assert [kind for kind, _ in await words(w)] == ["occupied", "faulted", "available"]


def _lost(*_: object) -> None:
    """A push that never arrives."""


@pytest.mark.parametrize("way", ["location", "evse", "connector", "pull"])
async def test_every_way_in_tells_it(store: Store, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(store) as w:
        link = await w.register()
        location = await stored(w)
        [entry] = location["evses"]
        broken = entry | {"status": "OUTOFORDER", "last_updated": soon(5)}
        if way == "location":
            whole = location | {"evses": [broken], "last_updated": soon(5)}
            assert await push(w, "PUT", "locations/DE/RBX/LOC1", whole) == (200, 1000)
        elif way == "evse":
            assert await push(w, "PUT", _EVSE, broken) == (200, 1000)
        elif way == "connector":
            await evse(w, "OUTOFORDER", 5)
            patch = {"max_electric_power": 22000, "last_updated": soon(6)}
            assert await push(w, "PATCH", f"{_EVSE}/1", patch) == (200, 1000)
        else:
            monkeypatch.setattr(w.partner.courier, "send", _lost)
            w.partner.by_charger(w.charger_id()).shift("OUTOFORDER")
            for _ in range(2):
                await pull_locations(w.http, w.intake, link)
        assert await words(w) == [("faulted", "evse:OUTOFORDER")]


async def test_a_location_that_a_full_list_lacks_is_removed_and_comes_back(store: Store) -> None:
    async with world(store, count=2) as w:
        link = await w.register()
        evse_twin = w.partner.by_charger(w.charger_id(2))
        for _ in range(2):
            evse_twin.gone = True
            for _ in range(3):
                await pull_locations(w.http, w.intake, link)
            assert not (await w.charger(2)).plannable
            evse_twin.gone = False
            for _ in range(2):
                await pull_locations(w.http, w.intake, link)
            assert (await w.charger(2)).plannable
        turn = [("charger_removed", "evse:vanished"), ("available", "evse:AVAILABLE")]
        assert await words(w) == [*turn, *turn]
        found = await told(w)
        assert [item.observed_at for item in found] == sorted(item.observed_at for item in found)


async def test_an_evse_that_its_location_lacks_is_removed_and_not_planned(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        reply = await w.http.post(
            f"{w.partner_url}/twin/connectors/{w.charger_id()}/vanish", json={"gone": True}
        )
        reply.raise_for_status()
        await w.quiet()
        assert await words(w) == [("charger_removed", "evse:vanished")]
        assert not (await w.charger()).plannable


async def test_a_crash_between_news_and_change_loses_no_news(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partner's retry finds the change still to be made."""
    async with world(store) as w:
        await w.register()
        patch = {"status": "OUTOFORDER", "last_updated": soon(1)}
        accept = w.intake._sink.accept  # pyright: ignore[reportPrivateUsage]

        async def dies_after(items: list[RoutedEvidence]) -> None:
            await accept(items)
            raise OSError("killed")

        async def dies_before(items: list[RoutedEvidence]) -> None:
            raise OSError("killed")

        for death in (dies_before, dies_after):
            with monkeypatch.context() as patched:
                patched.setattr(w.intake._sink, "accept", death)  # pyright: ignore[reportPrivateUsage]
                with pytest.raises((httpx.HTTPError, ValueError)):
                    await push(w, "PATCH", _EVSE, patch)
        assert await push(w, "PATCH", _EVSE, patch) == (200, 1000)
        assert await words(w) == [("faulted", "evse:OUTOFORDER")]


# --- the simulated partner ----------------------------------------------------------------------------------


async def control(w: World, name: str, **body: Any) -> None:
    url = f"{w.partner_url}/twin/connectors/{w.charger_id()}/{name}"
    (await w.http.post(url, json=body)).raise_for_status()


async def test_somebody_elses_car_at_the_partners(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        await control(w, "status", status="CHARGING")
        await w.quiet()
        start = await w.intend()
        await w.port.send(start)
        failed = await w.heard(start, K.COMMAND_FAILED)
        assert failed.vendor_code == "commandResult:EVSE_OCCUPIED"
        await control(w, "status", status="AVAILABLE")
        await w.quiet()
        assert [kind for kind, _ in await words(w)] == ["occupied", "available"]


async def test_a_session_that_pauses_and_ends_early_without_a_word(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        w.plug(soc=0, target=100)
        start = await w.intend()
        await w.port.send(start)
        await w.heard(start, K.METER)
        await control(w, "pause", paused=True)
        [session] = w.partner.objects["sessions"].values()
        await until(lambda: w.partner.by_charger(w.charger_id()).state().power_kw == 0)
        await control(w, "end")
        ended = await w.heard(start, K.SESSION_ENDED)
        assert ended.reason is None
        assert 0 < (ended.energy_kwh or 0) < 50
        assert session["status"] in ("ACTIVE", "COMPLETED")
        record = await w.heard(start, K.CHARGE_RECORD)
        assert record.energy_kwh == ended.energy_kwh


@pytest.mark.parametrize("fault", [FaultKind.STOP_IGNORED, FaultKind.STOP_DROPPED, FaultKind.STOP_LATE])
async def test_the_simulated_partner_can_lose_a_stop(store: Store, fault: FaultKind) -> None:
    from models.commands import CommandKind, CommandOutcome

    async with world(store) as w:
        await w.register()
        w.plug(soc=0, target=100)
        start = await w.intend()
        await w.port.send(start)
        await w.heard(start, K.METER)
        w.fault(fault, delay_s=0.3)
        evse_twin = w.partner.by_charger(w.charger_id())
        assert evse_twin.session is not None
        stop = start.model_copy(
            update={
                "command_id": f"{start.attempt_id}:stop",
                "kind": CommandKind.STOP,
                "session_ref": evse_twin.session.body["id"],
            }
        )
        assert (await w.port.send(stop)).outcome is CommandOutcome.ACCEPTED
        if fault is not FaultKind.STOP_LATE:
            assert evse_twin.session is not None
            assert K.SESSION_ENDED not in await w.kinds(start)
            evse_twin.end()
        await w.heard(start, K.SESSION_ENDED)


# --- clocks and words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "clock", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"]
)
async def test_a_clock_at_the_calendars_end_is_set_aside_and_shuts_nothing_out(
    store: Store, clock: str
) -> None:
    async with world(store) as w:
        await w.register()
        start = await w.intend()
        location = await stored(w)
        bad = [
            ("PUT", "sessions/DE/RBX/S1", session_body(start.attempt_id, last_updated=clock)),
            ("PUT", "locations/DE/RBX/LOC1", location | {"last_updated": clock}),
            ("PATCH", _EVSE, {"status": "OUTOFORDER", "last_updated": clock}),
        ]
        for method, path, body in bad:
            status, code = await push(w, method, path, body)
            assert status == 200, "answered, so that nobody repeats it for ever"
            assert code in (1000, 2001)
        assert await told(w) == []
        assert len(await w.set_aside()) >= 2
        assert await push(w, "PUT", "sessions/DE/RBX/S1", session_body(start.attempt_id)) == (200, 1000)
        await w.heard(start, K.SESSION_STARTED)
        await evse(w, "CHARGING", 1)
        assert await words(w) == [("occupied", "evse:CHARGING")]


@pytest.mark.parametrize("clock", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
async def test_other_times_of_an_object_are_clamped(store: Store, clock: str) -> None:
    async with world(store) as w:
        start = await charged(w)
        body = session_body(
            start.attempt_id, id="S2", kwh=4, status="COMPLETED", start_date_time=clock, end_date_time=clock
        )
        assert await push(w, "PUT", "sessions/DE/RBX/S2", body) == (200, 1000)
        found = [item for item in await w.evidence(start) if item.session_ref == "S2"]
        assert {item.kind for item in found} == {K.SESSION_STARTED, K.ENERGY_FLOWING, K.SESSION_ENDED}
        assert {item.detail for item in found} == {CLAMPED}
        [record] = w.partner.objects["cdrs"].values()
        odd = record | {"id": "C9", "start_date_time": clock, "end_date_time": clock, "last_updated": clock}
        for _ in range(2):
            assert await push(w, "POST", "cdrs", odd) == (201, 1000)
        clamped = [item for item in await w.evidence(start) if item.vendor_code.startswith("cdr:C9")]
        assert [CLAMPED in item.detail for item in clamped] == [True]


def cdr_body(**changes: Any) -> dict[str, Any]:
    base = session_body("r")
    copied = ("country_code", "party_id", "start_date_time", "cdr_token", "auth_method", "currency")
    now = base["last_updated"]
    place = {"id": "LOC1", "evse_uid": "E1", "evse_id": "E1", "connector_id": "1"}
    body: dict[str, Any] = {
        **{name: base[name] for name in copied},
        "id": "C1",
        "end_date_time": now,
        "cdr_location": place,
        "charging_periods": [],
        "total_cost": {"excl_vat": 4.5},
        "total_energy": 9.5,
        "total_time": 1,
        "last_updated": now,
    }
    return body | changes


async def test_a_charge_record_says_energy_cost_idle_time_and_its_remark() -> None:
    later = soon(60)
    periods = [
        {"start_date_time": soon(0), "dimensions": [{"type": "ENERGY", "volume": 9.5}]},
        {"start_date_time": later, "dimensions": [{"type": "PARKING_TIME", "volume": 0.25}]},
    ]
    plain = of_charge_record(Cdr.model_validate(cdr_body(total_parking_time=0.5)), "a", datetime.now(UTC))
    assert (plain.energy_kwh, plain.idle_minutes) == (9.5, Decimal(30))
    assert plain.cost is not None
    assert (plain.cost.amount, plain.vendor_code, plain.detail) == (Decimal("4.5"), "cdr:C1", "")
    full = cdr_body(charging_periods=periods, remark="Stopped by the vehicle")
    said = of_charge_record(Cdr.model_validate(full), "a", datetime.now(UTC))
    assert (said.idle_minutes, said.vendor_code, said.detail) == (
        Decimal(15), "cdr:C1 parked", "Stopped by the vehicle",
    )  # fmt: skip


async def test_an_end_has_no_reason_and_says_whether_the_vehicle_stood_there() -> None:
    parked = [{"start_date_time": soon(0), "dimensions": [{"type": "PARKING_TIME", "volume": 0.2}]}]
    for periods, code in ((None, "session:COMPLETED"), (parked, "session:COMPLETED parked")):
        body = session_body("r", status="COMPLETED", kwh=3, charging_periods=periods)
        ended = of_session(Session.model_validate(body), "a", 60)[-1]
        assert (ended.kind, ended.reason, ended.energy_kwh) == (K.SESSION_ENDED, None, 3.0)
        assert ended.vendor_code == code
