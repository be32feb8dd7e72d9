"""Where the vehicle is, told through the real relay: what was true before, what a driver says, whose plug."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client

from connectors.ports import RoutedEvidence
from models.contract import UPDATE_CHOOSE
from models.evidence import EvidenceKind, EvidenceSource
from models.stop import ChooseCharger, Receipt, StopPhase, StopRequest
from store.database import Store
from tests.workflows.conftest import StopHandle, Surroundings, patient_policy, surroundings
from tests.workflows.stop_words import arrive, cancel, heard, types

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
