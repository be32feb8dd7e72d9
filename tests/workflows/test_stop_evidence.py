"""What evidence does to a stop: late, twice, out of order, or about another charger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models.contract import SIGNAL_EVIDENCE, UPDATE_CANCEL
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.reason_codes import ReasonCode
from models.stop import CancelRequest, Receipt, StopOutcome, StopPhase
from tests.workflows.conftest import Surroundings
from tests.workflows.scripted_charger import REJECT
from tests.workflows.stages import charge_fully, charging
from tests.workflows.stop_words import arrive


@pytest.mark.asyncio
async def test_evidence_twice_and_in_any_order_gives_the_same_end(around: Surroundings) -> None:
    around.charger.silent = {"c1"}
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    now = datetime.now(UTC)
    say = around.charger.say
    for _ in range(2):
        await say(
            command,
            EvidenceKind.SESSION_ENDED,
            energy_kwh=30.0,
            reason=ReasonCode.SUSTAIN_VEHICLE_STOPPED,
            at=now + timedelta(seconds=3),
        )
        await say(command, EvidenceKind.METER, energy_kwh=12.0, at=now + timedelta(seconds=2))
        await say(command, EvidenceKind.SESSION_STARTED, at=now + timedelta(seconds=1))
    result = await stop.result()
    assert result.outcome is StopOutcome.CHARGED
    assert result.energy_kwh == pytest.approx(30.0)


@pytest.mark.asyncio
async def test_a_fault_without_a_stop_reason_still_means_a_fallback(around: Surroundings) -> None:
    """OCPP 1.6 may end a faulted session with the reason Other: the fault itself is the reason then."""
    stop, command = await charging(around)
    await around.charger.say(command, EvidenceKind.CONNECTOR_FAULTED, reason=ReasonCode.SUSTAIN_EVSE_FAULT)
    await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=13.0)
    view = await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.attempt_number == 1)
    assert view.attempts[0].reason is ReasonCode.SUSTAIN_EVSE_FAULT
    await stop.handle.execute_update(UPDATE_CANCEL, CancelRequest(event_id="c"), result_type=Receipt)
    assert (await stop.result()).energy_kwh == pytest.approx(13.0)


@pytest.mark.asyncio
async def test_a_plug_without_a_place_is_no_arrival(around: Surroundings) -> None:
    """The vehicle's plug event of the charger before must not arrive at the fallback."""
    around.charger.replies["c1"] = [REJECT]
    stop = await around.start()
    await arrive(stop)
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.attempt_number == 1)
    plug = Evidence(
        event_id="plug-1",
        source=EvidenceSource.TELEMATICS,
        kind=EvidenceKind.PLUGGED_IN,
        observed_at=datetime.now(UTC),
    )
    await stop.handle.signal(SIGNAL_EVIDENCE, [plug])
    fence = plug.model_copy(update={"event_id": "fence-1", "kind": EvidenceKind.ARRIVED, "charger_id": "c1"})
    await stop.handle.signal(SIGNAL_EVIDENCE, [fence])
    view = await stop.view()
    assert (view.phase, len(view.attempts)) == (StopPhase.EN_ROUTE, 1)
    await arrive(stop, "a2")
    await charge_fully(stop, number=2)
    assert (await stop.result()).outcome is StopOutcome.CHARGED
