"""The demo's world: deterministic, reachable, and as faulty as planned."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from connectors.ocpi.mapping import charger_id_for
from models.charger import ConnectorStatus, Protocol
from models.decision import PlanRequest
from models.ids import stop_id_for
from models.reason_codes import ReasonCode
from planning.planner import plan
from simulators.fault_plan import DriverTrouble, plan_faults
from simulators.twin import DEMO_FAULTS, FaultKind
from simulators.world import COUNTRY_CODE, PARTY_ID, DemoWorld, demo_world

NOW = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)


def test_same_seed_same_world_and_another_seed_another_one() -> None:
    one, again, other = demo_world(7), demo_world(7), demo_world(8)
    assert one == again
    assert plan_faults(one, 7) == plan_faults(again, 7)
    assert one.vans != other.vans


@pytest.mark.parametrize("stops", [1, 12, 40, 120])
def test_there_is_a_plug_for_everyone_and_ids_are_unique(stops: int) -> None:
    world = demo_world(3, stops)
    chargers = [c.charger_id for c in world.chargers()]
    assert len(world.vehicles()) == stops
    assert len(set(chargers)) == len(chargers) > stops
    assert len({v.likely_charger_id for v in world.vehicles()}) == stops
    assert len({r.business_key for r in world.stop_requests()}) == stops
    twins = [c.charger_id for s in (*world.stations(), *world.locations()) for c in s.connectors]
    assert sorted(twins) == sorted(chargers)


def test_roaming_chargers_have_the_ids_the_connector_makes() -> None:
    for charger in demo_world(7).chargers():
        if charger.protocol is Protocol.OCPI:
            expected = charger_id_for(COUNTRY_CODE, PARTY_ID, charger.evse_uid, "1")
            assert charger.charger_id == expected


def _first_choices(world: DemoWorld) -> dict[str, str]:
    chargers = [
        c.model_copy(update={"status": ConnectorStatus.AVAILABLE, "status_at": NOW}) for c in world.chargers()
    ]
    choices: dict[str, str] = {}
    for request in world.stop_requests():
        decision = plan(
            PlanRequest(
                stop_id=stop_id_for("demo", request.business_key),
                tenant_id="demo",
                vehicle=request.vehicle,
                destination=request.destination,
                target_soc_percent=request.target_soc_percent,
                now=NOW,
                policy=world.policy(),
            ),
            chargers,
            None,
        )
        first = decision.candidates[0].charger.charger_id if decision.candidates else None
        choices[request.vehicle.vehicle_id] = first or decision.no_candidate_because
    return choices


@pytest.mark.parametrize("seed", [7, 21])
def test_the_real_planner_sends_each_van_where_the_fault_plan_expects_it(seed: int) -> None:
    world = demo_world(seed)
    choices = _first_choices(world)
    moving = [v for v in world.vehicles() if not v.stranded]
    wrong = [
        (v.vehicle_id, choices[v.vehicle_id], v.likely_charger_id)
        for v in moving
        if choices[v.vehicle_id] != v.likely_charger_id
    ]
    assert wrong == []
    stranded = next(v for v in world.vehicles() if v.stranded)
    assert choices[stranded.vehicle_id] == ReasonCode.PLAN_UNREACHABLE


@pytest.mark.parametrize("seed", [1, 7, 42])
def test_every_fault_strikes_and_most_stops_charge_at_the_first_try(seed: int) -> None:
    world = demo_world(seed)
    faults = plan_faults(world, seed)
    assert faults.kinds() == set(DEMO_FAULTS)
    assert set(faults.drivers.values()) == set(DriverTrouble)
    harmless = {FaultKind.DUPLICATE_EVENTS, FaultKind.REORDERED_EVENTS}
    struck = Counter(kind in harmless for kind in faults.struck.values())
    calm = len(world.vehicles()) - struck[False] - len(faults.drivers) - 1
    assert 0.55 <= calm / len(world.vehicles()) <= 0.65
    assert not set(faults.struck) & set(faults.drivers)


def test_faults_land_in_the_twins_and_no_van_is_lost() -> None:
    world = demo_world(7)
    faults = plan_faults(world, 7)
    faulty = faults.put_on(world)
    placed = {
        c.charger_id: c.faults
        for s in (*faulty.stations(), *faulty.locations())
        for c in s.connectors
        if c.faults
    }
    assert placed == faults.connectors
    assert sorted(v.vehicle_id for v in faulty.vans) == sorted(v.vehicle_id for v in world.vans)
    offline = [c for c, f in faults.connectors.items() if f[0].kind is FaultKind.GOES_OFFLINE]
    station = world.charger(offline[0]).station_id
    others = [v for v in world.vans if world.charger(v.likely_charger_id).station_id == station]
    assert len(others) == 1
