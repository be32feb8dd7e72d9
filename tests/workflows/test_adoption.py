"""A late start is adopted only while it is worth it: what happens while we write is heard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from temporalio.client import Client

from connectors.ports import RoutedEvidence
from models.commands import ChargerCommand
from models.contract import ACTIVITY_TAKE_BACK, UPDATE_APPROVE, UPDATE_ARRIVED, UPDATE_CHOOSE
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.ids import TenantId
from models.stop import (
    Approval,
    ArrivalReport,
    ChooseCharger,
    Receipt,
    StopMode,
    StopOutcome,
    StopPhase,
)
from store.database import Store
from tests.workflows.conftest import patient_policy, surroundings
from tests.workflows.stages import charge_fully, start_given_up
from tests.workflows.stop_words import arrive, cancel, heard, tell, types


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


@pytest.mark.asyncio
async def test_where_an_adoption_was_refused_no_other_start_is_tried_there(
    temporal_client: Client, store: Store
) -> None:
    """The only attempt that policy allows never started; a person is asked. Another van charges at c1 by now,
    so that the late start cannot be adopted: it is stopped, and the person decides."""
    policy = patient_policy(confirmation_s=1.5, max_attempts=1, human_deadline_s=600)
    async with surroundings(temporal_client, store, policy=policy) as around:
        around.charger.silent = {"c1"}
        a = await around.start()
        await arrive(a)
        first = await a.command(1)
        await a.until(lambda v: v.awaiting_human_until is not None)
        around.charger.silent = set()
        b = await around.start()
        await b.until(lambda v: v.phase is StopPhase.EN_ROUTE)
        choose = ChooseCharger(event_id="x", charger_id="c1", by="fleet")
        await b.handle.execute_update(UPDATE_CHOOSE, choose, result_type=Receipt)
        await b.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.charger_id == "c1")
        await arrive(b)
        await b.until(lambda v: v.phase is StopPhase.CHARGING)
        await around.charger.say(first, EvidenceKind.SESSION_STARTED)
        await around.charger.until(lambda: first.attempt_id in {c.attempt_id for c in around.charger.stops()})
        view = await a.view()
        await cancel(a)
        result = await a.result()
        await cancel(b)
        await b.result()
        assert view.awaiting_human_until is not None
        assert len(result.attempts) == 1


@pytest.mark.asyncio
async def test_a_late_start_has_an_owner_while_a_fallback_waits_for_approval(
    temporal_client: Client, store: Store
) -> None:
    """Assisted: the approval of the fallback may take ten minutes. The vehicle is there still: adopted."""
    policy = patient_policy(confirmation_s=1.5, approval_s=600)
    async with surroundings(temporal_client, store, policy=policy) as around:
        around.charger.silent = {"c1"}
        stop = await around.start(around.request(mode=StopMode.ASSISTED))
        await stop.until(lambda v: v.awaiting_approval_until is not None)
        yes = Approval(event_id="1", approved=True)
        await stop.handle.execute_update(UPDATE_APPROVE, yes, result_type=Receipt)
        await arrive(stop)
        first = await stop.command(1)
        await stop.until(lambda v: v.awaiting_approval_until is not None and v.attempt_number == 1)
        await around.charger.say(first, EvidenceKind.SESSION_STARTED)
        view = await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        assert view.awaiting_approval_until is None
        assert await around.holds(first.attempt_id) == (True, True)
        await cancel(stop)
        await stop.result()


@pytest.mark.asyncio
async def test_a_late_start_under_a_strangers_car_is_not_adopted(
    temporal_client: Client, store: Store
) -> None:
    """We gave c1 up; its connector became free, somebody plugged in, and then our start came alive there."""
    async with surroundings(temporal_client, store, policy=patient_policy(confirmation_s=1.5)) as around:
        stop, first = await start_given_up(around)
        now = datetime.now(UTC)
        for second, kind in enumerate((EvidenceKind.CONNECTOR_AVAILABLE, EvidenceKind.PLUGGED_IN)):
            item = heard(kind, charger_id="c1", observed_at=now + timedelta(seconds=second))
            await around.relay.accept([RoutedEvidence(tenant_id=around.tenant_id, evidence=item)])
        await around.delivered()
        await around.charger.say(first, EvidenceKind.SESSION_STARTED, at=now + timedelta(seconds=2))
        await around.charger.until(lambda: first.attempt_id in {c.attempt_id for c in around.charger.stops()})
        seen = await types(stop)
        await cancel(stop)
        await stop.result()
        assert "late_start.adopted" not in seen


@pytest.mark.asyncio
@pytest.mark.parametrize("taken", [False, True], ids=["its connector is free", "another stop has it"])
async def test_a_late_start_that_lives_holds_its_connector_where_it_is_free(
    temporal_client: Client, store: Store, taken: bool
) -> None:
    """It is not adopted, and does not obey: nobody else is sent there, unless somebody is there already."""
    policy = patient_policy(confirmation_s=1.5, presence_s=0.001)
    async with surroundings(temporal_client, store, policy=policy) as around:
        around.charger.obeys_stop = False
        stop, first = await start_given_up(around)
        if taken:
            around.charger.silent = set()
            other = await around.start()
            await other.until(lambda v: v.phase is StopPhase.EN_ROUTE)
            choose = ChooseCharger(event_id="c1", charger_id="c1", by="fleet")
            await other.handle.execute_update(UPDATE_CHOOSE, choose, result_type=Receipt)
            await arrive(other, charger_id="c1")
            second = await other.command(1)
            assert second.charger.charger_id == "c1"
        await tell(stop, _of(first, EvidenceKind.UNPLUGGED, datetime.now(UTC)))
        await tell(stop, _of(first, EvidenceKind.SESSION_STARTED, datetime.now(UTC)))
        await stop.stored_events(lambda e: "stop.unconfirmed" in [one.type for one in e])
        view = await stop.stored(lambda v: v.attempts[0].started_at is not None)
        assert await around.holds(first.attempt_id) == (False, not taken)
        assert view.attempts[0].holds_charger is not taken
        await around.charger.say(first, EvidenceKind.SESSION_ENDED, energy_kwh=1.0)
        await cancel(stop)
        await stop.result()
        assert await around.holds(first.attempt_id) == (False, False)
