"""Where the vehicle is, told through the real relay: what was true before, what a driver says, whose plug."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client

from connectors.ports import RoutedEvidence
from models.contract import UPDATE_ARRIVED, UPDATE_CHOOSE
from models.evidence import EvidenceKind, EvidenceSource
from models.reason_codes import ReasonCode
from models.stop import ArrivalReport, ChooseCharger, Receipt, StopPhase, StopRequest
from store.database import Store
from tests.workflows.conftest import StopHandle, Surroundings, patient_policy, surroundings
from tests.workflows.stop_words import arrive, cancel, heard, tell, timeline, types

pytestmark = pytest.mark.asyncio


def with_feed(around: Surroundings) -> StopRequest:
    request = around.request()
    vehicle = request.vehicle.model_copy(update={"telematics_id": f"tel-{uuid.uuid4().hex[:8]}"})
    return request.model_copy(update={"vehicle": vehicle})


async def hear(
    around: Surroundings, kind: EvidenceKind, telematics_id: str | None = None, **fields: Any
) -> None:
    source = EvidenceSource.TELEMATICS if telematics_id else EvidenceSource.OCPP
    item = heard(kind, source=source, **fields)
    await around.relay.accept(
        [RoutedEvidence(tenant_id=around.tenant_id, evidence=item, vehicle_telematics_id=telematics_id)]
    )
    await around.delivered()


async def end(*stops: StopHandle) -> None:
    for stop in stops:
        if (await stop.view()).outcome is None:
            await cancel(stop)
        await stop.result()


async def test_an_arrival_of_this_morning_is_no_arrival_now(around: Surroundings) -> None:
    """The van charged at c1: it arrived, was unplugged, and left. Its next stop is planned at c1."""
    request = with_feed(around)
    feed, now = request.vehicle.telematics_id, datetime.now(UTC)
    told: list[tuple[EvidenceKind, float, dict[str, Any]]] = [
        (EvidenceKind.ARRIVED, 6, {"charger_id": "c1"}),
        (EvidenceKind.PLUGGED_IN, 6, {}),
        (EvidenceKind.UNPLUGGED, 5, {}),
        (EvidenceKind.VEHICLE_PROGRESS, 4, {"distance_km": 30.0}),
    ]
    for kind, hours, fields in told:
        await hear(around, kind, feed, observed_at=now - timedelta(hours=hours), **fields)
    stop = await around.start(request)
    view = await stop.until(lambda v: v.phase is not StopPhase.PLANNING)
    seen = await types(stop)
    await end(stop)
    assert (view.phase, view.charger_id) == (StopPhase.EN_ROUTE, "c1")
    assert "vehicle.arrived" not in seen


async def test_a_choice_right_after_an_arrival_is_not_undone_by_it(
    temporal_client: Client, store: Store
) -> None:
    """ "Arrived at c1" and then "I take c2" (next to it) come within a second. The start at c1 was accepted,
    and may come alive: no second one is sent there."""
    policy = patient_policy(confirmation_s=60)
    async with surroundings(temporal_client, store, policy=policy) as around:
        around.charger.silent = {"c1", "c2"}
        stop = await around.start()
        await arrive(stop)
        await stop.command(1)
        message = ChooseCharger(event_id="1", charger_id="c2", by="driver")
        await stop.handle.execute_update(UPDATE_CHOOSE, message, result_type=Receipt)
        await stop.until(lambda v: v.charger_id == "c2" and v.phase is StopPhase.EN_ROUTE)
        starts = [c.charger.charger_id for c in around.charger.starts()]
        await end(stop)
        assert starts == ["c1"]


# --- news on the way, in any order ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("healed", "bad"),
    [
        (EvidenceKind.STATION_ONLINE, EvidenceKind.STATION_OFFLINE),
        (EvidenceKind.CONNECTOR_AVAILABLE, EvidenceKind.STATION_OFFLINE),
        (EvidenceKind.CONNECTOR_AVAILABLE, EvidenceKind.CONNECTOR_FAULTED),
        (EvidenceKind.CONNECTOR_AVAILABLE, EvidenceKind.CONNECTOR_OCCUPIED),
        (EvidenceKind.CONNECTOR_AVAILABLE, EvidenceKind.CHARGER_REMOVED),
    ],
)
async def test_old_bad_news_after_newer_good_news_changes_no_plan(
    around: Surroundings, healed: EvidenceKind, bad: EvidenceKind
) -> None:
    stop = await around.start()
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.charger_id == "c1")
    now = datetime.now(UTC)
    good = heard(healed, charger_id="c1", observed_at=now)
    old = heard(bad, charger_id="c1", observed_at=now - timedelta(seconds=60))
    await tell(stop, good, old)
    await tell(stop, heard(EvidenceKind.METER))
    seen, view = await types(stop), await stop.view()
    await tell(stop, old.model_copy(update={"event_id": "new", "observed_at": now + timedelta(seconds=1)}))
    await stop.until(lambda v: v.charger_id not in (None, "c1"))  # newer than the good news: it counts
    await end(stop)
    assert ("plan.changed" not in seen, view.charger_id) == (True, "c1")


async def test_the_way_to_another_charger_is_not_the_way_to_this_one(around: Surroundings) -> None:
    """A word of the way to c9 (60 km), and an old one, told late: it goes to c1, 1 km away, with 14 %."""
    request = with_feed(around)
    vehicle = request.vehicle.model_copy(update={"soc_percent": 15.0, "consumption_kwh_per_100_km": 20.0})
    stop = await around.start(request.model_copy(update={"vehicle": vehicle}))
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.charger_id == "c1")
    far: dict[str, Any] = {
        "source": EvidenceSource.TELEMATICS,
        "distance_km": 60.0,
        "soc_percent": 14.0,
    }
    before = datetime.now(UTC) - timedelta(seconds=60)
    await tell(
        stop,
        heard(EvidenceKind.VEHICLE_PROGRESS, charger_id="c9", **far),
        heard(EvidenceKind.VEHICLE_PROGRESS, observed_at=before, **far),
    )
    seen = await types(stop)
    await tell(stop, heard(EvidenceKind.VEHICLE_PROGRESS, charger_id="c1", **far))
    changed = [e for e in await timeline(stop) if e.reason is ReasonCode.REACH_WILL_NOT_MAKE_IT]
    await end(stop)
    assert "plan.changed" not in seen
    assert changed


# --- early ------------------------------------------------------------------------------------------------


async def test_the_early_plug_of_a_vehicle_without_a_feed_changes_no_plan(
    temporal_client: Client, store: Store
) -> None:
    """Quicker than the plan's average speed by more than ten minutes; its driver says that he is there."""
    policy = patient_policy(average_speed_kmh=5, max_detour_s=100_000)
    async with surroundings(temporal_client, store, policy=policy) as around:
        stop = await around.start()
        await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.charger_id == "c1")
        await hear(around, EvidenceKind.PLUGGED_IN, charger_id="c1")
        said = ArrivalReport(event_id="1", charger_id="c1")
        await stop.handle.execute_update(UPDATE_ARRIVED, said, result_type=Receipt)
        assert (await stop.command(1)).charger.charger_id == "c1"
        seen = await types(stop)
        await end(stop)
        assert "plan.changed" not in seen


