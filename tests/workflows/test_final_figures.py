"""What a charge comes to: ends and records that tell less than the meter, and records without a session."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client

from models.evidence import EvidenceKind
from models.stop import StopOutcome, StopPhase
from store.database import Store
from tests.workflows.conftest import patient_policy, surroundings
from tests.workflows.peer_words import euros, fell_back, say
from tests.workflows.stages import charging
from tests.workflows.stop_words import arrive, heard, tell


@pytest.mark.asyncio
async def test_a_charge_record_before_any_session_is_a_charge(temporal_client: Client, store: Store) -> None:
    """A partner that sends no session, or sends it after the record."""
    policy = patient_policy(confirmation_s=5)
    async with surroundings(temporal_client, store, policy=policy, protocol="ocpi") as around:
        around.charger.silent = {"c1"}
        stop = await around.start()
        await arrive(stop)
        command = await stop.command(1)
        await stop.until(lambda v: v.phase is StopPhase.CONFIRMING)
        record: dict[str, Any] = {"energy_kwh": 30.4, "cost": euros("15.20")}
        await say(around, command, EvidenceKind.CHARGE_RECORD, **record)
        view = await stop.until(lambda v: v.outcome is not None or v.phase is StopPhase.EN_ROUTE)
        assert (view.outcome, view.energy_kwh) == (StopOutcome.CHARGED, 30.4)
        assert (view.attempts[0].start_proven, view.attempts[0].queue_s) == (True, 0.0)


@pytest.mark.asyncio
async def test_a_charge_record_of_nought_does_not_unmake_a_full_charge(
    temporal_client: Client, store: Store
) -> None:
    """29.9 kWh by the partner's own session; its record (free of charge) says 0 kWh, and is booked."""
    async with surroundings(temporal_client, store, policy=patient_policy(), protocol="ocpi") as around:
        stop, command = await charging(around)
        mine: dict[str, Any] = {"attempt_id": command.attempt_id}
        now = datetime.now(UTC)
        record = heard(
            EvidenceKind.CHARGE_RECORD,
            observed_at=now + timedelta(seconds=1),
            energy_kwh=0.0,
            cost=euros("0"),
            **mine,
        )
        progress = heard(EvidenceKind.SESSION_PROGRESS, energy_kwh=29.9, observed_at=now, **mine)
        await tell(stop, record, progress)
        view = await stop.until(lambda v: v.outcome is not None or fell_back(v))
        one = view.attempts[0]
        assert (view.outcome, one.energy_kwh, one.metered_kwh) == (StopOutcome.CHARGED, 0.0, 29.9)


@pytest.mark.asyncio
async def test_an_end_with_less_than_the_meter_showed_does_not_unbook_what_flowed(
    temporal_client: Client, store: Store
) -> None:
    """COMPLETED with 0 kWh, by a partner that tells energy with its record only; the session had shown 97 %
    of the need while it ran. The driver is not sent to another site, and what flowed is booked."""
    policy = patient_policy(settlement_s=0.5)
    async with surroundings(temporal_client, store, policy=policy, protocol="ocpi") as around:
        stop, command = await charging(around)
        await say(around, command, EvidenceKind.METER, energy_kwh=20.0)
        most = round(0.97 * ((await stop.view()).needed_kwh or 0.0), 1)
        await say(around, command, EvidenceKind.METER, energy_kwh=most)
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=0.0)
        view = await stop.until(lambda v: v.outcome is not None or fell_back(v))
        assert (view.outcome, view.energy_kwh) == (StopOutcome.CHARGED, most)
