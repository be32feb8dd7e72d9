"""The cost of a stop: of what is booked, whenever it was told, and of what was billed without energy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio.client import Client

from models.evidence import EvidenceKind
from models.stop import StopPhase
from store.database import Store
from tests.workflows.conftest import patient_policy, surroundings
from tests.workflows.peer_words import euros, fell_back, say
from tests.workflows.stages import charging
from tests.workflows.stop_words import arrive, cancel


@pytest.mark.asyncio
async def test_the_cost_is_that_of_the_energy_that_is_booked(temporal_client: Client, store: Store) -> None:
    """Cancelled at 5 kWh, the STOP without effect: priced while it lives, then it ends with 25 kWh before the
    result is fixed."""
    policy = patient_policy(uncertain_guard_s=6)
    async with surroundings(temporal_client, store, policy=policy) as around:
        around.charger.obeys_stop = False
        stop, command = await charging(around)
        await say(around, command, EvidenceKind.SESSION_PROGRESS, energy_kwh=5.0)
        await cancel(stop)
        await stop.until(lambda view: view.attempts[0].cost_estimated is not None)
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=25.0)
        result = await stop.result()
        assert result.energy_kwh == 25.0
        assert (result.cost_estimated, result.cost_actual) == (euros("12.50"), euros("12.50"))


@pytest.mark.asyncio
async def test_what_an_attempt_without_energy_cost_is_part_of_the_cost(
    temporal_client: Client, store: Store
) -> None:
    """A record with 0 kWh and a start fee, then a charge elsewhere: both are paid."""
    policy = patient_policy(settlement_s=5)
    async with surroundings(temporal_client, store, policy=policy, protocol="ocpi") as around:
        stop, first = await charging(around)
        await say(around, first, EvidenceKind.SESSION_ENDED, energy_kwh=0.0)
        await stop.until(fell_back)
        await say(around, first, EvidenceKind.CHARGE_RECORD, energy_kwh=0.0, cost=euros("3.50"))
        await arrive(stop)
        second = await stop.command(2)
        await stop.until(lambda view: view.phase is StopPhase.CHARGING)
        await say(around, second, EvidenceKind.SESSION_ENDED, energy_kwh=33.0)
        await say(around, second, EvidenceKind.CHARGE_RECORD, energy_kwh=33.0, cost=euros("15.00"))
        result = await stop.result()
        assert [one.cost_actual for one in result.attempts] == [euros("3.50"), euros("15.00")]
        assert result.cost_actual == euros("18.50")


@pytest.mark.asyncio
async def test_a_record_of_more_than_the_connector_gives_is_not_booked_because_it_is_late(
    temporal_client: Client, store: Store
) -> None:
    """Seconds of charging at 50 kW, 30 kWh by the session; the record of 20 hours later says 800 kWh."""
    async with surroundings(temporal_client, store, policy=patient_policy(), protocol="ocpi") as around:
        stop, command = await charging(around)
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=30.0)
        await say(
            around,
            command,
            EvidenceKind.CHARGE_RECORD,
            energy_kwh=800.0,
            cost=euros("400"),
            observed_at=datetime.now(UTC) + timedelta(hours=20),
        )
        assert (await stop.result()).energy_kwh == 30.0


@pytest.mark.asyncio
async def test_idle_minutes_are_those_that_are_billed(temporal_client: Client, store: Store) -> None:
    """42 by the charge record; and 50 by the one that corrects it when the stop has closed."""
    async with surroundings(temporal_client, store, policy=patient_policy(), protocol="ocpi") as around:
        stop, command = await charging(around)
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=33.0)
        record: dict[str, Any] = {"kind": EvidenceKind.CHARGE_RECORD, "energy_kwh": 33.0}
        await say(around, command, **record, cost=euros("15.00"), idle_minutes=Decimal(42))
        assert (await stop.result()).idle_minutes == Decimal("42.0")
        await say(around, command, **record, cost=euros("16.00"), idle_minutes=Decimal(50))
        view = await stop.stored(lambda view: view.attempts[0].cost_actual == euros("16.00"))
        assert view.result is not None
        assert view.result.idle_minutes == Decimal("50.0")
