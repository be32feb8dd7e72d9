"""One start, several sessions at the station or partner; and sessions that live after they ended."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import Client

from connectors.ports import RoutedEvidence
from models.contract import UPDATE_APPROVE
from models.evidence import EvidenceKind, EvidenceSource
from models.reason_codes import ReasonCode
from models.stop import Approval, Receipt, SessionState, StopMode, StopOutcome, StopPhase
from store.database import Store
from tests.workflows.conftest import patient_policy, surroundings
from tests.workflows.peer_words import fell_back, is_stopped, say, stops_of
from tests.workflows.stages import charging
from tests.workflows.stop_words import arrive, cancel, heard, tell, types

VEHICLE: dict[str, Any] = {"source": EvidenceSource.TELEMATICS}
SECOND: dict[str, Any] = {"session_ref": "tx-second"}


@pytest.mark.asyncio
async def test_a_session_that_comes_back_to_life_is_stopped_and_booked(
    temporal_client: Client, store: Store
) -> None:
    """A partner says COMPLETED at 1.5 kWh, then ACTIVE again, and 8 and 12 kWh."""
    policy = patient_policy(settlement_s=0.5)
    async with surroundings(temporal_client, store, policy=policy, protocol="ocpi") as around:
        around.charger.obeys_stop = False
        stop, command = await charging(around)
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=1.5)
        await stop.until(fell_back)
        await say(around, command, EvidenceKind.ENERGY_FLOWING)
        await say(around, command, EvidenceKind.METER, energy_kwh=8.0)
        await is_stopped(around, command)
        await say(around, command, EvidenceKind.METER, energy_kwh=12.0)
        view = await stop.until(lambda v: v.energy_kwh == 12.0)
        assert view.attempts[0].session is SessionState.STOPPING
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=12.5)
        await cancel(stop)
        result = await stop.result()
        assert (result.energy_kwh, result.attempts[0].session) == (12.5, SessionState.ENDED)


@pytest.mark.asyncio
async def test_a_second_transaction_of_one_start_is_stopped_and_booked(
    temporal_client: Client, store: Store
) -> None:
    """Power loss ends the transaction at 4 kWh; the station is back and begins another one with our token."""
    async with surroundings(temporal_client, store, policy=patient_policy()) as around:
        around.charger.obeys_stop = False
        stop, command = await charging(around)
        power_loss = ReasonCode.SUSTAIN_POWER_LOSS
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=4.0, reason=power_loss)
        await stop.until(fell_back)
        await say(around, command, EvidenceKind.SESSION_STARTED, energy_kwh=0.0, **SECOND)
        told = await is_stopped(around, command)
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=6.0, **SECOND)
        await cancel(stop)
        result = await stop.result()
        assert ({one.session_ref for one in told}, result.energy_kwh) == ({"tx-second"}, 10.0)


@pytest.mark.asyncio
async def test_a_second_transaction_after_the_close_is_stopped_and_booked(
    temporal_client: Client, store: Store
) -> None:
    async with surroundings(temporal_client, store, policy=patient_policy()) as around:
        around.charger.obeys_stop = False
        stop, command = await charging(around)
        unplugged = ReasonCode.SUSTAIN_UNPLUGGED_EARLY
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=4.0, reason=unplugged)
        assert (await stop.result()).outcome is StopOutcome.CHARGED_SHORT
        await say(around, command, EvidenceKind.SESSION_STARTED, energy_kwh=0.0, **SECOND)
        assert (await is_stopped(around, command))[0].session_ref == "tx-second"
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=6.0, **SECOND)
        await stop.stored(lambda v: v.energy_kwh == 10.0)


@pytest.mark.asyncio
async def test_what_the_vehicle_alone_ended_is_still_owned_when_its_charger_speaks(
    temporal_client: Client, store: Store
) -> None:
    """The vehicle's feed is ahead of the station: it charges, the connector faults, it is unplugged. Then the
    station tells the transaction it has begun, which hangs."""
    async with surroundings(temporal_client, store, policy=patient_policy(confirmation_s=60)) as around:
        around.charger.silent = {"c1"}
        stop = await around.start()
        await arrive(stop)
        command = await stop.command(1)
        await stop.until(lambda v: v.phase is StopPhase.CONFIRMING)
        await tell(stop, heard(EvidenceKind.ENERGY_FLOWING, **VEHICLE))
        await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        await tell(stop, heard(EvidenceKind.CONNECTOR_FAULTED, charger_id="c1"))
        await tell(stop, heard(EvidenceKind.UNPLUGGED, **VEHICLE))
        await stop.until(fell_back)
        await say(around, command, EvidenceKind.SESSION_STARTED)
        await is_stopped(around, command)
        await cancel(stop)


@pytest.mark.asyncio
async def test_the_session_that_lives_is_the_one_that_is_stopped(
    temporal_client: Client, store: Store
) -> None:
    """One start, two sessions at the partner: it opened S1, dropped it without a word, and charges on S2."""
    policy = patient_policy(settlement_s=0.5)
    async with surroundings(temporal_client, store, policy=policy, protocol="ocpi") as around:
        around.charger.obeys_stop = False
        stop, command = await charging(around)
        await say(around, command, EvidenceKind.SESSION_STARTED, session_ref="S2")
        await say(around, command, EvidenceKind.ENERGY_FLOWING, energy_kwh=6.0, session_ref="S2")
        await cancel(stop)
        assert {one.session_ref for one in await is_stopped(around, command)} == {"S2"}
        await say(around, command, EvidenceKind.SESSION_ENDED, energy_kwh=7.0, session_ref="s2")
        result = await stop.result()
        assert (result.energy_kwh, result.attempts[0].session) == (7.0, SessionState.ENDED)


@pytest.mark.asyncio
async def test_a_station_that_is_back_is_told_at_once_to_end_an_unknown_session(
    temporal_client: Client, store: Store
) -> None:
    """After keeper_s the session is unknown. Hours later the uplink is back: the STOP goes out now, not
    within the next hour."""
    async with surroundings(temporal_client, store, policy=patient_policy(keeper_s=1)) as around:
        around.charger.obeys_stop = False
        stop, command = await charging(around)
        await cancel(stop)
        await stop.result()
        await stop.stored(lambda v: v.attempts[0].session is SessionState.UNKNOWN)
        await say(around, command, EvidenceKind.STATION_OFFLINE)
        told = len(stops_of(around, command))
        around.charger.obeys_stop = True
        await say(around, command, EvidenceKind.STATION_ONLINE)
        await around.charger.until(lambda: len(stops_of(around, command)) > told)
        await stop.stored(lambda v: v.attempts[0].session is SessionState.ENDED)


@pytest.mark.asyncio
async def test_a_late_start_is_adopted_while_its_fallback_waits_for_approval(
    temporal_client: Client, store: Store
) -> None:
    """Nobody has approved the fallback, the vehicle stands at the first charger: its charge is taken."""
    async with surroundings(temporal_client, store, policy=patient_policy(confirmation_s=1.5)) as around:
        around.charger.silent = {"c1"}
        stop = await around.start(around.request(mode=StopMode.ASSISTED))
        await stop.until(lambda v: v.awaiting_approval_until is not None)
        yes = Approval(event_id="yes", approved=True)
        await stop.handle.execute_update(UPDATE_APPROVE, yes, result_type=Receipt)
        await arrive(stop)
        first = await stop.command(1)
        await stop.until(lambda v: v.attempt_number == 1 and v.awaiting_approval_until is not None)
        await say(around, first, EvidenceKind.SESSION_STARTED)
        await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        assert not stops_of(around, first)
        await cancel(stop)
        await stop.result()


@pytest.mark.asyncio
@pytest.mark.parametrize("closed", [False, True], ids=["its stop settles", "its stop has closed"])
async def test_a_session_only_its_vehicle_speaks_for_is_seen_to_end_after_it_was_left(
    temporal_client: Client, store: Store, closed: bool
) -> None:
    """At the target the vehicle is told to stop, and does not answer; later it says that it is unplugged."""
    async with surroundings(temporal_client, store, policy=patient_policy(), protocol="enode") as around:
        around.charger.silent, around.charger.obeys_stop = {"c1"}, False
        request = around.request()
        van = request.vehicle.model_copy(update={"telematics_id": f"enode-{request.vehicle.vehicle_id}"})
        stop = await around.start(request.model_copy(update={"vehicle": van}))
        await arrive(stop)
        await stop.command(1)
        await tell(stop, heard(EvidenceKind.ENERGY_FLOWING, soc_percent=30.0, **VEHICLE))
        await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        await tell(stop, heard(EvidenceKind.TARGET_REACHED, soc_percent=80.0, energy_kwh=33.0, **VEHICLE))
        await around.charger.until(lambda: bool(around.charger.stops()))
        if closed:
            await stop.result()
        unplugged = heard(EvidenceKind.UNPLUGGED, soc_percent=80.0, **VEHICLE)
        await around.relay.accept(
            [
                RoutedEvidence(
                    tenant_id=around.tenant_id,
                    evidence=unplugged,
                    vehicle_telematics_id=van.telematics_id,
                )
            ]
        )
        view = await stop.stored(lambda v: v.result is not None and v.attempts[0].ended_at is not None)
        assert (view.outcome, view.attempts[0].session) == (StopOutcome.CHARGED, SessionState.ENDED)
        assert ("session.kept" in await types(stop)) is closed
