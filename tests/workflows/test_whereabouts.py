"""Where the vehicle is, told through the real relay: what was true before, what a driver says, whose plug."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.ports import RoutedEvidence
from models.evidence import EvidenceKind, EvidenceSource
from models.stop import StopPhase, StopRequest
from tests.workflows.conftest import StopHandle, Surroundings
from tests.workflows.stop_words import cancel, heard, types

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
