"""Drivers over real sockets: they arrive, plug in, fall back, report, and leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from scripted_backend import KEY, PLACE, ScriptedBackend, serving, until

from models.place import Place
from models.stop import StopOutcome, StopPhase
from simulators.driver_plans import DriverPlan, DriversConfig
from simulators.drivers import drive_all
from simulators.fault_plan import DriverTrouble
from simulators.twin import ConnectorState

FIRST, SECOND = "CP01:1", "DE*TWN*E1*1"


@asynccontextmanager
async def on_the_road(
    backend: ScriptedBackend,
    *,
    telematics_id: str | None = None,
    trouble: DriverTrouble | None = None,
    haste: float = 25.0,
    fleet: int = 0,
) -> AsyncGenerator[asyncio.Task[None]]:
    async with serving(backend.app()) as url:
        plan = DriverPlan(
            stop_id="stop_1",
            vehicle_id="van-001",
            telematics_id=telematics_id,
            token_uid="FLEET001",
            place=Place(latitude=51.2, longitude=6.7),
            soc_percent=30.0,
            battery_kwh=60.0,
            max_power_kw=100.0,
            target_soc_percent=80.0,
            drive_s=2.0,
            trouble=trouble,
        )
        config = DriversConfig(
            api_url=url,
            api_key=KEY,
            control_urls={FIRST: url, SECOND: url},
            telematics_url=url if telematics_id else None,
            drivers=(plan,),
            fleet=fleet,
            haste=haste,
        )
        driving = asyncio.create_task(drive_all(config))
        try:
            yield driving
        finally:
            driving.cancel()
            await asyncio.gather(driving, return_exceptions=True)


async def left(driving: asyncio.Task[None]) -> None:
    async with asyncio.timeout(15):
        await driving


@pytest.mark.asyncio
async def test_a_driver_arrives_plugs_in_and_leaves_when_the_stop_has_closed() -> None:
    backend = ScriptedBackend()
    async with on_the_road(backend) as driving:
        backend.send_to("stop_1", FIRST)
        await until(lambda: ("plug", FIRST) in backend.done)
        assert [(s, t, b["charger_id"]) for s, t, b in backend.told] == [("stop_1", "arrival", FIRST)]
        assert backend.plugs[0].token_uid == "FLEET001"
        assert 80.0 < backend.plugs[0].target_soc_percent <= 82.0
        backend.move_on("stop_1", StopPhase.CLOSED, StopOutcome.CHARGED)
        await left(driving)
    assert backend.done == [("plug", FIRST), ("unplug", FIRST)]


@pytest.mark.asyncio
async def test_a_lone_driver_finds_its_stop_behind_the_newer_ones_of_others() -> None:
    backend = ScriptedBackend()
    backend.send_to("stop_1", FIRST)
    backend.send_to("stop_2", SECOND)
    async with on_the_road(backend, fleet=2):
        await until(lambda: ("plug", FIRST) in backend.done)


@pytest.mark.asyncio
async def test_a_fallback_makes_the_driver_unplug_and_drive_on_with_the_charge_gained() -> None:
    backend = ScriptedBackend()
    async with on_the_road(backend) as driving:
        backend.send_to("stop_1", FIRST)
        await until(lambda: ("plug", FIRST) in backend.done)
        backend.send_to("stop_1", SECOND)
        await until(lambda: ("plug", SECOND) in backend.done)
        assert 30 < backend.plugs[1].soc_percent < 40.0, "what was gained, less what the way took"
        backend.move_on("stop_1", StopPhase.CLOSED, StopOutcome.CHARGED)
        await left(driving)
    assert backend.done == [("plug", FIRST), ("unplug", FIRST), ("plug", SECOND), ("unplug", SECOND)]


@pytest.mark.asyncio
async def test_a_charger_that_comes_alive_while_the_driver_packs_up_keeps_the_plug() -> None:
    backend = ScriptedBackend()
    async with on_the_road(backend, haste=4.0) as driving:
        backend.send_to("stop_1", FIRST)
        await until(lambda: ("plug", FIRST) in backend.done)
        backend.send_to("stop_1", SECOND)
        looks = backend.looks
        await until(lambda: backend.looks == looks + 2)  # by now the driver packs up
        backend.send_to("stop_1", FIRST, StopPhase.CHARGING)
        await until(lambda: backend.looks == looks + 6)
        assert backend.done == [("plug", FIRST)]
        backend.move_on("stop_1", StopPhase.CLOSED, StopOutcome.CHARGED)
        await left(driving)
    assert backend.done == [("plug", FIRST), ("unplug", FIRST)]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "state", [ConnectorState(status="Occupied"), ConnectorState(status="Charging", vehicle_id="van-009")]
)
async def test_a_taken_charger_is_reported_and_not_touched(state: ConnectorState) -> None:
    backend = ScriptedBackend()
    backend.connectors[FIRST] = state
    async with on_the_road(backend):
        backend.send_to("stop_1", FIRST)
        await until(lambda: "problem" in backend.topics())
        backend.send_to("stop_1", SECOND)
        await until(lambda: ("plug", SECOND) in backend.done)
    assert backend.told[0][2]["kind"] == "occupied"
    assert ("plug", FIRST) not in backend.done


@pytest.mark.asyncio
async def test_a_linked_van_is_seen_by_telematics_and_its_driver_says_nothing() -> None:
    backend = ScriptedBackend()
    async with on_the_road(backend, telematics_id="tele-001") as driving:
        backend.send_to("stop_1", FIRST)
        await until(lambda: any(shown.get("is_charging") for shown in backend.shown) or driving.done())
        assert backend.shown[0]["place"] == PLACE.model_dump()
        assert backend.shown[0]["soc_percent"] <= 30
        assert backend.told == []
        backend.move_on("stop_1", StopPhase.CHARGING)
        backend.move_on("stop_1", StopPhase.CLOSED, StopOutcome.CHARGED)
        await left(driving)
    assert backend.shown[-1]["is_plugged_in"] is False


@pytest.mark.asyncio
async def test_when_telematics_stays_silent_the_driver_says_it_after_all() -> None:
    backend = ScriptedBackend()
    async with on_the_road(backend, telematics_id="tele-001"):
        backend.send_to("stop_1", FIRST)
        await until(lambda: "arrival" in backend.topics())


@pytest.mark.asyncio
async def test_troubled_drivers_do_what_their_trouble_says() -> None:
    backend = ScriptedBackend()
    async with on_the_road(backend, trouble=DriverTrouble.CANCELS):
        backend.send_to("stop_1", FIRST)
        await until(lambda: ("plug", FIRST) in backend.done)
        backend.move_on("stop_1", StopPhase.CHARGING)
        await until(lambda: "cancellation" in backend.topics())
        assert backend.told[-1][2]["by"] == "driver"

    backend = ScriptedBackend()
    async with on_the_road(backend, trouble=DriverTrouble.GIVES_UP):
        backend.send_to("stop_1", FIRST)
        await until(lambda: ("plug", FIRST) in backend.done)
        assert "cancellation" not in backend.topics()
        backend.move_on("stop_1", StopPhase.CONFIRMING)
        await until(lambda: "cancellation" in backend.topics())

    backend = ScriptedBackend()
    async with on_the_road(backend, trouble=DriverTrouble.BROKEN_CABLE):
        backend.send_to("stop_1", FIRST)
        await until(lambda: "problem" in backend.topics())
        assert backend.told[0][2]["kind"] == "cable"
        backend.send_to("stop_1", SECOND)
        await until(lambda: ("plug", SECOND) in backend.done)

    backend = ScriptedBackend()
    async with on_the_road(backend, trouble=DriverTrouble.NO_SHOW) as driving:
        backend.send_to("stop_1", FIRST)
        await left(driving)
        assert backend.told == []


@pytest.mark.asyncio
async def test_an_api_that_is_away_is_asked_again_and_the_same_thing_is_said() -> None:
    backend = ScriptedBackend()
    backend.away_for = 3
    async with on_the_road(backend):
        backend.send_to("stop_1", FIRST)
        await until(lambda: backend.away_for == 0)
        backend.away_for = 2
        await until(lambda: ("plug", FIRST) in backend.done)
        assert len({body["event_id"] for _, topic, body in backend.told if topic == "arrival"}) == 1
