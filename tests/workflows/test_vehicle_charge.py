"""The vehicle's charge, and with it the need of the next attempt: from what was measured and what flowed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.client import Client

from models.evidence import EvidenceKind, EvidenceSource
from models.reason_codes import ReasonCode
from models.stop import StopOutcome, StopPhase
from store.database import Store
from tests.workflows.conftest import StopHandle, patient_policy, surroundings
from tests.workflows.peer_words import fell_back, is_stopped, say
from tests.workflows.stages import charging
from tests.workflows.stop_words import arrive, cancel, heard, tell


@pytest.mark.asyncio
async def test_the_charge_of_another_vehicle_at_a_late_start_is_not_ours(
    temporal_client: Client, store: Store
) -> None:
    """c1 comes alive after we gave it up and went on, under a stranger's car at 85 %. Ours has 30 %."""
    async with surroundings(temporal_client, store, policy=patient_policy(confirmation_s=1.5)) as around:
        around.charger.silent = {"c1"}
        stop = await around.start()
        await arrive(stop)
        first = await stop.command(1)
        await stop.until(fell_back)
        await arrive(stop)
        await stop.command(2)
        await say(around, first, EvidenceKind.SESSION_STARTED, soc_percent=85.0)
        await is_stopped(around, first)
        await cancel(stop)
        assert (await stop.result()).soc_percent == pytest.approx(30, abs=2)


@pytest.mark.asyncio
async def test_the_next_attempt_needs_what_is_missing_while_no_planner_answers(
    temporal_client: Client, store: Store
) -> None:
    """10 kWh at c1, then a fault; the planner is away, so the rest of its last ranking is used."""
    async with surroundings(temporal_client, store, policy=patient_policy(plan_timeout_s=2)) as around:
        stop, command = await charging(around)
        need = (await stop.view()).needed_kwh or 0.0
        await around.workers[-1].shutdown()
        await say(
            around,
            command,
            EvidenceKind.SESSION_ENDED,
            energy_kwh=10.0,
            reason=ReasonCode.SUSTAIN_EVSE_FAULT,
        )
        await stop.until(fell_back)
        assert await need_of_second(stop) == pytest.approx(need - 10, abs=1)


@pytest.mark.asyncio
async def test_the_next_attempt_needs_less_by_what_the_last_one_still_delivered(
    temporal_client: Client, store: Store
) -> None:
    """Left at 5 kWh by a fault, the STOP has no effect for a while: it ends with 25 kWh in the battery."""
    async with surroundings(temporal_client, store, policy=patient_policy()) as around:
        around.charger.obeys_stop = False
        stop, command = await charging(around)
        need = (await stop.view()).needed_kwh or 0.0
        await say(around, command, EvidenceKind.SESSION_PROGRESS, energy_kwh=5.0)
        await say(around, command, EvidenceKind.CONNECTOR_FAULTED, reason=ReasonCode.SUSTAIN_EVSE_FAULT)
        await stop.until(fell_back, 60)
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=25.0)
        around.charger.obeys_stop = True
        assert await need_of_second(stop) == pytest.approx(need - 25, abs=1)


@pytest.mark.asyncio
async def test_a_figure_that_is_older_than_the_measured_charge_is_not_added_to_it(
    temporal_client: Client, store: Store
) -> None:
    """Left with 10 kWh told; the vehicle measures 48 % after its end, and then the meter's 11 kWh come."""
    async with surroundings(temporal_client, store, policy=patient_policy()) as around:
        stop, command = await charging(around)
        ended_at = datetime.now(UTC)
        await say(
            around,
            command,
            EvidenceKind.SESSION_ENDED,
            energy_kwh=10.0,
            reason=ReasonCode.SUSTAIN_EVSE_FAULT,
            observed_at=ended_at,
        )
        await stop.until(fell_back)
        feed = EvidenceSource.TELEMATICS
        await tell(stop, heard(EvidenceKind.METER, source=feed, soc_percent=48.0))
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=11.0, observed_at=ended_at)
        assert await need_of_second(stop) == pytest.approx(0.32 * 60, abs=0.01)


@pytest.mark.asyncio
async def test_a_charge_that_jumps_beyond_physics_is_no_charge(temporal_client: Client, store: Store) -> None:
    """31 % at 1 kWh, then 100 % at 2 kWh, of a battery of 60 kWh; then a fault: neither enough, nor known."""
    async with surroundings(temporal_client, store, policy=patient_policy()) as around:
        stop, command = await charging(around)
        await say(around, command, EvidenceKind.SESSION_PROGRESS, energy_kwh=1.0, soc_percent=31.0)
        await say(around, command, EvidenceKind.SESSION_PROGRESS, energy_kwh=2.0, soc_percent=100.0)
        fault = ReasonCode.SUSTAIN_EVSE_FAULT
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=2.0, reason=fault)
        await stop.until(fell_back)
        assert await need_of_second(stop) == pytest.approx(28.4, abs=1)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("left_at_percent", "outcome"), [(80.0, StopOutcome.CHARGED), (60.0, StopOutcome.CHARGED_SHORT)]
)
async def test_what_only_the_vehicle_measured_is_booked(
    temporal_client: Client, store: Store, left_at_percent: float, outcome: StopOutcome
) -> None:
    """No charger speaks (by badge, or through the vehicle): 30 % to 80 (60) % of 60 kWh are 30 (18) kWh."""
    async with surroundings(temporal_client, store, policy=patient_policy(), protocol="enode") as around:
        around.charger.silent = {"c1"}
        stop = await around.start()
        await arrive(stop)
        await stop.command(1)
        vehicle: dict[str, Any] = {"source": EvidenceSource.TELEMATICS}
        await tell(stop, heard(EvidenceKind.ENERGY_FLOWING, soc_percent=30.0, power_kw=7.0, **vehicle))
        await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        now = datetime.now(UTC)
        await tell(
            stop,
            heard(EvidenceKind.METER, soc_percent=left_at_percent, power_kw=7.0, observed_at=now, **vehicle),
            heard(EvidenceKind.UNPLUGGED, soc_percent=left_at_percent, observed_at=now, **vehicle),
        )
        result = await stop.result()
        booked = result.attempts[0]
        assert (result.outcome, booked.energy_estimated) == (outcome, True)
        assert result.energy_kwh == pytest.approx((left_at_percent - 30) / 100 * 60, abs=0.01)
        assert (booked.metered_kwh, booked.cost_actual) == (0.0, None)


async def need_of_second(stop: StopHandle) -> float:
    """What the second attempt is to bring; then the stop is called off."""
    await arrive(stop)
    await stop.command(2)
    view = await stop.until(lambda v: v.attempt_number == 2 and v.needed_kwh is not None)
    await cancel(stop)
    return view.needed_kwh or 0.0
