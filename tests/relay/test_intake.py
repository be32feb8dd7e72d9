"""Taking: durable before it is acknowledged, matched, folded; a bad item goes alone; silence is told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY

from connectors.enode.ports import EnodeConnection
from connectors.ports import RoutedEvidence
from models.activity_messages import SessionGoal
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.stop import StopPhase
from store.database import Store
from tests.enode.test_commands_sockets import connection_to
from tests.relay.conftest import NewTown
from tests.relay.town import Town, running, until
from workers.enode_store import StoreTelematics
from workers.evidence_relay import EvidenceRelay

pytestmark = pytest.mark.asyncio(loop_scope="session")

METER, FLOWING, PLUGGED = EvidenceKind.METER, EvidenceKind.ENERGY_FLOWING, EvidenceKind.PLUGGED_IN
ENDLESS = "".join(f"{n:06x}" for n in range(2000))
"""Longer than an index takes: PostgreSQL refuses the row."""


def routed(town: Town, item: Evidence, stop_id: str | None = None, car: str | None = None) -> RoutedEvidence:
    return RoutedEvidence(tenant_id=town.tenant, evidence=item, stop_id=stop_id, vehicle_telematics_id=car)


async def follow(town: Town, stop_id: str, attempt_id: str, **goal: float) -> None:
    async with town.store.tenant(town.tenant) as unit:
        await unit.progress.follow(
            SessionGoal(
                tenant_id=town.tenant,
                stop_id=stop_id,
                attempt_id=attempt_id,
                **{"target_kwh": 20.0, "target_soc_percent": 80.0, "stall_s": 600.0, **goal},
            )
        )


async def test_turns_are_signalled_and_meters_are_not(town: Town, relay: EvidenceRelay) -> None:
    stop = await town.stop(phase=StopPhase.CHARGING)
    tried = await town.try_at(stop)
    await follow(town, stop.stop_id, tried.attempt_id)
    for minute in range(30):
        item = town.item(
            f"m{minute}", 60 * minute, METER, attempt_id=tried.attempt_id, energy_kwh=0.7 * minute
        )
        await relay.accept([routed(town, item)])
        await relay.deliver()
    signals = await town.signals(stop.workflow_id)
    kinds = [item.kind for signal in signals for item in signal]
    assert kinds == [FLOWING, EvidenceKind.TARGET_REACHED]
    async with town.store.tenant(town.tenant) as unit:
        live = await unit.progress.live([tried.attempt_id])
        assert len([one for one in await unit.evidence.of_stop(stop.stop_id) if one.kind is METER]) == 30
    assert live[tried.attempt_id].energy_kwh == pytest.approx(20.3)
    assert town.waiting() == 0


async def test_an_item_that_no_database_takes_goes_alone(new_town: NewTown, relay: EvidenceRelay) -> None:
    town, other = new_town(), new_town()
    stop, theirs = await town.stop(), await other.stop()
    await relay.accept(
        [
            routed(town, town.item("before", 1), stop.stop_id),
            routed(town, town.item("bad", 2), ENDLESS),
            routed(town, town.item("car", 2), None, ENDLESS),
            routed(town, town.item("after", 3), stop.stop_id),
            routed(other, other.item("theirs"), theirs.stop_id),
        ]
    )
    await relay.deliver()
    assert await town.told(stop) == ["before", "after"]
    assert await other.told(theirs) == ["theirs"]
    async with town.store.tenant(town.tenant) as unit:
        kept = await unit.quarantine.list(9)
    assert [(item.source, item.reason) for item in kept] == [("evidence", "unstorable")] * 2
    assert {RoutedEvidence.model_validate_json(item.raw).evidence.event_id for item in kept} == {"bad", "car"}


async def test_text_that_postgresql_cannot_hold_is_cleaned_and_kept(town: Town, relay: EvidenceRelay) -> None:
    stop = await town.stop()
    item = town.item("odd").model_copy(update={"detail": "a\x00b\ud800c"})
    await relay.accept([routed(town, item, stop.stop_id)])
    await relay.deliver()
    assert await town.told(stop) == ["odd"]


async def test_two_copies_in_one_batch_are_one(town: Town, relay: EvidenceRelay) -> None:
    stop = await town.stop()
    item = routed(town, town.item("twice"), stop.stop_id)
    await relay.accept([item, item])
    await relay.accept([item])
    while await relay.deliver():
        pass
    assert await town.told(stop) == ["twice"]


async def test_nothing_is_acknowledged_that_is_not_durable(
    town: Town, database_url: str, schema: str
) -> None:
    stop = await town.stop()
    gone = Store(database_url.replace("postgres?", "no_such_database?"), schema=schema, pool_size=1)
    try:
        with pytest.raises(Exception, match=r"no_such_database"):
            await EvidenceRelay(gone, town.client).accept([routed(town, town.item("e"), stop.stop_id)])
    finally:
        await gone.dispose()


async def test_silence_is_told_by_whoever_runs(town: Town, relay: EvidenceRelay) -> None:
    stop = await town.stop(phase=StopPhase.CHARGING)
    tried = await town.try_at(stop)
    await follow(town, stop.stop_id, tried.attempt_id, stall_s=0.3)
    item = town.item("m1", 0, METER, attempt_id=tried.attempt_id, energy_kwh=1.0)
    async with running(relay):
        await relay.accept([routed(town, item)])

        async def silent() -> bool:
            heard = [item.kind for signal in await town.signals(stop.workflow_id) for item in signal]
            return heard[:2] == [FLOWING, EvidenceKind.SESSION_SILENT]

        await until(silent)


async def test_what_waits_and_what_went_is_counted(town: Town, relay: EvidenceRelay) -> None:
    def figure(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    stop, absent = await town.stop(), await town.stop(runs=False, begun=False)
    before = figure("backstop_evidence_delivered_total", to="stop")
    await relay.accept(
        [routed(town, town.item("e1"), stop.stop_id), routed(town, town.item("e2"), absent.stop_id)]
    )
    await relay.deliver()
    town.sql("UPDATE evidence SET received_at = now() - interval '90 s' WHERE event_id = 'e2'")
    await relay.watch()
    assert figure("backstop_evidence_delivered_total", to="stop") == before + 1
    assert figure("backstop_evidence_delayed_total", cause="not_begun") >= 1
    assert figure("backstop_evidence_waiting_rows") == 1
    assert 85 < figure("backstop_evidence_waiting_oldest_seconds") < 600


def _enode(town: Town) -> EnodeConnection:
    made = connection_to("http://127.0.0.1:9", connection_id=f"c-{town.tenant}")
    return made.model_copy(update={"tenant_id": town.tenant})


async def test_telematics_takes_the_same_way(town: Town) -> None:
    """Matched by vehicle, folded, and kept to be found by a later plan."""
    charging = await town.stop(phase=StopPhase.CHARGING, telematics_id="car-1")
    tried = await town.try_at(charging)
    await town.stop(phase=StopPhase.PLANNING, telematics_id="car-1", created_at=datetime.now(UTC))
    await follow(town, charging.stop_id, tried.attempt_id)
    log = StoreTelematics(town.store)
    says = {"source": EvidenceSource.TELEMATICS, "observed_at": datetime.now(UTC), "power_kw": 40.0}
    async with log.unit(_enode(town)) as unit:
        watch = await unit.watch("car-1")
        assert watch is not None
        assert watch.stop_id == charging.stop_id  # not the newest
        await unit.add_evidence(
            [
                routed(town, town.item("plug", kind=PLUGGED, **says), None, "car-1"),
                routed(town, town.item("meter", kind=METER, **says), None, "car-1"),
            ]
        )
        assert unit.fresh_evidence == 2
    async with town.store.tenant(town.tenant) as tenant_unit:
        heard = [item.kind for item in await tenant_unit.evidence.of_stop(charging.stop_id)]
    assert heard == [PLUGGED, METER, FLOWING]
    assert town.sql(
        "SELECT DISTINCT telematics_id FROM evidence WHERE event_id = 'plug' AND tenant_id = %s", town.tenant
    ) == [("car-1",)]
