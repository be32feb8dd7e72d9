"""Long charges stay readable: meters stay out of the history; what grows too long goes on in a new run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from connectors.ports import RoutedEvidence
from models.commands import ChargerCommand
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.stop import StopEvent, StopOutcome, StopPhase, StopResult
from tests.workflows.conftest import StopHandle, Surroundings
from tests.workflows.stages import charging
from tests.workflows.stop_words import arrive, cancel, timeline

REAL_CHARGE_EVENTS = 47
"""Beside workflow tasks, of which a calm charge has 11 (3 events each): under 80 events in all. A machine
under load splits what elsewhere comes in one task."""
REAL_CHARGE_TASKS = 14
NIGHT_EVENTS = 300


def told(command: ChargerCommand, kind: EvidenceKind, at: datetime, energy_kwh: float) -> RoutedEvidence:
    item = Evidence(
        event_id=f"{command.attempt_id}:{kind}:{at.isoformat()}",
        source=EvidenceSource.OCPP,
        kind=kind,
        observed_at=at,
        attempt_id=command.attempt_id,
        charger_id=command.charger.charger_id,
        session_ref=f"tx-{command.attempt_id[:8]}",
        energy_kwh=energy_kwh,
    )
    return RoutedEvidence(tenant_id=command.tenant_id, evidence=item, stop_id=command.stop_id)


async def size(stop: StopHandle) -> int:
    return len((await stop.handle.fetch_history()).events)


@pytest.mark.asyncio
async def test_a_real_charge_with_a_meter_value_a_minute_stays_short(around: Surroundings) -> None:
    """45 minutes to the target; the station ends on our STOP, and all 30 kWh are booked."""
    stop, command = await charging(around)
    began = datetime.now(UTC)
    for minute in range(1, 46):
        at = began + timedelta(minutes=minute)
        await around.relay.accept([told(command, EvidenceKind.METER, at, 30.4 * minute / 45)])
    result = await stop.result()
    assert result.outcome is StopOutcome.CHARGED
    assert result.energy_kwh == pytest.approx(30.4, abs=0.8)
    names = [EventType.Name(event.event_type) for event in (await stop.handle.fetch_history()).events]
    tasks = [name for name in names if "WORKFLOW_TASK" in name]
    assert len(names) - len(tasks) < REAL_CHARGE_EVENTS
    assert len(tasks) <= 3 * REAL_CHARGE_TASKS


@pytest.mark.asyncio
async def test_a_night_at_a_depot_with_pauses_stays_readable(around: Surroundings) -> None:
    """Twelve hours, a meter value a minute, six pauses by load management, a lost uplink."""
    stop, command = await charging(around)
    began = datetime.now(UTC)
    for minute in range(1, 720):
        at = began + timedelta(minutes=minute)
        energy = 29.0 * minute / 720
        batch = [told(command, EvidenceKind.METER, at, energy)]
        if minute % 120 == 60:
            batch.append(told(command, EvidenceKind.SUSPENDED_BY_CHARGER, at, energy))
        elif minute % 120 == 75:
            batch.append(told(command, EvidenceKind.ENERGY_FLOWING, at, energy))
        if minute == 500:
            batch.append(told(command, EvidenceKind.STATION_OFFLINE, at + timedelta(seconds=1), energy))
        await around.relay.accept(batch)
        if len(batch) > 1:  # each turn comes alone, as it does in a real night
            await around.delivered()
    end = began + timedelta(hours=12)
    await around.relay.accept([told(command, EvidenceKind.SESSION_ENDED, end, 30.5)])
    result = await stop.result()
    assert (result.outcome, result.energy_kwh) == (StopOutcome.CHARGED, 30.5)
    events = await size(stop)
    assert events < NIGHT_EVENTS, f"{events} events"


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_very_long_charge_goes_on_in_a_new_run_with_all_it_knows(around: Surroundings) -> None:
    stop = await around.start()
    first_run = (await stop.handle.describe()).run_id
    await arrive(stop)
    command = await stop.command(1)
    await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    began = datetime.now(UTC)
    at, turns = began, 0
    handle: WorkflowHandle[object, StopResult] = stop.handle
    while (await handle.describe()).run_id == first_run:
        assert turns < 2000, "it never continued as new"
        for _ in range(25):
            turns += 1
            at += timedelta(seconds=10)
            kind = EvidenceKind.SUSPENDED_BY_CHARGER if turns % 2 else EvidenceKind.ENERGY_FLOWING
            await handle.signal("evidence", [told(command, kind, at, turns * 0.01).evidence])
    view = await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    assert view.continued_from_run_id == first_run
    before = len(await timeline(stop))
    assert before > 5, "the log's end goes with it"
    end = told(command, EvidenceKind.SESSION_ENDED, at + timedelta(hours=1), 31.0)
    await around.relay.accept([end])
    result = await stop.result()
    assert (result.outcome, result.energy_kwh) == (StopOutcome.CHARGED, 31.0)
    await stored_log_is_told(stop)


async def stored_log_is_told(stop: StopHandle) -> list[StopEvent]:
    """The store has the whole log; the run tells its end, event by event the same."""
    stored = await stop.stored_events(lambda events: events[-1].type == "stop.closed")
    own = await timeline(stop)
    assert [e.seq for e in stored] == list(range(1, len(stored) + 1))
    assert [e.model_dump() for e in stored[-len(own) :]] == [e.model_dump() for e in own]
    return stored


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_connector_that_flaps_for_hours_never_wedges_its_stop(around: Surroundings) -> None:
    """12,000 turns, a second apart, with long ids: each turn once cost the log an event, and log and ids went
    into the next run's order, until Temporal refused it at every try. Some minutes long."""
    stop, command = await charging(around)
    at = datetime.now(UTC)
    for turn in range(1, 12_000):
        at += timedelta(seconds=1)
        kind = EvidenceKind.SUSPENDED_BY_CHARGER if turn % 2 else EvidenceKind.ENERGY_FLOWING
        item = told(command, kind, at, turn * 0.001).evidence
        named = item.model_copy(update={"event_id": f"{turn}:".ljust(200, "x")})
        await stop.handle.signal("evidence", [named])
        if turn % 500 == 0:
            await stop.view()
    await cancel(stop)
    assert (await stop.result()).outcome is StopOutcome.CANCELLED
    assert len(await stored_log_is_told(stop)) < 100
