"""Clocks of stations, partners and vehicles that are wrong; and a store that was away for a moment."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client

from connectors.ports import RoutedEvidence
from models.activity_messages import LookAround
from models.commands import CommandOutcome, CommandReply
from models.evidence import EvidenceKind, EvidenceSource
from models.reason_catalogue import entry
from models.reason_codes import NextStep, Phase, ReasonCode
from models.stop import StopOutcome, StopPhase
from store.database import Store
from store.evidence import EvidenceRepository
from tests.workflows.conftest import Surroundings, patient_policy, surroundings
from tests.workflows.stop_words import arrive, cancel, heard, tell, types


@pytest_asyncio.fixture
async def around(temporal_client: Client, store: Store) -> AsyncIterator[Surroundings]:
    async with surroundings(temporal_client, store, policy=patient_policy()) as made:
        yield made


@pytest.mark.asyncio
async def test_a_station_whose_clock_is_a_day_behind_may_charge(around: Surroundings) -> None:
    """OCPP takes any clock since 2010. A session has not begun before its own start was sent: it is not ended
    for a time limit that it never reached, and took no day."""
    around.charger.silent = {"c1"}
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    await around.charger.say(command, EvidenceKind.SESSION_STARTED, at=yesterday)
    await around.charger.say(
        command, EvidenceKind.SUSPENDED_BY_VEHICLE, at=yesterday + timedelta(seconds=1), energy_kwh=20.0
    )
    view = await stop.until(lambda v: v.energy_kwh == 20.0)
    assert (view.phase, around.charger.stops()) == (StopPhase.CHARGING, [])
    assert view.attempts[0].started_at == yesterday  # the record says what was told
    await around.charger.say(
        command, EvidenceKind.SESSION_ENDED, at=yesterday + timedelta(seconds=2), energy_kwh=30.0
    )
    result = await stop.result()
    assert (result.outcome, result.energy_kwh) == (StopOutcome.CHARGED, 30.0)
    assert (float(result.queue_minutes), float(result.idle_minutes)) < (5, 5)


@pytest.mark.asyncio
async def test_a_partner_whose_clock_is_hours_ahead_makes_no_queue(
    temporal_client: Client, store: Store
) -> None:
    """Local time called UTC, 12 hours ahead: OCPI's intake lets it through. Nobody has queued."""
    policy = patient_policy(settlement_s=1)
    async with surroundings(temporal_client, store, policy=policy, protocol="ocpi") as around:
        around.charger.silent = {"c1"}
        stop = await around.start()
        await arrive(stop)
        command = await stop.command(1)
        ahead = datetime.now(UTC) + timedelta(hours=12)
        await around.charger.say(command, EvidenceKind.SESSION_STARTED, at=ahead)
        await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        end = ahead + timedelta(minutes=1)
        await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=30.0, at=end)
        result = await stop.result()
        assert float(result.queue_minutes) < 5


@pytest.mark.asyncio
async def test_a_feed_from_the_future_does_not_take_the_vehicle_away_for_ever(around: Surroundings) -> None:
    """A vehicle with a clock a day ahead says that it is far. Then it arrives; the first start is refused in
    a way that advises the same connector: the stop does not wait for a second arrival."""
    again = next(
        code
        for code in ReasonCode
        if entry(code).next_step is NextStep.SAME_CONNECTOR and code.phase is Phase.START
    )
    around.charger.replies["c1"] = [CommandReply(outcome=CommandOutcome.REJECTED, reason=again)]
    request = around.request()
    linked = request.vehicle.model_copy(update={"telematics_id": f"tele-{uuid.uuid4().hex[:6]}"})
    stop = await around.start(request.model_copy(update={"vehicle": linked}))
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
    far = heard(
        EvidenceKind.VEHICLE_PROGRESS,
        source=EvidenceSource.TELEMATICS,
        distance_km=3.0,
        soc_percent=30,
        observed_at=datetime.now(UTC) + timedelta(days=1),
    )
    await tell(stop, far)
    await arrive(stop)
    await stop.command(2)
    await cancel(stop)
    await stop.result()


@pytest.mark.asyncio
async def test_a_plug_of_before_survives_an_outage_of_our_store(
    temporal_client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A depot: the van is plugged in when its stop is asked for, and the store is away just as the stop looks
    around. The stop looks again. (One that finds everything at once looks once.)"""
    looks = 0
    look: Any = EvidenceRepository.around

    async def away(self: EvidenceRepository, asked: LookAround) -> Any:
        nonlocal looks
        looks += 1
        if looks <= 6:  # more often than one read is tried
            raise ConnectionError("the store is away")
        return await look(self, asked)

    async with surroundings(temporal_client, store, policy=patient_policy(), private=True) as around:
        plug = heard(
            EvidenceKind.PLUGGED_IN, charger_id="c1", observed_at=datetime.now(UTC) - timedelta(minutes=5)
        )
        await around.relay.accept([RoutedEvidence(tenant_id=around.tenant_id, evidence=plug)])
        monkeypatch.setattr(EvidenceRepository, "around", away)
        stop = await around.start()
        async with asyncio.timeout(30):
            await stop.command(1)
        seen = looks
        await cancel(stop)
        await stop.result()
        assert looks == seen == 7, await types(stop)  # six that failed, one that worked, and no more