async def test_a_driver_may_arrive_where_the_stop_has_sent_him_before(around: Surroundings) -> None:
    stop = await around.start()
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.charger_id == "c1")
    await tell(stop, heard(EvidenceKind.CONNECTOR_OCCUPIED, charger_id="c1"))
    await stop.until(lambda v: v.charger_id not in (None, "c1") and v.phase is StopPhase.EN_ROUTE)
    said = ArrivalReport(event_id="1", charger_id="c1")
    await stop.handle.execute_update(UPDATE_ARRIVED, said, result_type=Receipt)
    assert (await stop.command(1)).charger.charger_id == "c1"
    await end(stop)


async def test_queue_minutes_begin_when_the_vehicle_arrived_not_when_we_heard_of_it(
    around: Surroundings,
) -> None:
    """As its driver says; no longer than since the plan."""
    stop = await around.start()
    view = await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
    planned_at = view.updated_at
    came_at = planned_at + timedelta(seconds=0.5)
    await around.charger.until(lambda: datetime.now(UTC) > planned_at + timedelta(seconds=3))
    said = ArrivalReport(event_id="1", charger_id="c1", at=came_at)
    await stop.handle.execute_update(UPDATE_ARRIVED, said, result_type=Receipt)
    await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    view = await stop.view()
    await end(stop)
    assert view.attempts[0].queue_s >= 2.4
