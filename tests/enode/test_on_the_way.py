"""A vehicle on its way to its charger, as its stop hears it: over the real webhook, and the rules alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio

from connectors.enode.evidence import derive
from connectors.enode.fold import Observed, Signal, VehicleFold
from connectors.enode.ports import Approach, StopWatch
from models.evidence import Evidence, EvidenceKind
from models.place import Place
from models.stop import StopPhase
from tests.enode.servers import until
from tests.enode.test_webhook_sockets import CHARGER_PLACE, Rig, rig, watch

K = EvidenceKind
T0 = datetime.now(UTC) - timedelta(minutes=30)
HERE = CHARGER_PLACE
KM = 1 / 111.2
"""Degrees of latitude."""


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def kilometres(km: float) -> Any:
    return pytest.approx(km, abs=0.01 + km / 500)


def live(phase: StopPhase = StopPhase.EN_ROUTE, charger_id: str = "ch-1") -> StopWatch:
    return watch(phase).model_copy(update={"since": at(-60), "charger_id": charger_id})


class Drive:
    """A vehicle told step by step; keeps what its stop heard."""

    def __init__(self, stop: StopWatch | None = None) -> None:
        self.stop = stop or live()
        self.fold = VehicleFold()
        self.approach: Approach | None = None
        self.told: list[Evidence] = []

    def step(self, seconds: float, **seen: Any) -> list[Evidence]:
        """`km`: north of the charger; `soc`; `plugged`. Returns what this step told."""
        observed: dict[Signal, Observed] = {}
        if "km" in seen:
            place = (HERE.latitude + seen["km"] * KM, HERE.longitude)
            observed[Signal.POSITION] = Observed(at=at(seconds), value=place)
        if "soc" in seen:
            observed[Signal.SOC_PERCENT] = Observed(at=at(seconds), value=float(seen["soc"]))
        if "plugged" in seen:
            observed[Signal.PLUGGED_IN] = Observed(at=at(seconds), value=bool(seen["plugged"]))
        after = self.fold.merge(observed)
        news, self.approach = derive("c1:car-1", self.fold, after, self.stop, self.approach)
        self.fold = after
        self.told += news
        return news

    def kinds(self) -> list[str]:
        return [item.kind.value for item in self.told]


class TestProgress:
    def test_each_two_percent_are_told_once(self) -> None:
        drive = Drive()
        drive.step(0, km=10, soc=41)
        for second, soc in enumerate((40.9, 40.1, 39.9, 39.0, 38.1, 39.5, 37.9, 37.8, 31.0)):
            drive.step(1 + second, soc=soc)
        assert [item.soc_percent for item in drive.told] == [39.9, 37.9, 31.0]
        assert [item.distance_km for item in drive.told] == [kilometres(10)] * 3
        assert {item.kind for item in drive.told} == {K.VEHICLE_PROGRESS}
        ids = [item.event_id for item in drive.told]
        again = Drive()
        for second, soc in enumerate((41, 39.9, 37.9, 31.0)):
            again.step(100 + second, soc=soc)
        assert [item.event_id for item in again.told] == ids, "the same step is the same event"

    def test_nothing_is_told_unless_the_stop_is_en_route(self) -> None:
        for phase in StopPhase:
            drive = Drive(live(phase))
            drive.step(0, km=10, soc=50)
            drive.step(60, km=20, soc=40)
            assert bool(drive.told) is (phase is StopPhase.EN_ROUTE)

    def test_going_away_is_told_beyond_two_kilometres_and_seldom(self) -> None:
        drive = Drive()
        for second, km in enumerate((12, 10, 8, 9.9, 8.5)):
            drive.step(60 * second, km=km)
        assert drive.told == [], "nearer, or hardly farther"
        assert [item.distance_km for item in drive.step(300, km=10.2)] == [kilometres(10.2)]
        assert drive.step(330, km=13) == [], "not within the same minute"
        assert [item.distance_km for item in drive.step(361, km=13)] == [kilometres(13)]
        assert drive.step(430, km=14.9) == []
        assert drive.step(500, km=7) == [], "nearer than ever"
        assert [item.distance_km for item in drive.step(600, km=9.5)] == [kilometres(9.5)]

    def test_another_charger_begins_anew(self) -> None:
        drive = Drive()
        drive.step(0, km=1)
        drive.stop = live(charger_id="ch-2")
        assert drive.step(60, km=5) == []
        assert drive.approach is not None
        assert (drive.approach.charger_id, drive.approach.nearest_km) == ("ch-2", kilometres(5))

    def test_what_was_seen_before_the_stop_is_none_of_its(self) -> None:
        drive = Drive(live().model_copy(update={"since": at(100)}))
        drive.step(0, km=1, soc=50)
        drive.step(50, km=9, soc=40)
        assert drive.told == []
        (fell,) = drive.step(120, soc=38.0)
        assert fell.distance_km is None, "the last fix is from before"

    def test_no_position_is_ever_said(self) -> None:
        drive = Drive()
        for second in range(20):
            drive.step(60 * second, km=(second * 3) % 20, soc=50 - second, plugged=second == 19)
        text = " ".join(item.model_dump_json() for item in drive.told)
        assert "latitude" not in text
        assert "51.2" not in text


class TestArrival:
    def test_driving_by_is_no_arrival(self) -> None:
        drive = Drive()
        for second, km in ((0, 0.5), (10, 0.05), (20, 0.0), (35, 0.05), (45, 0.6), (500, 3)):
            drive.step(second, km=km)
        assert K.ARRIVED not in drive.kinds()

    def test_two_fixes_some_time_apart_are_one_arrival(self) -> None:
        drive = Drive()
        drive.step(0, km=0.05, soc=33)
        assert drive.told == []
        (arrived,) = drive.step(30, km=0.02)
        assert (arrived.kind, arrived.observed_at) == (K.ARRIVED, at(30))
        assert (arrived.soc_percent, arrived.distance_km, arrived.charger_id) == (
            33.0,
            kilometres(0.02),
            "ch-1",
        )
        for second in (60, 90, 120):
            drive.step(second, km=0.02)
        assert drive.kinds() == ["arrived"]

    def test_the_same_fix_told_again_is_no_second_one(self) -> None:
        drive = Drive()
        drive.step(0, km=0.05, soc=33)
        for second in (60, 120):
            drive.step(second, soc=33)
        assert drive.told == []

    def test_a_plug_needs_no_second_fix(self) -> None:
        drive = Drive()
        drive.step(0, km=0.05, soc=33, plugged=False)
        arrived, plugged = drive.step(5, plugged=True)
        assert (arrived.kind, plugged.kind) == (K.ARRIVED, K.PLUGGED_IN)
        assert (plugged.distance_km, plugged.soc_percent) == (kilometres(0.05), 33.0)

    def test_who_leaves_and_comes_back_arrives_again(self) -> None:
        drive = Drive()
        for second, km in ((0, 0), (40, 0), (80, 1.5), (200, 0), (240, 0)):
            drive.step(second, km=km)
        assert drive.kinds() == ["arrived", "arrived"]
        assert len({item.event_id for item in drive.told}) == 2


class TestPlug:
    def test_a_plug_elsewhere_says_how_far(self) -> None:
        drive = Drive()
        drive.step(0, km=7, plugged=False)
        (plugged,) = drive.step(60, plugged=True)
        assert (plugged.kind, plugged.distance_km) == (K.PLUGGED_IN, kilometres(7))
        (gone,) = drive.step(90, plugged=False)
        assert (gone.kind, gone.distance_km) == (K.UNPLUGGED, kilometres(7))

    def test_an_old_fix_on_the_road_says_nothing_of_the_plug(self) -> None:
        drive = Drive()
        drive.step(0, km=7, plugged=False)
        (plugged,) = drive.step(600, plugged=True)
        assert plugged.distance_km is None

    def test_who_stands_inside_needs_no_new_fix(self) -> None:
        drive = Drive()
        drive.step(0, km=0.02, plugged=False)
        *_, plugged = drive.step(1200, plugged=True)
        assert (plugged.kind, plugged.distance_km) == (K.PLUGGED_IN, kilometres(0.02))

    def test_without_a_stop_there_is_no_distance(self) -> None:
        drive = Drive()
        before, after = (
            VehicleFold(),
            VehicleFold().merge({Signal.PLUGGED_IN: Observed(at=at(0), value=True)}),
        )
        (plugged,), approach = derive("c1:car-1", before, after, None, None)
        assert (plugged.distance_km, approach) == (None, None)
        assert drive.told == []


# --- over the wire ------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def on_the_road() -> AsyncGenerator[Rig]:
    async with rig(watch()) as made:
        yield made


def told(r: Rig) -> list[Evidence]:
    return [item.evidence for item in r.log.evidence.values()]


@pytest.mark.asyncio
async def test_the_vendors_van_plugs_in_and_has_arrived(on_the_road: Rig) -> None:
    r = on_the_road
    await r.vendor.put(
        "car-1", soc_percent=31, is_plugged_in=False, place={"latitude": 51.3, "longitude": 6.8}
    )
    await r.vendor.put("car-1", soc_percent=29)
    for _ in range(3):
        await r.vendor.put("car-1", place=CHARGER_PLACE.model_dump())
    await r.vendor.quiet()
    assert r.log.kinds == ["vehicle_progress"], "fixes within a moment: it may be driving by"
    await r.vendor.put("car-1", is_plugged_in=True)
    await r.vendor.quiet()
    assert r.log.kinds == ["vehicle_progress", "arrived", "plugged_in"]
    progress, arrived, plugged = told(r)
    assert (progress.soc_percent, progress.distance_km) == (29.0, kilometres(11.12))
    assert (arrived.soc_percent, arrived.distance_km) == (29.0, 0.0)
    assert (plugged.soc_percent, plugged.distance_km) == (29.0, 0.0)


@pytest.mark.asyncio
async def test_an_action_that_nobody_of_ours_asked_for_says_nothing(on_the_road: Rig) -> None:
    r = on_the_road
    moment = datetime.now(UTC).isoformat()
    for number, state in enumerate(("CONFIRMED", "FAILED", "CANCELLED")):
        action = {"id": f"a{number}", "state": state, "kind": "START", "targetId": "car-1"}
        item = {"event": "user:vendor-action:updated", "createdAt": moment, "action": action}
        assert await r.post(orjson.dumps([item]), delivery=f"d{number}") == 204
    assert len(r.log.raw) == 3
    assert r.log.evidence == {}


CLOCKS = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00",
          "9999-12-31T23:59:59-14:00", "1969-12-31T00:00:00Z"]  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize("clock", CLOCKS)
async def test_a_clock_at_the_calendars_end_breaks_no_delivery(on_the_road: Rig, clock: str) -> None:
    r = on_the_road
    moment = datetime.now(UTC).isoformat()

    def vehicle(created: str, **times: str) -> dict[str, Any]:
        charge = {"batteryLevel": 40, "isPluggedIn": True, "lastUpdated": times.get("charge", moment)}
        where = HERE.model_dump() | {"lastUpdated": times.get("place", moment)}
        body = {
            "id": "car-1",
            "lastSeen": times.get("seen", moment),
            "chargeState": charge,
            "location": where,
        }
        return {"event": "user:vehicle:updated", "createdAt": created, "vehicle": body}

    action = {"id": "a", "state": "CONFIRMED", "kind": "START", "targetId": "car-1", "updatedAt": clock}
    items = [
        vehicle(clock),
        vehicle(moment, charge=clock, place=clock, seen=clock),
        {"event": "user:vendor-action:updated", "createdAt": moment, "action": action},
        {"event": "user:vehicle:updated", "createdAt": moment, "vehicle": {"id": "car-2"}},
    ]
    assert await r.post(orjson.dumps(items)) == 204
    await until(lambda: "car-2" in r.log.folds)
    assert {reason for reason, _ in r.log.quarantined} == {"schema"}
    assert r.fold().number(Signal.SOC_PERCENT) == 40
    assert all(abs(item.observed_at - datetime.now(UTC)) < timedelta(minutes=1) for item in told(r))
    assert "plugged_in" in r.log.kinds


def test_places_are_as_far_apart_as_they_are() -> None:
    north = Place(latitude=HERE.latitude + 10 * KM, longitude=HERE.longitude)
    assert north.distance_m(HERE) == pytest.approx(10_000, rel=0.01)
