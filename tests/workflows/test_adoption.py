"""A late start is adopted only while it is worth it: what happens while we write is heard."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from temporalio.client import Client

from models.commands import ChargerCommand
from models.contract import ACTIVITY_TAKE_BACK, UPDATE_ARRIVED
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.ids import TenantId
from models.stop import ArrivalReport, Receipt, StopOutcome, StopPhase
from store.database import Store
from tests.workflows.conftest import patient_policy, surroundings
from tests.workflows.stages import charge_fully, start_given_up
from tests.workflows.stop_words import arrive, tell


@pytest.mark.asyncio
@pytest.mark.parametrize("meanwhile", ["it ends", "the vehicle is at the fallback"])
async def test_what_changes_while_the_store_takes_its_holds_back_is_heard(
    temporal_client: Client, store: Store, meanwhile: str
) -> None:
    """A late start that is over, or left behind, by the time its holds stand again is no charge to adopt."""
    async with surroundings(temporal_client, store, policy=patient_policy(confirmation_s=1.5)) as around:
        around.charger.obeys_stop = False
        stop, first = await start_given_up(around)
        fallback = (await stop.view()).charger_id
        await stop.stored(lambda view: view.charger_id == fallback and view.phase is StopPhase.EN_ROUTE)
        began = datetime.now(UTC)
        async with store.tenant(TenantId(around.tenant_id)) as other:
            # The store is slow: somebody holds the stop's row.
            row = "SELECT 1 FROM stop WHERE stop_id = :stop FOR UPDATE"
            await other.connection.execute(text(row), {"stop": first.stop_id})
            await tell(stop, _of(first, EvidenceKind.SESSION_STARTED, began))
            await stop.until_pending(ACTIVITY_TAKE_BACK)
            if meanwhile == "it ends":
                await tell(stop, _of(first, EvidenceKind.SESSION_ENDED, began, energy_kwh=3.5))
                await stop.until(lambda v: v.energy_kwh == 3.5)
            else:
                report = ArrivalReport(event_id="there", charger_id=fallback)
                await stop.handle.execute_update(UPDATE_ARRIVED, report, result_type=Receipt)
        events = await stop.stored_events(lambda e: "late_start.missed" in [one.type for one in e])
        assert "late_start.adopted" not in [one.type for one in events]
        assert await around.holds(first.attempt_id) == (False, meanwhile != "it ends")
        if meanwhile == "it ends":
            await arrive(stop)
        else:
            await around.charger.say(first, EvidenceKind.SESSION_ENDED, energy_kwh=3.5)
        second = await stop.command(2)
        assert second.charger.charger_id == fallback
        await charge_fully(stop, 2)
        result = await stop.result()
        assert (result.outcome, result.energy_kwh) == (StopOutcome.CHARGED, 33.5)
        assert await around.holds(first.attempt_id) == (False, False)


def _of(
    command: ChargerCommand, kind: EvidenceKind, at: datetime, energy_kwh: float | None = None
) -> Evidence:
    return Evidence(
        event_id=f"{command.attempt_id}:{kind}",
        source=EvidenceSource.OCPP,
        kind=kind,
        observed_at=at,
        attempt_id=command.attempt_id,
        charger_id=command.charger.charger_id,
        session_ref="tx-late",
        energy_kwh=energy_kwh,
    )
