"""Bar T1: any duplication or permutation of a telemetry log folds to the same state, byte for byte; and the
negative control that shows the property has teeth."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.enode.fold import Observed, Signal, VehicleFold
from connectors.enode.ingest import Ingest
from connectors.enode.ports import EnodeConnection, StopWatch
from models.place import Place
from models.stop import StopPhase
from tests.enode.memory_log import MemoryLog

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CONNECTION = EnodeConnection.model_validate(
    {
        "connection_id": "c1",
        "tenant_id": "demo",
        "base_url": "http://127.0.0.1:9",
        "token_url": "http://127.0.0.1:9/oauth/token",
        "client_id": "id",
        "client_secret": "secret",
        "webhook_secret": "0123456789abcdef",
    }
)

instants = st.integers(0, 12).map(lambda s: (NOW - timedelta(seconds=60 - s)).isoformat())
maybe_instants = st.none() | instants
charge_states = st.fixed_dictionaries(
    {
        "batteryLevel": st.none() | st.integers(0, 100),
        "isPluggedIn": st.none() | st.booleans(),
        "isCharging": st.none() | st.booleans(),
        "chargeRate": st.none() | st.sampled_from([0, 7.4, 50]),
        "powerDeliveryState": st.sampled_from(
            [None, "UNPLUGGED", "PLUGGED_IN:CHARGING", "PLUGGED_IN:COMPLETE", "PLUGGED_IN:NEW_WORD"]
        ),
        "lastUpdated": maybe_instants,
    }
)
locations = st.fixed_dictionaries(
    {
        "latitude": st.none() | st.sampled_from([51.0, 51.2]),
        "longitude": st.none() | st.sampled_from([6.7, 6.8]),
        "lastUpdated": maybe_instants,
    }
)
events: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "event": st.sampled_from(
            ["user:vehicle:updated", "user:vehicle:updated", "user:vehicle:deleted", "user:new:thing"]
        ),
        "createdAt": instants,
        "vehicle": st.fixed_dictionaries(
            {
                "id": st.sampled_from(["car-1", "car-2"]),
                "isReachable": st.none() | st.booleans(),
                "lastSeen": maybe_instants,
                "chargeState": st.none() | charge_states,
                "location": st.none() | locations,
            }
        ),
    }
)


def fold_log(deliveries: list[tuple[str, list[Any]]]) -> MemoryLog:
    log = MemoryLog(
        StopWatch(
            stop_id="stop_1",
            phase=StopPhase.EN_ROUTE,
            since=NOW - timedelta(hours=1),
            charger_id="ch-1",
            charger_place=Place(latitude=51.0, longitude=6.7),
        )
    )
    ingest = Ingest(log)

    async def run() -> None:
        for delivery_id, items in deliveries:
            await ingest.deliver(CONNECTION, delivery_id, items, NOW)

    asyncio.run(run())
    return log


def state_of(log: MemoryLog) -> dict[str, bytes]:
    return {telematics_id: fold.to_bytes() for telematics_id, fold in log.folds.items()}


@settings(max_examples=150, deadline=None)
@given(log=st.lists(events, min_size=1, max_size=12), seed=st.integers(0, 2**32))
def test_any_permutation_duplication_and_batching_folds_to_the_same_bytes(
    log: list[dict[str, Any]], seed: int
) -> None:
    rng = random.Random(seed)
    straight = fold_log([(f"d{i}", [event]) for i, event in enumerate(log)])
    shuffled = log + rng.choices(log, k=rng.randint(0, len(log)))
    rng.shuffle(shuffled)
    cut = rng.randint(0, len(shuffled))
    crooked = fold_log([("x", shuffled[:cut]), ("y", shuffled[cut:]), ("x", shuffled[:cut])])
    assert state_of(crooked) == state_of(straight)
    # A replay from the raw log reproduces the state.
    replayed = fold_log([(f"r{i}", [orjson.loads(raw)]) for i, raw in enumerate(crooked.raw.values())])
    assert state_of(replayed) == state_of(straight)


@settings(max_examples=100, deadline=None)
@given(log=st.lists(events, min_size=1, max_size=10))
def test_repeats_bring_no_new_evidence_even_under_new_delivery_ids(log: list[dict[str, Any]]) -> None:
    once = fold_log([("a", log)])
    thrice = fold_log([("a", log), ("b", log), ("c", list(reversed(log)))])
    assert thrice.evidence == once.evidence


def test_negative_control_a_fold_by_arrival_is_told_apart() -> None:
    """What the property guards against: taking the last that came."""
    early = {Signal.SOC_PERCENT: Observed(at=NOW, value=40.0)}
    later = {Signal.SOC_PERCENT: Observed(at=NOW + timedelta(seconds=1), value=41.0)}

    def by_arrival(*steps: dict[Signal, Observed]) -> bytes:
        state: dict[Signal, Observed] = {}
        for step in steps:
            state |= step
        return VehicleFold(signals=state).to_bytes()

    assert by_arrival(early, later) != by_arrival(later, early)
    assert VehicleFold().merge(early).merge(later) == VehicleFold().merge(later).merge(early)
